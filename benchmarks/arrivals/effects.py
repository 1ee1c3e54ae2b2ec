"""How each kind of fault turns the machine room, changes prompts and answers, and adds or removes calls."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .calls import ROOT, Table, joined
from .faults import KINDS, Fault, dearest, factor, placed, ramp, share, strength_of
from .knobs import Knobs, Mask
from .machine import busy_s
from .products import Product
from .streams import Floats

VERSION_OF_FAULT = 50.0  # a minor version that no release reaches


def reshaped(product: Product, table: Table, fault: Fault, rng: np.random.Generator) -> tuple[Table, Mask]:
    """The table with the calls that a fault adds at its end, and which of its rows a fault takes away."""
    mask = placed(product, table, fault)
    gone = np.zeros(len(table["t"]), bool)
    if fault.kind in ("site_silent", "cron_stuck"):
        calls = np.unique(table["call"][mask])
        lost = calls[rng.random(len(calls)) < share(fault)]
        gone = np.isin(table["call"], lost)
    added = ADDS.get(fault.kind)
    if added is None:
        return table, gone
    extra = added(product, table, fault, mask, rng)
    extra["id"] = len(table["t"]) + np.arange(len(extra["t"]))
    return joined([table, extra]), np.concatenate([gone, np.zeros(len(extra["t"]), bool)])


def _loop(product: Product, table: Table, fault: Fault, mask: Mask, rng: np.random.Generator) -> Table:
    """One customer's client asks the same few things again and again."""
    own = np.flatnonzero((table["site"] == fault.site) & (table["step"] != ROOT) & (table["tenant"] == fault.tenant))
    hourly = len(np.unique(table["call"][table["site"] == fault.site])) / (24 * product.days)
    hours = (fault.until - fault.since) / 3600
    count = int(max(60, strength_of(fault) * fault.boost * hourly * hours))
    likes = np.unique(table["call"][own])[:5]
    return _again(table, likes[np.arange(count) % len(likes)], np.sort(rng.uniform(fault.since, fault.until, count)))


def _again(table: Table, like: np.ndarray, t: Floats) -> Table:
    """Copies of calls at other times, as new calls."""
    order = np.argsort(table["call"], kind="stable")
    begin, end = (np.searchsorted(table["call"][order], like, side) for side in ("left", "right"))
    sizes = end - begin
    rows = order[np.repeat(begin, sizes) + np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)]
    extra = {name: values[rows] for name, values in table.items()}
    extra["call"] = np.repeat(int(table["call"].max()) + 1 + np.arange(len(like)), sizes)
    extra["t"] = np.repeat(t, sizes)
    return extra


def _doubled(product: Product, table: Table, fault: Fault, mask: Mask, rng: np.random.Generator) -> Table:
    """A cron runs twice at once."""
    calls, first = np.unique(table["call"][mask], return_index=True)
    return _again(table, calls, table["t"][mask][first] + rng.uniform(5, 90))


def _storm(product: Product, table: Table, fault: Fault, mask: Mask, rng: np.random.Generator) -> Table:
    """Clients ask again at once when they fail, without waiting."""
    calls, first = np.unique(table["call"][mask], return_index=True)
    times = rng.poisson(strength_of(fault) * fault.boost, len(calls))
    t = np.repeat(table["t"][mask][first], times)
    return _again(table, np.repeat(calls, times), np.minimum(t + rng.uniform(0.5, 30, len(t)), fault.until - 1))


def _loops(product: Product, table: Table, fault: Fault, mask: Mask, rng: np.random.Generator) -> Table:
    """Agents go round once more, and again."""
    rows = np.flatnonzero(mask)
    times = rng.poisson(strength_of(fault) * fault.boost, len(rows))
    extra = {name: np.repeat(values[rows], times) for name, values in table.items()}
    turn = 1 + np.arange(times.sum()) - np.repeat(np.cumsum(times) - times, times)
    extra["order"] = extra["order"] + 1000 * turn
    extra["n_in"] = extra["n_in"] * (1 + 0.05 * turn)
    return extra


Adds = Callable[[Product, Table, Fault, Mask, np.random.Generator], Table]


ADDS: dict[str, Adds] = {
    "tenant_loop": _loop,
    "cron_doubled": _doubled,
    "retry_storm": _storm,
    "looping_agents": _loops,
}


def turned(product: Product, table: Table, knobs: Knobs, fault: Fault, draws: Floats) -> None:
    """Turn the knobs of a fault, and change what it changes of prompts and answers in the table."""
    mask = placed(product, table, fault)
    if KINDS[fault.kind].release:
        whole = mask | _roots(table, mask)
        table["version"][whole] = np.floor(table["version"][whole] / 100) * 100 + VERSION_OF_FAULT
    change = PROMPTS.get(fault.kind)
    if change:
        change(product, table, fault, mask, draws)
    if fault.kind == "retry_storm":
        mask &= table["step"] == fault.step
    for name, (default, value) in _settings(product, table, fault, mask).items():
        knobs.put(name, default, mask, value)
    knobs.categories[mask] = KINDS[fault.kind].category


def _roots(table: Table, mask: Mask) -> Mask:
    return (table["step"] == ROOT) & np.isin(table["call"], table["call"][mask])


def _settings(product: Product, table: Table, fault: Fault, mask: Mask) -> dict[str, tuple[float, float | Floats]]:
    """What each kind turns, with the default of the knob."""
    now = table["t"][mask]
    match fault.kind:
        case "region_slow":
            return {"first": (1.0, factor(fault) ** 1.3), "speed": (1.0, 1 / factor(fault))}
        case "throttled":
            tokens = np.nan_to_num(table["n_in"] + table["n_out"])[mask].sum()
            mean = tokens / max(1.0, (fault.until - fault.since) / 60)
            return {"limit": (np.inf, max(200.0, mean * strength_of(fault) ** fault.boost))}
        case "partial_outage" | "dimension_mismatch" | "tool_broken":
            return {"err": (0.0, share(fault))}
        case "retry_storm":
            return {"err": (0.0, 0.6)}
        case "error_ramp":
            return {"err": (0.0, share(fault) * ramp(fault, now))}
        case "slow_ramp":
            return {"speed": (1.0, 1 / (1 + (factor(fault) - 1) * ramp(fault, now)))}
        case "snapshot_swap":
            return {"speed": (1.0, factor(fault) ** -0.8), "grounded": (0.0, -0.4 * (factor(fault) - 1))}
        case "price_change":
            return {"price": (1.0, factor(fault))}
        case "replica_gone":
            return {"slots": (1.0, strength_of(fault) ** fault.boost)}
        case "scaled_to_zero":
            return {"keep": (np.inf, strength_of(fault) / fault.boost**2), "cold_ms": (0.0, 5000.0)}
        case "cache_killed":
            return {"nocache": (0.0, share(fault))}
        case "unreadable_answers":
            return {"parse": (0.0, share(fault))}
        case "timeout_lowered":
            model, site = (
                product.models[product.sites[fault.site].steps[fault.step].models[0]],
                product.sites[fault.site],
            )
            usual_s = busy_s(model, table["n_in"][mask], table["n_out"][mask])
            limit_s = float(np.quantile(usual_s, min(0.97, strength_of(fault) / fault.boost))) * 1.1
            return {"timeout": (1.0, limit_s / site.timeout_s)}
        case "streaming_off":
            return {"unstreamed": (0.0, share(fault))}
        case "empty_index":
            return {"empty": (0.0, share(fault))}
        case "language_worse":
            return {
                "relevance": (0.0, -strength_of(fault) * fault.boost),
                "grounded": (0.0, -strength_of(fault) * fault.boost),
            }
        case "slow_search":
            return {"slow": (1.0, factor(fault))}
        case "lossy_network":
            return {"net": (1.0, factor(fault))}
        case _:
            return {}


def _longer(product: Product, table: Table, fault: Fault, mask: Mask, draws: Floats) -> None:
    table["n_out"][mask] *= factor(fault)


def _more_tokens(product: Product, table: Table, fault: Fault, mask: Mask, draws: Floats) -> None:
    table["n_in"][mask] *= factor(fault)
    table["n_out"][mask] *= factor(fault)


def _leak(product: Product, table: Table, fault: Fault, mask: Mask, draws: Floats) -> None:
    usual = float(np.median(table["n_in"][mask]))
    table["n_in"][mask] += usual * strength_of(fault) * fault.boost * ramp(fault, table["t"][mask])


def _refuse(product: Product, table: Table, fault: Fault, mask: Mask, draws: Floats) -> None:
    some = mask & (draws[:, 0] < share(fault))
    table["n_out"][some] = np.minimum(table["n_out"][some], 18 + np.floor(20 * draws[some, 7]))


def _cut(product: Product, table: Table, fault: Fault, mask: Mask, draws: Floats) -> None:
    most = np.quantile(table["n_out"][mask], strength_of(fault) / fault.boost)
    table["n_out"][mask] = np.minimum(table["n_out"][mask], np.maximum(most, 2.0))


def _misroute(product: Product, table: Table, fault: Fault, mask: Mask, draws: Floats) -> None:
    table["model"][mask & (draws[:, 0] < share(fault))] = dearest(product, fault)


PROMPTS: dict[str, Callable[[Product, Table, Fault, Mask, Floats], None]] = {
    "snapshot_swap": _longer, "tokenizer_change": _more_tokens, "context_leak": _leak, "refusals": _refuse,
    "answers_cut": _cut, "wrong_routing": _misroute,
}  # fmt: skip
