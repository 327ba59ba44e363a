"""Shards, their files and the adapter store."""
