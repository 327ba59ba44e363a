"""What an edit is known by."""

from typing import TypeAlias

EditId: TypeAlias = str
"""What an edit is known by everywhere: any text; the ledger's own are its numbers in decimal."""
