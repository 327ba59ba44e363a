"""The commands of `upkeep`, a file for each kind of errand; each imports what it needs when it is called."""
