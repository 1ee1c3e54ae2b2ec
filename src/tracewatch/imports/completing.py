"""What a row does not say but what follows from the rest of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from tracewatch.imports.base import Kind
from tracewatch.imports.values import by_distinct
from tracewatch.records import MESSAGES_SOURCE, operation_of

if TYPE_CHECKING:
    import pyarrow as pa

ERROR_LENGTH = 500
SHORTEST_STREAM_MS = 1.0  # below the clocks' resolution a rate is noise: 50 tokens in 0.01 ms are no 5 000 000 a second

SOURCES: Mapping[Kind, str] = {"usage-db": "usage-db", "messages": MESSAGES_SOURCE, "traces": "traces"}


def began(columns: Mapping[str, pa.Array]) -> dict[str, pa.Array]:
    """`start_time`, from end and duration where it is missing."""
    import pyarrow.compute as pc

    if "end_time" not in columns or "duration_ms" not in columns:
        return {}
    reckoned = pc.subtract(columns["end_time"], pc.divide(columns["duration_ms"], 1e3))
    given = columns.get("start_time")
    return {"start_time": reckoned if given is None else pc.coalesce(given, reckoned)}


def completed(columns: Mapping[str, pa.Array], rows: int, kind: Kind) -> dict[str, pa.Array]:
    """The columns with end, duration, total tokens, tokens per second, status, operation and source filled in."""
    import pyarrow as pa

    reals, whole, text = (pa.nulls(rows, of) for of in (pa.float64(), pa.int64(), pa.string()))
    empty = {"end_time": reals, "duration_ms": reals, "ttft_ms": reals, "tokens_per_second": reals}
    empty |= {"input_tokens": whole, "output_tokens": whole, "total_tokens": whole}
    empty |= {"status": text, "error_message": text, "error_type": text}
    filled = {**empty, **columns}
    filled |= _timed(filled)
    filled |= _counted(filled)
    filled |= _ended(filled)
    filled |= _named(filled, rows, kind)
    return {name: array for name, array in filled.items() if array.null_count < rows}


def _timed(columns: Mapping[str, pa.Array]) -> dict[str, pa.Array]:
    import pyarrow.compute as pc

    start, end, duration = columns["start_time"], columns["end_time"], columns["duration_ms"]
    return {
        "duration_ms": pc.coalesce(duration, pc.multiply(pc.subtract(end, start), 1e3)),
        "end_time": pc.coalesce(end, pc.add(start, pc.divide(duration, 1e3))),
    }


def _counted(columns: Mapping[str, pa.Array]) -> dict[str, pa.Array]:
    """Sums count a missing side as none: an embedding has no output. Rates need the first token's time."""
    import pyarrow.compute as pc

    given, answered = columns["input_tokens"], columns["output_tokens"]
    both = pc.add(pc.fill_null(given, 0), pc.fill_null(answered, 0))
    known = pc.or_(pc.is_valid(given), pc.is_valid(answered))
    streamed_ms = pc.subtract(columns["duration_ms"], columns["ttft_ms"])
    rated = pc.and_(pc.greater_equal(streamed_ms, SHORTEST_STREAM_MS), pc.greater(answered, 0))
    per_second = pc.divide(answered, pc.divide(pc.if_else(rated, streamed_ms, None), 1e3))
    return {
        "total_tokens": pc.coalesce(columns["total_tokens"], pc.if_else(known, both, None)),
        "tokens_per_second": pc.coalesce(columns["tokens_per_second"], per_second),
    }


def _ended(columns: Mapping[str, pa.Array]) -> dict[str, pa.Array]:
    """`status`: where none is given, a row with an error is one. `error_message`: cut."""
    import pyarrow as pa
    import pyarrow.compute as pc

    message = columns["error_message"]
    # A column `error` may hold true and false instead of a message.
    message = pc.if_else(pc.is_in(message, value_set=pa.array(("false", "False", "f", "0"))), None, message)
    failed = pc.or_(pc.is_valid(message), pc.is_valid(columns["error_type"]))
    return {
        "status": pc.coalesce(columns["status"], pc.if_else(failed, "error", "ok")),
        "error_message": pc.utf8_slice_codeunits(message, 0, ERROR_LENGTH),
    }


def _named(columns: Mapping[str, pa.Array], rows: int, kind: Kind) -> dict[str, pa.Array]:
    """`source`, and for a usage database `operation_type`, which its app does not write."""
    import pyarrow as pa
    import pyarrow.compute as pc

    source = pa.repeat(SOURCES[kind], rows)
    if kind != "usage-db":
        said = columns.get("source") if kind == "traces" else None
        return {"source": source if said is None else pc.coalesce(said, source)}
    none = pa.nulls(rows, pa.string())
    provider, model = columns.get("model_provider", none), columns.get("model_name", none)
    batch = pc.and_(pc.fill_null(pc.equal(provider, "system"), False), pc.fill_null(pc.equal(model, "batch"), False))
    guessed = by_distinct(columns.get("usage_type", none), operation_of).values
    guessed = pc.if_else(batch, "batch", guessed)
    return {"source": source, "operation_type": pc.coalesce(columns.get("operation_type", none), guessed)}
