"""Work: what waits, what runs, what holds it, who does it, and the plan that waits for a person."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from daemon.console.pages.previews import act_of
from daemon.console.sources.background import BackgroundReading
from daemon.console.web.visits import Page, PageRoute, Redirect, Visit, address
from daemon.ingest.consumer_lag import measured_lag
from daemon.ledger import Ledger
from daemon.ledger.values import Act, Lane
from daemon.operations import actions
from daemon.operations.status import status
from daemon.planning.planned_changes import changes_of_pending, changes_of_plan
from daemon.settings.settings import Settings
from edits.errors import PermanentError, TemporaryError

SHOWN_CHANGES = 100


@dataclass(frozen=True, slots=True)
class Lag:
    """How many records of each partition wait in Kafka; `problem` says why that is not known."""

    partitions: dict[int, int]
    problem: str | None = None

    @property
    def total(self) -> int:
        """Of all partitions."""
        return sum(self.partitions.values())


class WorkPages:
    """Asks the ledger and the broker, acts by `daemon.operations`."""

    def __init__(self, ledger: Ledger, settings: Settings, *, clock: Callable[[], datetime]) -> None:
        self._ledger = ledger
        self._settings = settings
        self._clock = clock
        self._lag = BackgroundReading(self._read_lag)

    def routes(self) -> list[PageRoute]:
        """Every page of this part."""
        return [
            PageRoute("/work", self.work),
            PageRoute("/work/plan", self.preview),
            PageRoute("/work/hold", self.hold, acts=True),
            PageRoute("/work/release/{hold}", self.release, acts=True),
            PageRoute("/proposals/{proposal}", self.proposal),
            PageRoute("/proposals/{proposal}/approve", self.approve, acts=True),
            PageRoute("/proposals/{proposal}/decline", self.decline, acts=True),
        ]

    def work(self, visit: Visit) -> Page:
        """Everything that is on its way."""
        ledger, now = self._ledger, self._clock()
        values = {
            "lag": self._lag.latest(),
            "status": status(ledger, self._settings, now),
            "running": ledger.batch_lists.running(),
            "waiting": ledger.batch_lists.waiting(),
            "schedule": self._settings.schedule,
            "proposal": ledger.proposals.waiting(),
            "at": now,
        }
        return Page("work/work.html", values)

    def preview(self, visit: Visit) -> Page:
        """What the next plans would change."""
        asked = visit.asked("lane")
        lane = Lane(asked) if asked in tuple(Lane) else None
        found = changes_of_pending(self._ledger, lane=lane, limit=SHOWN_CHANGES)
        return Page("work/plan.html", {"found": found, "lane": asked, "proposal": None})

    def proposal(self, visit: Visit) -> Page:
        """A plan that waits for a person, or what became of it."""
        proposal = self._ledger.proposals.get(visit.number("proposal"))
        found = changes_of_plan(self._ledger, proposal.plan, limit=SHOWN_CHANGES)
        return Page("work/plan.html", {"found": found, "lane": "", "proposal": proposal})

    def hold(self, visit: Visit) -> Redirect:
        """Let no batch be claimed."""
        actions.hold(self._ledger, act_of(visit))
        return Redirect(address("/work") + "#holds")

    def release(self, visit: Visit) -> Redirect:
        """End one hold."""
        reason = visit.form.get("reason", "").strip()[: actions.MAX_REASON_CHARS]
        actions.release(self._ledger, Act(visit.visitor.name, reason), hold_id=visit.number("hold"))
        return Redirect(address("/work") + "#holds")

    def approve(self, visit: Visit) -> Redirect:
        """Put the proposed plan to work."""
        actions.approve_plan(self._ledger, visit.number("proposal"), act_of(visit))
        return Redirect(address("/work"))

    def decline(self, visit: Visit) -> Redirect:
        """Leave its edits pending."""
        actions.decline_plan(self._ledger, visit.number("proposal"), act_of(visit))
        return Redirect(address("/work"))

    def _read_lag(self) -> Lag:
        try:
            return Lag(measured_lag(self._settings.kafka))
        except (TemporaryError, PermanentError) as error:
            return Lag({}, str(error))
