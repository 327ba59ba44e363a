"""An action as the console offers it: first what it would change, then a reason; the ledger does it and keeps who did."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from daemon.console.web.visits import BadForm, Page, Redirect, Reply, Visit, address
from daemon.ledger.errors import HeadMoved
from daemon.ledger.page_values import Preview
from daemon.ledger.values import Act, Generation
from daemon.operations.actions import MAX_REASON_CHARS


@dataclass(frozen=True, slots=True)
class Action:
    """What can be done on one page.

    Attributes:
        to, back: addresses of the form and of the page before it.
        preview: what it would change now.
        act: does it, and says where to go on.
        options: further values of the preview's page.
    """

    heading: str
    verb: str
    section: str
    to: str
    back: str
    preview: Callable[[], Preview]
    act: Callable[[Act], Redirect]
    options: Mapping[str, Any] = field(default_factory=dict)


def preview_page(action: Action, *, moved: str = "", status: int = 200) -> Page:
    """What the action would change, and the form that does it."""
    values = {
        "preview": action.preview(),
        "heading": action.heading,
        "verb": action.verb,
        "section": action.section,
        "to": action.to,
        "back": action.back,
        "moved": moved,
        **action.options,
    }
    return Page("preview.html", values, status)


def confirmed(action: Action, visit: Visit) -> Reply:
    """Do what was previewed; where another generation was published since, show anew what would change."""
    try:
        return action.act(act_of(visit, expected_head=_expected_head(visit)))
    except HeadMoved as error:
        return preview_page(action, moved=f"{error}.", status=409)


def published(generation: Generation) -> Redirect:
    """On to the page of what an action has published."""
    return Redirect(address(f"/generations/{generation.number}"))


def act_of(visit: Visit, *, expected_head: int | None = None) -> Act:
    """Who acts, and why, as the audit log keeps it.

    Raises:
        BadForm: no reason was given.
    """
    return Act(visit.visitor.name, visit.filled("reason", max_chars=MAX_REASON_CHARS), expected_head)


def _expected_head(visit: Visit) -> int:
    text = visit.form.get("expected_head", "")
    if not text.isdecimal() or len(text) > 18:
        raise BadForm("expected_head: the generation that the preview showed")
    return int(text)
