"""The ledger under load: intake, growth, the console, a database that hangs."""
