"""Set Upkeep up, start it, and see where everything stands."""
