"""What was published: what it changed, whether the rest still holds, and how it is taken back."""
