"""The commands of `upkeep`, a module for each group; each imports what it needs when it is called."""
