"""How likely an alert is real: a logistic curve of how far beyond its limit it is, learned where the truth is known.

Our own. `python -m benchmarks calibration` shows how often alerts of each confidence are real on cases that were not
fitted; with `--fit` it prints the numbers below anew.
"""

from collections.abc import Mapping

import numpy as np

from .alerts import Alert

# Log odds of an alert that is just beyond its limit, by what it is about. What people ask and get changes by itself
# more often than the rest.
AT_LIMIT: Mapping[str, float] = {"point": 2.50, "volume": 1.82, "size": 1.14, "rest": 1.72}
PER_DOUBLING = 3.72  # log odds gained when the severity is twice as far
MOST = 0.98  # some 700 alerts were fitted: more cannot be known from them
SIZES = frozenset({"input_tokens", "output_tokens", "total_tokens", "context_tokens"})


def sort_of(alert: Alert) -> str:
    """What an alert is about: a single call, how many there are, how large they are, or the rest."""
    if alert.kind == "point":
        return "point"
    if alert.metric == "call_count":
        return "volume"
    return "size" if alert.metric in SIZES else "rest"


def doublings(alert: Alert) -> float:
    """How often the limit has to be doubled to reach the alert's severity; 0 at the limit, which `score` says."""
    times = -np.log2(1.0 - min(alert.score, 1 - 1e-6))
    return float(np.log2(max(times, 1.0)))


def confidence(alert: Alert) -> float:
    """The probability that something real is behind an alert, if there is about one incident a day."""
    odds = AT_LIMIT[sort_of(alert)] + PER_DOUBLING * doublings(alert)
    return float(min(1.0 / (1.0 + np.exp(-odds)), MOST))
