"""Asks the running daemon over HTTP, as any client would."""

import json
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Any

TIMEOUT_SECONDS = 30.0


def served_generation(url: str) -> int | None:
    """The generation that the daemon answers with; None while it does not answer yet."""
    try:
        return int(json.loads(_get(f"{url}/v1/generation"))["generation"])
    except urllib.error.HTTPError as error:
        error.close()
        return None
    except OSError:
        return None


def served_answers(url: str, prompts: Sequence[str]) -> list[str]:
    """The daemon's answers, in the order of `prompts`, of which it takes a few dozen at once."""
    body = json.dumps({"prompts": list(prompts)}).encode()
    request = urllib.request.Request(  # noqa: S310 -- always our own http://127.0.0.1
        f"{url}/v1/generate", body, {"content-type": "application/json"}
    )
    answered: dict[str, Any] = json.loads(_get(request))
    return [answer["text"] for answer in answered["answers"]]


def served_metrics(url: str) -> str:
    """What Prometheus would read."""
    return _get(f"{url}/metrics").decode()


def _get(request: str | urllib.request.Request) -> bytes:
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:  # noqa: S310 -- as above
        content: bytes = response.read()
    return content
