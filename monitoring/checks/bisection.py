"""Which of many edits cause a failure? Group testing: k culprits among n are found in about k log2 n trials."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence


class Oracle:
    """Tries each set of candidates once: for every probe "1" where it fails while these alone are active, else "0".

    `trials` holds what was found so far, by the digest of the set; begun with it again, an oracle repeats no trial.
    """

    def __init__(self, run: Callable[[frozenset[str]], str], trials: Mapping[str, str] | None = None) -> None:
        self.trials: dict[str, str] = dict(trials or {})
        self._run = run

    def __call__(self, active: Iterable[str]) -> str:
        group = frozenset(active)
        key = hashlib.sha256(",".join(sorted(group)).encode()).hexdigest()
        if key not in self.trials:
            self.trials[key] = self._run(group)
        return self.trials[key]


def bisect(candidates: Sequence[str], fails: Callable[[frozenset[str]], bool]) -> tuple[str, ...]:
    """Find the culprits: the failure is there with each of them and gone without all of them.

    `fails(group)` says whether there is a failure while these candidates alone are active; it is asked for the same
    group more than once, and should remember (`Oracle`). The likely ones should come first: the order costs nothing but
    trials. Of a failing group one half is tried; where it passes, the other half holds a culprit. After each find
    everybody but the culprits is tried, and only a pass there ends the search; one that was found without any failure
    having been seen is confirmed alone. So the result never rests on inference, nor on what the caller claims. Where no
    candidate causes the failure, or it comes and goes, there are no culprits.

    Trials for k culprits: at most k (ceil(log2 n) + 2).
    """
    remaining, culprits = list(dict.fromkeys(candidates)), list[str]()
    everybody, seen = frozenset(remaining), False
    while remaining:
        found, cleared, failed = _find_one(remaining, fails)
        culprits.append(found)
        if not (seen or failed):  # everybody else is cleared by now
            confirmed = fails(frozenset([found])) and not fails(frozenset())
            return tuple(culprits) if confirmed else ()
        remaining = [candidate for candidate in remaining if candidate != found and candidate not in cleared]
        if not fails(everybody - frozenset(culprits)):
            return tuple(culprits)
        seen = True
        # There is more than one culprit, or the failure is caused by somebody who is no candidate.
        if fails(frozenset()) or not fails(frozenset(remaining)):
            break
    return ()


def _find_one(group: Sequence[str], fails: Callable[[frozenset[str]], bool]) -> tuple[str, set[str], bool]:
    """One culprit of a failing group, those that were cleared on the way, and whether any failure was seen."""
    cleared, failed = set[str](), False
    while len(group) > 1:
        middle = (len(group) + 1) // 2
        first, second = group[:middle], group[middle:]
        if fails(frozenset(first)):
            group, failed = first, True
        else:
            cleared |= set(first)
            group = second
    return group[0], cleared, failed
