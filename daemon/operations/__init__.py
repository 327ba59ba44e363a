"""What the people on call ask and do: one set of functions for the commands and for the console.

Queries return frozen values, a page at a time, and cost the same however large the ledger is. Every action can be seen
before it is done, takes a reason, and is kept in the audit log with who did it. Nothing here loads a model.
"""
