"""The search for the edits that made a check fail, and what follows from it.

Candidates are the edits that went live since the last generation that passed. Each trial asks the failing probes of
that generation with some of the candidates switched off; `monitoring.checks.bisection` says which. Who fired on a probe only
decides who is tried first: an expert may do harm in other ways than by answering.
"""

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import structlog
from pydantic import BaseModel, ConfigDict

from daemon.checks.hold import hold
from daemon.ledger import Ledger
from daemon.ledger.values import Blamed, CheckKind
from edits.ids import EditId
from edits.recency import arrival
from monitoring.checks.bisection import Oracle, bisect
from monitoring.checks.regression import CHUNK, AnswersPrompts
from monitoring.checks.suites import sampling_hash
from monitoring.checks.tally import Failure

MAX_PROBES = 256  # failing probes that each trial asks
MAX_LOGGED_EDITS = 20

_log = structlog.get_logger(__name__)


class Case(BaseModel):
    """A generation that failed, the last good one before it, the rollback if there was one, and all trials so far.

    Attributes:
        evidence: the failing probes of each suite.
        trials: digest of a set of candidates -> for each probe asked of it, "1" where it failed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    bad: int
    good: int
    rolled_back: int | None
    evidence: dict[str, tuple[Failure, ...]]
    trials: dict[str, str] = {}

    @property
    def probes(self) -> list[Failure]:
        """The probes that are asked again, at most `MAX_PROBES`, chosen by hash sampling where there are more."""
        every = {failure.prompt: failure for failures in self.evidence.values() for failure in failures}
        chosen = sorted(every.values(), key=lambda failure: sampling_hash(failure.prompt, self.bad))
        return chosen[:MAX_PROBES]


@dataclass(frozen=True, slots=True)
class Finding:
    """Who did it. `conclusive`: everybody else is cleared; else several do it together, and which of them is unknown."""

    culprits: tuple[EditId, ...]
    conclusive: bool


class _TimeIsUp(Exception):
    """The next trial has to wait for another slice."""


def open_case(ledger: Ledger, case: Case, *, cause: str) -> bool:
    """Ask the workers to find the culprits; False without a failing probe to try them by."""
    if not any(case.evidence.values()):
        return False
    ledger.checks.request(str(case.bad), cause, kind=CheckKind.BLAME, progress=case.model_dump(mode="json"))
    return True


def work_on_case(
    case: Case, ledger: Ledger, model: AnswersPrompts, *, max_new_tokens: int, stop: Callable[[], bool]
) -> Case | tuple[str, ...]:
    """Try the candidates until the culprits are found (their ids, which are quarantined) or `stop` says so (the case
    with the trials so far). At least one trial is made.

    Everybody who is not found to be a culprit is as live afterwards as before the rollback. Where nothing conclusive is
    found, nobody is quarantined: batches are held, for somebody has to look.

    Raises:
        TemporaryError: the ledger or the device is unwell.
    """
    candidates = _candidates(ledger, case)
    trial = _trial(case.probes, frozenset(candidates), model, max_new_tokens=max_new_tokens, stop=stop)
    oracle = Oracle(trial, case.trials)
    with model.at(case.bad):
        try:
            finding = find_culprits(case.probes, candidates, oracle)
        except _TimeIsUp:
            return case.model_copy(update={"trials": oracle.trials})
    _settle(ledger, case, candidates, finding, trials=len(oracle.trials))
    return finding.culprits


def find_culprits(probes: Sequence[Failure], candidates: Sequence[str], oracle: Oracle) -> Finding:
    """The candidates because of which probes fail that are well without them."""
    # Only what is well without the candidates can be their doing.
    harmed = [i for i, failed in enumerate(oracle(())) if failed == "0"]
    if not harmed:
        return Finding((), conclusive=True)
    affected = _affected({i: probes[i].owner for i in harmed}, candidates, oracle)

    def fails(group: frozenset[str]) -> bool:
        failed = oracle(group | affected)
        return any(failed[i] == "1" for i in harmed)

    rest = [candidate for candidate in candidates if candidate not in affected]
    if culprits := bisect(rest, fails):
        return Finding(culprits, conclusive=True)
    # Does the harm come and go? Then nobody did it. Else several do it together.
    return Finding((), conclusive=not fails(frozenset(rest)))


def _candidates(ledger: Ledger, case: Case) -> list[EditId]:
    """Edits that were live in the bad generation, but not, or from another shard, in the good one; the likely ones first."""
    live, _ = ledger.generations.changes_between(case.good, case.bad)
    before = ledger.generations.shards_at(case.good, live.keys())
    fired = Counter(failure.fired for failures in case.evidence.values() for failure in failures)
    new = [edit_id for edit_id, shard in live.items() if before.get(edit_id) != shard]
    return sorted(new, key=lambda edit_id: (-fired[edit_id], arrival(edit_id)))


def _affected(owners: dict[int, str | None], candidates: Collection[str], oracle: Oracle) -> frozenset[str]:
    """Candidates whose own facts are answered while only such candidates are active: somebody else stops them firing."""
    asked = {i: owner for i, owner in owners.items() if owner is not None and owner in set(candidates)}
    if not asked:
        return frozenset()
    failed = oracle(asked.values())
    return frozenset(asked.values()) - {owner for i, owner in asked.items() if failed[i] == "1"}


def _trial(
    probes: Sequence[Failure],
    candidates: frozenset[str],
    model: AnswersPrompts,
    *,
    max_new_tokens: int,
    stop: Callable[[], bool],
) -> Callable[[frozenset[str]], str]:
    """For an oracle: all probes once, only the given candidates active; only the first trial waits for no `stop`."""
    is_first = True

    def run(active: frozenset[str]) -> str:
        nonlocal is_first
        if not is_first and stop():
            raise _TimeIsUp
        is_first = False
        off, outputs = candidates - active, list[str]()
        with model.without(off):
            for start in range(0, len(probes), CHUNK):
                prompts = [failure.prompt for failure in probes[start : start + CHUNK]]
                outputs += [answer.text for answer in model.generate(prompts, max_new_tokens=max_new_tokens)]
        return "".join(
            # The fact of an edit that is switched off is not asked for.
            "1" if text != failure.wanted and failure.owner not in off else "0"
            for text, failure in zip(outputs, probes, strict=True)
        )

    return run


def _settle(ledger: Ledger, case: Case, candidates: Sequence[str], finding: Finding, *, trials: int) -> None:
    """Quarantine the culprits and bring back the others; without a culprit, hold the batches."""
    cause = f"blame of generation {case.bad}"
    if finding.conclusive:
        blamed = {edit_id: _blamed(case, edit_id, trials=trials) for edit_id in finding.culprits}
        cleared = set(candidates) - set(finding.culprits)
        generation = ledger.generations.settle_blame(
            blamed, cleared=cleared, rolled_back=case.rolled_back, cause=cause
        )
        _log.warning(
            "blame settled",
            culprits=list(finding.culprits[:MAX_LOGGED_EDITS]),
            cleared=len(cleared),
            trials=trials,
            generation=None if generation is None else generation.number,
        )
    if not finding.culprits:
        who = "none of the edits" if finding.conclusive else "no single edit"
        hold(ledger, f"{cause}: {who} since generation {case.good} explains the failure")


def _blamed(case: Case, culprit: str, *, trials: int) -> Blamed:
    """What the history keeps about a culprit."""
    every = [(suite, failure) for suite, failures in case.evidence.items() for failure in failures]
    own = [(suite, failure) for suite, failure in every if failure.fired == culprit]
    suite, failure = (own or every)[0]
    reason = (
        f"a regression check put the blame on it: {suite} fails with it and not without it; "
        f"{failure.prompt[:100]!r} is answered {failure.given[:100]!r}, not {failure.wanted[:100]!r}"
    )
    detail = {
        "verdict": "offending",
        "generation": case.bad,
        "suites": sorted(case.evidence),
        "probes": len(case.probes),
        "answered_by_it": len(own),
        "trials": trials,
    }
    return Blamed(reason, detail)
