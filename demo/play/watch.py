"""Tells what is new in the ledger: records taken in, plans, generations with their scores, regressions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from daemon.ledger import Ledger
from daemon.ledger.values import CheckResult, EditState, Generation, Plan, RecordOutcome
from demo.play.show import Show
from edits.text import counted

UNSETTLED = (EditState.PENDING, EditState.PLANNED, EditState.APPLYING)
REMEMBERED_PLANS = 20


@dataclass(frozen=True, slots=True)
class Figures:
    """How far the daemon is."""

    outcomes: Mapping[RecordOutcome, int]
    states: Mapping[EditState, int]

    @property
    def taken(self) -> int:
        """Records that the ledger knows."""
        return sum(self.outcomes.values())

    @property
    def open(self) -> int:
        """Edits that are still on their way."""
        return sum(self.states[state] for state in UNSETTLED)


class Watch:
    """Reads the ledger and shows what it had not seen before."""

    def __init__(self, ledger: Ledger, show: Show) -> None:
        self._ledger = ledger
        self._show = show
        self._plan = 0
        self._generation = 0

    def look(self, published: int) -> Figures:
        """Show what is new, and say how far it is."""
        figures = Figures(self._ledger.intake.outcomes(), self._ledger.audit.counts())
        for plan in reversed(self._ledger.plans.latest(REMEMBERED_PLANS)):
            if plan.id is not None and plan.id > self._plan:
                self._plan = plan.id
                self._tell_plan(plan)
        for generation in self._ledger.generations.since(self._generation):
            self._generation = generation.number
            self._tell_generation(generation)
        edits = sum(figures.states.values())
        self._show.figures(
            taken=figures.taken, published=published, settled=edits - figures.open, accepted=edits
        )
        return figures

    def tell_taken(self, figures: Figures, before: Figures | None) -> None:
        """Records taken in since `before`, by outcome."""
        new = {
            outcome: count - (before.outcomes.get(outcome, 0) if before else 0)
            for outcome, count in figures.outcomes.items()
        }
        self._show.say("consume", f"{counted(sum(new.values()), 'record')} from Kafka: {named(new)}")

    def tell_checks(self, results: Sequence[CheckResult]) -> None:
        """One line per suite of a locality regression."""
        for result in results:
            verdict = "passed" if result.passed else "FAILED"
            self._show.say(
                "regression",
                f"{result.suite}: {counted(result.probes, 'probe')} of generation {result.generation}, "
                f"{_scores(result.scores, ('locality', 'retention'))}: {verdict}",
                style="" if result.passed else "bold red",
            )

    def _tell_plan(self, plan: Plan) -> None:
        lane = plan.lane.value if plan.lane else "nightly"
        why = plan.explanation
        edits = sum(len(batch.edit_ids) for batch in plan.batches)
        reported = (
            f"plan {plan.id} ({lane} lane): {counted(edits, 'edit')} in {counted(len(plan.batches), 'batch')}"
        )
        if plan.superseded:
            reported += f", {len(plan.superseded)} superseded before they are trained"
        self._show.say("schedule", reported)
        if "clusters" in why:
            self._show.more(
                f"{counted(why['clusters'], 'cluster')} ({why['clustering']} over {why['embedding']}): similarity "
                f"{why['within']} within, {why['between']} between; batches in the order {why['order']!r}"
            )
            self._tell_batches(plan, why.get("batches", ()))

    def _tell_batches(self, plan: Plan, notes: Sequence[Mapping[str, Any]]) -> None:
        relations = {note["sequence"]: note["relations"] for note in notes}
        # Counted as stored: edits that moved since the plan was made left batches out.
        for number, batch in enumerate(plan.batches, start=1):
            about = ", ".join(f"{name} {count}" for name, count in relations.get(batch.sequence, {}).items())
            self._show.more(
                f"{number}. {batch.editor or 'retract':<8}{len(batch.edit_ids):>3} edits  "
                f"{about or batch.reason}"
            )

    def _tell_generation(self, generation: Generation) -> None:
        reported = f"generation {generation.number} published by {generation.cause}: "
        reported += f"{counted(len(generation.enabled), 'edit')} on, {len(generation.disabled)} off"
        wanted = ("reliability", "generality", "locality", "retention")
        if scores := _scores(generation.scores, wanted):
            reported += f"; {scores}"
        self._show.say("worker", reported)


def named(counts: Mapping[Any, int]) -> str:
    """The counts that are not zero, by name."""
    return ", ".join(f"{count} {str(name).replace('_', ' ')}" for name, count in counts.items() if count)


def _scores(scores: Mapping[str, Any], names: Sequence[str]) -> str:
    return ", ".join(f"{name} {scores[name]:.3f}" for name in names if scores.get(name) is not None)
