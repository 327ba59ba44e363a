"""Which edits are made together, in which order, and when."""
