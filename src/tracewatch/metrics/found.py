"""Values that are found by themselves: entries of JSON columns, warning flags, reasons to stop. Bounded in number.

Nothing is judged before some days of it are known, so a name costs little; one that hardly ever comes gives its place
to another at midnight.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

import numpy as np

from tracewatch.detectors.adaptive.observations import Thing
from tracewatch.detectors.spec import Floats
from tracewatch.metrics.entries import objects
from tracewatch.metrics.rows import Rows

MOST_FOUND = 24  # names of a column at a time
LEAST_A_DAY = 10  # values of a name: what comes less often cannot be judged
LONGEST = 80  # characters of a name
LARGEST = 1e8  # of a number that measures something; greater ones are mostly ids and moments
NO_MEASURE = re.compile(
    r"(^|[^a-z])(id|ids|uuid|at|ts|time|timestamp|epoch|date|year|seed|index|idx|offset|page|version|port|pid|hash"
    r"|number|line|row)$",
    re.IGNORECASE,
)  # the last word of names whose numbers say which one, not how much
TRUTH = "metadata_true"
"""The first word of the shares of calls in which an entry of metadata is true."""
PATIENCE = 1.5  # of what nobody has said matters


@dataclass(slots=True)
class Found:
    """The names found in one column. Picklable."""

    things: dict[str, Thing] = field(default_factory=dict)
    since: dict[str, float] = field(default_factory=dict)
    """When each came first (epoch seconds)."""
    counted: dict[str, int] = field(default_factory=dict)
    """Values of today."""

    def admit(self, name: str, thing: Thing, time_s: float) -> bool:
        """Whether a name is watched; a new one is from that moment on, while there is room."""
        if name not in self.things:
            if len(self.things) >= MOST_FOUND or len(name) > LONGEST or not name.isprintable():
                return False
            self.things[name], self.since[name], self.counted[name] = thing, time_s, 0
        return True

    def close_day(self) -> None:
        """Names that hardly came today leave."""
        for name in [name for name, count in self.counted.items() if count < LEAST_A_DAY]:
            del self.things[name], self.since[name], self.counted[name]
        self.counted = dict.fromkeys(self.counted, 0)


Values = Iterator[tuple[Thing, Floats]]
"""Things with the value of each row, NaN where there is none."""


def entries(rows: Rows, column: str, root: str, found: Found, declared: frozenset[str]) -> Values:
    """Numbers of a JSON column by name, and truths as shares; of those that are declared nothing."""
    codes, texts = rows.codes(column)
    if len(texts) == 1:
        return
    first = _first_times(rows, codes, len(texts))
    parsed = list(objects([text or "{}" for text in texts[:-1]]))
    tables: dict[str, Floats] = {}
    for place in np.argsort(first[:-1], kind="stable").tolist():
        for entry, value in parsed[place].items():
            number = number_of(value)
            name = f"{TRUTH if root == 'metadata' and isinstance(value, bool) else root}.{entry}"
            if number is None or name in declared or (root == "metadata" and _is_no_measure(entry, number)):
                continue
            if found.admit(name, _entry(name), float(first[place])):
                if name not in tables:
                    tables[name] = np.full(len(texts), np.nan)
                tables[name][place] = number
    for name, table in tables.items():
        values = table[codes]
        found.counted[name] += int(np.isfinite(values).sum())
        thing = found.things[name]
        yield thing, np.where(values > 0, 1.0, values) if thing.share else values


def parts_of(column: str, root: str) -> Callable[[Rows], Iterator[tuple[str, Floats]]]:
    """What would be found in some rows, by the name of the entry, those of the most calls first."""

    def parts(rows: Rows) -> Iterator[tuple[str, Floats]]:
        found = [
            (thing.name, values)
            for thing, values in entries(rows, column, "quality" if root == "quality" else "metadata", Found(), _NONE)
            if thing.name.startswith(f"{root}.")
        ]
        found.sort(key=lambda each: (-np.isfinite(each[1]).sum(), each[0]))
        return ((name.removeprefix(f"{root}."), values) for name, values in found)

    return parts


_NONE: frozenset[str] = frozenset()


def words(rows: Rows, column: str, found: Found, whole: Thing, passed: frozenset[str] = frozenset()) -> Values:
    """The share of each word of a column, or of each flag of a list, among the rows that have the column.

    New words have the past of the whole, which is counted beside them. Those of `passed` belong to another metric.
    """
    codes, texts = rows.codes(column)
    lists = column == "warning_flags"
    if len(texts) == 1 and not lists:
        return
    given = _given(texts, lists=lists)
    has = np.array([text is not None for text in texts])[codes]
    # A call without a list of flags has no flags; one that does not say why it stopped is not known.
    known = np.ones(len(rows), bool) if lists else has
    yield whole, np.where(known, 0.0, np.nan)
    first = _first_times(rows, codes, len(texts))
    for place in np.argsort(first[:-1], kind="stable").tolist():
        for word in given[place]:
            name = f"{column}.{word}"
            if word not in passed:
                found.admit(name, _word(column, name, whole), float(first[place]))
    times = rows.numbers("start_time")
    for name, thing in found.things.items():
        word = name.removeprefix(f"{column}.")
        hits = np.array([word in each for each in given], float)[codes]
        found.counted[name] += int(hits.sum())
        yield thing, np.where(known & (times >= found.since[name]), hits, np.nan)


def has_word(rows: Rows, column: str, word: str) -> Floats:
    """1 where a column is that word, or a list of flags has it; NaN where nothing is known of it."""
    codes, texts = rows.codes(column)
    lists = column == "warning_flags"
    hits = [float(word in each) for each in _given(texts, lists=lists)]
    return np.where(lists | (codes < len(texts) - 1), np.array(hits)[codes], np.nan)


def _given(texts: Sequence[str | None], *, lists: bool) -> list[tuple[str, ...]]:
    """The words that each text stands for."""
    return [(_listed(text) if lists else (text,)) if text else () for text in texts]


def _first_times(rows: Rows, codes: Any, count: int) -> Floats:
    """When each text of a column came first; infinite for what did not."""
    first: Floats = np.full(count, np.inf)
    np.minimum.at(first, codes, rows.numbers("start_time"))
    return first


def _entry(name: str) -> Thing:
    root = name.partition(".")[0]
    if root == "quality":
        return Thing(name=name, bad="down", covers=("quality",))
    return Thing(name=name, share=root == TRUTH, patience=PATIENCE)


def _word(column: str, name: str, whole: Thing) -> Thing:
    return Thing(name=name, share=True, whole=whole.name, bad="up", covers=whole.covers)


def _is_no_measure(entry: str, number: float) -> bool:
    """Whether a number of metadata says which one rather than how much.

    >>> _is_no_measure("document_id", 7.0), _is_no_measure("pages", 7.0)
    (True, False)
    """
    return abs(number) > LARGEST or NO_MEASURE.search(entry) is not None


def number_of(value: Any) -> float | None:
    """A finite number as a float, truth as 1 or 0; None for anything else."""
    if not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if isfinite(number) else None


def _listed(text: str) -> tuple[str, ...]:
    try:
        given = json.loads(text)
    except (ValueError, RecursionError):
        return ()
    return tuple(each for each in given if isinstance(each, str)) if isinstance(given, list) else ()
