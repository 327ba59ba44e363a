"""The metrics that are read from the ledger, as every server exposes them: the embedded one, and the gateway."""

from collections.abc import Callable

from daemon.checks.check_suites import OWN_SUITES
from daemon.ledger import Ledger
from daemon.ledger.ledger_figures import ledger_figures
from daemon.settings.settings import Settings
from monitoring.metrics.collector import LedgerCollector, LedgerFigures


def ledger_collector(
    settings: Settings, ledger: Ledger, *, require: Callable[[], object] = lambda: None
) -> LedgerCollector:
    """Reads the ledger at each scrape.

    Args:
        require: asked first; raises LedgerUnavailable where the ledger is known to be away.
    """
    suites = (*OWN_SUITES, *settings.monitoring.suites)
    gateway = settings.gateway

    def figures() -> LedgerFigures:
        require()
        return ledger_figures(ledger, suites=suites)

    return LedgerCollector(
        figures,
        check_interval_seconds=settings.schedule.check_seconds,
        parity_interval_seconds=None if gateway.url is None else gateway.parity_seconds,
    )
