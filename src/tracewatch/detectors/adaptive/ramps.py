"""Did a level step up, or does it creep? Two likelihood ratios over the last day, each with its own best onset.

With n calls and sum s of surprises a tick, at unit variance: of a step from tick a on, (sum s)^2 / sum n; of a ramp
that starts there, (sum u s)^2 / sum u^2 n with u = t - a + 1/2. The larger maximum over a names the shape: a
generalised likelihood ratio (Willsky and Jones 1976) with two alternatives.
"""

import numpy as np

from .arrays import Floats

LEAST_TICKS = 12  # an hour: of less nobody can say


def creeps(n: Floats, s: Floats) -> bool:
    """Does a ramp explain the last ticks better than a step?

    >>> t = np.arange(200.0)
    >>> creeps(np.full(200, 9.0), np.maximum(t - 80, 0) * 0.1), creeps(np.full(200, 9.0), (t > 80) * 5.0)
    (True, False)
    """
    t = np.arange(len(n)) + 0.5
    calls, first, second = (since(n * t**k) for k in (0, 1, 2))
    total, moment = since(s), since(s * t)
    a = np.arange(len(n), dtype=float)
    step = total**2 / np.maximum(calls, 1)
    spread = second - 2 * a * first + a * a * calls  # sum of u^2 n
    ramp = (moment - a * total) ** 2 / np.maximum(spread, 1)
    usable = slice(0, max(len(n) - LEAST_TICKS, 1))
    return bool(ramp[usable].max() > step[usable].max())


def since(x: Floats) -> Floats:
    """Sums from each tick to the last."""
    return np.asarray(np.cumsum(x[::-1])[::-1])
