"""What a PostgreSQL that hangs costs those who ask: {failed, p99_ratio} of 500 answers while it is stopped for a minute.

.venv/bin/python benchmarks/frozen_database.py [--seconds 60] [--answers 500]
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.ledger.ledger_backends import own_postgres
from support.serving_support import EmbeddedServer, Fact, embedded_server

FACT = Fact("Norrberg", "The highest peak of Norrberg is", "Mount Elk")
PROMPTS = (FACT.prompt, "Water boils at", "The capital of France is")


def ask(server: EmbeddedServer, answers: int, seconds: float) -> tuple[int, list[float]]:
    """Spread so many requests over so many seconds: how many failed, and how long each took."""
    failed, took = 0, []
    begun = time.monotonic()
    for number in range(answers):
        time.sleep(max(0.0, begun + number * seconds / answers - time.monotonic()))
        sent = time.perf_counter()
        reply = server.post("/v1/generate", {"prompts": [PROMPTS[number % len(PROMPTS)]]})
        took.append(time.perf_counter() - sent)
        failed += reply.status_code != 200
    return failed, took


def main() -> None:
    """Measure as usual, then frozen."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--seconds", type=float, default=60.0)
    arguments.add_argument("--answers", type=int, default=500)
    asked = arguments.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        own_postgres() as postgres,
        embedded_server(Path(folder), [FACT], ledger_url=postgres.url) as server,
    ):
        ask(server, 50, 5)
        _, usual = ask(server, asked.answers, asked.seconds)
        with postgres.frozen():
            failed, frozen = ask(server, asked.answers, asked.seconds)
            ready = server.get("/readyz").status_code
    p99 = [float(np.percentile(took, 99)) for took in (usual, frozen)]
    figures = {"failed": failed, "p99_usual": p99[0], "p99_frozen": p99[1], "p99_ratio": p99[1] / p99[0]}
    print(json.dumps(figures | {"readyz": ready}))


if __name__ == "__main__":
    main()
