"""The commands of `upkeep`, in rooms by what they are about; each imports what it needs when it is called."""
