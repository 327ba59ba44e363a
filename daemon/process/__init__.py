"""What every role's process needs: logs, outages, metrics, and the supervisor above them."""
