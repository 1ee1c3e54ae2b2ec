"""Metrics that the user declares in one line: numbers an app keeps in `metadata` or in its quality breakdown, and rows
of the table that nobody judges otherwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import get_args

import pyarrow as pa

from tracewatch.detectors.spec import Floats
from tracewatch.errors import BadMetric
from tracewatch.metrics.base import Bad, Metric
from tracewatch.metrics.entries import LEAST_SHARE, discovered, numbers
from tracewatch.metrics.rows import Rows
from tracewatch.metrics.table import METRIC_OF, judges_of

COLUMN_OF: Mapping[str, str] = {"metadata": "metadata", "quality": "response_quality_breakdown"}
"""The first word of a metric's name, and the column whose entries it stands for."""

TABLE = "table"
"""The root of a metric that is a row of METRICS; its name is the key alone."""

MOST = 32  # metrics of one's own: each costs every batch some microseconds a row, and every slice its state
LONGEST = 100  # characters of a name


@dataclass(frozen=True, slots=True, kw_only=True)
class Custom:
    """A number that is watched because the user says so."""

    root: str
    """`metadata` or `quality` for an entry of that JSON column, `table` for a row of METRICS."""
    entry: str
    """The name of the entry, or the key of the row."""
    bad: Bad

    @property
    def name(self) -> str:
        """As settings, alerts and columns call it."""
        return self.entry if self.root == TABLE else f"{self.root}.{self.entry}"


def parse(text: str) -> tuple[Custom, ...]:
    """The metrics a user declares, divided by commas or lines: NAME, or NAME:up, NAME:down or NAME:either.

    A NAME is `metadata.KEY` or `quality.DIMENSION`; the KEY is an entry at the top of the object and may hold dots. Or
    it is the key of a metric of the table that can be judged by the hour. After the colon stands which direction is
    bad; without it, that of the table, down of a quality and either of anything else. Raises BadMetric.

    >>> [(each.name, each.bad) for each in parse("metadata.judge_score:down, quality.tone")]
    [('metadata.judge_score', 'down'), ('quality.tone', 'down')]
    """
    found = [_parsed(part.strip()) for line in text.splitlines() for part in line.split(",") if part.strip()]
    names = [each.name for each in found]
    for name in names:
        if names.count(name) > 1:
            raise BadMetric(given=name, why="it is named twice")
    if len(found) > MOST:
        raise BadMetric(given=names[MOST], why=f"it is one more than the {MOST} there may be")
    return tuple(found)


def _parsed(given: str) -> Custom:
    name, colon, direction = given.rpartition(":") if ":" in given else (given, "", "")
    name, direction = name.strip(), direction.strip()
    root, _, entry = name.partition(".")
    known = METRIC_OF.get(name)
    if known is None and root not in COLUMN_OF:
        why = f"it is no metric of tracewatch metrics --all, and begins with '{root}' instead of metadata or quality"
        raise BadMetric(given=given, why=why)
    if known is not None and not judges_of(known).declarable:
        watched = judges_of(known)
        raise BadMetric(given=given, why="it is watched already" if watched else "it has no value by the hour")
    if known is None and not entry:
        raise BadMetric(given=given, why=f"it does not say which entry of {root}")
    if len(name) > LONGEST or not name.isprintable():
        raise BadMetric(given=given, why=f"a name has at most {LONGEST} characters, all of them printable")
    if colon and direction not in get_args(Bad):
        raise BadMetric(given=given, why=f"'{direction}' is no direction: up, down or either is bad")
    usual: Bad = known.bad if known else "down" if root == "quality" else "either"
    bad = next((each for each in get_args(Bad) if each == direction), usual)
    return Custom(root=TABLE, entry=name, bad=bad) if known else Custom(root=root, entry=entry, bad=bad)


def metric_of(custom: Custom) -> Metric:
    """The row of the table that it is, or that stands for it."""
    if custom.root == TABLE:
        return replace(METRIC_OF[custom.entry], bad=custom.bad)
    column, entry = COLUMN_OF[custom.root], custom.entry

    def measured(rows: Rows) -> Floats:
        return numbers(rows.column(column), [entry])[entry]

    return Metric(
        key=custom.name,
        label=entry.replace("_", " ").capitalize(),
        help=f"The entry '{entry}' of {column}.",
        family="custom",
        grain="call",
        bad=custom.bad,
        needs=(column,),
        formula=f"{entry} of {column}",
        measured=measured,
    )


def needed(customs: Sequence[Custom]) -> tuple[str, ...]:
    """The JSON columns they are read from, each once."""
    return tuple(dict.fromkeys(COLUMN_OF[each.root] for each in customs if each.root in COLUMN_OF))


def columns_of_floats(
    customs: Sequence[Custom], columns: Mapping[str, pa.Array | pa.ChunkedArray]
) -> dict[str, Floats]:
    """Each as a column of floats by its name, from the JSON columns given as text; what is no number is NaN.

    Each JSON column is read once. A column that is not among those given gives nothing.
    """
    found: dict[str, Floats] = {}
    for root, column in COLUMN_OF.items():
        wanted = [each.entry for each in customs if each.root == root]
        if wanted and column in columns:
            found |= {f"{root}.{entry}": values for entry, values in numbers(columns[column], wanted).items()}
    return {each.name: found[each.name] for each in customs if each.name in found}


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A number in a JSON column that could be watched."""

    name: str
    share: float
    """Of the calls looked at, those that have it."""


def offers(
    columns: Mapping[str, pa.Array | pa.ChunkedArray], watched: Sequence[Custom], least_share: float = LEAST_SHARE
) -> list[Offer]:
    """What could be watched and is not yet, of those that at least that share of calls have."""
    names = {each.name for each in watched}
    found = [
        Offer(name=f"{root}.{entry.name}", share=entry.share)
        for root, column in COLUMN_OF.items()
        if column in columns
        for entry in discovered(columns[column], least_share)
    ]
    return [each for each in found if each.name not in names and "," not in each.name and ":" not in each.name]
