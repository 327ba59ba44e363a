"""The HTTP API over the edited model."""
