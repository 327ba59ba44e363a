"""Timeline: the published generations, what each changed, and undo of one or return to one."""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup, escape

from daemon.console.pages.previews import Action, confirmed, preview_page, published
from daemon.console.web.rendering import batch
from daemon.console.web.visits import BadForm, Page, PageRoute, Reply, Visit, address
from daemon.ledger import Ledger
from daemon.ledger.errors import NotInLedger
from daemon.ledger.page_values import GenerationLine
from daemon.ledger.values import GenerationKind
from daemon.operations import actions, queries

PER_PAGE = 25
CHANGES_PER_PAGE = 50
SHOWN_SCORES = ("reliability", "generality", "locality", "retention")

_WHAT = {
    GenerationKind.START: "the base as it is",
    GenerationKind.ROLLBACK: "return to an earlier generation",
    GenerationKind.UNDO_FACT: "undo of one fact",
    GenerationKind.UNDO_GENERATION: "undo of a generation",
    GenerationKind.BLAME: "a check's search for the offending edits",
}


class TimelinePages:
    """Asks and acts by `daemon.operations`, as the commands do."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def routes(self) -> list[PageRoute]:
        """Every page of this part."""
        return [
            PageRoute("/", self.timeline),
            PageRoute("/diff", self.difference),
            PageRoute("/generations/{number}", self.generation),
            PageRoute("/generations/{number}/undo", self.preview_undo),
            PageRoute("/generations/{number}/undo", self.undo, acts=True),
            PageRoute("/generations/{number}/rollback", self.preview_rollback),
            PageRoute("/generations/{number}/rollback", self.rollback, acts=True),
        ]

    def timeline(self, visit: Visit) -> Page:
        """What changed, the newest first."""
        before = visit.asked_number("before")
        found = queries.generations(self._ledger, before=before, limit=PER_PAGE)
        values = {
            "lines": found.generations,
            "older": before is not None,
            "next": address("/", before=found.next) if found.next is not None else None,
            "compare": bool(found.generations),
        }
        return Page("timeline/timeline.html", values)

    def generation(self, visit: Visit) -> Page:
        """One generation, and how each fact's answer differs from its parent's."""
        line, cursor = self._line(visit.number("number")), visit.asked("after") or None
        found = None
        if line.parent is not None and line.answers_as is None:
            found = queries.difference(
                self._ledger, line.parent, line.number, cursor=cursor, limit=CHANGES_PER_PAGE
            )
        onward = found.next if found is not None else None
        values = {
            "line": line,
            "difference": found,
            "later": cursor is not None,
            "next": address(f"/generations/{line.number}", after=onward) if onward else None,
        }
        return Page("timeline/generation.html", values)

    def difference(self, visit: Visit) -> Page:
        """How each fact's answer differs between two generations."""
        a, b = visit.asked_number("a"), visit.asked_number("b")
        if a is None or b is None:
            raise BadForm("from and to: two generations, please")
        cursor = visit.asked("after") or None
        found = queries.difference(self._ledger, a, b, cursor=cursor, limit=CHANGES_PER_PAGE)
        values = {
            "difference": found,
            "first": address("/diff", a=a, b=b) if cursor else None,
            "next": address("/diff", a=a, b=b, after=found.next) if found.next else None,
        }
        return Page("timeline/difference.html", values)

    def preview_undo(self, visit: Visit) -> Page:
        """What undo of this generation would change."""
        return preview_page(self._undo_action(visit.number("number")))

    def undo(self, visit: Visit) -> Reply:
        """Undo it."""
        return confirmed(self._undo_action(visit.number("number")), visit)

    def preview_rollback(self, visit: Visit) -> Page:
        """What return to this generation would change."""
        return preview_page(self._rollback_action(visit.number("number")))

    def rollback(self, visit: Visit) -> Reply:
        """Return to it."""
        return confirmed(self._rollback_action(visit.number("number")), visit)

    def _line(self, number: int) -> GenerationLine:
        found = self._ledger.timeline.named([number])
        if not found:
            raise NotInLedger(f"there is no generation {number}")
        return found[0]

    def _undo_action(self, number: int) -> Action:
        ledger = self._ledger
        return Action(
            heading=f"Undo generation {number}",
            verb=f"Undo generation {number}",
            section="Timeline",
            to=address(f"/generations/{number}/undo"),
            back=address(f"/generations/{number}"),
            preview=lambda: actions.preview_undo_generation(ledger, number),
            act=lambda act: published(actions.undo_generation(ledger, number, act)),
        )

    def _rollback_action(self, number: int) -> Action:
        ledger = self._ledger
        return Action(
            heading=f"Answer as generation {number} did",
            verb=f"Return to generation {number}",
            section="Timeline",
            to=address(f"/generations/{number}/rollback"),
            back=address(f"/generations/{number}"),
            preview=lambda: actions.preview_rollback(ledger, number),
            act=lambda act: published(actions.rollback(ledger, number, act)),
        )


def what(line: GenerationLine) -> Markup:
    """What published a generation, in words; of a batch also from which plan it is, and where its facts are."""
    if line.kind in _WHAT:
        return escape(_WHAT[line.kind])
    parts = (
        f"{line.lane} lane" if line.lane else "",
        f"plan {line.plan_id}" if line.plan_id else "",
        batch(line.batch_id, "batch ") if line.batch_id else "batch",
        f"editor {line.editor}" if line.editor else "retractions",
    )
    return Markup(", ").join(part for part in parts if part)


def own_cause(line: GenerationLine) -> str | None:
    """The reason that somebody or a check gave; a batch's cause says no more than `what` does."""
    return None if line.kind in (GenerationKind.BATCH, GenerationKind.START) else line.cause


def scores(found: Mapping[str, Any]) -> Sequence[tuple[str, str]]:
    """The scores that people look for first, with three places."""
    shown = [(name, found.get(name)) for name in SHOWN_SCORES]
    return [(name, f"{value:.3f}") for name, value in shown if isinstance(value, int | float)]
