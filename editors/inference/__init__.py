"""How an edited model answers."""
