"""Fixtures that unit tests share: the ledger on both of its databases."""

from support.ledger.ledger_backends import clock, ledger, migrated_sqlite, postgres_url, story, url

__all__ = ["clock", "ledger", "migrated_sqlite", "postgres_url", "story", "url"]
