"""What does a check cost beside plain generation, and a scrape of /metrics as the ledger grows?

    python benchmarks/check_cost.py --model DIR --facts FACTS.jsonl

Prints one JSON object.

`ratio_over_generation`: a whole check of `--probes` prompts, base answers known, by the worker's own code (sampling, scope,
ledger, generation, divergence, scores, drift), over a plain batched generation of the same prompts by the bare base. Edits
are live whose relations the probes ask of other subjects, so that the scope index has something to look at. The two take
turns; the figure is the median of the ratios.

`metrics_latency_ratio_100000`: GET /metrics of a server with `--edits` edits in the ledger over one with an empty ledger,
the requests in turns, medians; and both in milliseconds.
"""

import argparse
import json
import statistics
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from wsgiref.simple_server import WSGIRequestHandler, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app

from daemon.checks.claimed_check import run_checks
from daemon.events.fact_event import FactEvent
from daemon.ledger import Ledger, open_ledger, utc_now
from daemon.ledger.ledger_figures import ledger_figures
from daemon.ledger.values import CheckResult, ConsumedRecord, Lane, Plan, PlannedBatch
from daemon.process.log import configure_logging
from daemon.served_model import ServedModel, open_model
from daemon.settings.settings import Settings
from daemon.settings.tables import LogSettings
from editors.methods.registry import build_editor
from editors.store.adapter_store import AdapterStore
from monitoring.metrics.collector import LedgerCollector
from monitoring.metrics.process_metrics import Metrics

AT_ONCE = 1_000  # edits of one ledger transaction
LONGEST_ANSWER = 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", required=True, help="directory of a causal LM")
    parser.add_argument("--facts", required=True, type=Path, help="facts to edit and to probe with")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--live", type=int, default=50, help="live edits")
    parser.add_argument("--probes", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--edits", type=int, default=100_000, help="edits in the large ledger")
    parser.add_argument("--scrapes", type=int, default=50)
    options = parser.parse_args()
    configure_logging(LogSettings(level="error"), "benchmark")
    cost = check_cost(options)
    sys.stderr.write(f"check: {cost}\n")
    empty, large = scrape_seconds(options)
    print(
        json.dumps(
            {
                "ratio_over_generation": cost["ratio"],
                f"metrics_latency_ratio_{options.edits}": large / empty,
                "metrics_milliseconds_empty": 1000 * empty,
                f"metrics_milliseconds_{options.edits}": 1000 * large,
                "check_seconds": cost["check_seconds"],
                "generation_seconds": cost["generation_seconds"],
                "probes": cost["probes"],
                "live_edits": options.live,
            }
        )
    )


def check_cost(options: argparse.Namespace) -> dict[str, float]:
    """A check and plain generation of the same prompts, in turns."""
    facts = [json.loads(line) for line in options.facts.read_text().splitlines()]
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        probes = probe_prompts(facts[options.live :], options.probes)
        path = Path(folder) / "far.jsonl"
        path.write_text("\n".join(json.dumps({"prompt": prompt}) for prompt in probes))
        settings = Settings.model_validate(
            {
                "model": {"path": options.model, "device": options.device, "max_new_tokens": LONGEST_ANSWER},
                "store": {"path": f"{folder}/store"},
                "ledger": {"url": f"sqlite:///{folder}/ledger.db"},
                "monitoring": {"suites": {"far": str(path)}},
            }
        )
        ledger = stack.enter_context(open_ledger(settings.ledger.url))
        ledger.migrate()
        model = open_model(settings, ledger)
        edit(model, ledger, settings, facts[: options.live])

        def check() -> CheckResult:
            (result,) = run_checks(ledger, settings, model, suite="far", full=True, clock=utc_now)
            return result

        asked = check().probes  # the base's answers are known from here on
        kept = [prompt for prompt in probes if not model.named(prompt)]
        if len(kept) != asked:
            raise SystemExit(f"{asked} probes were checked, {len(kept)} would be generated")
        checks, plain = [], []
        for _ in range(options.rounds):
            plain.append(seconds(lambda: model.generate_base(kept, max_new_tokens=LONGEST_ANSWER)))
            checks.append(seconds(check))
        return {
            "ratio": statistics.median(c / p for c, p in zip(checks, plain, strict=True)),
            "check_seconds": statistics.median(checks),
            "generation_seconds": statistics.median(plain),
            "probes": asked,
        }


def probe_prompts(facts: Sequence[dict[str, str]], count: int) -> list[str]:
    """Distinct prompts of facts that are not edited."""
    prompts = list(dict.fromkeys(fact["prompt"] for fact in facts))
    if len(prompts) < count:
        raise SystemExit(f"the facts file gives {len(prompts)} probes beside the edits, {count} are needed")
    return prompts[:count]


def edit(model: ServedModel, ledger: Ledger, settings: Settings, facts: Sequence[dict[str, str]]) -> None:
    """Publish one batch of these facts."""
    known = {fact["subject"]: fact for fact in facts}
    events = [
        FactEvent(
            event_id=f"fact {number}",
            subject=fact["subject"],
            prompt=fact["prompt"],
            target_new=fact["target_new"],
            occurred_at=datetime(2026, 1, 1, tzinfo=UTC),
        )
        for number, fact in enumerate(known.values())
    ]
    edits = store_events(ledger, events)
    requests = [ledger.audit.edit(edit_id).request() for edit_id in edits]
    shard = build_editor("scen", settings.editors.scen).apply(requests, base=model.edited.base)
    digest = AdapterStore(settings.store.path).save(shard)
    publish(ledger, edits, digest)
    model.refresh()


def scrape_seconds(options: argparse.Namespace) -> tuple[float, float]:
    """The median GET /metrics with an empty ledger, and with a large one."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        addresses = []
        for name, count in (("empty", 0), ("large", options.edits)):
            ledger = stack.enter_context(open_ledger(f"sqlite:///{folder}/{name}.db"))
            ledger.migrate()
            ledger.generations.start("base")
            fill(ledger, count)
            sys.stderr.write(f"{name}: {count} edits\n")
            addresses.append(stack.enter_context(served(ledger)))
        taken: list[list[float]] = [[], []]
        for _ in range(options.scrapes):
            for times, address in zip(taken, addresses, strict=True):
                times.append(seconds(partial(scrape, address)))
        empty, large = (statistics.median(times) for times in taken)
        return empty, large


def scrape(address: str) -> bytes:
    with urllib.request.urlopen(address) as reply:  # noqa: S310 -- our own
        return bytes(reply.read())


@contextmanager
def served(ledger: Ledger) -> Iterator[str]:
    """The address of /metrics with everything that `upkeep serve` exposes."""
    registry = CollectorRegistry()
    Metrics(registry)
    registry.register(LedgerCollector(lambda: ledger_figures(ledger), check_interval_seconds=900))
    server = make_server("127.0.0.1", 0, make_wsgi_app(registry), handler_class=Silent)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/metrics"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Silent(WSGIRequestHandler):
    """Logs no request."""

    def log_message(self, format: str, *args: object) -> None: ...


def fill(ledger: Ledger, count: int) -> None:
    """So many edits: half of them live, the others pending, and the checks of a month."""
    for start in range(0, count, AT_ONCE):
        events = [
            FactEvent(
                event_id=f"e{number}",
                subject=f"Land {number}",
                prompt=f"The capital of Land {number} is",
                target_new="Elbing",
                occurred_at=datetime(2026, 1, 1, tzinfo=UTC),
            )
            for number in range(start, min(count, start + AT_ONCE))
        ]
        edits = store_events(ledger, events, offset=start)
        if start < count / 2:
            publish(ledger, edits, f"shard {start}")
    for number in range(30 if count else 0):
        ledger.checks.request(None, "benchmark")
        claimed = ledger.checks.claim("benchmark", lease_seconds=600)
        if claimed is None:
            raise SystemExit("the check that was asked for cannot be claimed")
        results = [
            CheckResult(f"suite {n}", number, utc_now(), True, {"locality": 1.0}, 500) for n in range(5)
        ]
        ledger.checks.finish(claimed.id, claimed.token, results)


def store_events(ledger: Ledger, events: Sequence[FactEvent], *, offset: int = 0) -> list[str]:
    """The ids of the edits that the events became."""
    records = [
        ConsumedRecord("facts", 0, offset + number, f"{offset + number}", event)
        for number, event in enumerate(events)
    ]
    ledger.intake.record(records)
    return [str(n) for n in range(offset + 1, offset + 1 + len(events))]


def publish(ledger: Ledger, edits: Sequence[str], shard: str) -> None:
    """All of these pending edits live in one generation."""
    batch = PlannedBatch(0, Lane.BATCH, "scen", tuple(edits), "benchmark")
    ledger.plans.store(Plan(Lane.BATCH, 0, (batch,)))
    claimed, head = ledger.batches.claim("benchmark", lease_seconds=600), ledger.generations.head()
    if claimed is None or head is None:
        raise SystemExit("the batch that was planned cannot be claimed")
    ledger.generations.publish(
        batch=claimed,
        expected_head=head.number,
        live=dict.fromkeys([edit.id for edit in claimed.edits], shard),
        rejected={},
        scores={},
        cause="benchmark",
    )


def seconds(work: Callable[[], object]) -> float:
    """How long it took."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
