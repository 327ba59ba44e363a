"""The tables, their migrations, and the one place where an edit changes its state."""
