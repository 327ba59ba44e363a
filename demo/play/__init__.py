"""The demo as it plays: its stage, what the reader sees, and what became of every record."""
