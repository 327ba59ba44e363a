"""A module for each page: what it asks of the ledger, and what it can do; `previews.py` is what every action has."""
