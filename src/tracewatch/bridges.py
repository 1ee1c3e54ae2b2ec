"""From what was expected to what came, in parts that add up: the money of calls, and their time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import combinations
from math import factorial, fsum

import numpy as np
from numpy.typing import NDArray

from tracewatch.unit_prices import price_lists

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Column = Floats | Sequence[str | None]
_Calls = tuple[Floats, Floats, float]
"""Of one model: tokens, costs, and how many calls these are."""

COST_PARTS = ("calls", "tokens per call", "model mix", "cache share", "price", "unexplained")
TOKENS = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "output_tokens")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One row of a bridge."""

    name: str
    change: float
    """What this part added (negative: saved), in the bridge's unit."""
    before: float | None = None
    """The quantity behind it, in its own unit; None where it is not one number, such as a mix."""
    after: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bridge:
    """A change of a total and the parts it consists of: `after - before` is the sum of their changes."""

    before: float
    after: float
    parts: tuple[Part, ...]

    @property
    def change(self) -> float:
        """How much more came than before."""
        return self.after - self.before

    def share(self, name: str) -> float:
        """The part's share of the change, 0 when there is none; beyond 1 when another part worked against it."""
        found = fsum(part.change for part in self.parts if part.name == name)
        return found / self.change if self.change else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Spending:
    """The calls of one period as the factors of their cost; arrays have one entry a model."""

    calls: float
    mix: Floats
    """Shares of the calls."""
    tokens: Floats
    """Shape (models, 2): input and output tokens per call."""
    cached: Floats
    """Shape (models, 2): shares of the input read from and written to the cache."""
    prices: Floats
    """Shape (models, 4): dollars per token."""
    other: Floats
    """Dollars per call that tokens and prices do not account for."""

    def cost(self) -> float:
        """Calls × mix × (tokens per call × cache shares × prices + the rest), in dollars."""
        sent, answered = self.tokens.T
        kinds = np.column_stack([sent * (1 - self.cached.sum(axis=1)), sent[:, None] * self.cached, answered])
        return self.calls * float(self.mix @ ((kinds * self.prices).sum(axis=1) + self.other))


def shapley(worth: Callable[[frozenset[int]], float], players: int) -> list[float]:
    """What each player adds to the worth, averaged over every order in which they may join.

    `worth` is asked once for each of the `2 ** players` sets. The sum is `worth(all) - worth(none)`, and no order has
    to be chosen. Source: Shapley, A value for n-person games (1953); as a decomposition of changes without a rest:
    Shorrocks, Journal of Economic Inequality 11 (2013).

    >>> shapley(lambda joined: (3 if 0 in joined else 2) * (50 if 1 in joined else 10), 2)
    [30.0, 100.0]
    """
    everyone = range(players)
    sets = [frozenset(some) for size in range(players + 1) for some in combinations(everyone, size)]
    worths = {some: worth(some) for some in sets}
    weights = [factorial(size) * factorial(players - size - 1) / factorial(players) for size in range(players)]
    return [
        fsum(weights[len(some)] * (worths[some | {player}] - worths[some]) for some in sets if player not in some)
        for player in everyone
    ]


def cost_bridge(before: Mapping[str, Column], after: Mapping[str, Column], *, ratio: float = 1.0) -> Bridge:
    """The change of cost between two groups of calls in dollars, by calls, tokens, model mix, cache share and price.

    Columns, one entry a call: `model_name`, and the numbers `input_tokens` (all of them, cached included),
    `cache_read_input_tokens`, `cache_creation_input_tokens`, `output_tokens` and `cost_usd`; NaN is absent. `ratio` is
    how much longer the second period is than the first: before counts as if its calls had been that many times more.
    With a column `calls`, an entry stands for that many calls of one model added up.

    The cost of a period is `calls × Σ mix × (Σ tokens per call × share × price + rest)` over models and the four kinds
    of tokens; each factor's part is its Shapley value, so the parts add up (to float rounding) and depend on no order.
    Prices are inferred from the calls (`price_lists`); what a model lacks in a period in which it was not called is
    taken from the other one, so a new model is a change of mix. `unexplained` is the change of what the token prices
    leave over: 0 when every call is priced by them, else calls without a cost, or priced differently from their like.
    Models never priced at all are left out. Our own; the decomposition is `shapley`'s.

    >>> calls = {"model_name": ["a"] * 6, "input_tokens": np.array([1e6, 2e6, 3e6] * 2), "output_tokens": np.zeros(6),
    ...          "cache_read_input_tokens": np.zeros(6), "cache_creation_input_tokens": np.zeros(6),
    ...          "cost_usd": np.array([3.0, 6, 9] * 2)}
    >>> longer = calls | {"input_tokens": calls["input_tokens"] * 2, "cost_usd": calls["cost_usd"] * 2}
    >>> bridge = cost_bridge(calls, longer)
    >>> bridge.before, bridge.after, {part.name: round(part.change, 6) for part in bridge.parts if part.change > 1e-6}
    (36.0, 72.0, {'tokens per call': 36.0})
    """
    assert ratio > 0, "a period is longer than nothing"
    models = _priced_models(before, after)
    groups = [_by_model(group, models) for group in (before, after)]
    lists = [_prices(old, new) for old, new in zip(*groups, strict=True)]
    spent = [_spending(group, [prices[which] for prices in lists]) for which, group in enumerate(groups)]
    first = replace(_completed(spent[0], spent[1]), calls=spent[0].calls * ratio)
    last = _completed(spent[1], spent[0])
    names = [field.name for field in fields(_Spending)]

    def worth(joined: frozenset[int]) -> float:
        return replace(first, **{names[place]: getattr(last, names[place]) for place in joined}).cost()

    order = [names.index(name) for name in ("calls", "tokens", "mix", "cached", "prices", "other")]
    changes = shapley(worth, len(names))
    quantities = zip(_quantities(first), _quantities(last), strict=True)
    return Bridge(
        before=_known_cost(groups[0]) * ratio,
        after=_known_cost(groups[1]),
        parts=tuple(
            Part(name=name, change=changes[place], before=old, after=new)
            for name, place, (old, new) in zip(COST_PARTS, order, quantities, strict=True)
        ),
    )


def _priced_models(*groups: Mapping[str, Column]) -> list[str | None]:
    """The models with a known cost in either group, in an order of their own."""
    priced: set[str | None] = set()
    for group in groups:
        known = np.isfinite(np.asarray(group["cost_usd"], dtype=np.float64)).tolist()
        priced.update(name for name, has_cost in zip(group["model_name"], known, strict=True) if has_cost)
    return sorted(priced, key=lambda name: (name is None, name or ""))


def _by_model(group: Mapping[str, Column], models: Sequence[str | None]) -> list[_Calls]:
    """Per model the tokens of its calls, shape (entries, 4) in the order of KINDS, costs, and their number."""
    places = {name: place for place, name in enumerate(models)}
    which = np.array([places.get(name, -1) for name in group["model_name"]], dtype=np.int64)
    sent, read, written, answered = (
        np.maximum(np.nan_to_num(np.asarray(group[name], dtype=np.float64), posinf=0, neginf=0), 0) for name in TOKENS
    )
    # Some report the cached tokens beside the input instead of inside it; no kind of tokens can be fewer than none.
    kinds = np.column_stack([np.maximum(sent - read - written, 0), read, written, answered])
    costs = np.asarray(group["cost_usd"], dtype=np.float64)
    counts = np.asarray(group["calls"], dtype=np.float64) if "calls" in group else np.ones(len(costs))
    mine = [which == place for place in range(len(models))]
    return [(kinds[each], costs[each], float(counts[each].sum())) for each in mine]


def _prices(old: _Calls, new: _Calls) -> tuple[Floats, Floats]:
    """The model's price lists, of the calls whose cost is known; nothing when too few are."""
    known = [(tokens[np.isfinite(costs)], costs[np.isfinite(costs)]) for tokens, costs, _ in (old, new)]
    found = price_lists(known[0], known[1])
    return found if found is not None else (np.zeros(4), np.zeros(4))


def _known_cost(group: Sequence[_Calls]) -> float:
    """Dollars of all calls whose cost is known."""
    return fsum(cost for _, costs, _ in group for cost in costs[np.isfinite(costs)].tolist())


def _spending(group: Sequence[_Calls], prices: Sequence[Floats]) -> _Spending:
    """The factors of one period; NaN where a model, or its input, was not there."""
    counts = np.array([calls for _, _, calls in group], dtype=np.float64)
    sums = np.array([tokens.sum(axis=0) for tokens, _, _ in group]).reshape(-1, 4)
    costs = np.array([float(costs[np.isfinite(costs)].sum()) for _, costs, _ in group])
    listed = np.array(prices).reshape(-1, 4)
    sent = sums[:, :3].sum(axis=1)
    return _Spending(
        calls=float(counts.sum()),
        mix=_ratio(counts, np.full(len(counts), counts.sum())),
        tokens=_ratio(np.column_stack([sent, sums[:, 3]]), counts[:, None]),
        cached=_ratio(sums[:, 1:3], sent[:, None]),
        prices=np.where(counts[:, None] > 0, listed, np.nan),
        other=_ratio(costs - (sums * listed).sum(axis=1), counts),
    )


def _completed(one: _Spending, other: _Spending) -> _Spending:
    """What one period lacks, taken from the other; 0 where both do."""
    lacking = {}
    for field in fields(_Spending)[1:]:
        mine, theirs = getattr(one, field.name), getattr(other, field.name)
        lacking[field.name] = np.nan_to_num(np.where(np.isnan(mine), theirs, mine))
    return replace(one, **lacking)


def _quantities(spent: _Spending) -> tuple[float | None, ...]:
    """The number behind each of COST_PARTS, where there is one."""
    tokens = float(spent.mix @ spent.tokens.sum(axis=1))
    sent = float(spent.mix @ spent.tokens[:, 0])
    read = float(spent.mix @ (spent.tokens[:, 0] * spent.cached[:, 0]))
    return spent.calls, tokens, None, read / sent if sent > 0 else None, None, None


def _ratio(above: Floats, below: Floats) -> Floats:
    """Above by below; NaN where below is 0."""
    below = np.broadcast_to(below, above.shape)
    found: Floats = np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)
    return found
