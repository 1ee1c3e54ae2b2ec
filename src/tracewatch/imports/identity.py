"""Ids for rows that have none: made from what the row says, so that importing it again gives the same ones."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

# What tells one call from another. Costs, scores and metadata may be corrected in a later export of the same call.
IDENTIFYING = (
    "start_time",
    "trace_id",
    "span_id",
    "parent_span_id",
    "message_id",
    "conversation_id",
    "session_id",
    "user_id",
    "model_provider",
    "model_name",
    "operation_type",
    "usage_type",
    "span_name",
    "status",
    "duration_ms",
    "ttft_ms",
    "input_tokens",
    "output_tokens",
)

# Rows that say exactly the same are told apart by how many came before, counted over at least so many rows
# (20 MB); in a file sorted by time they stand close together.
REMEMBERED_ROWS = 100_000
_BETWEEN = "\x1f"  # ASCII's unit separator: in no id


class Identities:
    """Gives span and trace ids to the rows of one file."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._recent: dict[bytes, int] = {}
        self._older: dict[bytes, int] = {}

    def complete(self, columns: Mapping[str, pa.Array], rows: int) -> dict[str, pa.Array]:
        """`span_id` and `trace_id`, filled in where they are missing: 16 and 32 hex digits, as OpenTelemetry has them.

        A row with an id of its own is known by that and its time, any other by all of IDENTIFYING. A row without a
        trace is a trace of its own.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        none = pa.nulls(rows, pa.string())
        span_ids, trace_ids = columns.get("span_id", none), columns.get("trace_id", none)
        lacking = pc.or_(pc.is_null(span_ids), pc.is_null(trace_ids))
        where = pc.indices_nonzero(lacking)
        if not len(where):
            return {"span_id": span_ids, "trace_id": trace_ids}
        made = self._digests({name: pc.take(array, where) for name, array in columns.items()}, len(where))
        spans = pa.array([digest[32:] for digest in made], pa.string())
        traces = pa.array([digest[:32] for digest in made], pa.string())
        return {
            "span_id": pc.coalesce(span_ids, pc.replace_with_mask(none, lacking, spans)),
            "trace_id": pc.coalesce(trace_ids, pc.replace_with_mask(none, lacking, traces)),
        }

    def _digests(self, columns: Mapping[str, pa.Array], rows: int) -> list[str]:
        import pyarrow as pa

        own = columns.get("id", pa.nulls(rows, pa.string()))
        none = pa.nulls(rows, pa.string())
        by_id = _joined([own, columns["start_time"]])
        by_content = _joined([columns.get(name, none) for name in IDENTIFYING])
        return [
            self._digest("id" + of_id) if given is not None else self._numbered(of_content)
            for given, of_id, of_content in zip(own.to_pylist(), by_id.to_pylist(), by_content.to_pylist(), strict=True)
        ]

    def _numbered(self, text: str) -> str:
        key = blake2b(text.encode(), digest_size=8).digest()
        before = self._recent.get(key, self._older.get(key, 0))
        self._recent[key] = before + 1
        if len(self._recent) >= REMEMBERED_ROWS:
            self._older, self._recent = self._recent, {}
        return self._digest(f"{text}{_BETWEEN}{before}" if before else text)

    def _digest(self, text: str) -> str:
        return blake2b(f"{self._kind}{_BETWEEN}{text}".encode(), digest_size=24).hexdigest()


def _joined(arrays: list[pa.Array]) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    texts = [pc.cast(array, pa.string()) for array in arrays]
    return pc.binary_join_element_wise(*texts, _BETWEEN, null_handling="replace", null_replacement="")
