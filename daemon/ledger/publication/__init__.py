"""Generations: which edits are live, why, and how that is taken back."""
