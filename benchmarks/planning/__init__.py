"""What planning batches gains, and what it costs."""
