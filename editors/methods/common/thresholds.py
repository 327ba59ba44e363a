"""Thresholds from probes that were read: what must not change wins over what should fire."""

from collections.abc import Sequence
from dataclasses import dataclass

from editors.methods.common.probes import ScopeProbe
from edits.judging import share

# A threshold lies inside of 0..1: at 0 all would fire, at 1 rounding would decide.
MIN_THRESHOLD, MAX_THRESHOLD = 0.001, 0.999


@dataclass(frozen=True, slots=True)
class ScoredProbe:
    """A probe as the base read it: whether it gave the edit's own answer, and the score that follows."""

    probe: ScopeProbe
    agrees: bool
    score: float


@dataclass(frozen=True, slots=True)
class SharedThreshold:
    """The batch's threshold, and what it does on the probes that it was found on."""

    value: float
    must_fire: Sequence[float]
    must_not: Sequence[float]

    @property
    def false_fire(self) -> float | None:
        """Share of what must not fire that does; None without any."""
        return share([score >= self.value for score in self.must_not])

    @property
    def miss(self) -> float | None:
        """Share of what must fire that does not; None without any."""
        return share([score < self.value for score in self.must_fire])


def threshold_between(
    must_fire: Sequence[float], must_not: Sequence[float], *, target_false_fire: float
) -> float:
    """Half way between the highest score that may not fire and the lowest that must and lies above it.

    Where the two overlap, what must not change wins: a wrong answer to another question is worse than an old one.
    """
    allowed = int(target_false_fire * len(must_not))
    low = max([0.0, *sorted(must_not, reverse=True)[allowed : allowed + 1]])
    high = min((score for score in must_fire if score > low), default=1.0)
    return min(MAX_THRESHOLD, max(MIN_THRESHOLD, (low + high) / 2))


def shared_threshold(scored: Sequence[ScoredProbe], *, target_false_fire: float) -> SharedThreshold:
    """The threshold of all edits whose own request says nothing else."""
    shared = [one for one in scored if one.probe.shared]
    fire = [one.score for one in shared if one.probe.must_fire]
    stay = [one for one in shared if not one.probe.must_fire]
    # Where the base answers as to the edit's own prompt, no threshold parts the two: it is counted, but sets none.
    parted = [one.score for one in stay if not one.agrees]
    value = threshold_between(fire, parted, target_false_fire=target_false_fire)
    return SharedThreshold(value, fire, [one.score for one in stay])


def own_threshold(edit: int, scored: Sequence[ScoredProbe], shared: float) -> float:
    """An edit's threshold: the shared one, unless its own probes ask for another."""
    mine = [one for one in scored if one.probe.edit == edit and not one.probe.shared]
    if not mine:
        return shared
    fire = [one.score for one in mine if one.probe.must_fire]
    stay = [one.score for one in mine if not one.probe.must_fire]
    if max(stay, default=0.0) < shared <= min(fire, default=1.0):
        return shared
    return threshold_between(fire, stay, target_false_fire=0.0)
