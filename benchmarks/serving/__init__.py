"""The embedded server and the gateway before vLLM, under load."""
