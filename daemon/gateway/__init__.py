"""The gateway: an OpenAI-compatible proxy that picks the edit in front of an inference server.

engine.py      what a gateway needs of an inference server: load, unload, list, forward
vllm.py        the same of vLLM
edits.py       the live edits of one generation, and which of them a prompt asks
adapters.py    loads adapters on demand, unloads the least used
sweeping.py    adapters' folders that nobody needs any more
routing.py     one request's decision: which adapter, of which generation
http/proxy.py    the HTTP interface
http/bodies.py   what a request asks, and its body with another model in it
http/joining.py  one answer of several, for prompts that need different adapters
gateway_role.py  joins them, and follows the ledger's head
"""
