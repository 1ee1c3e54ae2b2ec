"""Prices spans by the batch: each distinct call is looked up once, then every row is arithmetic on Arrow columns."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from tracewatch.pricing.book import FREE, Call, PriceBook, Tariff
from tracewatch.pricing.notes import Notes, read_notes
from tracewatch.records import Span, as_dict
from tracewatch.times import DAY_S

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS_READ = (
    "project",
    "start_time",
    "operation_type",
    "model_provider",
    "model_name",
    "input_tokens",
    "output_tokens",
    "reasoning_tokens",
    "cache_creation_input_tokens",
    "cache_read_input_tokens",
    "metadata",
    "cost_usd",
    "cost_status",
    "warning_flags",
)
"""The columns of a span that decide its price; one that is missing is taken as empty."""

COLUMNS_WRITTEN = ("cost_usd", "cost_status", "cost_source")
"""The columns that pricing sets. It also adds to `warning_flags`, where the batch has that column."""

INCONSISTENT_USAGE = "inconsistent_usage"
"""The warning flag of a row whose token counts cannot all be true, such as more cached input than input."""

_METERED = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")

# Steps of a program that are work, but not a call of a model, as OpenTelemetry, OpenInference and LangChain name them.
STEPS = (
    *("tool", "execute_tool", "agent", "invoke_agent", "create_agent", "chain", "workflow", "invoke_workflow", "task"),
    *("retrieval", "retriever", "guardrail", "evaluator", "function", "batch"),
)


@dataclass(frozen=True, slots=True)
class Price:
    """What a span costs: USD (None when not known or nothing to price), how that is known, and from where."""

    cost_usd: float | None
    cost_status: str
    cost_source: str | None


@dataclass(frozen=True, slots=True)
class _Usage:
    """Tokens of each kind per row; the kinds do not overlap."""

    kinds: Mapping[str, pa.Array]
    context: pa.Array
    inconsistent: pa.Array
    metered: pa.Array


def price_span(span: Span, book: PriceBook) -> Price:
    """The price of one span, by the same arithmetic as that of a batch."""
    import pyarrow as pa

    values = as_dict(span)
    # Times leave a record as text, lists and objects stay objects: a batch has them as a store does.
    row: dict[str, Any] = {name: [values[name]] for name in COLUMNS_READ}
    row["start_time"] = [span.start_time]
    row["metadata"] = [None if span.metadata is None else json.dumps(dict(span.metadata))]
    row["warning_flags"] = [None]
    priced = price_batch(pa.RecordBatch.from_pydict(row), book)
    return Price(*(priced.column(name)[0].as_py() for name in COLUMNS_WRITTEN))


def price_batch(batch: pa.RecordBatch, book: PriceBook) -> pa.RecordBatch:
    """The batch with `cost_usd`, `cost_status` and `cost_source` set (and `warning_flags` added to, if it is there).

    A positive cost that has no status yet, or the status `reported`, is the caller's and is kept as the book says.
    """
    columns = {name: _column(batch, name) for name in COLUMNS_READ}
    notes = read_notes(columns["metadata"])
    group, calls, times = _grouped(columns, notes, book)
    tariffs = [book.tariff(call, time_s) for call, time_s in zip(calls, times, strict=True)]
    usage = _usage(columns, notes)
    settled = _settled(columns, usage, group, tariffs, book)
    _count(settled["cost_status"], group, calls, book)
    if "warning_flags" in batch.schema.names:
        settled["warning_flags"] = _flagged(columns["warning_flags"], usage.inconsistent)
    for name, values in settled.items():
        batch = _with_column(batch, name, values)
    return batch


def _column(batch: pa.RecordBatch, name: str) -> pa.Array:
    """A column as text or as float64; empty where the batch has none."""
    import pyarrow as pa

    number = name == "start_time" or name == "cost_usd" or name.endswith("_tokens")
    kind = pa.float64() if number else pa.string()
    if name not in batch.schema.names:
        return pa.nulls(batch.num_rows, kind)
    found = batch.column(name)
    return found if found.type == kind else found.cast(kind)


def _grouped(
    columns: Mapping[str, pa.Array], notes: Notes, book: PriceBook
) -> tuple[pa.Array, list[Call], list[float]]:
    """Per row the number of its group; per group the call it stands for and a moment (epoch s) in it.

    Rows of a group share all that decides the price of a token, the stretch of time without a price change included.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    start = pc.fill_null(columns["start_time"], 0.0)
    texts = [
        columns[name].dictionary_encode(null_encoding="encode") for name in ("project", "model_provider", "model_name")
    ]
    no_model = pc.or_kleene(pc.is_null(columns["model_name"]), pc.equal(columns["model_name"], ""))
    step = pc.and_(no_model, pc.is_in(pc.utf8_lower(columns["operation_type"]), value_set=pa.array(STEPS)))
    second = pc.subtract(start, pc.multiply(pc.floor(pc.divide(start, float(DAY_S))), float(DAY_S)))
    digits = [
        *((each.indices, len(each.dictionary)) for each in texts),
        (notes.kind, len(notes.kinds)),
        (pc.fill_null(step, False), 2),
        (_passed(start, book.moments), len(book.moments) + 1),
        (_passed(second, book.table.slots), len(book.table.slots) + 1),
    ]
    code = pa.repeat(0, len(start))
    for values, size in digits:
        code = pc.add(pc.multiply(code, max(size, 1)), values.cast(pa.int64()))
    encoded = code.dictionary_encode()
    group = encoded.indices
    first = pa.table({"group": group, "start": start}).group_by("group").aggregate([("start", "min")])
    times = dict(zip(first["group"].to_pylist(), first["start_min"].to_pylist(), strict=True))
    named = [each.dictionary.to_pylist() for each in texts]
    calls = [_call(code, [size for _, size in digits], named, notes) for code in encoded.dictionary.to_pylist()]
    return group, calls, [times[number] for number in range(len(calls))]


def _call(code: int, sizes: Sequence[int], named: Sequence[Sequence[str | None]], notes: Notes) -> Call:
    """The call which a group's code stands for: its digits, the last one first."""
    digits = []
    for size in reversed(sizes):
        code, digit = divmod(code, max(size, 1))
        digits.append(digit)
    _, _, step, kind, model, provider, project = digits
    context, cached = notes.kinds[kind]
    return Call(
        project=named[0][project] or "default",
        provider=named[1][provider] or None,
        model=named[2][model] or None,
        context=context,
        cached=cached,
        models=not step,
    )


def _passed(values: pa.Array, limits: Sequence[float]) -> pa.Array:
    """Per value how many of the ascending limits it has reached."""
    import pyarrow as pa
    import pyarrow.compute as pc

    extent = pc.min_max(values).as_py()
    low, high = extent["min"] or 0.0, extent["max"] or 0.0
    # Most limits lie outside of what a batch holds, and are the same for all its rows.
    count = pa.repeat(sum(limit <= low for limit in limits), len(values))
    for limit in limits:
        if low < limit <= high:
            count = pc.add(count, pc.greater_equal(values, limit).cast(pa.int64()))
    return count


def _usage(columns: Mapping[str, pa.Array], notes: Notes) -> _Usage:
    import pyarrow.compute as pc

    reported = {name: columns[name] for name in COLUMNS_READ if name.endswith("_tokens")}
    tokens = {name: pc.max_element_wise(pc.fill_null(values, 0.0), 0.0) for name, values in reported.items()}
    total, output = tokens["input_tokens"], tokens["output_tokens"]
    read, write = tokens["cache_read_input_tokens"], tokens["cache_creation_input_tokens"]
    cached = pc.add(read, write)
    reasoning = pc.min_element_wise(tokens["reasoning_tokens"], output)
    hour = pc.min_element_wise(notes.hour_tokens, write)
    kinds = {
        "input": pc.max_element_wise(pc.subtract(total, cached), 0.0),
        "cache_read": read,
        "cache_write": pc.subtract(write, hour),
        "cache_write_1h": hour,
        "output": pc.subtract(output, reasoning),
        "reasoning": reasoning,
    }
    inconsistent = pc.or_(pc.greater(cached, total), pc.greater(tokens["reasoning_tokens"], output))
    for values in reported.values():
        inconsistent = pc.or_(inconsistent, pc.fill_null(pc.less(values, 0.0), False))
    metered = pc.is_valid(pc.coalesce(*(reported[name] for name in _METERED)))
    return _Usage(kinds, pc.max_element_wise(total, cached), inconsistent, metered)


def _charged(usage: _Usage, group: pa.Array, tariffs: Sequence[Tariff]) -> pa.Array:
    """USD per row; null where the tariff has no bands."""
    import pyarrow as pa
    import pyarrow.compute as pc

    # All bands of all tariffs stand in one list; a row finds its own by its group and the size of its input.
    bands = [each.bands or FREE for each in tariffs]
    firsts = list(accumulate((len(each) for each in bands), initial=0))
    at = pa.array(firsts, pa.int64()).take(group)
    for step in range(1, max(map(len, bands), default=1)):
        limits = [each[step].above if step < len(each) else float("inf") for each in bands]
        at = pc.add(at, pc.greater(usage.context, pa.array(limits).take(group)).cast(pa.int64()))
    flat = [band.rates for each in bands for band in each]
    cost = pa.array([rates.request for rates in flat], pa.float64()).take(at)
    for kind, tokens in usage.kinds.items():
        per_token = pa.array([getattr(rates, kind) for rates in flat], pa.float64())
        cost = pc.add(cost, pc.multiply(tokens, per_token.take(at)))
    priced = pa.array([bool(each.bands) for each in tariffs], pa.bool_()).take(group)
    return pc.if_else(priced, cost, pa.scalar(None, pa.float64()))


def _settled(
    columns: Mapping[str, pa.Array], usage: _Usage, group: pa.Array, tariffs: Sequence[Tariff], book: PriceBook
) -> dict[str, pa.Array]:
    """What is written: the price, unless nothing was metered or the caller's own cost is kept."""
    import pyarrow as pa
    import pyarrow.compute as pc

    none = pa.scalar(None, pa.string())
    free = pa.array([each.cost_status == "free" for each in tariffs], pa.bool_()).take(group)
    idle = pc.and_(pc.invert(usage.metered), pc.invert(free))
    status = pa.array([each.cost_status for each in tariffs], pa.string()).take(group)
    source = pa.array([each.source for each in tariffs], pa.string()).take(group)
    cost = _charged(usage, group, tariffs)
    cost = pc.if_else(idle, pa.scalar(None, pa.float64()), cost)
    status = pc.if_else(idle, "unmetered", status)
    source = pc.if_else(idle, none, source)
    kept = _reported(columns["cost_usd"], columns["cost_status"])
    if not book.believe_reported:
        kept = pc.and_(kept, pc.is_null(cost))
    return {
        "cost_usd": pc.if_else(kept, columns["cost_usd"], cost),
        "cost_status": pc.if_else(kept, "reported", status),
        "cost_source": pc.if_else(kept, "reported by the caller", source),
    }


def _reported(cost: pa.Array, status: pa.Array) -> pa.Array:
    """Where the cost is the caller's own and can be believed: finite and more than 0."""
    import pyarrow.compute as pc

    credible = pc.fill_null(pc.and_(pc.is_finite(cost), pc.greater(cost, 0.0)), False)
    return pc.and_(credible, pc.fill_null(pc.equal(status, "reported"), True))


def _count(status: pa.Array, group: pa.Array, calls: Sequence[Call], book: PriceBook) -> None:
    import pyarrow.compute as pc

    counts = pc.value_counts(group.filter(pc.equal(status, "unpriced")))
    for each in counts.to_pylist():
        book.count_unpriced(calls[each["values"]], each["counts"])


def _flagged(flags: pa.Array, inconsistent: pa.Array) -> pa.Array:
    """The flags (JSON arrays) with ours added where the usage is inconsistent, once."""
    import pyarrow as pa
    import pyarrow.compute as pc

    rows = pc.indices_nonzero(inconsistent)
    if not len(rows):
        return flags
    mask = inconsistent
    return pc.replace_with_mask(flags, mask, pa.array(list(map(_with_flag, flags.take(rows).to_pylist())), pa.string()))


def _with_flag(text: str | None) -> str:
    flags = json.loads(text) if text else []
    return json.dumps(flags if INCONSISTENT_USAGE in flags else [*flags, INCONSISTENT_USAGE])


def _with_column(batch: pa.RecordBatch, name: str, values: pa.Array) -> pa.RecordBatch:
    at = batch.schema.get_field_index(name)
    return batch.append_column(name, values) if at < 0 else batch.set_column(at, name, values)
