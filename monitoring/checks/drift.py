"""Has a share of bad answers risen against its own past? A CUSUM of log likelihood ratios (Page 1954), on binomials.

Each check asks n and finds k bad. With p the share that is usual and p' = p + shift the one that must not be missed,

    S <- max(0, S + k log(p'/p) + (n - k) log((1 - p')/(1 - p)))        alarm when S >= threshold

S falls while p holds, however often a check is repeated, and rises as soon as the share is nearer to p'. What is usual is
read from the trailing window of checks, shrunk a little towards a small share, so that neither an empty window nor one
without a single bad answer makes the first bad one a catastrophe.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

PRIOR_ASKED = 1_000
PRIOR_BAD = 1.0
HIGHEST_SHARE = 0.999  # a likelihood of zero has no logarithm


@dataclass(frozen=True, slots=True)
class DriftSettings:
    """The rise that matters, the alarm's threshold in nats, and how many checks make the trailing window."""

    shift: float = 0.01
    threshold: float = 3.0
    window: int = 20


@dataclass(frozen=True, slots=True)
class Seen:
    """One check: so many answers, so many of them bad, and the statistic as it stood after it (None: unknown)."""

    asked: int
    bad: int
    statistic: float | None = None


@dataclass(frozen=True, slots=True)
class Drift:
    """The statistic after a check, and whether it is an alarm."""

    statistic: float
    alarm: bool


def usual_share(window: Sequence[Seen]) -> float:
    """The share of bad answers in a window of checks, shrunk towards `PRIOR_BAD / PRIOR_ASKED`."""
    bad, asked = sum(seen.bad for seen in window), sum(seen.asked for seen in window)
    return (bad + PRIOR_BAD) / (asked + PRIOR_ASKED)


def drift(now: Seen, past: Sequence[Seen], settings: DriftSettings) -> Drift | None:
    """The statistic after `now`; `past` holds the earlier checks of the same probes, the newest first.

    None where there is no past: the first check of a suite has nothing to differ from. After an alarm the sum begins
    anew, so that it goes on alarming while the rise lasts and ends with it.
    """
    window = past[: settings.window]
    if not window or not now.asked:
        return None
    usual = min(HIGHEST_SHARE - settings.shift, usual_share(window))
    risen = usual + settings.shift
    carried = window[0].statistic or 0.0
    before = 0.0 if carried >= settings.threshold else carried
    gained = now.bad * math.log(risen / usual) + (now.asked - now.bad) * math.log((1 - risen) / (1 - usual))
    statistic = max(0.0, before + gained)
    return Drift(statistic, statistic >= settings.threshold)
