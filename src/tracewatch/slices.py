"""The exact search for the slice of rows, by up to three attributes, whose numbers differ most from the rest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import log

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Bools = NDArray[np.bool_]
Value = str | bool | None
Coded = tuple[Integers, Sequence[Value]]
"""A categorical column: one number a row, and what each number stands for; None stands for absent."""
Grouped = dict[tuple[int, int], tuple[Integers, Floats]]
"""Per pair of columns, the number of each row's pair of values and the most a slice inside that pair explains."""

FEWEST_ROWS = 5  # the mean of fewer rows is chance
GAIN = 1.15  # what one attribute more has to explain: tests/test_attribution.py measures how often that is right
CHANCE = 0.01  # how often the best of all slices may look this good where nothing is wrong
TAIL = 5.0  # robust standard deviations a single row may count for
WILD_ROWS = 10  # fewer are single calls, whatever they have in common


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A slice: which columns it is of, one of its rows (which has its values) and the variance it explains."""

    places: tuple[int, ...]
    row: int
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The rows as the search sees them: columns by place, and one number a row."""

    codes: Sequence[Integers]
    words: Sequence[Sequence[Value]]
    weights: Floats
    pulls: Floats
    """Weight × distance of the (cut) excess from its mean."""
    squares: Floats
    """Weight × squared distance, of rows above the mean."""
    variance: float
    total: float
    """The sum of all weights."""

    def scores(self, groups: Integers, rows: Integers, count: int) -> tuple[Floats, Floats]:
        """For each group of these rows how much variance it explains, and the most any part of it can."""
        sizes = np.bincount(groups, minlength=count)
        pull = np.bincount(groups, self.pulls[rows], count)
        weight = np.bincount(groups, self.weights[rows], count)
        rest = self.total - weight
        least = 1e-9 * self.total  # what is left of the rest, by rounding, when a group has every row
        usable = (sizes >= FEWEST_ROWS) & (rest > least)
        some, whole = np.where(usable, weight, 1.0), np.where(usable, self.total / np.maximum(rest, least), 0.0)
        found = np.where(pull > 0, np.square(pull) / some * whole, 0.0)
        most = np.bincount(groups, self.squares[rows], count) * (self.total / np.maximum(rest, least))
        return found, np.where(sizes >= FEWEST_ROWS, most, 0.0)

    def most(self, rows: Integers) -> float:
        """The most that any slice of these rows can explain."""
        rest = max(self.total - float(self.weights[rows].sum()), 1e-9 * self.total)
        return float(self.squares[rows].sum()) * self.total / rest

    def by_chance(self, explained: float, slices: int) -> float:
        """What the best of so many slices explains where nothing is wrong: χ² of one degree, in CHANCE of cases."""
        noise = max(self.variance - explained, 1e-12 * self.variance) / len(self.weights)
        return 2 * noise * log(max(slices, 1) / CHANCE)

    def values(self, group: Group) -> list[Value]:
        """What the slice's columns are in it."""
        return [self.words[place][self.codes[place][group.row]] for place in group.places]

    def order(self, group: Group) -> tuple[float, tuple[int, ...], list[str]]:
        """The best first; of equally good ones fewer and better known columns, then by the alphabet."""
        # Summing rows in another order changes the last digits, which must not decide.
        return -float(f"{group.score:.9g}"), group.places, [str(value) for value in self.values(group)]


def coded(values: Iterable[Value]) -> Coded:
    """A list of values as a categorical column.

    >>> codes, words = coded(["b", None, "b"])
    >>> codes.tolist(), words
    ([0, 1, 0], ['b', None])
    """
    places: dict[Value, int] = {}
    codes = [places.setdefault(value, len(places)) for value in values]
    return np.array(codes, dtype=np.int64), list(places)


def evidence(columns: Sequence[Coded], excess: Floats, weights: Floats) -> Evidence:
    """The rows, with their excess as a distance from its mean; a single wild row counts for a bounded one.

    Excess is cut around its median at five robust standard deviations (1.4826 × the median distance from it), or at the
    tenth largest distance if that is more: a few wild calls make no slice, ten may.
    """
    total = float(weights.sum())
    middle = float(np.median(excess))
    distances = np.sort(np.abs(excess - middle))
    reach = max(TAIL * 1.4826 * float(np.median(distances)), float(distances[-min(WILD_ROWS, len(distances))]))
    cut = np.clip(excess, middle - reach, middle + reach)
    distances = cut - float(weights @ cut) / total
    return Evidence(
        codes=[codes for codes, _ in columns],
        words=[words for _, words in columns],
        weights=weights,
        pulls=weights * distances,
        squares=weights * np.square(np.maximum(distances, 0)),
        variance=float(weights @ np.square(distances)),
        total=total,
    )


def single_slices(given: Evidence) -> list[Group]:
    """Every value of every column that has enough rows, the one that explains most first."""
    rows = np.arange(len(given.weights))
    groups = []
    for place, (codes, words) in enumerate(zip(given.codes, given.words, strict=True)):
        found, _ = given.scores(codes, rows, len(words))
        sizes = np.bincount(codes, minlength=len(words))
        last = np.zeros(len(words), dtype=np.int64)
        last[codes] = rows
        usable = [code for code in np.flatnonzero(sizes >= FEWEST_ROWS).tolist() if words[code] is not None]
        groups += [Group(places=(place,), row=int(last[code]), score=float(found[code])) for code in usable]
    return sorted(groups, key=given.order)


def best_slice(given: Evidence, single: Sequence[Group]) -> Group:
    """The slice that explains most variance, of one, two or three attributes, where each more has to earn its place.

    `single` are the slices of one attribute, best first, at least one. A slice S with weight `W`, of all `N`, and
    summed distance `C` of its excess from the mean of all rows explains `C² / W · N / (N - W)` of the variance: that
    between rows inside and outside (the split criterion of Breiman et al., Classification and Regression Trees, 1984).
    Too wide a slice loses by W, too narrow a one by C.

    All combinations are considered: one is left aside only when the bound `Σ w d²` over its rows above the mean (times
    the same factor) cannot reach what is needed, an optimistic estimate as in Lemmerich, Atzmueller & Puppe, Data
    Mining and Knowledge Discovery 30 (2016). One attribute more must explain 15 % more, and beyond that more than the
    best of as many slices does by pure chance once in a hundred times; this rule is our own.
    """
    best = single[0]
    alive = _alive(given, best.score * GAIN)
    pairs, looked_at, grouped = _pairs(given, alive, best.score * GAIN)
    best, needed = _better(given, best, pairs, looked_at, best.score * GAIN)
    triples, looked_at = _triples(given, grouped, needed)
    return _better(given, best, triples, looked_at, needed)[0]


def _better(given: Evidence, best: Group, found: Sequence[Group], looked_at: int, needed: float) -> tuple[Group, float]:
    """The best of these if it explains what it needs to, and what one attribute more would have to."""
    needed = max(needed, best.score + given.by_chance(best.score, looked_at))
    enough = [group for group in found if group.score >= needed]
    if not enough:
        return best, needed * GAIN
    best = min(enough, key=given.order)
    return best, best.score * GAIN


def _alive(given: Evidence, needed: float) -> list[Bools]:
    """Per column, the rows whose value may be part of a better slice."""
    rows = np.arange(len(given.weights))
    found = []
    for codes, words in zip(given.codes, given.words, strict=True):
        _, most = given.scores(codes, rows, len(words))
        found.append(((most >= needed) & np.array([word is not None for word in words]))[codes])
    return found


def _pairs(given: Evidence, alive: Sequence[Bools], needed: float) -> tuple[list[Group], int, Grouped]:
    """The good slices of two columns, how many slices were looked at, and which rows may go on."""
    best: list[Group] = []
    looked_at = 0
    grouped: Grouped = {}
    for one, other in combinations(range(len(given.codes)), 2):
        rows = np.flatnonzero(alive[one] & alive[other])
        if len(rows) < FEWEST_ROWS:
            continue
        groups, count = _combined(given.codes[one][rows], given.codes[other][rows])
        found, most = given.scores(groups, rows, count)
        looked_at += int(np.count_nonzero(np.bincount(groups)))
        best += _enough((one, other), found, groups, rows, needed)
        numbers, bounds = np.zeros(len(given.weights), dtype=np.int64), np.zeros(len(given.weights))
        numbers[rows], bounds[rows] = groups, most[groups]
        grouped[one, other] = numbers, bounds
    return best, looked_at, grouped


def _triples(given: Evidence, grouped: Grouped, needed: float) -> tuple[list[Group], int]:
    """The good slices of three columns, and how many slices were looked at."""
    best: list[Group] = []
    looked_at = 0
    alive = {places: bounds >= needed for places, (_, bounds) in grouped.items()}
    alive = {places: rows for places, rows in alive.items() if rows.any()}
    for one, other, third in combinations(range(len(given.codes)), 3):
        if not {(one, other), (one, third), (other, third)} <= alive.keys():
            continue
        rows = np.flatnonzero(alive[one, other] & alive[one, third] & alive[other, third])
        if len(rows) < FEWEST_ROWS or given.most(rows) < needed:
            continue
        groups, count = _combined(grouped[one, other][0][rows], given.codes[third][rows])
        found, _ = given.scores(groups, rows, count)
        looked_at += int(np.count_nonzero(np.bincount(groups)))
        best += _enough((one, other, third), found, groups, rows, needed)
    return best, looked_at


def _combined(one: Integers, other: Integers) -> tuple[Integers, int]:
    """Pairs of numbers as one number each, and how many numbers that takes."""
    width = int(other.max()) + 1
    both = one * width + other
    size = int(both.max()) + 1
    if size <= 4 * len(both) + 1000:
        return both, size
    distinct, numbers = np.unique(both, return_inverse=True)
    return numbers.astype(np.int64), len(distinct)


def _enough(places: tuple[int, ...], found: Floats, groups: Integers, rows: Integers, needed: float) -> Iterator[Group]:
    """The slices of these columns that explain what is needed."""
    for group in np.flatnonzero(found >= needed).tolist():
        yield Group(places=places, row=int(rows[np.argmax(groups == group)]), score=float(found[group]))
