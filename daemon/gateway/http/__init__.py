"""What passes the gateway over HTTP: requests read, sent on to the engine, and joined again."""
