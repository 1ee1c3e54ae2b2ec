"""Spans into rollups: for every bucket of time and every slice the counts, sums and sketches of MEASURES."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tracewatch.errors import BadStep, UnknownColumn
from tracewatch.records import STATUSES, Span
from tracewatch.stores import sketch
from tracewatch.stores.base import Filter
from tracewatch.stores.columns import arrow_schema
from tracewatch.stores.measures import KEYS, MEASURES, ROLLED, SKETCHED, SLICES, Measure

__all__ = [
    "KEYS",
    "MEASURES",
    "MINUTES_KEPT_S",
    "MINUTE_S",
    "READ",
    "SLICES",
    "Measure",
    "asked_buckets",
    "measure_schema",
    "roll",
]

READ: tuple[str, ...] = ("start_time", *ROLLED, "status", *KEYS)
"""The columns of spans that rollups are made from."""

MINUTE_S = 60
MINUTES_KEPT_S = 2 * 86_400  # charts by the minute look at today and yesterday; older ones are made from the spans

_TYPES = {"integer": pa.int64(), "real": pa.float64(), "sketch": pa.binary()}


def asked_buckets(
    since: float, until: float, step_s: int, by: Sequence[str], where: Sequence[Filter]
) -> tuple[int, int]:
    """From where to where whole buckets reach that hold this time. Raises UnknownColumn or BadStep."""
    for name in (*by, *(each.name for each in where)):
        if name not in KEYS:
            raise UnknownColumn(table="rollups", name=name, columns=", ".join(KEYS))
    if step_s <= 0 or step_s % MINUTE_S:
        raise BadStep(given=step_s)
    return int(since // step_s * step_s), int(-(-until // step_s) * step_s)


def measure_schema(measures: Sequence[Measure] = MEASURES) -> pa.Schema:
    """The Arrow types of those measures."""
    return pa.schema([pa.field(each.name, _TYPES[each.kind]) for each in measures])


def roll(spans: pa.RecordBatch, step_s: int) -> pa.Table:
    """One row per bucket of `step_s` seconds and slice: `bucket` (epoch s), the KEYS and all MEASURES.

    `spans` has the columns READ; those that are missing count as empty. Vectorised: 1 µs a span and step.
    """
    given = _complete(spans)
    bucket = buckets(given["start_time"], step_s)
    group, first = _groups([bucket, *(given[name] for name in KEYS)])
    measured = {"bucket": bucket.take(first), **{name: given[name].take(first) for name in KEYS}}
    measured |= _sums(given, group)
    for name in SKETCHED:
        measured[f"{name}_sketch"] = _sketches(given[name], group, len(first))
    return pa.table(measured).select(["bucket", *KEYS, *(each.name for each in MEASURES)])


def buckets(times: pa.Array, step_s: int) -> pa.Array:
    """Where the bucket of each time begins, in whole epoch seconds."""
    # Whole seconds first: these divide without an error that could push a time into the next bucket.
    steps = pc.floor(pc.divide(pc.floor(times), float(step_s))).cast(pa.int64())
    return pc.multiply(steps, step_s)


def _complete(spans: pa.RecordBatch) -> Mapping[str, pa.Array]:
    there = dict(zip(spans.schema.names, spans.columns, strict=True))
    given = {}
    for field in arrow_schema(Span, READ):
        array = there.get(field.name)
        given[field.name] = pa.nulls(spans.num_rows, field.type) if array is None else array
    return given


def _groups(keys: Sequence[pa.Array]) -> tuple[pa.Array, pa.Array]:
    """A number for each distinct combination, counted from 0 as they appear, and the first row of each."""
    group, _ = _codes(keys[0])
    for key in keys[1:]:
        codes, distinct = _codes(key)
        if distinct > 1:
            group, _ = _codes(pc.add(pc.multiply(group, distinct), codes))
    rows = pa.table({"group": group, "row": pa.array(range(len(group)), pa.int64())})
    first = rows.group_by("group").aggregate([("row", "min")]).sort_by("group")
    return group, first["row_min"].combine_chunks()


def _codes(values: pa.Array) -> tuple[pa.Array, int]:
    encoded = values.dictionary_encode(null_encoding="encode")
    return encoded.indices.cast(pa.int64()), max(1, len(encoded.dictionary))


def _sums(given: Mapping[str, pa.Array], group: pa.Array) -> dict[str, pa.Array]:
    flags = _flags(given)
    reals = {name: _reals(given[name]) for name in ROLLED}
    spans = pa.table({"group": group, **flags, **reals})
    wanted: list[Any] = [(name, "sum") for name in flags]
    for name in reals:
        wanted += [(name, "sum"), (name, "count")]
    added = spans.group_by("group").aggregate(wanted).sort_by("group").combine_chunks()
    found = {name: added[f"{name}_sum"].cast(pa.int64()) for name in flags}
    for name in reals:
        found[f"{name}_sum"] = pc.fill_null(added[f"{name}_sum"], 0.0)
        found[f"{name}_count"] = added[f"{name}_count"]
    return found


def _flags(given: Mapping[str, pa.Array]) -> dict[str, pa.Array]:
    """For each span 0, 1 or its tokens: what the counting measures add up."""
    parts = pc.add(_tokens(given["input_tokens"]), _tokens(given["output_tokens"]))
    tokens = pc.if_else(pc.is_valid(given["total_tokens"]), _tokens(given["total_tokens"]), parts)
    priced = pc.is_valid(given["cost_usd"])
    flags = {
        "calls": pa.repeat(1, len(tokens)),
        "retried_calls": _one_if(pc.greater(given["retry_count"], 0)),
        "unpriced_calls": _one_if(pc.and_(pc.invert(priced), pc.greater(tokens, 0))),
        "priced_tokens": pc.if_else(priced, tokens, 0),
        "unpriced_tokens": pc.if_else(priced, 0, tokens),
    }
    return flags | {f"{status}_calls": _one_if(pc.equal(given["status"], status)) for status in STATUSES}


def _one_if(yes: pa.Array) -> pa.Array:
    return pc.fill_null(yes, False).cast(pa.int64())


def _tokens(numbers: pa.Array) -> pa.Array:
    """Tokens, 0 where there are none; 2 ** 40 (a million million) is no count of anybody's tokens."""
    return pc.max_element_wise(pc.min_element_wise(pc.fill_null(numbers, 0), 2**40), 0)


def _reals(numbers: pa.Array) -> pa.Array:
    return numbers.cast(pa.float64(), safe=False)


def _sketches(numbers: pa.Array, group: pa.Array, groups: int) -> pa.Array:
    held = pa.table({"group": group, "code": _sketch_codes(_reals(numbers))}).drop_null()
    counted = held.group_by(["group", "code"]).aggregate([([], "count_all")])
    counted = counted.sort_by([("group", "ascending"), ("code", "ascending")])
    codes, counts = counted["code"].to_pylist(), counted["count_all"].to_pylist()
    found: list[bytes | None] = [None] * groups
    begin = 0
    runs = pc.run_end_encode(counted["group"].combine_chunks())
    for number, end in zip(runs.values.to_pylist(), runs.run_ends.to_pylist(), strict=True):
        found[number] = sketch.encode(codes[begin:end], counts[begin:end])
        begin = end
    return pa.array(found, pa.binary())


def _sketch_codes(numbers: pa.Array) -> pa.Array:
    """`sketch.code` of every number at once; null for null."""
    logarithms = pc.ln(pc.abs(numbers))
    bucket = pc.add(pc.ceil(pc.divide(logarithms, sketch.WIDTH)), float(sketch.OFFSET))
    signed = pc.multiply(bucket, pc.sign(numbers))
    return pc.if_else(pc.equal(numbers, 0.0), float(sketch.ZERO), signed).cast(pa.int64())
