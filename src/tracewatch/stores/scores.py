"""Quality that is told of a span after it has ended: a score, put onto the row it is about (standard library only).

A score travels as a span whose operation is `score`, in the trace it is about and below the span it is about. Where
that row is, its values are put onto it and the score itself is not kept. One that comes first is kept as a row, and
joins its span when that is written by the same writer.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Protocol

from tracewatch.records import SCORE, Span, column_of
from tracewatch.stores.values import clean_text, from_value, to_value

SCORED = (
    "rag_relevance_score",
    "rag_answer_grounded",
    "hallucination_detected",
    "groundedness_score",
    "response_quality_breakdown",
    "warning_flags",
    "metadata",
)
"""The columns that a score may set. Objects and lists add to what is there; anything else takes its place."""

OUTCOME = ("status", "error_type", "error_category", "error_message")
"""The columns that a score sets whose own status is not ok: the call ended otherwise than it seemed at first."""

_JOIN: Mapping[str, Callable[[Any, Any], Any]] = {
    "json": lambda old, new: {**old, **new},
    "list": lambda old, new: tuple(dict.fromkeys((*old, *new))),
}


class Early:
    """Scores that are stored and whose span has not come yet. Threads that write at once try each of them once."""

    def __init__(self, most: int) -> None:
        """The last `most` are tried again with every write; those before stay rows of their own."""
        self._most = most
        self._held: list[Span] = []
        self._lock = threading.Lock()

    @contextmanager
    def tried(self, scores: Iterable[Span]) -> Iterator[list[Span]]:
        """Within, those that wait and these are the caller's; what is left in the list at the end waits on.

        When it fails all that waited before still do.
        """
        with self._lock:
            before, self._held = self._held, []
        waiting = [*before, *scores]
        try:
            yield waiting
        except BaseException:
            waiting[:] = before
            raise
        finally:
            with self._lock:
                self._held = [*self._held, *waiting][-self._most :]


class Database(Protocol):
    """A connection to any database that takes SQL with question marks for values."""

    def execute(self, sql: str, values: Sequence[Any] = (), /) -> Any:
        """Runs one statement; what it gives has `fetchone`."""


# The answer of a trace is what its last call of a model said; a trace without any is judged as a whole, by its root.
def target_sql(table: str = Span.table) -> str:
    """The question for the span that a score is about, whose values are `wanted_of(score)`."""
    return f"""SELECT span_id FROM {table}
WHERE project = ? AND trace_id = ? AND (CAST(? AS TEXT) IS NULL OR span_id = ?)
  AND coalesce(operation_type, '') <> '{SCORE}'
ORDER BY (model_name IS NOT NULL AND coalesce(model_provider, '') <> 'system') DESC,
  CASE WHEN model_name IS NULL THEN parent_span_id IS NULL END DESC NULLS LAST, start_time DESC
LIMIT 1"""


_IDS = ("project", "trace_id", "span_id", "parent_span_id")
_REMOVE = f"DELETE FROM {Span.table} WHERE project = ? AND trace_id = ? AND span_id = ?"


def settle(connection: Database, scores: Iterable[Span]) -> Sequence[Span]:
    """Puts scores that have just been written onto their spans, in the same transaction. Returns those without one."""
    early = []
    for each in map(as_stored, scores):
        if _applied(connection, each):
            connection.execute(_REMOVE, (each.project, each.trace_id, each.span_id))
        else:
            early.append(each)
    return early


def as_stored(score: Span) -> Span:
    """The score with its ids as the tables have them, which for some texts is not as they were given."""
    given = {name: getattr(score, name) for name in _IDS}
    kept: dict[str, Any] = {name: text if text is None else clean_text(text) for name, text in given.items()}
    return score if kept == given else replace(score, **kept)


def _applied(connection: Database, score: Span) -> bool:
    found = connection.execute(target_sql(), wanted_of(score)).fetchone()
    if found is None:
        return False
    if given := told_by(score):
        _update(connection, (score.project, score.trace_id, found[0]), given)
    return True


def wanted_of(score: Span) -> tuple[str | None, ...]:
    """The values for the question marks of `target_sql`."""
    return score.project, score.trace_id, score.parent_span_id, score.parent_span_id


def told_by(score: Span) -> Mapping[str, Any]:
    """What a score says of its span, by column."""
    names = SCORED if score.status == "ok" else (*SCORED, *OUTCOME)
    given = {name: getattr(score, name) for name in names}
    return {name: value for name, value in given.items() if value is not None}


def joined(given: Mapping[str, Any], held: Sequence[Any]) -> Mapping[str, Any]:
    """What a score says, together with the stored values that its span has in those columns; to be stored."""
    known = column_of(Span)
    together = {}
    for (name, value), old in zip(given.items(), held, strict=True):
        join = _JOIN.get(known[name].kind)
        new = join(from_value(known[name], old), value) if join is not None and old is not None else value
        together[name] = to_value(Span, known[name], new)
    return together


def _update(connection: Database, key: tuple[str, str, str], given: Mapping[str, Any]) -> None:
    where = "WHERE project = ? AND trace_id = ? AND span_id = ?"
    held = connection.execute(f"SELECT {', '.join(given)} FROM {Span.table} {where}", key).fetchone()
    set_sql = ", ".join(f"{name} = ?" for name in given)
    values = tuple(joined(given, held).values())
    connection.execute(f"UPDATE {Span.table} SET {set_sql} {where}", (*values, *key))
