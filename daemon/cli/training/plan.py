"""`upkeep plan`: what would be trained with what, in which order, and why; printed, stored or drawn."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from daemon.cli.options import (
    DEFAULT_CONFIG,
    ConfigOption,
    JsonOption,
    PlanReasonOption,
    ledger_of,
    one_off_settings,
)
from edits.errors import PermanentError
from edits.text import counted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from daemon.ledger import Ledger
    from daemon.ledger.values import Lane, Plan
    from daemon.planning.cycle import Cycle

SHOWN_CHANGES = 200  # in the plot's table
SHOWN_EDITS = 20  # explained on the terminal; --json has them all


class LaneChoice(StrEnum):
    """Which pending edits are planned."""

    ALL = "all"
    URGENT = "urgent"
    BATCH = "batch"


LaneOption = Annotated[LaneChoice, typer.Option("--lane", help="Plan only the edits of this lane.")]


def plan(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan, store nothing.")] = False,
    lane: LaneOption = LaneChoice.ALL,
    plot: Annotated[
        Path | None,
        typer.Option(
            "--plot", help="Draw the plan into this HTML file: clusters, and batches in their order."
        ),
    ] = None,
    reason: PlanReasonOption = None,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Plan what is pending: who wins each conflict, which edits form a batch, in which order, and why.

    A stored plan is worked off by the workers; `upkeep apply` does both at once.

    \b
    Example:
      upkeep plan --dry-run
      upkeep plan --dry-run --plot plan.html
      upkeep plan --lane urgent --json
    """
    from daemon.cli.output import console, print_json
    from daemon.operations.plan_causes import by_command
    from daemon.planning.cycle import draft_cycle, store_cycle

    settings = one_off_settings(config)
    with ledger_of(settings) as ledger:
        cycle = draft_cycle(ledger, settings, lanes=_lanes(lane))
        if cycle is not None and plot is not None:
            _draw(ledger, cycle, plot)
        made = cycle.plan if cycle is not None else None
        if cycle is not None and not dry_run:
            made = store_cycle(ledger, cycle, cause=by_command("upkeep plan", reason))
    if as_json:
        print_json({"plan": made, "stored": made is not None and not dry_run})
    elif made is None:
        console().print("nothing is pending")
    else:
        _print_plan(made, stored=not dry_run)
    if cycle is not None and plot is not None and not as_json:
        console().print(f"drawn into {plot}", markup=False)


def _lanes(choice: LaneChoice) -> "Sequence[Lane]":
    from daemon.ledger.values import Lane

    return (Lane.URGENT, Lane.BATCH) if choice is LaneChoice.ALL else (Lane(choice.value),)


def _draw(ledger: "Ledger", cycle: "Cycle", file: Path) -> None:
    from daemon.planning.planned_changes import changes_of_plan
    from planners import ShownChange, ShownConflict, render_plot

    texts = {edit.id: f"{edit.subject}: {edit.prompt or '(retraction)'}" for edit in cycle.edits}
    found = changes_of_plan(ledger, cycle.plan, limit=SHOWN_CHANGES)
    changes = [
        ShownChange(
            one.edit.subject,
            one.edit.prompt,
            None if one.old is None else one.old.target_new,
            one.edit.target_new,
            one.batch,
        )
        for one in found.changes
    ]
    conflicts = [
        ShownConflict(one.loser.subject, one.loser.target_new, one.winner.target_new) for one in found.lost
    ]
    page = render_plot(cycle.draft, texts, changes=changes, conflicts=conflicts, more=found.more)
    try:
        file.write_text(page, encoding="utf-8", errors="replace")
    except OSError as error:
        raise PermanentError(f"{file} cannot be written: {error.strerror}") from error


def _print_plan(plan: "Plan", *, stored: bool) -> None:
    from daemon.cli.output import console, table

    explanation = plan.explanation
    notes = {note["sequence"]: note for note in explanation.get("batches", ())}
    rows = [
        (
            *(batch.sequence, batch.lane, batch.editor or "(none: retraction)", len(batch.edit_ids)),
            *_note_cells(notes.get(batch.sequence, {})),
            batch.reason,
        )
        for batch in plan.batches
    ]
    title = f"plan {plan.id}" if stored else "plan (dry run: nothing is stored)"
    columns = ("#", "lane", "editor", "edits", "within", "nearest", "relations", "reason")
    console().print(table(title, columns, rows))
    if "clusters" in explanation:
        console().print(
            f"batch lane: {counted(explanation['clusters'], 'cluster')} "
            f"({explanation['clustering']} over {explanation['embedding']}, seed {explanation['seed']}); "
            f"similarity {_cosine(explanation['within'])} within batches, "
            f"{_cosine(explanation['between'])} between, silhouette {_cosine(explanation['silhouette'])}; "
            f"order {explanation['order']!r}",
            markup=False,
        )
        _print_edits(explanation["edits_explained"], of=sum(note["size"] for note in explanation["batches"]))
    if plan.superseded:
        lost = [(loss.loser_id, loss.winner_id) for loss in plan.superseded]
        console().print(table("superseded before they are applied", ("edit", "by the newer edit"), lost))


def _print_edits(explained: "Sequence[Mapping[str, Any]]", *, of: int) -> None:
    """Why an edit stands where it stands: its cluster, and the edits most like it with their batches."""
    from daemon.cli.output import console, table

    rows = [
        (
            *(edit["edit"], edit["subject"], edit["sequence"], edit["cluster"], _cosine(edit["silhouette"])),
            "; ".join(
                f"{near['subject']} (#{near['sequence']}, {_cosine(near['similarity'])})"
                for near in edit["nearest"]
            ),
        )
        for edit in explained[:SHOWN_EDITS]
    ]
    title = (
        f"{len(rows)} of the {counted(of, 'edit')} of the batch lane, and their nearest (#batch, similarity)"
    )
    columns = ("edit", "subject", "batch", "cluster", "silhouette", "nearest edits")
    console().print(table(title, columns, rows))


def _note_cells(note: "Mapping[str, Any]") -> tuple[str, str, str]:
    """How alike a batch's edits are, its nearest batch, its commonest relations; dashes outside the batch lane."""
    nearest = note.get("nearest")
    like = "-" if nearest is None else f"#{nearest} ({_cosine(note.get('nearest_similarity'))})"
    relations = ", ".join(f"{name} {count}" for name, count in note.get("relations", {}).items())
    return _cosine(note.get("within")), like, relations


def _cosine(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
