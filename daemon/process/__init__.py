"""What every role of the daemon needs: settings, logs, supervision."""
