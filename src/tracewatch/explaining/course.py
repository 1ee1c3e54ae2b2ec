"""The metric of the slice over time, around the onset: what a chart draws."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tracewatch.explaining.calls import LEAD_S, Calls
from tracewatch.records import iso
from tracewatch.slices import Floats

POINTS = 60  # at most; as wide as a narrow terminal or a small chart
STEPS_S = (60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)


def document(calls: Calls) -> dict[str, Any]:
    """Evenly spaced points from six hours before the onset to the end, ready for JSON.

    `values` is the mean of the calls that began within each step, of volumes their number; null where none did.
    """
    times, begin = calls.numbers("start_time"), calls.story.since - LEAD_S
    step = step_of(calls.until - begin)
    start = math.floor(begin / step) * step
    count = math.ceil((calls.until - start) / step)
    which = calls.inside & ~calls.usual & (times >= start) & (times < start + count * step)
    if calls.measure.family != "volume":
        which &= np.isfinite(calls.values)
    places = ((times[which] - start) // step).astype(np.int64)
    weights = np.where(calls.since, calls.weights, 1.0)[which]
    sizes: Floats = np.bincount(places, weights, count).astype(np.float64)
    sums: Floats = np.bincount(places, weights * calls.values[which], count).astype(np.float64)
    values = sums if calls.measure.family == "volume" else _means(sums, sizes)
    return {
        "start": iso(start),
        "step_s": step,
        "values": [None if np.isnan(each) else float(each) for each in values.tolist()],
        "calls": [round(each) for each in sizes.tolist()],
    }


def step_of(length_s: float) -> int:
    """The shortest step with which so long a time has at most POINTS of them.

    >>> step_of(3600), step_of(8 * 3600), step_of(86400 * 365)
    (60, 600, 525600)
    """
    return next((each for each in STEPS_S if length_s / each <= POINTS), math.ceil(length_s / POINTS))


def _means(sums: Floats, sizes: Floats) -> Floats:
    found: Floats = np.divide(sums, sizes, out=np.full(len(sums), np.nan), where=sizes > 0)
    return found
