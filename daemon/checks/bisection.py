"""The search for the edits that made a check fail, and what follows from the verdict.

The suspects are the edits that went live since the last generation that passed. Each trial asks the failing probes of
that generation with some of the suspects switched off; `monitoring.blame` says which. Who fired on a probe only decides
who is tried first: an expert may do harm in other ways than by answering.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Sequence

import structlog
from pydantic import BaseModel, ConfigDict

from daemon.ledger import Ledger
from daemon.ledger.values import Blamed, CheckKind
from monitoring.blame import bisect
from monitoring.regression import CHUNK, AnswersPrompts
from monitoring.suites import lot
from monitoring.tally import Failure

MOST_PROBES = 256  # failing probes that each trial asks
MOST_NAMED = 20
HELD = "somebody has to look: "

_log = structlog.get_logger(__name__)


class Case(BaseModel):
    """A generation that failed, the last good one before it, the rollback if there was one, and all trials so far.

    Attributes:
        evidence: the failing probes of each suite.
        trials: name of a set of suspects -> for each probe asked of it, "1" where it failed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    bad: int
    good: int
    rolled_back: int | None
    evidence: dict[str, tuple[Failure, ...]]
    trials: dict[str, str] = {}

    @property
    def probes(self) -> list[Failure]:
        """The probes that are asked again, at most `MOST_PROBES`, drawn by lot where there are more."""
        every = {failure.prompt: failure for failures in self.evidence.values() for failure in failures}
        chosen = sorted(every.values(), key=lambda failure: lot(failure.prompt, self.bad))
        return chosen[:MOST_PROBES]


class _TimeIsUp(Exception):
    """The next trial has to wait for another slice."""


def hold(ledger: Ledger, reason: str) -> None:
    """Let no batch be claimed until somebody has looked and says `upkeep release`."""
    ledger.control.hold(HELD + reason)


def is_held_by_checks(ledger: Ledger) -> bool:
    """Whether a check holds the batches, and nobody has acknowledged that yet."""
    return (ledger.control.held() or "").startswith(HELD)


def open_case(ledger: Ledger, case: Case, *, cause: str) -> bool:
    """Ask the workers to find the culprits; False without a failing probe to try them by."""
    if not any(case.evidence.values()):
        return False
    ledger.checks.request(str(case.bad), cause, kind=CheckKind.BLAME, progress=case.model_dump(mode="json"))
    return True


def work_on_case(
    case: Case, ledger: Ledger, model: AnswersPrompts, *, max_new_tokens: int, stop: Callable[[], bool]
) -> Case | tuple[str, ...]:
    """Try the suspects until the verdict is found (the culprits' ids, which are quarantined) or `stop` says so (the case
    with the trials so far). At least one trial is made.

    Everybody who is not found to be a culprit is as live afterwards as before the rollback. Where no verdict can be
    found, nobody is quarantined: batches are held, for somebody has to look.

    Raises:
        TemporaryError: the ledger or the device is unwell.
    """
    suspects = _suspects(ledger, case)
    court = _Court(case, suspects, model, max_new_tokens=max_new_tokens, stop=stop)
    with model.at(case.bad):
        try:
            culprits, cleared = court.judge()
        except _TimeIsUp:
            return case.model_copy(update={"trials": court.trials})
    said = f"blame of generation {case.bad}"
    if cleared:
        blamed = {int(edit_id): court.blamed(edit_id) for edit_id in culprits}
        innocent = {int(edit_id) for edit_id in suspects if edit_id not in culprits}
        generation = ledger.generations.settle_blame(
            blamed, innocent=innocent, rolled_back=case.rolled_back, cause=said
        )
        _log.warning(
            "blame settled",
            culprits=list(culprits[:MOST_NAMED]),
            innocent=len(innocent),
            trials=len(court.trials),
            generation=None if generation is None else generation.number,
        )
    if not culprits:
        who = "none of the edits" if cleared else "no single edit"
        hold(ledger, f"{said}: {who} since generation {case.good} explains the failure")
    return culprits


def _suspects(ledger: Ledger, case: Case) -> list[str]:
    """Edits that were live in the bad generation, but not, or from another shard, in the good one; the likely ones first."""
    live: dict[str, str] = {}
    for generation in ledger.generations.since(case.good):
        if generation.number <= case.bad:
            for edit_id in generation.disabled:
                live.pop(edit_id, None)
            live.update(generation.enabled)
    before = ledger.generations.shards_at(case.good, live.keys())
    fired = Counter(failure.fired for failures in case.evidence.values() for failure in failures)
    new = [edit_id for edit_id, shard in live.items() if before.get(edit_id) != shard]
    return sorted(new, key=lambda edit_id: (-fired[edit_id], int(edit_id)))


class _Court:
    """Tries sets of suspects, each at most once, and remembers what every probe said."""

    def __init__(
        self,
        case: Case,
        suspects: Sequence[str],
        model: AnswersPrompts,
        *,
        max_new_tokens: int,
        stop: Callable[[], bool],
    ) -> None:
        self.trials: dict[str, str] = dict(case.trials)
        self._case = case
        self._probes = case.probes
        self._suspects = suspects
        self._model = model
        self._longest = max_new_tokens
        self._stop = stop
        self._tried = False

    def judge(self) -> tuple[tuple[str, ...], bool]:
        """The culprits, and whether everybody else is cleared.

        Raises:
            _TimeIsUp: a trial is due that has to wait.
        """
        # Only what is well without the suspects can be their doing.
        harmed = [i for i, said in enumerate(self._try(())) if said == "0"]
        if not harmed:
            return (), True
        victims = self._victims(harmed)

        def fails(group: frozenset[str]) -> bool:
            said = self._try([*group, *victims])
            return any(said[i] == "1" for i in harmed)

        verdict = bisect([suspect for suspect in self._suspects if suspect not in victims], fails)
        if verdict.culprits:
            return verdict.culprits, True
        # Does the harm come and go? Then nobody did it. Else several do it together, and which of them nobody can say.
        return (), not fails(frozenset(self._suspects) - victims)

    def blamed(self, culprit: str) -> Blamed:
        """What the history keeps about a culprit."""
        own = [(s, f) for s, failures in self._case.evidence.items() for f in failures if f.fired == culprit]
        every = [(s, f) for s, failures in self._case.evidence.items() for f in failures]
        suite, failure = (own or every)[0]
        reason = (
            f"a regression check put the blame on it: {suite} fails with it and not without it; "
            f"{failure.prompt[:100]!r} is answered {failure.given[:100]!r}, not {failure.wanted[:100]!r}"
        )
        detail = {
            "verdict": "culprit",
            "generation": self._case.bad,
            "suites": sorted(self._case.evidence),
            "probes": len(self._probes),
            "answered_by_it": len(own),
            "trials": len(self.trials),
        }
        return Blamed(reason, detail)

    def _victims(self, harmed: Collection[int]) -> frozenset[str]:
        """Suspects whose own facts are answered when only such suspects are at work: somebody else silences them."""
        owners = {i: self._probes[i].owner for i in harmed}
        accused = {i: owner for i, owner in owners.items() if owner in set(self._suspects)}
        if not accused:
            return frozenset()
        alone = self._try(sorted({owner for owner in accused.values() if owner is not None}))
        guilty = {owner for i, owner in accused.items() if alone[i] == "1"}
        return frozenset(owner for owner in accused.values() if owner is not None and owner not in guilty)

    def _try(self, at_work: Collection[str]) -> str:
        """For each probe "1" where it fails while these suspects are at work and the others are not, else "0"."""
        key = hashlib.sha256(",".join(sorted(at_work)).encode()).hexdigest()
        if key not in self.trials:
            if self._tried and self._stop():
                raise _TimeIsUp
            self._tried = True
            self.trials[key] = self._ask(frozenset(at_work))
        return self.trials[key]

    def _ask(self, at_work: frozenset[str]) -> str:
        off = frozenset(self._suspects) - at_work
        with self._model.without(off):
            said: list[str] = []
            for start in range(0, len(self._probes), CHUNK):
                prompts = [failure.prompt for failure in self._probes[start : start + CHUNK]]
                answers = self._model.generate(prompts, max_new_tokens=self._longest)
                said += [answer.text for answer in answers]
        return "".join(
            # The fact of an edit that is switched off is not asked for.
            "1" if text != failure.wanted and failure.owner not in off else "0"
            for text, failure in zip(said, self._probes, strict=True)
        )
