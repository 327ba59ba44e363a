"""Who of many edits did harm? Group testing: k culprits among n are found in about k log2 n trials."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the trials prove.

    Attributes:
        culprits: the harm is there with each of them and gone without all of them; none where no set of suspects
            explains what was seen.
        trials: how many sets were tried.
    """

    culprits: tuple[str, ...]
    trials: int


def bisect(suspects: Sequence[str], fails: Callable[[frozenset[str]], bool]) -> Verdict:
    """Find the culprits among suspects who are said to do harm together.

    `fails(group)` says whether harm is done while these suspects alone are at work. The likely ones should come first:
    the order costs nothing but trials. Of a positive group one half is tried; where it is negative, the other half
    holds a culprit. After each find everybody but the culprits is tried, and only a negative there ends the search; one
    who was found without any harm having been seen is tried alone. So a verdict never rests on inference, nor on what
    the caller says. Where harm is done by nobody of the suspects, or comes and goes, it is inconclusive.

    Trials for k culprits: at most k (ceil(log2 n) + 2).
    """
    court = _Court(fails)
    candidates, culprits = list(dict.fromkeys(suspects)), list[str]()
    everybody = frozenset(candidates)
    while candidates:
        found, cleared = court.find_one(candidates)
        culprits.append(found)
        if not court.has_seen_harm:  # everybody else is cleared by now
            proven = court.fails(frozenset([found])) and not court.fails(frozenset())
            return Verdict(tuple(culprits) if proven else (), court.trials)
        candidates = [suspect for suspect in candidates if suspect != found and suspect not in cleared]
        if not court.fails(everybody - frozenset(culprits)):
            return Verdict(tuple(culprits), court.trials)
        # There is more than one culprit, or the harm is done by somebody who is not among the suspects.
        if court.fails(frozenset()) or not court.fails(frozenset(candidates)):
            break
    return Verdict((), court.trials)


class _Court:
    """Tries each group once."""

    def __init__(self, fails: Callable[[frozenset[str]], bool]) -> None:
        self._ask = fails
        self._known: dict[frozenset[str], bool] = {}

    @property
    def trials(self) -> int:
        return len(self._known)

    @property
    def has_seen_harm(self) -> bool:
        return any(self._known.values())

    def fails(self, group: frozenset[str]) -> bool:
        if group not in self._known:
            self._known[group] = self._ask(group)
        return self._known[group]

    def find_one(self, group: Sequence[str]) -> tuple[str, set[str]]:
        """One culprit of a group that does harm, and those who were seen to do none on the way."""
        cleared: set[str] = set()
        while len(group) > 1:
            middle = (len(group) + 1) // 2
            first, second = group[:middle], group[middle:]
            if self.fails(frozenset(first)):
                group = first
            else:
                cleared |= set(first)
                group = second
        return group[0], cleared
