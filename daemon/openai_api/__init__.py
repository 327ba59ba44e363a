"""OpenAI's API as it goes over the wire: what the embedded server and the gateway both speak.

    schemas.py        requests: every field that is served, and none that is not
    responses.py      completions, chat completions, their chunks, models
    errors.py         the error body, its types and status codes
    sse.py            server-sent events: one chunk an event, `[DONE]` behind the last
    request_ids.py    `x-request-id` on every reply
    disconnects.py    work that ends when its client goes away

Nothing here knows a model, the ledger or a socket.
"""
