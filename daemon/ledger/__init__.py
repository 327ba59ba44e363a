"""The ledger: the durable memory of events, edits, batches and generations. Imports no torch, no Kafka."""

from daemon.ledger.ledger import Ledger, open_ledger, utc_now

__all__ = ["Ledger", "open_ledger", "utc_now"]
