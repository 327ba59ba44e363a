"""The metrics that are read from the ledger, as every server exposes them: the embedded one, and the gateway."""

from daemon.checks.check_suites import OWN_SUITES
from daemon.ledger import Ledger
from daemon.ledger.ledger_figures import ledger_figures
from daemon.process.settings import Settings
from monitoring.collector import LedgerCollector


def ledger_collector(settings: Settings, ledger: Ledger) -> LedgerCollector:
    """Reads the ledger at each scrape."""
    suites = (*OWN_SUITES, *settings.monitoring.suites)
    gateway = settings.gateway
    return LedgerCollector(
        lambda: ledger_figures(ledger, suites=suites),
        check_interval_seconds=settings.schedule.check_seconds,
        parity_interval_seconds=None if gateway.url is None else gateway.parity_seconds,
    )
