"""The fact world: its subjects, relations and facts, what is general, and which of it changes."""
