"""What one token of each kind cost, read off the calls themselves."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

KINDS = ("uncached input", "cache read", "cache write", "output")
FEWEST_CALLS = 5  # four unknown prices want more equations than unknowns
ROUNDS = 10  # of reweighting; with a tenth of 200 calls priced otherwise, prices then miss by 1e-6, at worst 2e-4
PRICE_STEP = 1e-3  # of the cost; a change of prices smaller than that is not worth a row
BETTER = 0.5  # two price lists must halve what one leaves over; where costs are rounded, or odd, they do not
EXACT = 1e-9  # of the cost: what float arithmetic leaves over
PULL = 1e-10  # towards the shared prices, only felt where a period says nothing about a kind


def unit_prices(tokens: Floats, costs: Floats, towards: Floats | None = None) -> Floats:
    """Dollars per token of each kind, shape (4,) in the order of KINDS, never negative.

    `tokens` has shape (calls, 4), `costs` shape (calls,) in dollars, both finite. Minimises `Σ |cost - tokens · price|`
    over prices >= 0, so that a minority of calls priced otherwise does not move the prices. Kinds that the calls
    cannot tell apart get any of the prices that fit; with `towards`, shape (4,), the one nearest to these.

    Source: Lawson & Hanson, Solving Least Squares Problems (1974), for non-negative least squares (four unknowns allow
    trying every set of positive prices); iterative reweighting towards least absolute deviations after Schlossmacher,
    JASA 68 (1973).

    >>> calls = np.array([[1000.0, 0, 0, 100], [0, 1000, 0, 100], [500, 500, 0, 300], [0, 0, 1000, 0], [9, 9, 9, 9]])
    >>> unit_prices(calls, calls @ [3e-6, 3e-7, 3.75e-6, 15e-6]).round(9).tolist()
    [3e-06, 3e-07, 3.75e-06, 1.5e-05]
    """
    scale = np.sqrt(np.square(tokens).sum(axis=0))
    scale = np.where(scale > 0, scale, max(float(scale.max(initial=0)), 1.0))
    design, pull = tokens / scale, None if towards is None else towards * scale
    prices = _non_negative(design, costs, pull)
    usual = float(np.abs(costs).mean()) if len(costs) else 0.0
    for _ in range(ROUNDS):
        left_over = np.abs(costs - design @ prices)
        if left_over.mean() <= EXACT * usual:
            break
        root = 1 / np.sqrt(np.maximum(left_over / usual, 1e-6))  # a call that fits exactly counts a thousand times more
        prices = _non_negative(design * root[:, None], costs * root, pull)
    return np.asarray(prices / scale, dtype=np.float64)


def price_lists(before: tuple[Floats, Floats], after: tuple[Floats, Floats]) -> tuple[Floats, Floats] | None:
    """The prices of one model before and after, each of shape (4,); the same ones unless they must have changed.

    Each period is `(tokens, costs)` as `unit_prices` takes them. One list is fitted to both periods together. Two are
    used when each period has at least five calls, one list misses more than 0.1 % of the cost of either, and two leave
    over less than half of that. None when both periods together have fewer than five calls. Our own.

    >>> calls = np.array([[1000.0, 0, 0, 100], [2000, 0, 0, 100], [1000, 0, 0, 300], [400, 0, 0, 50], [9, 0, 0, 9]])
    >>> cost = calls @ [3e-6, 0, 0, 15e-6]
    >>> old, new = price_lists((calls, cost), (calls, cost * 1.4))
    >>> (new[[0, 3]] / old[[0, 3]]).round(6).tolist()
    [1.4, 1.4]
    """
    tokens, costs = np.concatenate([before[0], after[0]]), np.concatenate([before[1], after[1]])
    if len(costs) < FEWEST_CALLS:
        return None
    shared = unit_prices(tokens, costs)
    missed = max(_missed(*before, shared), _missed(*after, shared))
    if min(len(before[1]), len(after[1])) < FEWEST_CALLS or missed <= PRICE_STEP:
        return shared, shared
    own = unit_prices(*before, _as_dear(*before, shared)), unit_prices(*after, _as_dear(*after, shared))
    improved = max(_missed(*before, own[0]), _missed(*after, own[1])) <= BETTER * missed
    return own if improved else (shared, shared)


def _missed(tokens: Floats, costs: Floats, prices: Floats) -> float:
    """The share of the cost that the prices do not account for."""
    total = float(np.abs(costs).sum())
    return float(np.abs(costs - tokens @ prices).sum()) / total if total > 0 else 0.0


def _as_dear(tokens: Floats, costs: Floats, shared: Floats) -> Floats:
    """The shared prices raised or lowered as a whole to what these calls cost: price lists move mostly as a whole."""
    expected = float((tokens @ shared).sum())
    return shared * (float(costs.sum()) / expected) if expected > 0 else shared


def _non_negative(design: Floats, costs: Floats, pull: Floats | None) -> Floats:
    """Least squares with no price below zero; over four unknowns, by trying which of them are positive."""
    if pull is not None:
        weight = np.sqrt(PULL) * max(1.0, float(np.abs(design).max(initial=0)))
        design = np.concatenate([design, weight * np.eye(len(KINDS))])
        costs = np.concatenate([costs, weight * pull])
    if not len(costs):
        return np.zeros(len(KINDS))
    # The same problem in at most five rows: the triangle of the design and of the costs beside it.
    triangle: Floats = np.asarray(np.linalg.qr(np.column_stack([design, costs]), mode="r"))
    small, aim = triangle[:, :-1], triangle[:, -1]
    every = range(len(KINDS))
    prices = _supported(small, aim, every)
    if prices.min() >= 0:
        return prices
    tried = [_supported(small, aim, some) for size in range(len(KINDS)) for some in combinations(every, size)]
    allowed = [each for each in tried if each.min() >= 0]
    return min(allowed, key=lambda each: float(np.square(aim - small @ each).sum()))


def _supported(design: Floats, costs: Floats, kinds: range | tuple[int, ...]) -> Floats:
    """Least squares with these prices free and the others 0; what is negative by rounding alone is 0."""
    prices = np.zeros(len(KINDS))
    if len(kinds):
        chosen = list(kinds)
        prices[chosen] = np.linalg.lstsq(design[:, chosen], costs, rcond=1e-12)[0]
    prices[np.abs(prices) <= 1e-12 * np.abs(prices).max()] = 0
    return prices
