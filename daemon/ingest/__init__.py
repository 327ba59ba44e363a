"""From the topic to the ledger, and back to the topics."""
