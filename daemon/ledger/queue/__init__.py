"""What waits, in which order, and who has claimed it."""
