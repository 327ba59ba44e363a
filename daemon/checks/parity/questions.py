"""What the parity check asks: a sample of live edits, by prompt and one rephrase, and probes of every suite."""

from collections.abc import Iterator

import structlog

from daemon.checks.check_context import CheckContext
from daemon.checks.check_facts import one_rephrase
from daemon.checks.check_suites import known_suites, ledger_probes
from edits.errors import PermanentError
from edits.prompts import Prompt, asked_in_chat
from monitoring.checks.parity import ParityQuestion
from monitoring.checks.suites import Probe, ProbeSuite, distinct
from monitoring.checks.tally import RETENTION

_log = structlog.get_logger(__name__)


def draw_questions(check: CheckContext, *, seed: int) -> tuple[ParityQuestion, ...]:
    """A sample of the live edits and as many probes, drawn anew for each check: it costs the same at a million edits.

    Raises:
        LedgerUnavailable: the ledger is away for now.
    """
    return (*_of_edits(check, seed), *_of_suites(check, seed))


def as_asked(question: ParityQuestion, check: CheckContext) -> Prompt:
    """The question in the form in which users ask this base."""
    return asked_in_chat(question.prompt) if check.model.asks_chat else question.prompt


def _of_edits(check: CheckContext, seed: int) -> Iterator[ParityQuestion]:
    for edit in check.ledger.samples.live(check.settings.gateway.parity_sample, seed=seed):
        named = {"edit_id": edit.id, "wanted": edit.target_new}
        own = ParityQuestion(form="prompt", prompt=edit.prompt or "", **named)
        rephrase = one_rephrase(edit, check.model, seed)
        if check.model.fits(as_asked(own, check)):
            yield own
        if rephrase is not None:
            other = ParityQuestion(form="rephrase", prompt=rephrase, **named)
            if check.model.fits(as_asked(other, check)):
                yield other


def _of_suites(check: CheckContext, seed: int) -> Iterator[ParityQuestion]:
    """Probes of all suites, as many of each; whether an edit fires on one does not matter, but that both say the same."""
    names = [name for name in known_suites(check.settings) if name != RETENTION]
    each = -(-check.settings.gateway.parity_sample // len(names))
    for name in names:
        own, _ = ledger_probes(name, check.ledger, count=each, seed=seed)
        probes = distinct((*_fixed(check, name), *own))
        for probe in ProbeSuite(name, probes).in_sample_order(seed=seed)[:each]:
            asked = ParityQuestion(form="probe", prompt=probe.prompt)
            if check.model.fits(as_asked(asked, check)):
                yield asked


def _fixed(check: CheckContext, name: str) -> tuple[Probe, ...]:
    try:
        return check.fixed_probes(name)
    except PermanentError as error:
        _log.warning("a suite is left out", suite=name, reason=str(error))
        return ()
