"""Columns that no span has: numbers go into the metadata, where they can be watched; texts only when asked for."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from tracewatch.imports.naming import Plan, normalised
from tracewatch.imports.values import FALSE, NUMBER, TRUE, as_text, nulled

if TYPE_CHECKING:
    import pyarrow as pa

_EMPTY = "{}"
_COMMA = ", "


class Extras:
    """What becomes of the columns of one file that no span has."""

    def __init__(self, keep: Iterable[str] = ()) -> None:
        # Texts may be prompts and answers, which are not stored unless their owner says so.
        self._keep = {normalised(name): name for name in keep}
        self._seen: set[str] = set()
        self.in_metadata: dict[str, None] = {}
        self.left_out: dict[str, None] = {}

    def keeps(self, name: str) -> bool:
        """Whether the user asked for this column's texts."""
        return normalised(name) in self._keep

    def missing(self, names: Iterable[str] = ()) -> tuple[str, ...]:
        """The columns that were asked for, and are neither among these names nor in any chunk so far."""
        there = self._seen | {normalised(name) for name in names}
        return tuple(name for spelled, name in self._keep.items() if spelled not in there)

    def metadata(self, its_plan: Plan, columns: Mapping[str, pa.Array], given: pa.Array | None) -> dict[str, pa.Array]:
        """The `metadata` column with these entries added to what was `given`; nothing when there are none."""
        self._seen |= {normalised(name) for name in columns} if self._keep else set()
        given_out = (name for name in its_plan.left_out if columns[name].null_count < len(columns[name]))
        self.left_out |= dict.fromkeys(name for name in given_out if not self.keeps(name))
        pieces = [self._piece(name, columns[name]) for name in its_plan.unknown]
        kept = [piece for piece in pieces if piece is not None]
        return {"metadata": _merged(given, kept)} if kept else {}

    def _piece(self, name: str, raw: pa.Array) -> pa.Array | None:
        """`, "name": value` for each row that has one."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if raw.null_count == len(raw):
            return None
        values = _plain(raw) if not self.keeps(name) else _quoted(raw)
        lost = values.null_count > nulled(as_text(raw)).null_count
        if lost:
            self.left_out[name] = None
        if values.null_count == len(values):
            return None
        self.in_metadata[name] = None
        return pc.binary_join_element_wise(pa.scalar(f"{_COMMA}{json.dumps(name)}: "), values, "")


def _plain(raw: pa.Array) -> pa.Array:
    """Numbers and truth values as JSON writes them; null for anything else."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_nested(raw.type):
        return pa.nulls(len(raw), pa.string())
    if pa.types.is_boolean(raw.type) or pa.types.is_integer(raw.type):
        return pc.cast(raw, pa.string())
    if pa.types.is_floating(raw.type):
        finite = pc.if_else(pc.is_finite(raw), raw, None)
        return pc.cast(finite, pa.string())
    texts = pc.utf8_trim_whitespace(as_text(raw))
    number = pc.if_else(pc.match_substring_regex(texts, NUMBER), texts, None)
    # Read and written again: JSON has no +5, 007 or 5. as numbers.
    numbers = _as_json(number)
    lower = pc.utf8_lower(texts)
    true = pc.is_in(lower, value_set=pa.array([word for word in TRUE if word.isalpha() and len(word) > 1]))
    false = pc.is_in(lower, value_set=pa.array([word for word in FALSE if word.isalpha() and len(word) > 1]))
    return pc.coalesce(numbers, pc.if_else(true, "true", pc.if_else(false, "false", pa.scalar(None, pa.string()))))


def _as_json(numbers: pa.Array) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    as_float = pc.cast(numbers, pa.float64())
    return pc.cast(pc.if_else(pc.is_finite(as_float), as_float, None), pa.string())


def _quoted(raw: pa.Array) -> pa.Array:
    import pyarrow as pa

    texts = nulled(as_text(raw)).to_pylist()
    return pa.array([None if text is None else json.dumps(text, ensure_ascii=False) for text in texts], pa.string())


def _merged(given: pa.Array | None, pieces: Sequence[pa.Array]) -> pa.Array:
    """JSON objects of the pieces; what was given stands first and wins where both have an entry."""
    import pyarrow as pa
    import pyarrow.compute as pc

    # Not null_handling="skip": with it Arrow (26.0.1) leaves out the rows in which all are null.
    joined = pc.binary_join_element_wise(*(pc.fill_null(piece, "") for piece in pieces), "")
    made = pc.binary_join_element_wise("{", pc.utf8_slice_codeunits(joined, len(_COMMA)), "}", "")
    made = pc.if_else(pc.equal(made, _EMPTY), pa.scalar(None, pa.string()), made)
    if given is None or given.null_count == len(given):
        return made
    return pa.array(
        [
            json.dumps({**json.loads(more), **json.loads(own)}, ensure_ascii=False) if own and more else own or more
            for own, more in zip(given.to_pylist(), made.to_pylist(), strict=True)
        ],
        pa.string(),
    )
