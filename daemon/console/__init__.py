"""The console: what changed, why the model says what it says, and undo it; pages rendered here, readable without a script.

`app.py` puts it together; `access` says who may see and who may act; each module of `pages` turns what the ledger knows
into the values of one template; `web` speaks HTTP; `sources` are what may be away. Nothing of the model is loaded to
open it: whoever mounts it hands in what can ask one.
"""
