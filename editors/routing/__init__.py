"""Which live edit a prompt goes through."""
