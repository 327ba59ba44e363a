"""What `run --embedded` prints: where what runs, and the commands that come next."""

import json
import shlex
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from daemon.embedded.embedded_settings import CONFIG
from daemon.process.addresses import http_address
from daemon.serving.serve_role import model_name
from daemon.settings.settings import Settings

LOOK_SECONDS = 0.5
ANSWER_SECONDS = 2.0


def starting(state: Path, settings: Settings) -> str:
    """The first lines, while the model is still being loaded."""
    return f"Starting on {settings.model.required_path()}; loading a model may take minutes. State: {state}"


def started(state: Path, settings: Settings) -> str:
    """The places, and the three next commands."""
    api, name = address(settings), model_name(settings)
    message = {"model": name, "messages": [{"role": "user", "content": "What is the capital of France?"}]}
    nightly = f"{settings.schedule.nightly_cron!r} ({settings.schedule.timezone})"
    console = f"\n  console  {api}/console" if settings.console.enabled else ""
    key = " -H 'authorization: Bearer YOUR_KEY'" if settings.serve.key_hashes else ""
    return f"""
Upkeep runs.

  model    {settings.model.required_path()}
  answers  {api}/v1 (OpenAI's API; model "{name}"), reference {api}/docs, metrics {health_address(settings)}/metrics{console}
  broker   {settings.kafka.bootstrap_servers}, topic {settings.kafka.topic} (in memory)
  state    {state}: ledger.db, adapters/, {CONFIG}

In another terminal:

  export UPKEEP_CONFIG={shlex.quote(str(state / CONFIG))}
  upkeep submit facts.jsonl
  curl -s {api}/v1/chat/completions -H 'content-type: application/json'{key} \\
       -d {shlex.quote(json.dumps(message))}
  upkeep ask "What is the capital of France?" --chat

An event with "priority": "urgent" is live in seconds; others wait for {nightly}, or for `upkeep apply`.
Ctrl-C stops everything; the same command goes on from there.
"""


def announce_when_ready(
    state: Path, settings: Settings, *, stop: threading.Event, say: Callable[[str], None]
) -> None:
    """Wait for the model in a thread of its own, then say `started`; nothing is said after `stop`."""

    def watch() -> None:
        while not _ready(health_address(settings)):
            if stop.wait(LOOK_SECONDS):
                return
        say(started(state, settings))

    threading.Thread(target=watch, name="announcement", daemon=True).start()


def address(settings: Settings) -> str:
    """Where a client on this machine asks."""
    return http_address(settings.serve.host, settings.serve.port)


def health_address(settings: Settings) -> str:
    """Where health and metrics are."""
    if settings.serve.metrics_port is None:
        return address(settings)
    return http_address(settings.metrics.host, settings.serve.metrics_port)


def _ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=ANSWER_SECONDS):  # noqa: S310 -- our own server
            return True
    except urllib.error.HTTPError as error:
        error.close()
    except OSError:
        return False  # nobody listens yet
    return False
