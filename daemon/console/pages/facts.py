"""Facts: search, everything about one edit, undo and retry of it."""

from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime

from daemon.console.pages.previews import Action, act_of, confirmed, preview_page, published
from daemon.console.web.visits import BadForm, Page, PageRoute, Redirect, Reply, Visit, address
from daemon.ledger import Ledger
from daemon.ledger.page_values import FactQuery
from daemon.ledger.values import EditState
from daemon.operations import actions, queries
from edits.ids import EditId

PER_PAGE = 25
# As they stand in the address, which people send to one another.
FIELDS = (
    "text",
    "subject",
    "answer",
    "relation",
    "event_id",
    "edit_id",
    "batch",
    "generation",
    "state",
    "since",
    "until",
)


class FactsPages:
    """Asks and acts by `daemon.operations`, as the commands do."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def routes(self) -> list[PageRoute]:
        """Every page of this part."""
        return [
            PageRoute("/facts", self.search),
            PageRoute("/facts/{edit}", self.fact),
            PageRoute("/facts/{edit}/undo", self.preview_undo),
            PageRoute("/facts/{edit}/undo", self.undo, acts=True),
            PageRoute("/facts/{edit}/retry", self.preview_retry),
            PageRoute("/facts/{edit}/retry", self.retry, acts=True),
        ]

    def search(self, visit: Visit) -> Page:
        """The edits that meet what was asked, the newest first."""
        asked = {name: visit.asked(name) for name in FIELDS}
        cursor = visit.asked("after") or None
        found = queries.find_facts(self._ledger, read_query(visit), cursor=cursor, limit=PER_PAGE)
        values = {
            "asked": asked,
            "refined": any(value for name, value in asked.items() if name != "text"),
            "states": [state.value for state in EditState],
            "found": found.facts,
            "first": address("/facts", **asked) if cursor else None,
            "next": address("/facts", **asked, after=found.next) if found.next else None,
            "counts": self._ledger.audit.counts(),
        }
        return Page("facts/search.html", values)

    def fact(self, visit: Visit) -> Page:
        """Everything about one edit."""
        found = queries.fact_page(self._ledger, visit.edit_id("edit"))
        return Page("facts/fact.html", {"page": found, "retried": visit.asked("done") == "retry"})

    def preview_undo(self, visit: Visit) -> Page:
        """What undo of this edit would change."""
        return preview_page(self._undo_action(visit.edit_id("edit"), visit.query))

    def undo(self, visit: Visit) -> Reply:
        """Undo it."""
        return confirmed(self._undo_action(visit.edit_id("edit"), visit.form), visit)

    def preview_retry(self, visit: Visit) -> Page:
        """What another try of this edit means."""
        return Page("facts/retry.html", {"page": queries.fact_page(self._ledger, visit.edit_id("edit"))})

    def retry(self, visit: Visit) -> Redirect:
        """Let it try again."""
        edit, act = visit.edit_id("edit"), act_of(visit)
        actions.retry(self._ledger, edit, act)
        return Redirect(address(f"/facts/{edit}", done="retry"))

    def _undo_action(self, edit: EditId, asked: Mapping[str, str]) -> Action:
        restore, ledger = asked.get("restore") == "yes", self._ledger
        return Action(
            heading=f"Undo edit {edit}",
            verb=f"Undo edit {edit}",
            section="Facts",
            to=address(f"/facts/{edit}/undo"),
            back=address(f"/facts/{edit}"),
            preview=lambda: actions.preview_undo_fact(ledger, edit, restore_previous=restore),
            act=lambda act: published(actions.undo_fact(ledger, edit, act, restore_previous=restore)),
            options={"undo_of": edit, "restore": restore},
        )


def read_query(visit: Visit) -> FactQuery:
    """The search as the address has it.

    Raises:
        BadForm: a number, a state or a time is none.
    """
    state = visit.asked("state")
    if state and state not in tuple(EditState):
        raise BadForm("state: one of " + ", ".join(EditState))
    query = FactQuery(
        subject=visit.asked("subject") or None,
        text=visit.asked("text") or None,
        answer=visit.asked("answer") or None,
        event_id=visit.asked("event_id") or None,
        edit_id=_id(visit.asked_number("edit_id")),
        batch=visit.asked_number("batch"),
        generation=visit.asked_number("generation"),
        relation=visit.asked("relation") or None,
        state=EditState(state) if state else None,
        since=_moment(visit, "since"),
        until=_moment(visit, "until"),
    )
    # What is typed into the one box may be a number or an event's id, too.
    others = [getattr(query, field.name) for field in fields(query) if field.name != "text"]
    if query.text and query.text.isdecimal() and len(query.text) < 19 and not any(others):
        return FactQuery(edit_id=query.text)
    return query


def _id(number: int | None) -> EditId | None:
    return None if number is None else str(number)


def _moment(visit: Visit, name: str) -> datetime | None:
    """A time as `datetime-local` sends it, in UTC."""
    text = visit.asked(name)
    if not text:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise BadForm(f"{name}: a time such as 2026-11-26T03:00, please") from error
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)
