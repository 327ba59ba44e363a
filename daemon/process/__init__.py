"""What every role's process needs: settings, logs, outages, metrics, and the supervisor above them."""
