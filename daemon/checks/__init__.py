"""Locality regression checks, and which edit is to blame."""
