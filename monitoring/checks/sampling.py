"""How many must be asked for a stated error, and how sure a share is: Wilson's interval and its inverse."""

import math

Z_95 = 1.959964


def wilson(hits: int, trials: int) -> tuple[float, float]:
    """The Wilson score interval of a share: it holds the true one 95 times in 100.

    At both ends it ends where the share does, exactly: a floor of 1 can be held.
    """
    from scipy.stats import binomtest  # half a second, which no other command need pay

    low, high = binomtest(hits, trials).proportion_ci(0.95, method="wilson")
    return float(low), float(high)


def sample_size(error: float, *, share: float, z: float = Z_95) -> int:
    """How many must be asked so that, where the true share is `share`, Wilson's interval reaches `error` to each side.

    The floor is where a wrong verdict would hurt, so the floor is the share to ask for: near 1 the same error
    needs far fewer probes than at one half.
    """
    if not 0 < error < 1:
        raise ValueError(f"an error bound lies between 0 and 1, not at {error}")
    low, high = 1, 1
    while _half_width(high, share, z) > error:
        low, high = high, 2 * high
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if _half_width(middle, share, z) <= error else (middle + 1, high)
    return high


def _half_width(trials: int, share: float, z: float) -> float:
    return z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials)) / (1 + z * z / trials)
