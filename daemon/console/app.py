"""The console put together: its pages, who may open them, and what stands above each."""

import secrets
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from starlette.applications import Starlette
from starlette.responses import RedirectResponse
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp

from daemon.console.access.rules import access_rules
from daemon.console.access.sessions import Sessions
from daemon.console.pages.ask import AskPages
from daemon.console.pages.audit import AuditPages
from daemon.console.pages.checks import ChecksPages
from daemon.console.pages.facts import FactsPages
from daemon.console.pages.failures import FailuresPages
from daemon.console.pages.timeline import TimelinePages, own_cause, scores, what
from daemon.console.pages.work import WorkPages
from daemon.console.sources.asking import Asker
from daemon.console.web.endpoints import ConsoleParts, console_app
from daemon.console.web.rendering import Renderer
from daemon.console.web.visits import ROOT, PageRoute
from daemon.ledger import Ledger, utc_now
from daemon.ledger.values import EditState
from daemon.operations.plan_causes import cause_of_batch, planned_by
from daemon.settings.settings import Settings
from monitoring.checks.report import compared_words
from monitoring.checks.score_words import worded_scores

WAITING = (EditState.PENDING, EditState.PLANNED, EditState.APPLYING)


def create_console(
    settings: Settings,
    ledger: Ledger,
    *,
    host: str,
    asker: Asker | None = None,
    clock: Callable[[], datetime] = utc_now,
) -> Starlette:
    """The application, to be mounted under `/console` of what listens on `host`; `asker` has a model, if anybody has."""
    parts = ConsoleParts(
        access=access_rules(settings, host=host),
        sessions=_sessions(settings, clock),
        renderer=Renderer(
            {
                "what": what,
                "own_cause": own_cause,
                "planned_by": planned_by,
                "cause_of_batch": cause_of_batch,
                "scores": scores,
                "worded": worded_scores,
                "compared": compared_words,
            }
        ),
        now=lambda: _now(ledger),
    )
    return console_app(_pages(settings, ledger, asker, clock), parts)


def console_routes(console: ASGIApp) -> list[BaseRoute]:
    """What an application adds to its routes to have the console under `/console`."""
    return [Route(ROOT, lambda _: RedirectResponse(f"{ROOT}/")), Mount(ROOT, console)]


def _pages(
    settings: Settings, ledger: Ledger, asker: Asker | None, clock: Callable[[], datetime]
) -> list[PageRoute]:
    return [
        *TimelinePages(ledger).routes(),
        *FactsPages(ledger).routes(),
        *AskPages(ledger, asker).routes(),
        *FailuresPages(ledger, settings, clock=clock).routes(),
        *ChecksPages(ledger, settings, clock=clock).routes(),
        *WorkPages(ledger, settings, clock=clock).routes(),
        *AuditPages(ledger).routes(),
    ]


def _sessions(settings: Settings, clock: Callable[[], datetime]) -> Sessions:
    named = settings.console.secret
    secret = secrets.token_bytes(32) if named is None else named.get_secret_value().encode()
    return Sessions(secret, lifetime=timedelta(hours=settings.console.session_hours), clock=clock)


def _now(ledger: Ledger) -> Mapping[str, Any]:
    tip, counts = ledger.generations.tip(), ledger.audit.counts()
    return {
        "generation": None if tip is None else tip[0],
        "holds": [hold.reason for hold in ledger.control.holds()],
        "failing": [result.suite for result in ledger.checks.latest() if not result.passed],
        "proposal": ledger.proposals.is_waiting(),
        "waiting": sum(counts[state] for state in WAITING),
    }
