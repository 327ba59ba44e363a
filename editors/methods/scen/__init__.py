"""SCEN: one low-rank expert for each fact."""
