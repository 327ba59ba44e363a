"""Does a page of the console cost the same however large the ledger is?

    python benchmarks/console.py

Prints one JSON object: for each page the median time at 100,000 edits in 5,000 generations over that at 100 edits in 50,
and the times themselves. Both consoles answer over HTTP in this process, over SQLite files that the ledger's own functions
fill; requests to the two take turns.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
from starlette.applications import Starlette
from synthetic_edits import invented_name

from daemon.console.app import console_routes, create_console
from daemon.events.fact_event import FactEvent
from daemon.ledger import Ledger, open_ledger, utc_now
from daemon.ledger.values import CheckResult, ConsumedRecord, Lane, Plan, PlannedBatch
from daemon.process.listening import answering, free_port
from daemon.settings.settings import Settings

SMALL, SMALL_GENERATIONS = 100, 50
CHANGED_AGAIN = 5  # every so many edits replace an earlier one's answer
SUITES = ("far", "relation", "subject", "retention")
INTAKE_AT_ONCE = 2_000
COMMON_WORD = "capital"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--edits", type=int, default=100_000)
    parser.add_argument("--generations", type=int, default=5_000)
    parser.add_argument("--requests", type=int, default=40, help="of each page, to each of the two consoles")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        begun = time.perf_counter()
        small = stack.enter_context(console(Path(folder) / "small", SMALL, SMALL_GENERATIONS))
        large = stack.enter_context(console(Path(folder) / "large", options.edits, options.generations))
        filled = time.perf_counter() - begun
        pages = pages_of(SMALL, SMALL_GENERATIONS), pages_of(options.edits, options.generations)
        times = {name: compare(small, large, pages, name, options.requests) for name in pages[0]}
    ratios = {name: round(after / before, 2) for name, (before, after) in times.items()}
    size = options.edits
    print(
        json.dumps(
            {
                f"timeline_ratio_{size}": max(ratios[name] for name in ratios if name.startswith("timeline")),
                f"search_ratio_{size}": max(ratios[name] for name in ratios if name.startswith("search")),
                "ratios": ratios,
                "milliseconds": {
                    name: [round(1000 * one, 1) for one in pair] for name, pair in times.items()
                },
                "fill_seconds": round(filled, 1),
            }
        )
    )


def pages_of(edits: int, generations: int) -> dict[str, str]:
    """Pages that every ledger has, by name."""
    one = invented_name(edits // 3)
    return {
        "timeline": "/console/",
        "timeline, in the middle": f"/console/?before={generations // 2 + 1}",
        "timeline, a difference": f"/console/generations/{generations - 1}",
        "search, all": "/console/facts",
        "search, one subject": f"/console/facts?subject={one.replace(' ', '+')}",
        "search, one word": f"/console/facts?text={one.split()[0]}",
        "search, the beginning of a word": f"/console/facts?text={one.split()[0][:7]}",
        "search, a word of all": f"/console/facts?text={COMMON_WORD}",
        "search, two words": f"/console/facts?text={COMMON_WORD}+{one.split()[0]}",
        "search, an answer": f"/console/facts?answer=answer{edits // 3}",
        "search, an event": f"/console/facts?event_id=event-{edits // 3}",
        "search, a state": "/console/facts?state=superseded",
        "search, a batch": f"/console/facts?batch={generations // 2 + 1}",
        "search, since": f"/console/facts?since={START.isoformat()[:16]}",
        "fact": f"/console/facts/{edits // 3}",
        "work": "/console/work/plan",
        "audit": "/console/audit",
        "checks": "/console/checks",
    }


START = datetime(2026, 1, 1, tzinfo=UTC)


class Clock:
    """Goes by seconds, as the story is told."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


@contextmanager
def console(folder: Path, edits: int, generations: int) -> Iterator[str]:
    """While the block runs, a console answers over a ledger of this size; its address."""
    settings = Settings.model_validate({"ledger": {"url": f"sqlite:///{folder}/ledger.db"}})
    with open_ledger(settings.ledger.url, clock=Clock()) as ledger:
        ledger.migrate()
        fill(ledger, edits, generations)
    port = free_port()
    with open_ledger(settings.ledger.url) as ledger:
        app = Starlette(routes=console_routes(create_console(settings, ledger, host="127.0.0.1")))
        with answering([(app, "127.0.0.1", port)], settings="the port"):
            yield f"http://127.0.0.1:{port}"


def fill(ledger: Ledger, edits: int, generations: int) -> None:
    """Events arrive and are published in so many generations, some replacing others; each generation is checked."""
    ledger.generations.start("base")
    size = edits // generations
    for first in range(0, edits, INTAKE_AT_ONCE):
        ledger.intake.record([record(n) for n in range(first, min(first + INTAKE_AT_ONCE, edits))])
        while pending := ledger.plans.pending(None, INTAKE_AT_ONCE):
            groups = [pending[at : at + size] for at in range(0, len(pending), size)]
            batches = tuple(
                PlannedBatch(n, Lane.BATCH, "scen", tuple(edit.id for edit in group), "benchmark")
                for n, group in enumerate(groups)
            )
            ledger.plans.store(Plan(Lane.BATCH, 0, batches))
            for _ in groups:
                publish(ledger)


def record(number: int) -> ConsumedRecord:
    subject = invented_name(number - 1 if number % CHANGED_AGAIN == 0 and number else number)
    event = FactEvent.model_validate(
        {
            "event_id": f"event-{number}",
            "subject": subject,
            "relation": "capital",
            "prompt": f"The capital of {subject} is",
            "target_new": f"answer{number}",
            "occurred_at": START + timedelta(seconds=number),
        }
    )
    return ConsumedRecord("fact-updates", 0, number, f"{number:064x}", event)


def publish(ledger: Ledger) -> None:
    batch = ledger.batches.claim("worker", lease_seconds=60)
    tip = ledger.generations.tip()
    if batch is None or tip is None:
        raise SystemExit("a batch that was planned cannot be claimed")
    made = ledger.generations.publish(
        batch=batch,
        expected_head=tip[0],
        live={edit.id: f"shard-{batch.id}" for edit in batch.edits},
        rejected={},
        scores={"reliability": 1.0, "locality": 1.0},
        cause=f"batch {batch.id} (scen, batch)",
    )
    ledger.checks.request(None, "benchmark")
    claimed = ledger.checks.claim("worker", lease_seconds=60)
    if made is None or claimed is None:
        raise SystemExit("a batch changed nothing, or its check cannot be claimed")
    at = utc_now()
    scores = {"locality": 1.0, "locality_low": 0.99, "locality_high": 1.0}
    results = [CheckResult(suite, made.number, at, True, scores, 500) for suite in SUITES]
    ledger.checks.finish(claimed.id, claimed.token, results)


def compare(
    small: str, large: str, pages: Sequence[Mapping[str, str]], name: str, requests: int
) -> tuple[float, float]:
    """Median seconds of one page at both consoles."""
    times: tuple[list[float], list[float]] = ([], [])
    with httpx.Client(timeout=60) as client:
        for number in range(requests + 3):
            for address, of_console, taken in zip((small, large), pages, times, strict=True):
                begun = time.perf_counter()
                client.get(address + of_console[name]).raise_for_status()
                if number >= 3:  # the first ones fill caches
                    taken.append(time.perf_counter() - begun)
    return statistics.median(times[0]), statistics.median(times[1])


if __name__ == "__main__":
    main()
