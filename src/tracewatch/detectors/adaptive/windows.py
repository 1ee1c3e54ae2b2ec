"""Trailing windows over five-minute sums, and how surprising a window is.

mean of n standardised residuals m: z = m / (g sqrt(noise/n + sigma_w^2)); noise is 1, or less where calls do not sway
together and a normal tail can be trusted; sigma_w (natural wobble) and g (self-calibration) are learned from the
series' own past windows. Rate of k in n at base p: the root of the binomial deviance with half a count taken off
(McCullagh and Nelder 1989), divided by its g. The combination is our own.
"""

from math import log

import numpy as np

from .arrays import Floats, Ints

WINDOWS = (3, 6, 12, 24, 36, 72, 144, 288)  # ticks of five minutes: a quarter of an hour to a day
STEPS = (1, 1, 1, 2, 2, 3, 6, 6)  # looked at every so many ticks: a day's mean does not move in five minutes
HISTORY = 288  # ticks kept: the longest window
HOUR = 12  # ticks
CERTAIN = 0.9999  # a base of 1 has no upper tail
DAY = 288
SAMPLES = 14 * 24  # hourly samples of each window from which its natural movement is learned


def hours_between(since: int, tick: int) -> Ints:
    """The last ticks of the whole hours that end after `since` and by `tick`.

    >>> hours_between(3, 30)
    array([11, 23])
    """
    return np.arange(-(-(since - HOUR + 1) // HOUR), tick // HOUR) * HOUR + HOUR - 1


def deviance_root(k: Floats, n: Floats, p: Floats) -> Floats:
    """Root of the binomial deviance of k hits in n above the share p, half a count towards it; 0 below."""
    out, mean = np.zeros(k.shape), n * p
    high = np.nonzero(k > mean + 0.5)
    if len(high[0]):
        hits, calls, mean = k[high] - 0.5, n[high], np.maximum(mean[high], 1e-12)
        rest = np.maximum(calls - hits, 1e-12)
        deviance = hits * np.log(hits / mean) + rest * np.log(rest / np.maximum(calls - mean, 1e-12))
        out[high] = np.sqrt(2 * np.maximum(deviance, 0))
    return out


def deviance_root_of(k: float, n: float, p: float) -> float:
    """The same for one window.

    >>> round(deviance_root_of(10.5, 100, 0.05), 2)
    2.05
    """
    mean, k = max(n * p, 1e-12), k - 0.5
    if k <= mean:
        return 0.0
    rest = max(n - k, 1e-12)
    return float((2 * max(0.0, k * log(k / mean) + rest * log(rest / max(n - mean, 1e-12)))) ** 0.5)
