"""How many scorings does blame need to find the culprits of a batch, and is its verdict ever wrong?

    python benchmarks/culprits.py --batch 256 --runs 50

Prints one JSON object. The search is the worker's own (`daemon.checks.blame`) on a real ledger; the model is simulated,
whose answers say nothing about who spoiled them, so that no attribution helps the search. A scoring is one pass over
the failing probes; the figures are the most that any run needed. A verdict is wrong when anybody but the culprits is
quarantined, when a culprit stays live, or when a cleared edit does not.
"""

import argparse
import json
import random
import sys
import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from daemon.checks.blame import Case, work_on_case
from daemon.events.fact_event import FactEvent
from daemon.ledger import Ledger, open_ledger
from daemon.ledger.values import ConsumedRecord, EditState, Lane, Plan, PlannedBatch
from daemon.process.log import configure_logging
from daemon.settings.tables import LogSettings
from monitoring.checks.regression import AnswersPrompts
from monitoring.checks.tally import Failure

PROBES_EACH = 3  # failing probes that one culprit causes


@dataclass
class SimulatedAnswer:
    text: str
    edit_id: str | None = None


@dataclass
class SpoiledModel:
    """Answers "no" to the probes of every culprit at work, and never says who it was."""

    spoils: dict[str, set[str]]
    off: frozenset[str] = frozenset()
    scorings: int = 0
    generation: int = 0
    base_hash: str = "base"

    def generate(self, prompts: Sequence[str], *, max_new_tokens: int) -> list[SimulatedAnswer]:
        spoiled = {p for culprit, own in self.spoils.items() if culprit not in self.off for p in own}
        return [SimulatedAnswer("no" if prompt in spoiled else "yes") for prompt in prompts]

    @contextmanager
    def at(self, generation: int) -> Iterator[None]:
        yield

    @contextmanager
    def without(self, edit_ids: Collection[str]) -> Iterator[None]:
        self.scorings += 1
        self.off = frozenset(edit_ids)
        yield
        self.off = frozenset()


@dataclass
class Tried:
    """The runs with one number of culprits."""

    scorings: list[int] = field(default_factory=list)
    wrong: int = 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    configure_logging(LogSettings(level="error"), "benchmark")
    one, three = (tried(k, options.batch, options.runs, options.seed) for k in (1, 3))
    print(
        json.dumps(
            {
                f"scorings_1_of_{options.batch}": max(one.scorings),
                f"scorings_3_of_{options.batch}": max(three.scorings),
                "wrong_verdicts": one.wrong + three.wrong,
                "mean_scorings_1": sum(one.scorings) / len(one.scorings),
                "mean_scorings_3": sum(three.scorings) / len(three.scorings),
                "runs": 2 * options.runs,
            }
        )
    )


def tried(culprits: int, batch: int, runs: int, seed: int) -> Tried:
    """So many runs with so many culprits, each with its own batch, culprits and probes."""
    found = Tried()
    with (
        tempfile.TemporaryDirectory() as folder,
        open_ledger(f"sqlite:///{Path(folder) / 'ledger.db'}") as ledger,
    ):
        ledger.migrate()
        ledger.generations.start("base")
        for run in range(runs):
            edits = publish(ledger, batch, run)
            offending = set(random.Random(seed * 1_000 + run).sample(edits, culprits))
            model = SpoiledModel(
                {c: {f"run {run}, probe {c}.{n}" for n in range(PROBES_EACH)} for c in offending}
            )
            found.scorings.append(verdict(ledger, model))
            found.wrong += is_wrong(ledger, edits, offending)
        sys.stderr.write(f"{culprits} of {batch}: {found.scorings}\n")
    return found


def publish(ledger: Ledger, batch: int, run: int) -> list[str]:
    """A batch that went live in one generation; its edits' ids."""
    records = [
        ConsumedRecord("facts", 0, run * batch + n, f"{run}-{n}", event(f"subject {run}.{n}"))
        for n in range(batch)
    ]
    ledger.intake.record(records)
    edits = ledger.plans.pending(None, batch)
    ids = tuple(edit.id for edit in edits)
    ledger.plans.store(Plan(Lane.BATCH, 0, (PlannedBatch(0, Lane.BATCH, "scen", ids, "benchmark"),)))
    claimed = ledger.batches.claim("benchmark", lease_seconds=600)
    if claimed is None:
        raise SystemExit("the batch that was planned cannot be claimed")
    ledger.generations.publish(
        batch=claimed,
        expected_head=head(ledger),
        live=dict.fromkeys(ids, f"shard {run}"),
        rejected={},
        scores={},
        cause="benchmark",
    )
    return [edit.id for edit in edits]


def event(subject: str) -> FactEvent:
    return FactEvent(
        event_id=subject,
        subject=subject,
        prompt=f"The capital of {subject} is",
        target_new="Elbing",
        occurred_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


def verdict(ledger: Ledger, model: SpoiledModel) -> int:
    """Roll back, find the culprits, carry the verdict out; the scorings that it took."""
    bad = head(ledger)
    failures = [Failure(prompt=p, wanted="yes", given="no") for own in model.spoils.values() for p in own]
    back = ledger.generations.rollback_to(bad - 1, cause="regression failed")
    case = Case(bad=bad, good=bad - 1, rolled_back=back.number, evidence={"far": tuple(failures)})
    answers: AnswersPrompts = model  # type: ignore[assignment]  # blame asks a model for no more than this
    work_on_case(case, ledger, answers, max_new_tokens=8, stop=lambda: False)
    return model.scorings


def head(ledger: Ledger) -> int:
    """The published generation."""
    newest = ledger.generations.head()
    return newest.number if newest is not None else 0


def is_wrong(ledger: Ledger, edits: list[str], offending: set[str]) -> bool:
    """Whether anybody stands where the truth would not have put them."""
    live = ledger.generations.live().keys()
    stuck = {edit.id for edit in ledger.audit.facts(state=EditState.QUARANTINED, limit=100_000)}
    return bool(stuck & set(edits) != offending or (set(edits) - offending) - live)


if __name__ == "__main__":
    main()
