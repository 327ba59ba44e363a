"""What Prometheus reads: counted by a process itself, or asked of the ledger at each scrape."""
