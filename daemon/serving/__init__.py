"""The HTTP API over the edited model; one request, in order:

    http/request_limits.py            its size is bounded, its duration measured
    http/completions_api.py           its body becomes prompts
    model_executor.py                 it waits for the one thread that owns the model
    ../served_model.py                base + the generation that the ledger published last
    editors/inference/                which edit fires, and the answer

`serve_role.py` joins these and follows the ledger's head.
"""
