"""Claim a batch, train it, verify it, decide."""
