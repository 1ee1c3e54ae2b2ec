"""What a store is: a few verbs over records. Every store passes tests/stores/conformance.py."""

from __future__ import annotations

import difflib
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from tracewatch.errors import BadFilter, BadTime, MisspeltColumn, UnknownColumn
from tracewatch.records import Column, Lease, Record, Span, column_of, columns
from tracewatch.stores.values import from_values
from tracewatch.times import parse_time

if TYPE_CHECKING:
    import pyarrow as pa

Operator = Literal["=", "!=", ">=", "<=", ">", "<"]
Progress = Callable[[int], None]
"""Called with how many more rows are done."""
SpanKey = tuple[str, str, str]
"""Project, trace and span."""
Hurry = Callable[[Callable[[], Any]], Any]
"""Calls a function somewhere, and returns what it returns or raises what it raises."""

_FILTER = re.compile(r"^\s*(?P<name>[\w.]+)\s*(?P<operator>!=|>=|<=|=|>|<)(?P<value>.*)$", re.DOTALL)
_TRUTH = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


@dataclass(frozen=True, slots=True)
class Filter:
    """One condition on one column. Several values after = or != mean any of them; None stands for empty."""

    name: str
    operator: Operator
    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Page:
    """Some records, newest first, and where the next page begins (None: there is none)."""

    records: tuple[Record, ...]
    next: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The spans that share one value of a column, added up."""

    value: str
    calls: int
    """Those that are calls of a model; steps around them add their money and tokens alone."""
    cost_usd: float | None
    """The sum of what is known; None where not one cost is."""
    priced: int
    """Spans whose cost is known."""
    unpriced: int
    """Spans of a paid model whose cost is not known."""
    failed: int
    """Calls that ended in an error or a timeout."""
    input_tokens: int
    output_tokens: int
    first: float
    """When the first one began, UTC epoch seconds."""
    last: float


MOST_NAMED = 8  # columns named to somebody who asked for another one
GroupOrder = Literal["cost_usd", "calls", "failed", "last"]


def parse_filter(text: str, record_type: type[Record] = Span) -> Filter:
    """A filter from text such as `status=error,timeout`, `cost_usd>0.05`, `start_time>24h` or `user_id=` (empty).

    A column may go by any of its aliases. Raises BadFilter or UnknownColumn.
    """
    found = _FILTER.match(text)
    if not found:
        raise BadFilter(given=text, why="it has no = or other comparison")
    column = _meant_column(record_type, found["name"], text)
    operator: Any = found["operator"]
    texts = found["value"].split(",") if operator in ("=", "!=") else [found["value"]]
    return Filter(column.name, operator, tuple(_value(column, each.strip(), text) for each in texts))


def _meant_column(record_type: type[Record], name: str, given: str) -> Column:
    """The column of that name, or the one that goes by it elsewhere; one that is nearly called so is suggested."""
    known = column_of(record_type)
    names = {alias: each.name for each in reversed(columns(record_type)) for alias in (*each.aliases, *each.otel)}
    names |= {each: each for each in known}
    meant = names.get(name) or names.get(name.lower())
    if meant:
        return known[meant]
    head = known.get(names.get(name.partition(".")[0], ""))
    if head is not None and head.kind == "json":
        raise BadFilter(given=given, why=f"the entries of {head.name} cannot be filtered on yet, only whole columns")
    for guess in difflib.get_close_matches(name.lower(), names, n=1):
        raise MisspeltColumn(table=record_type.table, name=name, guess=names[guess])
    return checked_column(record_type, name)


def checked_column(record_type: type[Record], name: str) -> Column:
    """The column of that name. Raises UnknownColumn."""
    known = column_of(record_type)
    if name not in known:
        raise UnknownColumn(table=record_type.table, name=name, columns=_nearest(name, known))
    return known[name]


def _nearest(name: str, known: Iterable[str]) -> str:
    """The names that are most like it, and how many more there are."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=MOST_NAMED, cutoff=0.0)
    return ", ".join(near) + (f" and {len(names) - len(near)} more" if len(names) > len(near) else "")


def _value(column: Column, text: str, given: str) -> Any:
    if text == "":
        return None
    if column.kind == "boolean" and text.lower() in _TRUTH:
        return _TRUTH[text.lower()]
    if column.kind == "time":
        try:
            return parse_time(text)
        except BadTime as error:
            raise BadFilter(given=given, why=f"'{text}' is no time such as 24h or 2026-03-02") from error
    if column.kind in ("integer", "real"):
        try:
            return float(text)
        except ValueError as error:
            raise BadFilter(given=given, why=f"{column.name} is a number and '{text}' is not") from error
    if column.kind == "bytes":
        raise BadFilter(given=given, why=f"{column.name} holds bytes, which nothing is compared with")
    if column.kind == "boolean":
        raise BadFilter(given=given, why=f"{column.name} is true or false")
    return text


class Store(ABC):
    """Where records are kept. Every verb is safe to repeat; writes are whole or not at all."""

    url: str

    @abstractmethod
    def put(self, records: Iterable[Record]) -> int:
        """Stores records of one type, replacing those with the same key. Returns how many were given."""

    @abstractmethod
    def add(self, records: Iterable[Record]) -> int:
        """Stores those records of one type whose key is not there yet. Returns how many were new.

        A span that is a score is put onto the span it is about, where that is there, and is not kept itself.
        """

    @abstractmethod
    def add_rows(self, record_type: type[Record], rows: Sequence[Mapping[str, Any]]) -> int:
        """Like `add`, from values by the names of columns; one that is missing or None takes its default.

        Cheaper than making records of 60 fields, of which most are empty. Raises BadRecord with nothing written.
        """

    def add_values(self, record_type: type[Record], rows: Sequence[Mapping[str, Any]]) -> int:
        """Like `add_rows`, from what `stores.values.to_values` has made of each row: nothing is converted again."""
        return self.add([from_values(record_type, each) for each in rows])

    @abstractmethod
    def add_batch(self, record_type: type[Record], batch: pa.RecordBatch) -> int:
        """Like `add`, from Arrow columns named as the record's; a column that is missing takes its default."""

    def load(self, record_type: type[Record], batches: Iterable[pa.RecordBatch]) -> Iterator[int]:
        """Adds many batches, each like `add_batch`; yields for each how many rows were new, once they are stored.

        A store may fetch the next batch while it writes the one before.
        """
        for batch in batches:
            yield self.add_batch(record_type, batch)

    @abstractmethod
    def get(self, record_type: type[Record], key: Mapping[str, Any]) -> Record | None:
        """The record with this key, given by the names of its key columns."""

    @abstractmethod
    def annotate(self, record_type: type[Record], key: Mapping[str, Any], values: Mapping[str, Any]) -> bool:
        """Changes some columns of the record with this key. Returns whether it is there."""

    @abstractmethod
    def annotate_all(
        self, record_type: type[Record], changes: Iterable[tuple[Mapping[str, Any], Mapping[str, Any]]]
    ) -> int:
        """Changes many records, each given as (key, values), in one transaction. Returns how many were there."""

    @abstractmethod
    def swap(
        self, record_type: type[Record], where: Sequence[Filter], records: Iterable[Record], *, expected: int
    ) -> bool:
        """Puts records in place of those that match, in one transaction, if there are still `expected` of those.

        Returns whether it was done: False says that somebody else was quicker. Not for spans.
        """

    @abstractmethod
    def fence(self, lease: Lease | None) -> None:
        """Binds all that is written through this store from now on to a lease; None lets go of it.

        Each write looks in its own transaction whether the lease still has that epoch, and raises LeaseLost with
        nothing written when somebody else has taken it: so one who slept through that cannot write over others.
        """

    def hurry(self, run: Hurry) -> None:  # noqa: B027 - not every store has one lock for all
        """Has `run` call, from now on, the steps of `roll_up` for which all other writers have to wait."""

    def stamp(self) -> object:
        """What is another one when somebody else has written since it was asked last; may be asked all the time."""
        return self.tip()

    @abstractmethod
    def page(
        self, record_type: type[Record], where: Sequence[Filter] = (), *, limit: int = 50, cursor: str | None = None
    ) -> Page:
        """Newest records first, by keyset: rows that arrive meanwhile neither repeat nor push out others.

        Raises BadCursor.
        """

    @abstractmethod
    def trace(self, project: str, trace_id: str) -> tuple[Span, ...]:
        """All spans of a trace, oldest first; empty when there is none."""

    @abstractmethod
    def scan(
        self,
        record_type: type[Record],
        names: Sequence[str],
        where: Sequence[Filter] = (),
        *,
        after: str | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """Columns of all matching rows as Arrow batches (bounded memory), from one consistent view.

        Times and reals come as float64, integers as int64, booleans as bool, texts, JSON and lists as string, bytes as
        binary.
        With `after` (a token of `tip`), only what was written since then; a row may come twice, never be missed.
        """

    @abstractmethod
    def tip(self) -> str:
        """A token for everything written so far, to be given to `scan` as `after` later on."""

    @abstractmethod
    def extent(self, record_type: type[Record], where: Sequence[Filter] = ()) -> tuple[float, float] | None:
        """The oldest and newest `newest_by` time (epoch s) of the matching rows; None when there are none."""

    @abstractmethod
    def count(self, record_type: type[Record], where: Sequence[Filter] = ()) -> int:
        """How many records match."""

    @abstractmethod
    def distinct(self, record_type: type[Record], name: str, where: Sequence[Filter] = ()) -> int:
        """How many different values a column has in the matching records; empty ones are not counted."""

    @abstractmethod
    def exists(self, record_type: type[Record], where: Sequence[Filter] = ()) -> bool:
        """Whether any record matches."""

    @abstractmethod
    def groups(
        self, name: str, where: Sequence[Filter] = (), *, order: GroupOrder = "cost_usd", limit: int = 50, skip: int = 0
    ) -> tuple[Group, ...]:
        """The matching spans by each value of a column, the largest of `order` first; an empty value is no group.

        Meant for columns that rollups do not tell apart. Reads every matching span, but where `days_of` says
        otherwise. Raises UnknownColumn.
        """

    def days_of(self, name: str, where: Sequence[Filter], most: int) -> int | None:
        """How many sums of days `groups` puts together for this instead of spans, counted up to `most`.

        None where it reads every matching span. Raises UnknownColumn.
        """
        checked_column(Span, name)
        return None

    @abstractmethod
    def remove(self, record_type: type[Record], where: Sequence[Filter]) -> int:
        """Deletes the matching records (not spans: see `retain`). Returns how many there were."""

    @abstractmethod
    def pending(self) -> int:
        """How many spans have been written since the rollups were last brought up to date."""

    @abstractmethod
    def roll_up(self, progress: Progress | None = None) -> int:
        """Brings the rollups up to date with the spans written so far. Returns how many spans were read."""

    @abstractmethod
    def rollup(
        self,
        since: float,
        until: float,
        *,
        step_s: int = 3600,
        by: Sequence[str] = (),
        where: Sequence[Filter] = (),
        measures: Sequence[str] | None = None,
    ) -> pa.Table:
        """Counts, sums and sketches per bucket of `step_s` seconds and per value of the `by` columns.

        Columns: `bucket` (epoch s), the `by` columns, and those of rollups.MEASURES (all, or the ones named). `by`
        and `where` take the slices of rollups.SLICES and `project`. `since` and `until` are widened to whole
        buckets; a step is a whole number of minutes. Raises UnknownColumn or BadStep.
        """

    @abstractmethod
    def retain(self, before: float, spare: Sequence[SpanKey] = ()) -> int:
        """Deletes spans that began before that moment (whole hours); rollups stay. Returns how many went.

        The spared ones stay until they are spared no more; no other span from before that moment is taken in again.
        """

    def compact(
        self,
        before: float,
        *,
        least: int | None = None,
        progress: Progress | None = None,
        stop: Callable[[], bool] = lambda: False,
    ) -> int:
        """Puts spans that began before a moment (whole hours) where they take less room, if there are `least` of them.

        Every question is answered as before. Returns how many; a store that has no such place does nothing. May be
        killed anywhere, or told to `stop`, and goes on from there the next time; only one process at a time (see
        `fence`). Raises StoreUnwritable.
        """
        return 0

    def size(self) -> int | None:
        """How many bytes the store takes on this machine's disk; None where that is not known."""
        return None

    def is_shared(self) -> bool:
        """Whether an application keeps tables of its own beside ours."""
        return False

    @abstractmethod
    def retained(self) -> float | None:
        """The hour (epoch s) before which spans were deleted and only rollups stay; None when all were kept."""

    @abstractmethod
    def keep_hours(self, hours: pa.Table, since: float, until: float) -> None:
        """Takes the rollups of whole hours whose spans are kept nowhere any more, in place of what is there for them.

        `hours` is what `rollup` gives by all of rollups.KEYS, with all measures and a step of an hour. From then on no
        span from before `until` is taken in.
        """

    @abstractmethod
    def describe(self) -> Mapping[str, str]:
        """What the store is, for people: its kind and version, where it lies, its schema, its size."""

    @abstractmethod
    def verify(self) -> str | None:
        """What is broken in the stored data, in one sentence; None when all of it is sound. Reads everything."""

    @abstractmethod
    def close(self) -> None:
        """Lets go of the database."""

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
