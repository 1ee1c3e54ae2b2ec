"""Where the excess of a rule comes from: the models, usage types, operations and users that hold it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from tracewatch import words
from tracewatch.findings import Scope, between
from tracewatch.records import Anomaly, Span
from tracewatch.rules import Period, reranks
from tracewatch.stores.base import Filter, Store
from tracewatch.times import DAY_S

SMALLEST_SHARE = 0.2  # of the excess: what holds less is not where to look first
MOST_KINDS = 2  # kinds of call that are told before the single columns
TELLING_RATIO = 1.5  # below it a number is within what days differ by anyway

Counted = Literal["cost_usd", "calls"]
Slices = Sequence[Mapping[str, Any]]
"""Some calls of one slice each, added up: the columns of the slice, calls, tokens and cost_usd."""

NOUNS = {
    "error_category": "error category",
    "error_type": "error type",
    "model_name": "model",
    "usage_type": "usage type",
    "operation_type": "operation",
    "user_id": "user",
}
_KIND = ("usage_type", "operation_type", "model_name")
_MEASURES = ("calls", "priced_tokens", "unpriced_tokens", "cost_usd_sum")
_NUMBERS = ("start_time", "cost_usd", "total_tokens", "input_tokens", "output_tokens")
_ENDINGS = ("error_category", "error_type")
_RATED = (*_ENDINGS, "model_name", "usage_type")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sums:
    """Calls added up; those of the days before as an average per day."""

    calls: float = 0.0
    tokens: float = 0.0
    cost_usd: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """What one slice came to today, and on an average day before."""

    name: str
    today: Sums
    usual: Sums

    def excess(self, counted: Counted) -> float:
        """How much more than usual."""
        return float(getattr(self.today, counted) - getattr(self.usual, counted))


@dataclass(frozen=True, slots=True, kw_only=True)
class Contribution:
    """How much of the excess a slice holds, and what made it grow, in words."""

    text: str
    through: tuple[str, ...]


def of_rule(store: Store, scope: Scope, fired: Anomaly) -> tuple[str, ...]:
    """What contributed most to a rule that fired at `scope.until`, a sentence each; rollups must be up to date."""
    period = Period(until=scope.until)
    match fired.anomaly_type:
        case "cost_spike":
            return _of_spike(store, scope, period, fired, "cost_usd", [])
        case "call_spike":
            same = [Filter("usage_type", "=", (fired.statistics["usage_type"],))]
            return _of_spike(store, scope, period, fired, "calls", same)
        case "high_error_rate":
            calls = _read(store, scope, period.hour, ("status", *_RATED), [])
            return of_rate(calls, pc.not_equal(calls["status"], "ok"), "failed")
    calls = _read(store, scope, period.day, ("status", "operation_type", *_RATED), [])
    calls = calls.filter(reranks(calls))
    return of_rate(calls, pc.equal(calls["status"], "fallback"), "fell back")


def of_rate(calls: pa.Table, hit: pa.ChunkedArray, verb: str) -> tuple[str, ...]:
    """By error category and type, model and usage type: who holds most of the calls that failed or fell back."""
    hits = calls.filter(hit)
    told = []
    for name in _RATED:
        counts = {each["values"]: each["counts"] for each in pc.value_counts(hits[name]).to_pylist()}
        counts.pop(None, None)
        if not counts:
            continue
        value = max(counts, key=lambda each: counts[each])
        if counts[value] < SMALLEST_SHARE * len(hits):
            continue
        text = f"{NOUNS[name]} {value}: {_of_all(counts[value], len(hits))} calls that {verb}"
        told.append(text if name in _ENDINGS else text + _against_others(calls, hits, name, value, verb))
    return tuple(told)


def of_spike(today: Slices, before: Slices, days: int, counted: Counted) -> list[Contribution]:
    """By kind of call, then by each column of its own: who holds most of what is more than on an average day before."""
    kinds = _compared(today, before, days, _kind)
    told = [_told(each, kinds, counted) for each in _largest(kinds, counted)[:MOST_KINDS]]
    for name in ("model_name", "usage_type", "operation_type"):
        told += of_column(name, today, before, days, counted)
    return told


def of_column(name: str, today: Slices, before: Slices, days: int, counted: Counted) -> list[Contribution]:
    """The value of one column that holds most of the excess; nothing where all calls have the same or none."""
    parts = _compared(today, before, days, lambda row: _value(name, row))
    if len(parts) < 2:
        return []
    return [_told(each, parts, counted) for each in _largest(parts, counted)[:1]]


def _of_spike(
    store: Store, scope: Scope, period: Period, fired: Anomaly, counted: Counted, where: Sequence[Filter]
) -> tuple[str, ...]:
    ours, days = [*scope.rows(), *where], int(fired.statistics["n"])

    def rolled(since: float, until: float, step_s: int) -> Slices:
        if until <= since:
            return []
        table = store.rollup(since, until, step_s=step_s, by=_KIND, where=ours, measures=_MEASURES)
        return [_sums(each) for each in table.to_pylist()]

    rest = _read(store, scope, max(period.day, period.whole_hours), (*_NUMBERS, *_KIND), where)
    today = [*rolled(period.day, period.whole_hours, 3600), *_added_up(rest, _KIND)]
    told = of_spike(today, rolled(period.history, period.day, DAY_S), days, counted)
    # Rollups do not know users: the calls themselves are read, once, when the finding is made.
    calls = _read(store, scope, period.history, (*_NUMBERS, "user_id"), where)
    now = pc.greater_equal(calls["start_time"], period.day)
    users, before = (_added_up(calls.filter(each), ("user_id",)) for each in (now, pc.invert(now)))
    return _said_once([*told, *of_column("user_id", users, before, days, counted)])


def _said_once(told: Sequence[Contribution]) -> tuple[str, ...]:
    """The sentences; what made a slice grow is not said again of a larger one."""
    said, texts = set(), []
    for each in told:
        texts.append("; ".join((each.text, *(() if each.through in said else each.through))))
        said.add(each.through)
    return tuple(texts)


def _read(store: Store, scope: Scope, since: float, names: Sequence[str], where: Sequence[Filter]) -> pa.Table:
    from tracewatch import metrics

    needs = tuple(dict.fromkeys(names))
    return metrics.table_of(store.scan(Span, needs, [*scope.rows(), *between(since, scope.until), *where]), needs)


def _sums(rolled: Mapping[str, Any]) -> dict[str, Any]:
    tokens = rolled["priced_tokens"] + rolled["unpriced_tokens"]
    return {**rolled, "tokens": tokens, "cost_usd": rolled["cost_usd_sum"] or 0.0}


def _added_up(calls: pa.Table, by: Sequence[str]) -> Slices:
    """Single calls (columns _NUMBERS) by slice."""
    sent, answered = (pc.fill_null(calls[name], 0) for name in ("input_tokens", "output_tokens"))
    tokens = pc.coalesce(calls["total_tokens"], pc.add(sent, answered))
    counted = pa.table(
        {
            **{name: calls[name] for name in by},
            "calls": pa.repeat(1, len(calls)),
            "tokens": tokens.cast(pa.float64(), safe=False),
            "cost_usd": pc.fill_null(calls["cost_usd"], 0.0),
        }
    )
    sums = [(name, "sum") for name in ("calls", "tokens", "cost_usd")]
    rows = counted.group_by(list(by)).aggregate(sums).to_pylist()
    return [{name.removesuffix("_sum"): value for name, value in row.items()} for row in rows]


def _kind(row: Mapping[str, Any]) -> str:
    return words.who(row["usage_type"] or row["operation_type"], row["model_name"])


def _value(name: str, row: Mapping[str, Any]) -> str:
    return f"{NOUNS[name]} {row[name]}" if row[name] is not None else f"calls without a {NOUNS[name]}"


def _compared(today: Slices, before: Slices, days: int, named: Callable[[Mapping[str, Any]], str]) -> list[Slice]:
    now, then = _by_name(today, named, 1), _by_name(before, named, days)
    names = dict.fromkeys((*now, *then))
    return [Slice(name=each, today=now.get(each, Sums()), usual=then.get(each, Sums())) for each in names]


def _by_name(rows: Slices, named: Callable[[Mapping[str, Any]], str], days: int) -> dict[str, Sums]:
    parts: dict[str, list[Mapping[str, Any]]] = {}
    for each in rows:
        parts.setdefault(named(each), []).append(each)
    return {
        name: Sums(**{each: sum(row[each] for row in some) / days for each in ("calls", "tokens", "cost_usd")})
        for name, some in parts.items()
    }


def _largest(parts: Iterable[Slice], counted: Counted) -> list[Slice]:
    """Those with a share worth telling, the largest first."""
    given = list(parts)
    least = SMALLEST_SHARE * sum(each.excess(counted) for each in given)
    ordered = sorted(given, key=lambda each: -each.excess(counted))
    return [each for each in ordered if each.excess(counted) >= least]


def _told(part: Slice, parts: Iterable[Slice], counted: Counted) -> Contribution:
    extra, every = part.excess(counted), sum(each.excess(counted) for each in parts)
    noun = "" if counted == "cost_usd" else " calls"
    whole = f"the extra {_said(every, counted)}{noun}"
    # Others may have become fewer, and then one slice holds more than there is in all.
    share = f"({words.amount(extra / every, 'share')})"
    text = f"all of {whole}" if extra >= every * (1 - 1e-9) else f"{_said(extra, counted)} of {whole} {share}"
    return Contribution(text=f"{part.name}: {text}", through=tuple(_through(part, counted)))


def _said(value: float, counted: Counted) -> str:
    return words.amount(value, "USD" if counted == "cost_usd" else None)


def _through(part: Slice, counted: Counted) -> list[str]:
    """What made a slice grow: more calls, more tokens in each, or dearer tokens."""
    now, usual = part.today, part.usual
    if not usual.calls:
        return ["none on the days before"]
    ratios = {"calls": now.calls / usual.calls}
    if counted == "cost_usd" and now.tokens and usual.tokens:
        ratios["tokens per call"] = (now.tokens / now.calls) / (usual.tokens / usual.calls)
        if usual.cost_usd:
            ratios["cost per token"] = (now.cost_usd / now.tokens) / (usual.cost_usd / usual.tokens)
    return [f"{name} {words.times(ratio)} the usual" for name, ratio in ratios.items() if ratio >= TELLING_RATIO]


def _of_all(some: int, every: int) -> str:
    return f"all {every:,}" if some == every else f"{some:,} of the {every:,} ({words.amount(some / every, 'share')})"


def _against_others(calls: pa.Table, hits: pa.Table, name: str, value: str, verb: str) -> str:
    """The rate of one slice beside that of all other calls."""
    every, failed = (int(pc.sum(pc.equal(table[name], value)).as_py() or 0) for table in (calls, hits))
    others = len(calls) - every
    own = words.amount(failed / every, "share")
    if not others:
        return f"; it has all {every:,} calls"
    theirs = words.amount((len(hits) - failed) / others, "share")
    return f"; {own} of its {words.calls(every)} {verb}, {theirs} of the others"
