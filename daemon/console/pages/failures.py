"""Failures: edits that did not get through, records that were no events, and batches that had to be split."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from daemon.console.pages.previews import act_of
from daemon.console.web.visits import BadForm, Page, PageRoute, Redirect, Reply, Visit, address
from daemon.events.fact_event import FactEvent
from daemon.ingest.kafka_client import KafkaTiming
from daemon.ledger import Ledger
from daemon.ledger.page_values import FactQuery
from daemon.ledger.values import EditState
from daemon.operations import queries
from daemon.operations.dead_letters import (
    DeadLetter,
    DeadLetterPage,
    checked_event,
    dead_letter,
    dead_letters,
    resubmit,
)
from daemon.settings.settings import Settings
from edits.errors import BadRequest, PermanentError, TemporaryError

EDITS_SHOWN = 25
LETTERS_PER_PAGE = 25
TIMING = KafkaTiming(answer_ms=4_000, bootstrap_ms=2_000)  # a page does not wait for a broker that is away
EXCERPT_CHARS = 40  # before and behind the place of a fault
_PLACE = re.compile(r"line (\d{1,9}),? column (\d{1,9})")


@dataclass(frozen=True, slots=True)
class Fault:
    """Where in a letter's text the fault is: what stands before it, at it and behind it."""

    line: int
    column: int
    before: str
    at: str
    behind: str


class FailuresPages:
    """Asks the ledger and the dead-letter topic; a broker that is away is said to be so."""

    def __init__(self, ledger: Ledger, settings: Settings, *, clock: Callable[[], datetime]) -> None:
        self._ledger = ledger
        self._settings = settings
        self._clock = clock

    def routes(self) -> list[PageRoute]:
        """Every page of this part."""
        return [
            PageRoute("/failures", self.failures),
            PageRoute("/dead-letters", self.letters),
            PageRoute("/dead-letters/{name}", self.letter),
            PageRoute("/dead-letters/{name}/resubmit", self.resubmit, acts=True),
        ]

    def failures(self, visit: Visit) -> Page:
        """The newest of each kind."""
        states = (EditState.REJECTED, EditState.QUARANTINED)
        values = {
            "failed": {
                state.value: queries.find_facts(self._ledger, FactQuery(state=state), limit=EDITS_SHOWN)
                for state in states
            },
            "counts": self._ledger.audit.counts(),
            "outcomes": {one.value: count for one, count in self._ledger.intake.outcomes().items()},
            "split": self._ledger.batch_lists.split(),
        }
        return Page("failures/failures.html", values)

    def letters(self, visit: Visit) -> Page:
        """The dead letters, read from Kafka."""
        words, cursor = visit.asked("text"), visit.asked("after") or None
        found, problem = self._letters(cursor, words)
        values = {
            "words": words,
            "found": found,
            "problem": problem,
            "topic": self._settings.kafka.dead_letters,
            "first": address("/dead-letters", text=words) if cursor else None,
            "next": address("/dead-letters", text=words, after=found.next) if found and found.next else None,
        }
        return Page("failures/dead_letters.html", values)

    def letter(self, visit: Visit) -> Page:
        """One letter, and the form to mend it."""
        letter = self._letter(visit)
        return self._page(letter, letter.value, sent=visit.asked("sent"))

    def resubmit(self, visit: Visit) -> Reply:
        """Check the mended text; send it, if that was asked for and it is an event."""
        letter = self._letter(visit)
        value = visit.form.get("value", "").replace("\r\n", "\n")
        try:
            event = checked_event(self._settings, self._ledger, value.encode("utf-8", "replace"))
        except BadRequest as error:
            return self._page(letter, value, refusal=str(error), status=422)
        if visit.form.get("do") != "send":
            return self._page(letter, value, event=event)
        try:
            act = act_of(visit)
        except BadForm as error:
            return self._page(letter, value, event=event, refusal=str(error), status=422)
        mended = value.encode("utf-8", "replace")
        resubmit(self._settings, self._ledger, letter.name, act, value=mended, timing=TIMING)
        return Redirect(address(f"/dead-letters/{letter.name}", sent=event.event_id))

    def _letters(self, cursor: str | None, words: str) -> tuple[DeadLetterPage | None, str | None]:
        try:
            found = dead_letters(
                self._settings, cursor=cursor, text=words or None, limit=LETTERS_PER_PAGE, timing=TIMING
            )
        except (TemporaryError, PermanentError) as error:
            return None, str(error)
        return found, None

    def _letter(self, visit: Visit) -> DeadLetter:
        return dead_letter(self._settings, visit.path["name"], timing=TIMING)

    def _page(
        self,
        letter: DeadLetter,
        value: str,
        *,
        refusal: str = "",
        event: FactEvent | None = None,
        sent: str = "",
        status: int = 200,
    ) -> Page:
        known = queries.find_facts(self._ledger, FactQuery(event_id=sent)).facts if sent else ()
        values = {
            "letter": letter,
            "value": value,
            "fault": fault_of(letter),
            "refusal": refusal,
            "event": event,
            "sent": sent,
            "arrived": known[0] if known else None,
        }
        return Page("failures/dead_letter.html", values, status)


def fault_of(letter: DeadLetter) -> Fault | None:
    """The place that the reason names, as the letter's text has it; None: it names none."""
    named = _PLACE.search(letter.reason)
    if named is None:
        return None
    line, column = int(named[1]), int(named[2])
    lines: Sequence[str] = letter.value.split("\n")
    if not 1 <= line <= len(lines) or not 1 <= column <= len(lines[line - 1]) + 1:
        return None
    text, at = lines[line - 1], column - 1
    return Fault(
        line=line,
        column=column,
        before=text[max(0, at - EXCERPT_CHARS) : at],
        at=text[at : at + 1] or " ",
        behind=text[at + 1 : at + 1 + EXCERPT_CHARS],
    )
