"""SCEN as published: a full copy and an indexing neuron for each fact."""
