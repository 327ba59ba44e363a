"""How the ledger's costs grow with its edits: {live_sample_growth, rollback_growth, poll_after_rollback_growth, ...}.

.venv/bin/python benchmarks/ledger_scale.py [--small 10000] [--large 1000000] [--url postgresql://...]

Edits go live 50 a generation; then a sample is drawn, everything since the middle is rolled back, and a server polls and
takes that over; then what the rollback changed is written down (`finish`, as workers do it), and the server polls again. The
rows are written into the tables themselves, as they stand after intake, planning and publishing: by the front door a million
would take hours.
"""

import argparse
import json
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, insert, text, update

from daemon.events.fact_event import FactEvent, fact_key, prompt_key
from daemon.ledger import Ledger, open_ledger
from daemon.ledger.store.database import Database, connect, lock_head
from daemon.ledger.store.schema import (
    edits,
    generation_changes,
    generation_origins,
    generations,
    head,
    tallies,
)

PER_GENERATION = 50
CHUNK = 20_000
START = datetime(2026, 1, 1, tzinfo=UTC)
RETENTION_SAMPLE = 64


def fill(database: Database, count: int) -> int:
    """Write so many live edits; the newest generation's number."""
    rows = _edits(count)
    while part := list(islice(rows, CHUNK)):
        with database.write() as connection:
            numbers = sorted({row["generation"] for row in part})
            _generations(connection, numbers)
            connection.execute(insert(edits), part)
            changes = [
                {"generation": row["generation"], "edit_id": row["id"], "shard": row["shard"]} for row in part
            ]
            connection.execute(insert(generation_changes), changes)
    newest = (count - 1) // PER_GENERATION + 1
    with database.write() as connection:
        connection.execute(update(head).values(generation=newest))
        connection.execute(update(tallies).where(tallies.c.name == "live").values(value=count))
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE"))
    return newest


def _generations(connection: Connection, numbers: list[int]) -> None:
    made = [
        {
            "number": number,
            "parent": number - 1,
            "base_hash": "base",
            "shards": [f"{number:064x}"],
            "cause": "benchmark",
            "scores": {},
            "created_at": START + timedelta(seconds=number),
        }
        for number in numbers
    ]
    connection.execute(insert(generations), made)
    origins = [
        {"generation": number, "kind": "batch", "switched_on": PER_GENERATION, "switched_off": 0}
        for number in numbers
    ]
    connection.execute(insert(generation_origins), origins)


def _edits(count: int) -> Iterator[dict[str, Any]]:
    for number in range(count):
        subject, prompt = f"Land {number}", f"The capital of Land {number} is"
        event = FactEvent(
            event_id=f"e{number}",
            subject=subject,
            relation="capital",
            prompt=prompt,
            target_new=f"Town {number}",
            occurred_at=START,
        )
        generation = number // PER_GENERATION + 1
        yield {
            "id": str(number + 1),
            "event_id": event.event_id,
            "content_digest": f"{number:064x}",
            "topic": "fact-updates",
            "partition": 0,
            "offset": number,
            "op": "assert",
            "state": "live",
            "lane": "batch",
            "subject": subject,
            "relation": "capital",
            "prompt": prompt,
            "target_new": event.target_new,
            "occurred_at": START,
            "fact_key": fact_key(event),
            "prompt_key": prompt_key(prompt),
            "event": event.model_dump(mode="json"),
            "attempts": 1,
            "shard": f"{generation:064x}",
            "generation": generation,
        }


def seconds_of(work: Callable[[], object], *, times: int = 1) -> float:
    """The median of so many runs."""
    taken = []
    for _ in range(times):
        begun = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken)


class LockWatch(threading.Thread):
    """Takes the head's lock again and again, as workers do: the longest that it had to wait."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self._database = connect(url, busy_seconds=600, answer_seconds=600)
        self._done = threading.Event()
        self.longest = 0.0

    def run(self) -> None:
        while not self._done.wait(0.005):
            begun = time.perf_counter()
            with self._database.write() as connection:
                lock_head(connection)
            self.longest = max(self.longest, time.perf_counter() - begun)

    def end(self) -> float:
        self._done.set()
        self.join()
        self._database.close()
        return self.longest


def measure(url: str, count: int) -> dict[str, float]:
    """All costs at one size, in seconds."""
    with open_ledger(url, answer_seconds=600) as ledger:
        ledger.migrate()
        ledger.generations.start("base")
        filled = seconds_of(lambda: fill(ledger.audit._database, count))
        newest = (count - 1) // PER_GENERATION + 1
        figures = {"fill": filled, "live_sample": seconds_of(lambda: _sample(ledger), times=9)}
        figures["poll"] = seconds_of(lambda: _poll(ledger, newest), times=9)
        watch = LockWatch(url)
        watch.start()
        begun = time.perf_counter()
        made = ledger.generations.rollback_to(newest // 2, cause="benchmark").number
        figures["rollback"] = time.perf_counter() - begun
        figures["poll_after_rollback"] = seconds_of(lambda: _poll(ledger, made), times=9)
        figures["take_over"] = seconds_of(lambda: ledger.generations.changes_between(newest, made))
        figures["finish"] = seconds_of(ledger.reversals.finish)
        figures["lock"] = watch.end()
        figures["poll_after_finish"] = seconds_of(lambda: _poll(ledger, made), times=9)
        if len(ledger.generations.live()) != newest // 2 * PER_GENERATION:
            raise RuntimeError("the live edits are not those of the generation that was asked for")
        return figures


def _sample(ledger: Ledger) -> None:
    if len(ledger.samples.live(RETENTION_SAMPLE, seed=1)) != RETENTION_SAMPLE:
        raise RuntimeError("the sample is not whole")


def _poll(ledger: Ledger, expected: int) -> None:
    tip, newest = ledger.generations.tip(), ledger.generations.newest()
    if tip is None or newest is None or not tip[0] == newest.number == expected:
        raise RuntimeError(f"the head is not generation {expected}")


def main() -> None:
    """Measure both sizes; print what grows and by how much."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--small", type=int, default=10_000)
    arguments.add_argument("--large", type=int, default=1_000_000)
    arguments.add_argument(
        "--url", help="an empty database for each size, {} for its name; unset: SQLite files"
    )
    asked = arguments.parse_args()
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for count in (asked.small, asked.large):
            url = asked.url.format(count) if asked.url else f"sqlite:///{Path(folder) / f'{count}.db'}"
            found[count] = measure(url, count)
            print(json.dumps({"edits": count, **found[count]}), flush=True)
    small, large = found[asked.small], found[asked.large]
    growth = {
        f"{name}_growth": large[name] / small[name]
        for name in ("live_sample", "rollback", "poll_after_rollback", "finish", "poll_after_finish")
    }
    print(json.dumps(growth | {"rollback_lock_seconds": large["lock"]}))


if __name__ == "__main__":
    main()
