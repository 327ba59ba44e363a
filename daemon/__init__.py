"""Upkeep's daemon: from an event on a topic to the answer of a model; `daemon/__main__.py` is the place to start."""
