"""What lies outside the ledger and may be slow or away: a model to ask, a broker, a Prometheus."""
