"""Where the money goes: what a period came to, what made it differ from the one before, and what has no price."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tracewatch.access import Caller
from tracewatch.bridges import Bridge, cost_bridge
from tracewatch.records import MESSAGES_SOURCE, STEPS, Span
from tracewatch.stores.base import Filter, Group, GroupOrder, Store
from tracewatch.web.charts import Series
from tracewatch.web.views import hours
from tracewatch.web.views.hours import Hours
from tracewatch.web.views.period import Period
from tracewatch.web.views.rolled import PRICED, counting_calls, exactly, kept, rows_of, summed, with_unpriced
from tracewatch.web.views.series import drawn

MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86_400
ROLLED_BY = ("model_name", "model_provider", "usage_type", "operation_type")
BRIDGED_BY = ("model_name", "model_provider", "operation_type")
PEOPLE_BY = ("user_id", "session_id")
"""Columns that rollups do not tell apart: their spans are added up one by one, when somebody asks."""
MOST_ROWS = 40
HOURLY_S = 3 * DAY_S  # of longer times a bridge is made from days: prices are read off them as well
MOST_SPANS = 300_000  # of a period that are added up one by one, at most a second
MOST_OF_DAYS = 10_000_000  # calls whose days are added up: some seconds once, what is first is remembered after that
MOST_COUNTED = 200_000  # sums of days, among which different values are counted in a fifth of a second
KINDS = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "output_tokens", "reasoning_tokens")
SUMS = (
    *(*PRICED, "priced_tokens", "unpriced_tokens"),
    *(f"{name}_sum" for name in KINDS),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One value of a column: its calls, tokens by kind and cost, and what it cost the period before."""

    value: str | None
    calls: int
    cost_usd: float | None
    """None where not one cost is known."""
    priced: int
    """Calls whose cost is known."""
    unpriced: int
    before_usd: float | None
    share: float
    """Of the cost of all lines."""
    fresh: int | None = None
    """Input tokens that were not read from or written to a cache; None where kinds are not told apart."""
    read: int | None = None
    written: int | None = None
    output: int | None = None
    reasoning: int | None = None
    is_rest: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """A model with where the price of its newest call comes from; times are UTC epoch seconds."""

    model: str
    provider: str | None
    calls: int
    tokens: int
    status: str | None
    source: str | None
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Spending:
    """The cost of a period. Money is in dollars."""

    period: Period
    usd: float
    before_usd: float
    has_before: bool
    """Whether anything was called in the period before."""
    calls: int
    before_calls: int
    priced: int
    """Calls whose cost is known."""
    before_priced: int
    unpriced: int
    priced_share: float | None
    """Of all tokens; None without any."""
    bridge: Bridge | None
    lines: tuple[Line, ...]
    by: str
    too_many: bool
    """Whether there are too many calls to add them up by that column."""
    series: Series
    models: tuple[Provenance, ...]
    """The models of the period, those without a price first."""


def spending(store: Store, caller: Caller, period: Period, now: float, *, by: str = "model_name") -> Spending:
    """What a period cost, by one column, against as long a time before it."""
    known = Hours.read(store, caller, period.since, period.until, now, measures=("calls", "cost_usd_sum"))
    wanted = by if by in ROLLED_BY else "model_name"
    names = tuple(dict.fromkeys((*BRIDGED_BY, wanted)))
    table = _during(store, caller, period.since, period.until, names)
    table_before = _before(store, caller, period, now, names)
    mine, earlier = _added(table, names), _added(table_before, names)
    total = _totals(mine)
    past = _totals(earlier)
    tokens = total["priced_tokens"] + total["unpriced_tokens"]
    lines, too_many = _lines(store, caller, period, by, mine, earlier, int(total["calls"]))
    return Spending(
        period=period,
        usd=total["cost_usd_sum"],
        before_usd=past["cost_usd_sum"],
        has_before=past["calls"] > 0,
        calls=int(total["calls"]),
        before_calls=int(past["calls"]),
        priced=int(total["cost_usd_count"]),
        before_priced=int(past["cost_usd_count"]),
        unpriced=int(total["unpriced_calls"]),
        priced_share=total["priced_tokens"] / tokens if tokens else None,
        bridge=_bridge(table_before, table, period),
        lines=lines,
        by=by if by in (*ROLLED_BY, *PEOPLE_BY) else "model_name",
        too_many=too_many,
        series=_series(store, caller, known, period),
        models=tuple(_models(store, caller, period, mine)),
    )


def bridge(store: Store, caller: Caller, period: Period, now: float) -> Bridge | None:
    """Why a period did not cost what as long a time before it did; None where nothing was called in one of them."""
    table = _during(store, caller, period.since, period.until, BRIDGED_BY)
    return _bridge(_before(store, caller, period, now, BRIDGED_BY), table, period)


def _before(store: Store, caller: Caller, period: Period, now: float, names: tuple[str, ...]) -> pa.Table:
    """As long a time before a period."""
    first = period.since - period.length_s
    return kept(
        store, caller, ("spending", first, period.since, names), now,
        lambda: _during(store, caller, first, period.since, names),
    )  # fmt: skip


def _during(store: Store, caller: Caller, since: float, until: float, names: tuple[str, ...]) -> pa.Table:
    """What exactly that time came to, in the steps that a bridge of it is made from."""
    longest_s = DAY_S if until - since > HOURLY_S else HOUR_S
    return exactly(store, caller, since, until, by=names, measures=SUMS, longest_s=longest_s)


def _bridge(before: pa.Table, table: pa.Table, period: Period) -> Bridge | None:
    before, table = _without_steps(before), _without_steps(table)
    if not (summed(before, "calls") and summed(table, "calls")):
        return None
    return cost_bridge(_entries(before, period), _entries(table, period))


def _added(table: pa.Table, names: Sequence[str]) -> list[dict[str, float]]:
    """One row for each combination of the columns, over all buckets; steps around calls of a model are no calls."""
    measures = [(name, "sum") for name in SUMS]
    added = table.group_by(list(names)).aggregate(measures)
    rows = counting_calls(with_unpriced(rows_of(added.rename_columns([*names, *SUMS]))))
    return [{name: value if name in names else value or 0.0 for name, value in row.items()} for row in rows]


def _totals(rows: Sequence[Mapping[str, float]]) -> Mapping[str, float]:
    return {name: sum(row[name] for row in rows) for name in SUMS}


def _entries(table: pa.Table, period: Period) -> Mapping[str, np.ndarray | list[str | None]]:
    """A rollup as `cost_bridge` takes calls: an entry is a model's hour, or its day where there are many hours.

    A cost is absent where none of an entry's is known.
    """
    if period.length_s > HOURLY_S:
        days = pc.multiply(pc.divide(table["bucket"], DAY_S), DAY_S)
        table = table.set_column(table.schema.get_field_index("bucket"), "bucket", days)
    added = table.group_by(["bucket", "model_name"]).aggregate([(name, "sum") for name in SUMS])
    cost = pc.if_else(pc.equal(added["cost_usd_count_sum"], 0), float("nan"), added["cost_usd_sum_sum"])
    return {
        "model_name": added["model_name"].to_pylist(),
        **{name: pc.fill_null(added[f"{name}_sum_sum"], 0.0).to_numpy() for name in KINDS[:4]},
        "cost_usd": cost.to_numpy(),
        "calls": added["calls_sum"].to_numpy(),
    }


def _without_steps(table: pa.Table) -> pa.Table:
    """The same with no calls in the rows of steps; what they cost stays."""
    is_step = pc.fill_null(pc.is_in(table["operation_type"], value_set=pa.array(STEPS)), False)
    calls = pc.if_else(is_step, pa.scalar(0, table["calls"].type), table["calls"])
    return table.set_column(table.schema.get_field_index("calls"), "calls", calls)


def _lines(
    store: Store, caller: Caller, period: Period, by: str, mine: Sequence[Mapping[str, float]],
    earlier: Sequence[Mapping[str, float]], calls: int,
) -> tuple[tuple[Line, ...], bool]:  # fmt: skip
    if by in PEOPLE_BY:
        if are_too_many(store, caller, by, period, calls):
            return (), True
        groups = spans_by(store, caller, by, period, limit=MOST_ROWS)
        whole = sum(row["cost_usd_sum"] for row in mine)
        return tuple(_of_group(each, whole) for each in groups), False
    by = by if by in ROLLED_BY else "model_name"
    return tuple(_rolled_lines(_by(mine, by), _by(earlier, by))), False


def are_too_many(
    store: Store, caller: Caller, name: str, period: Period, calls: int, where: Sequence[Filter] = ()
) -> bool:
    """Whether adding up the calls of a period by a column takes too long, be it by spans or by what days came to."""
    if calls <= MOST_SPANS:
        return False
    return calls > MOST_OF_DAYS or store.days_of(name, [*_new_view(caller, period), *where], 1) is None


def spans_by(
    store: Store, caller: Caller, name: str, period: Period, *, where: Sequence[Filter] = (),
    order: GroupOrder = "cost_usd", limit: int = MOST_ROWS, skip: int = 0,
) -> tuple[Group, ...]:  # fmt: skip
    """The spans of a period by the values of a column; of calls in both views only those of the new one."""
    new = _new_view(caller, period)
    return store.groups(name, [*new, *where], order=order, limit=limit, skip=skip) or store.groups(
        name, [*_old_view(new), *where], order=order, limit=limit, skip=skip
    )


def number_of(store: Store, caller: Caller, name: str, period: Period) -> int | None:
    """How many values of a column the spans of a period have: as many as `spans_by` has groups.

    None where there are so many that counting them takes seconds.
    """
    new = _new_view(caller, period)
    for view in (new, _old_view(new)):
        if (store.days_of(name, view, MOST_COUNTED + 1) or 0) > MOST_COUNTED:
            return None
        if found := store.distinct(Span, name, view):
            return found
    return 0


def _old_view(new: Sequence[Filter]) -> list[Filter]:
    return [*new[:-1], Filter("source", "=", (MESSAGES_SOURCE,))]


def _new_view(caller: Caller, period: Period) -> list[Filter]:
    """Filters for the calls of a period, without those of the old view of the same calls; that is the last of them."""
    time = [Filter("start_time", ">=", (period.since,)), Filter("start_time", "<", (period.until,))]
    return [*caller.where, *time, Filter("source", "!=", (MESSAGES_SOURCE,))]


def _of_group(group: Group, whole: float) -> Line:
    return Line(
        value=group.value,
        calls=group.calls,
        cost_usd=group.cost_usd,
        priced=group.priced,
        unpriced=group.unpriced,
        before_usd=None,
        share=(group.cost_usd or 0.0) / whole if whole else 0.0,
        fresh=group.input_tokens,
        output=group.output_tokens,
    )


def _by(rows: Sequence[Mapping[str, float]], name: str) -> Mapping[str | None, Mapping[str, float]]:
    found: dict[str | None, dict[str, float]] = defaultdict(lambda: dict.fromkeys(SUMS, 0.0))
    for row in rows:
        group = found[row[name]]  # type: ignore[index]  # a slice column holds texts
        for measure in SUMS:
            group[measure] += row[measure]
    return found


def _rolled_lines(
    mine: Mapping[str | None, Mapping[str, float]], earlier: Mapping[str | None, Mapping[str, float]]
) -> Iterator[Line]:
    whole = sum(each["cost_usd_sum"] for each in mine.values())
    metered = [value for value, sums in mine.items() if sums["cost_usd_count"] or sums["unpriced_calls"]]
    ordered = sorted(metered, key=lambda value: (-mine[value]["cost_usd_sum"], -mine[value]["calls"]))
    for value in ordered[:MOST_ROWS]:
        yield _line(value, mine[value], earlier.get(value), whole)
    rest = ordered[MOST_ROWS:]
    if rest:
        sums = {name: sum(mine[each][name] for each in rest) for name in SUMS}
        yield _line(f"{len(rest)} others", sums, None, whole, is_rest=True)


def _line(
    value: str | None, sums: Mapping[str, float], before: Mapping[str, float] | None, whole: float, *,
    is_rest: bool = False,
) -> Line:  # fmt: skip
    read, written = sums["cache_read_input_tokens_sum"], sums["cache_creation_input_tokens_sum"]
    return Line(
        value=value,
        calls=int(sums["calls"]),
        cost_usd=sums["cost_usd_sum"] if sums["cost_usd_count"] else None,
        priced=int(sums["cost_usd_count"]),
        unpriced=int(sums["unpriced_calls"]),
        before_usd=None if before is None or not before["cost_usd_count"] else before["cost_usd_sum"],
        share=sums["cost_usd_sum"] / whole if whole else 0.0,
        fresh=int(max(sums["input_tokens_sum"] - read - written, 0.0)),
        read=int(read),
        written=int(written),
        output=int(sums["output_tokens_sum"]),
        reasoning=int(sums["reasoning_tokens_sum"]),
        is_rest=is_rest,
    )


def _series(store: Store, caller: Caller, known: Hours, period: Period) -> Series:
    """The cost per step of the period."""
    step = period.step_s
    start = period.since // step * step
    count = max(int(-(-(period.until - start) // step)), 1)
    rows = known.shown() if step == HOUR_S else hours.steps(store, caller, period, ("calls", "cost_usd_sum"))
    return drawn(
        known, hours.COST, start, step, count, rows, kind="sum", label="Cost over time, with its usual range",
        unit="sum USD", is_open=start + count * step > period.until,
    )  # fmt: skip


def _models(store: Store, caller: Caller, period: Period, rows: Sequence[Mapping[str, float]]) -> Iterator[Provenance]:
    """Each model whose calls are metered or should be, and what its newest call says of its price."""
    sums = _by([row for row in rows if row["model_name"] is not None], "model_name")
    metered = [
        name for name, each in sums.items()
        if each["priced_tokens"] + each["unpriced_tokens"] > 0 or each["unpriced_calls"]
    ]  # fmt: skip
    ordered = sorted(metered, key=lambda name: (-sums[name]["unpriced_calls"], -sums[name]["cost_usd_sum"]))
    for name in ordered[:MOST_ROWS]:
        newest = _newest(store, caller, name, period)
        if newest is not None and newest.model_name is not None:
            each = sums[name]
            yield Provenance(
                model=newest.model_name,
                provider=newest.model_provider,
                calls=int(each["calls"]),
                tokens=int(each["priced_tokens"] + each["unpriced_tokens"]),
                status=newest.cost_status,
                source=newest.cost_source,
                at=newest.start_time,
            )


def _newest(store: Store, caller: Caller, model: str | None, period: Period) -> Span | None:
    where = [*caller.where, Filter("model_name", "=", (model,)), Filter("start_time", "<", (period.until,))]
    for each in store.page(Span, where, limit=1).records:
        return each if isinstance(each, Span) else None
    return None
