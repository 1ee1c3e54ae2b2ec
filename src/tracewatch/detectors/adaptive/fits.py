"""Robust centres, spreads and fits that are fast on a thousand values. Tables are series x rows, nan where missing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .arrays import Flags, Floats, Ints

NEIGHBOURS = np.arange(24) - 1, (np.arange(24) + 1) % 24
RIDGE = 1e-6  # keeps a singular fit solvable; far below any real driver's weight


class Ordered:
    """The order statistics of each series of a table."""

    def __init__(self, table: Floats, count: Ints) -> None:
        self.sorted, self.count = np.sort(table, axis=1), count  # nan sorts last

    def some(self, which: Flags | slice) -> Ordered:
        """Of some of the series."""
        out = Ordered.__new__(Ordered)
        out.sorted, out.count = self.sorted[which], self.count[which]
        return out

    def at(self, q: float | Floats) -> Floats:
        """The value of each series nearest to its quantile q."""
        place = (q * (self.count - 1) + 0.5).astype(np.int64)
        return np.asarray(self.sorted[np.arange(len(place)), place])


def nonnegative(products: Floats, targets: Floats, count: Ints, use: Flags) -> Floats:
    """Least squares with coefficients >= 0 (negative ones leave one by one) of many series at once.

    Given as normal equations of `count` rows: products are series x drivers x drivers, targets and which drivers a
    series may use (and what is returned) series x drivers.
    """
    left, each = use.copy(), np.arange(use.shape[1])
    scale = np.sqrt(products[:, each, each] / count[:, None]) + 1e-12
    products, targets = products / (scale[:, :, None] * scale[:, None]), targets / scale
    while True:
        part = np.where(left[:, :, None] & left[:, None], products, 0.0)
        part[:, each, each] += np.where(left, RIDGE * count[:, None], 1.0)
        b = np.linalg.solve(part, np.where(left, targets, 0.0)[..., None])[..., 0]
        below = np.flatnonzero(b.min(1) < 0)
        if not len(below):
            return np.asarray(b / scale)
        left[below, b[below].argmin(1)] = False


def relative_fits(
    drivers: Floats, y: Floats, ordered: Ordered, uses: Sequence[Sequence[int]], known: Floats
) -> Floats:  # fmt: skip
    """b >= 0 of each series that minimises the clipped relative error of drivers @ b; known b are only polished.

    Drivers are rows x drivers, y (and its order) series x rows, known and what is returned series x drivers.
    """
    has, count = np.isfinite(y), ordered.count
    low, half, high = (ordered.at(q)[:, None] for q in (0.02, 0.5, 0.98))
    floor = 0.02 * half + 1e-12  # a fit near nothing would weigh its rows without end
    polish = bool(known.any())
    b, y, squares = known, np.where(has, y, 0.0), drivers[:, :, None] * drivers[:, None]
    allowed = np.array([[driver in use for driver in range(drivers.shape[1])] for use in uses])
    for step in (2,) if polish else (0, 1, 2):
        fit = np.maximum(b @ drivers.T, floor) if step else np.broadcast_to(half, y.shape)
        span = (fit * np.exp(-1.5), fit * np.exp(1.5)) if step else (low, high)  # 4.5 x either way is an accident
        weight = (has / np.maximum(fit, 1e-9)) ** 2
        products, targets = weight @ squares.reshape(len(drivers), -1), (weight * np.clip(y, *span)) @ drivers
        b = nonnegative(products.reshape(len(y), *squares.shape[1:]), targets, count, allowed)
    return b


def places(cells: Ints, series: int, size: int) -> Ints:
    """Where each row's cell is in a raveled table, series x size; cells are of all series, or series x rows."""
    return np.asarray(cells + size * np.arange(series)[:, None])


def cell_sums(place: Ints, weight: Floats, size: int) -> Floats:
    """Sums of a table's weights by series and cell (series x size)."""
    sums: Floats = np.bincount(place.ravel(), weight.ravel(), minlength=size * len(weight)).astype(float, copy=False)
    return sums.reshape(-1, size)


def cell_means(place: Ints, value: Floats, present: Floats, size: int, prior: float) -> Floats:
    """Mean by series and cell, shrunk to 0 by `prior` rows; absent values are 0."""
    return np.asarray(cell_sums(place, value, size) / (cell_sums(place, present, size) + prior))


def cell_centres(place: Ints, value: Floats, present: Floats, size: int, prior: float, width: Floats) -> Floats:
    """The same about each cell's own middle: what is further than 1.5 widths from it counts as that far (Huber)."""
    n, middle = cell_sums(place, present, size), np.zeros((len(value), size))
    for _ in range(2):
        rest = value - middle.ravel()[place]
        middle += cell_sums(place, present * np.clip(rest, -1.5 * width, 1.5 * width), size) / np.maximum(n, 1e-9)
    return np.asarray(middle * n / (n + prior))


def ring(x: Floats) -> Floats:
    """Hours smoothed with their neighbours (1/4, 1/2, 1/4) round the clock, along the last axis of 24."""
    return 0.5 * x + 0.25 * x[..., NEIGHBOURS[0]] + 0.25 * x[..., NEIGHBOURS[1]]


def profile(hour: Ints, z: Floats, present: Floats) -> Floats:
    """Means by hour (0..23 of weekdays, 24..47 of weekends) without the overall mean, series x 48; absent z are 0.

    Hour means are smoothed round the clock and shrunk n/(n+25), the weekend's remainder n/(n+50). Our own.
    """
    k = len(z)
    by_day, by_week = places(hour % 24, k, 24), places(hour, k, 48)
    n, s = cell_sums(by_day, present, 24), cell_sums(by_day, z, 24)
    p = ring(s) / (ring(n) + 25)
    p -= ((p * n).sum(1) / np.maximum(n.sum(1), 1))[:, None]
    rest = (z - p.ravel()[by_day]) * present
    n2, s2 = (cell_sums(by_week, x, 48).reshape(k, 2, 24) for x in (present, rest))
    q = ring(s2) / (ring(n2) + 50)
    q -= ((q * n2).sum((1, 2)) / np.maximum(n2.sum((1, 2)), 1))[:, None, None]
    return np.asarray((p[:, None] + q).reshape(k, 48))
