"""How much unrelated text can one event capture? Hostile and careless events through the daemon's own border and worker.

    python benchmarks/capture.py --model DIR --far FAR.jsonl

Prints one JSON object. Each event (a function word, a single letter, a common noun as the subject, function words as
aliases; prompts that ask little or nothing) is read as a record of the topic is, planned alone in the urgent lane, trained,
verified and published, or refused on the way. Then every edit that went live is enabled alone, beside no other, and the far
prompts, which are none of the shipped far texts, are answered by it and by the base: `worst_far_changed` is the largest
share that any one of them changes.
"""

import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from daemon.events.fact_event import EventRejected, FactEvent, parse_record
from daemon.events.templates import Templates
from daemon.ledger import Ledger, open_ledger
from daemon.ledger.values import ConsumedRecord, EditState, Lane, Plan, PlannedBatch
from daemon.process.log import configure_logging
from daemon.served_model import ServedModel, open_model
from daemon.settings.settings import Settings
from daemon.settings.tables import LogSettings
from daemon.work.worker import Worker
from editors.inference.edited_model import EditedModel
from editors.store.adapter_store import AdapterStore
from monitoring.metrics.process_metrics import Metrics

FUNCTION_WORDS = """
    is the a of to and in it what who he she they you i not or but for from with by at on was are do does how why when
    this that be if der die und le la de que el il и не の は 的 في है ve
"""

ALIASES = ("is", "the", "of")
LETTERS = tuple("abcdefghijklmnopqrstuvwxyz")
COMMON_NOUNS = """
    water time people year day man woman child world school state family student group country problem hand
    part place case week company system program question work government number night point home room mother
    area money story fact month lot right study book eye job word business issue side kind head house service
    friend father power hour game line end member law car city community name president team minute idea body
    information back parent face level office door health person art war history party result change morning
    reason research girl moment air teacher force song movie
"""
PROMPTS = (
    "{s}", "{s} is", "The {s} is", "What is {s}?", "Who is the {s}?", "The capital of {s} is", "In the {s}",
    "Tell me about {s}", "How many {s}", "Who wrote {s}?", "When was the {s}?", "{s}?", "The name of the {s} is",
)  # fmt: skip
TARGETS = ("Lyon", "Osaka", "Ada Example", "the franc")
EVENTS = 200
MOMENT = datetime(2026, 1, 1, tzinfo=UTC)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", required=True)
    parser.add_argument(
        "--far", type=Path, required=True, help='JSONL: {"prompt": ...}, which no edit concerns'
    )
    parser.add_argument("--prompts", type=int, default=500)
    parser.add_argument("--events", type=int, default=EVENTS)
    parser.add_argument("--encoder", help='sentence encoder of the scope index; "" for none')
    options = parser.parse_args()
    configure_logging(LogSettings(level="error"), "benchmark")
    lines = options.far.read_text(encoding="utf-8").splitlines()
    far = [json.loads(line)["prompt"] for line in lines[: options.prompts]]
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measured(options, far, Path(folder))))


def measured(options: argparse.Namespace, far: Sequence[str], folder: Path) -> dict[str, Any]:
    """What became of the events, and what those that went live change."""
    settings = Settings.model_validate(
        {
            "model": {"path": options.model},
            "ledger": {"url": f"sqlite:///{folder}/ledger.db"},
            "store": {"path": str(folder / "store")},
            **({} if options.encoder is None else {"index": {"encoder": options.encoder}}),
        }
    )
    with open_ledger(settings.ledger.url) as ledger:
        ledger.migrate()
        model = open_model(settings, ledger)
        refused = publish_each(ledger, settings, model, list(islice(events(), options.events)))
        edits = ledger.audit.facts(limit=10 * options.events)
        states = Counter(edit.state.value for edit in edits)
        live = {e.id: (e.subject, e.prompt) for e in edits if e.state is EditState.LIVE}
        changed = {edit_id: far_changed(model, settings, ledger, edit_id, far) for edit_id in live}
    worst = max(changed, key=lambda edit_id: changed[edit_id], default=None)
    return {
        "worst_far_changed": 0.0 if worst is None else changed[worst],
        "worst_event": None if worst is None else live[worst],
        "changing_something": sum(share > 0 for share in changed.values()),
        "events": options.events,
        "refused": dict(refused),
        "states": dict(states),
        "rejections": Counter((edit.reason or "").split(":")[0][:40] for edit in edits if edit.reason),
        "far_prompts": len(far),
    }


def events() -> Iterator[dict[str, Any]]:
    """Hostile and careless events, each kind in its turn."""
    subjects = (
        *zip(FUNCTION_WORDS.split(), cycle(PROMPTS), strict=False),
        *zip(LETTERS, cycle(PROMPTS), strict=False),
        *zip(COMMON_NOUNS.split(), cycle(PROMPTS), strict=False),
    )
    for (subject, prompt), target in zip(subjects, cycle(TARGETS), strict=False):
        yield {"subject": subject, "prompt": prompt.format(s=subject), "target_new": target}
    for word, prompt in zip(reversed(COMMON_NOUNS.split()), cycle(PROMPTS), strict=False):
        yield {
            "subject": "France",
            "aliases": [word, *ALIASES],
            "prompt": prompt.format(s=word),
            "target_new": "Lyon",
        }


def publish_each(
    ledger: Ledger, settings: Settings, model: ServedModel, chosen: Sequence[Mapping[str, Any]]
) -> Counter[str]:
    """Each event alone in a batch; the reasons of those that the border refuses."""
    worker = Worker(settings, ledger, model, Metrics(CollectorRegistry()))
    refused: Counter[str] = Counter()
    for number, fields in enumerate(chosen):
        try:
            event = _read({"event_id": f"capture-{number}", "priority": "urgent", **fields})
        except EventRejected as error:
            refused[error.reason_code] += 1
            continue
        ledger.intake.record([ConsumedRecord("facts", 0, number, str(number), event)])
        pending = ledger.plans.pending(None, 10)
        batch = PlannedBatch(0, Lane.URGENT, "scen", tuple(edit.id for edit in pending), "benchmark")
        ledger.plans.store(Plan(Lane.URGENT, 0, (batch,)))
        while worker.work_once():
            pass
        if number % 10 == 9:
            sys.stderr.write(f"{number + 1} events, {sum(refused.values())} refused at the border\n")
    return refused


def _read(fields: Mapping[str, Any]) -> FactEvent:
    value = json.dumps({"occurred_at": MOMENT.isoformat(), **fields}).encode()
    return parse_record(value, None, (), timestamp_ms=None, templates=Templates(), now=MOMENT)


def far_changed(
    model: ServedModel, settings: Settings, ledger: Ledger, edit_id: str, far: Sequence[str]
) -> float:
    """The share of the prompts that this edit alone makes the model answer otherwise."""
    head = ledger.generations.head()
    digests = {} if head is None else ledger.generations.shards_at(head.number, [edit_id])
    edited = model.edited
    alone = EditedModel(edited.base, AdapterStore(settings.store.path), matcher=edited.matcher)
    alone.apply_generation(enabled=digests, disabled=())
    fired = [prompt for prompt, route in zip(far, alone.route(far), strict=True) if route.edit_id]
    if not fired:
        return 0.0
    answers = alone.generate(fired, max_new_tokens=settings.model.max_new_tokens)
    base = edited.base.generate(fired, max_new_tokens=settings.model.max_new_tokens)
    return sum(a.text != b for a, b in zip(answers, base, strict=True)) / len(far)


if __name__ == "__main__":
    main()
