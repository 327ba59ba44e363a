"""The changes that are published: their order, their records, and those that nobody should send."""
