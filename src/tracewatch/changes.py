"""What changed shortly before it began: values seen for the first time, and sizes that moved to another level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp

import numpy as np

from tracewatch.slices import Bools, Coded, Floats, Integers, Value

FEWEST_BEFORE = 20  # calls that report the column before a value is called new; the first day, everything is
FEWEST_NEW = 5  # calls with the value; the mean of fewer is chance
REACH_S = 6 * 3600.0  # a change longer ago than that would have shown before
HALF_LIFE_S = 3600.0  # an hour between a change and its effect halves how likely it is the cause
LATE_HALF_LIFE_S = 600.0  # a cause comes first; but when something began is only known to some minutes
LEAST_STEP = 1.1  # of the median; a size that moved less changes neither money nor time much
SURE = 1e-3  # chance of such a shift in calls whose size did not move


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """Something that became different near the onset, as a candidate cause."""

    column: str
    value: Value | float
    """The new value; of a size, its new median."""
    was: Value | float
    """The value most common before (None where there was none); of a size, its old median."""
    time_s: float
    """When the new value came first, epoch seconds."""
    coverage: float
    """The share of the affected calls that carry the new value, 0 to 1."""
    before: float
    """The metric's mean over the calls before the onset without the new value; NaN where it was not measured."""
    after: float
    """Its mean over the calls from the onset on with the new value."""
    without: float
    """Its mean over the calls from the onset on without it: if these moved as well, it is not the cause."""
    score: float
    """How good a candidate it is, 0 to 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Calls:
    """The rows that changes are looked for in, and the time of what they are to explain."""

    times: Floats
    metric: Floats
    affected: Bools
    onset_s: float


def candidate_changes(
    times: Floats,
    metric: Floats,
    onset_s: float,
    *,
    values: Mapping[str, Coded],
    sizes: Mapping[str, Floats],
    affected: Bools | None = None,
) -> tuple[Shift, ...]:
    """Changes of values and sizes within six hours of the onset, the best candidate first.

    One entry a call: `times` in epoch seconds, `metric` as it was measured (any unit, NaN for absent), `values`
    categorical (model snapshot, version, retrieval method), the best known first, `sizes` numeric (prompt tokens, NaN
    for absent), `affected` the calls the finding is about (all from the onset on, unless given). Calls may come in any
    order.

    A value is new when at least 20 earlier calls report the column and none has it, and at least 5 calls do. A size has
    moved when its best split in time is beyond chance (`level_shift`) and its median changed by a tenth.

        score = coverage × closeness × contrast × (1 + precision) / 2
        closeness = ½ ^ (hours from change to onset), ½ ^ (each ten minutes) for a change after the onset
        contrast = (after - without) / (after - before), within 0 to 1; 1 where no call is without it, 0 where calls
                   with it moved the other way than all calls did
        precision = the share of affected calls among those from the onset on with the new value

    Of equal scores (to the hundredth) the one that fewer calls carry is first: it says more. Our own.

    >>> from tracewatch.slices import coded
    >>> times, slow = np.arange(60.0) * 60, np.array([1.0] * 40 + [3.0] * 20)
    >>> version = coded(["1.0"] * 39 + ["1.1"] * 21)
    >>> [change] = candidate_changes(times, slow, 2400.0, values={"app_version": version}, sizes={})
    >>> change.value, change.was, change.time_s, change.coverage, change.before, change.after, round(change.score, 3)
    ('1.1', '1.0', 2340.0, 1.0, 1.0, 3.0, 0.989)
    """
    after = times >= onset_s
    calls = _Calls(times=times, metric=metric, affected=after if affected is None else affected, onset_s=onset_s)
    found = [
        (change, carried) for name, column in values.items() for change, carried in _new_values(calls, name, column)
    ]
    found += [pair for name, column in sizes.items() for pair in _moved(calls, name, column)]
    found.sort(key=lambda pair: (-round(pair[0].score, 2), int((pair[1] & after).sum())))
    return tuple(change for change, _ in found if change.score > 0)


def level_shift(values: Floats) -> tuple[int, float]:
    """Where a series moved to another level, as the position of the first value after, and the chance of such a split.

    `K = max |U(k)|`, `U(k) = 2 · (sum of the first k ranks) - k · (n + 1)`; `p ≈ 2 · exp(-6 K² / (n³ + n²))`, at
    most 1. Ranks only, so tails do not matter; equal values share their mean rank. Source: Pettitt, A non-parametric
    approach to the change-point problem, Applied Statistics 28 (1979).

    >>> place, chance = level_shift(np.array([1.0, 2, 1, 2, 1, 2, 1, 2, 9, 8, 9, 8, 9, 8, 9, 8]))
    >>> place, round(chance, 4)
    (8, 0.0071)
    """
    n = len(values)
    if n < 2:
        return 0, 1.0
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[which]
    split = np.abs(2 * np.cumsum(ranks)[:-1] - np.arange(1, n) * (n + 1))
    place = int(np.argmax(split))
    return place + 1, min(1.0, 2 * exp(-6 * float(split[place]) ** 2 / (n**3 + n**2)))


def _new_values(calls: _Calls, name: str, column: Coded) -> list[tuple[Shift, Bools]]:
    """The values of a column that came first near the onset."""
    codes, words = column
    reported = np.array([word is not None for word in words])[codes] if len(words) else np.zeros(0, dtype=np.bool_)
    first = np.full(len(words), np.inf)
    np.minimum.at(first, codes, calls.times)
    sizes = np.bincount(codes, minlength=len(words))
    near = (np.abs(first - calls.onset_s) <= REACH_S) & (sizes >= FEWEST_NEW)
    known = np.sort(calls.times[reported])
    found = []
    for code in np.flatnonzero(near).tolist():
        if words[code] is not None and np.searchsorted(known, first[code]) >= FEWEST_BEFORE:
            earlier = codes[reported & (calls.times < first[code])]
            found.append(
                _change(calls, name, words[code], _commonest(earlier, words), float(first[code]), codes == code)
            )
    return found


def _commonest(codes: Integers, words: Sequence[Value]) -> Value:
    """The value most calls have; of several, the first by the alphabet."""
    counts = np.bincount(codes, minlength=len(words))
    return min((words[code] for code in np.flatnonzero(counts == counts.max()).tolist()), key=str)


def _moved(calls: _Calls, name: str, sizes: Floats) -> list[tuple[Shift, Bools]]:
    """The level shift of a size near the onset, if there is one."""
    near = np.flatnonzero(np.isfinite(sizes) & (np.abs(calls.times - calls.onset_s) <= REACH_S))
    near = near[np.lexsort((sizes[near], calls.times[near]))]
    place, chance = level_shift(sizes[near])
    if chance > SURE or min(place, len(near) - place) < FEWEST_BEFORE:
        return []
    old, new = float(np.median(sizes[near[:place]])), float(np.median(sizes[near[place:]]))
    if min(old, new) <= 0 or max(old, new) / min(old, new) < LEAST_STEP:
        return []
    time_s = float(calls.times[near[place]])
    middle = (old * new) ** 0.5
    carried = (sizes > middle if new > old else sizes < middle) & (calls.times >= time_s)
    return [_change(calls, name, new, old, time_s, carried)]


def _change(
    calls: _Calls, column: str, value: Value | float, was: Value | float, time_s: float, carried: Bools
) -> tuple[Shift, Bools]:
    """The candidate and the calls that carry it."""
    later, measured = calls.times >= calls.onset_s, np.isfinite(calls.metric)
    before = _mean(calls.metric[~later & ~carried & measured])
    after, without = (_mean(calls.metric[later & some & measured]) for some in (carried, ~carried))
    everyone = _mean(calls.metric[later & measured])
    affected = int(calls.affected.sum())
    carrying, hit = int((later & carried).sum()), int((calls.affected & carried).sum())
    coverage = hit / affected if affected else 0.0
    precision = min(1.0, hit / carrying) if carrying else 0.0
    return Shift(
        column=column,
        value=value,
        was=was,
        time_s=time_s,
        coverage=coverage,
        before=before,
        after=after,
        without=without,
        score=coverage
        * _closeness(time_s - calls.onset_s)
        * _contrast(before, after, without, everyone)
        * (1 + precision)
        / 2,
    ), carried


def _mean(values: Floats) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _closeness(late_s: float) -> float:
    """1 at the onset, falling by half for each hour before and each ten minutes after it."""
    return float(0.5 ** (late_s / LATE_HALF_LIFE_S if late_s > 0 else -late_s / HALF_LIFE_S))


def _contrast(before: float, after: float, without: float, everyone: float) -> float:
    """How much of the move only the calls with the new value made; 1 where nothing speaks against it."""
    moved = after - before
    if (everyone - before) * moved <= 0:
        return 0.0
    if np.isnan(without) or np.isnan(moved):
        return 1.0
    return float(np.clip((after - without) / moved, 0, 1))
