"""Which slice of the calls an excess comes from: the attributes that the affected calls have in common."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tracewatch.slices import FEWEST_ROWS, Coded, Evidence, Floats, Group, Value, best_slice, evidence, single_slices

AHEAD = 0.15  # its share of the excess beyond its share of the calls; with less a slice has what it would anyway
MOST = 0.5  # of the excess, or the slice is not *the* cause
MOST_EXPLAINING, MOST_OF_ONE_COLUMN, MOST_OTHERS = 6, 2, 2  # rows of a list people read


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """A slice, and how much of the excess and of all calls it holds."""

    slice: Mapping[str, Value]
    of_excess: float
    """0 to 1."""
    of_calls: float
    """0 to 1."""
    fit: float
    """The share of the rows' variance that belonging to the slice explains, 0 to 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribution:
    """Where an excess comes from."""

    best: Share | None
    """The slice that explains most of the excess; None when it is spread over all of them."""
    explaining: tuple[Share, ...]
    """Slices with clearly more of the excess than of the calls, the best first; at most six."""
    others: tuple[Share, ...]
    """The largest slices of the first columns that explain nothing, for comparison; at most two."""


NOTHING = Attribution(best=None, explaining=(), others=())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Amounts:
    """Whose shares are told: the names of the columns, the evidence and what each row adds to the excess."""

    names: Sequence[str]
    given: Evidence
    excess: Floats

    def share(self, group: Group) -> Share:
        """What a slice holds, wild calls in full."""
        given = self.given
        inside = np.ones(len(self.excess), dtype=np.bool_)
        for place in group.places:
            inside &= given.codes[place] == given.codes[place][group.row]
        return Share(
            slice=dict(zip((self.names[place] for place in group.places), given.values(group), strict=True)),
            of_excess=float(np.clip(self.excess[inside].sum() / self.excess.sum(), 0, 1)),
            of_calls=float(given.weights[inside].sum() / given.total),
            fit=min(1.0, group.score / given.variance),
        )


def attribute(columns: Mapping[str, Coded], excess: Floats, weights: Floats | None = None) -> Attribution:
    """The slice of up to three attributes that explains the excess best, and what else is worth knowing about it.

    `columns` are categorical, the best known first; `excess` has one number a row, observed minus expected of one call
    in any unit, positive meaning bad (of a rate: 1 or 0 minus the expected rate); `weights` is how many calls a row
    stands for, 1 unless given. Rows with an excess that is not finite do not count. Absent values make no slice.

    The rows should be all calls of the time, not the bad ones alone: a slice is told by what the others do not have. A
    column that says the same as the excess (the error category, of an error rate) will be found and explain nothing.

    The search is `best_slice`, exact. A slice explains when it explains more than chance does and its share of the
    excess is 15 points beyond its share of the calls; it is the best when it also holds half of the excess. Rows may
    come in any order. Our own, of the parts that `best_slice` cites.

    >>> from tracewatch.slices import coded
    >>> columns = {"model": coded(["a"] * 50 + ["b"] * 50), "day": coded(["mon", "tue"] * 50)}
    >>> found = attribute(columns, np.array([0.0, 0.1] * 25 + [2.0, 2.1] * 25))
    >>> dict(found.best.slice), round(found.best.of_excess, 3), found.best.of_calls
    ({'model': 'b'}, 0.976, 0.5)
    >>> [(dict(other.slice), round(other.of_excess, 2), other.of_calls) for other in found.others]
    [({'day': 'mon'}, 0.48, 0.5)]
    """
    weights = np.ones(len(excess)) if weights is None else weights
    kept = np.flatnonzero(np.isfinite(excess) & (weights > 0))
    excess, weights = excess[kept], weights[kept]
    if len(kept) < 2 * FEWEST_ROWS or (excess * weights).sum() <= 0:
        return NOTHING
    given = evidence([(codes[kept], words) for codes, words in columns.values()], excess, weights)
    single = single_slices(given)
    if not single or given.variance <= 0:
        return NOTHING
    amounts = _Amounts(names=list(columns), given=given, excess=excess * weights)
    winner = best_slice(given, single)
    explaining = _explaining(amounts, [winner, *(group for group in single if group is not winner)])
    best = explaining[0] if explaining and explaining[0].of_excess >= MOST else None
    return Attribution(best=best, explaining=explaining, others=_others(amounts, single))


def _explaining(amounts: _Amounts, groups: Sequence[Group]) -> tuple[Share, ...]:
    """The slices with clearly more of the excess than of the calls, few of one column."""
    limit = amounts.given.by_chance(groups[0].score, sum(len(words) for words in amounts.given.words))
    found: list[Share] = []
    of_column: Counter[tuple[int, ...]] = Counter()
    for group in groups:
        if len(found) == MOST_EXPLAINING or group.score < limit:
            break
        if of_column[group.places] < MOST_OF_ONE_COLUMN:
            share = amounts.share(group)
            if share.of_excess - share.of_calls >= AHEAD:
                of_column[group.places] += 1
                found.append(share)
    return tuple(found)


def _others(amounts: _Amounts, single: Sequence[Group]) -> tuple[Share, ...]:
    """The largest value of each of the first columns, where it has as much of the excess as of the calls."""
    given = amounts.given
    found: list[Share] = []
    for place in range(len(amounts.names)):
        weights = np.bincount(given.codes[place], given.weights, len(given.words[place]))
        of_column = [group for group in single if group.places == (place,)]
        if not of_column or len(found) == MOST_OTHERS:
            continue
        largest = min(of_column, key=lambda each: (-weights[given.codes[place][each.row]], str(given.values(each)[0])))
        share = amounts.share(largest)
        if abs(share.of_excess - share.of_calls) < AHEAD and share.of_calls < 1:
            found.append(share)
    return tuple(found)
