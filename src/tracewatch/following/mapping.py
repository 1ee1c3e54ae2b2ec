"""What a team says of its table: where it is, how it grows, and what its columns mean where names do not tell."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tracewatch.errors import BadMapping, BadTime
from tracewatch.records import Span, column_of
from tracewatch.times import parse_duration

ENTRIES = {
    "table": "The table, with its schema where that is not the first of the search path: public.llm_traces.",
    "cursor": "A column that grows with each new row: the moment of insertion, or a number that is counted up.",
    "overlap": "How far behind the cursor rows may still appear: a time such as 2m, or how many numbers.",
    "columns": "Which of our columns is which of the table's, where names and aliases do not tell.",
    "project": "The project its rows come to, where they do not say so themselves.",
}
"""Every entry of a mapping file."""
OVERLAP_S = 60.0  # transactions that insert rows of calls end within seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapped:
    """A table as its mapping file describes it."""

    table: str
    cursor: str
    overlap: float = OVERLAP_S
    """Seconds, or numbers, by what the cursor is."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Our column to the table's."""
    project: str | None = None


def read_mapping(path: str | Path) -> Mapped:
    """The mapping in a YAML file. Raises BadMapping."""
    try:
        given = yaml.safe_load(Path(path).read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadMapping(path=path, why=_brief(error)) from error
    if not isinstance(given, dict):
        raise BadMapping(path=path, why=f"it must have the entries table and cursor, such as {_EXAMPLE}")
    for name in given:
        if name not in ENTRIES:
            close = difflib.get_close_matches(str(name), ENTRIES, n=1)
            why = f"it has an entry '{name}'; " + (f"did you mean {close[0]}?" if close else f"there are {_named()}")
            raise BadMapping(path=path, why=why)
    return Mapped(
        table=_text(path, given, "table"),
        cursor=_text(path, given, "cursor"),
        overlap=_overlap(path, given.get("overlap", OVERLAP_S)),
        columns=_columns(path, given.get("columns", {})),
        project=_text(path, given, "project") if "project" in given else None,
    )


_EXAMPLE = "'table: public.llm_traces' and 'cursor: created_at'"


def _brief(error: Exception) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else " ".join(str(error).split())


def _named() -> str:
    return ", ".join(ENTRIES)


def _text(path: str | Path, given: Mapping[str, Any], name: str) -> str:
    value = given.get(name)
    if not isinstance(value, str) or not value.strip():
        why = f"its entry {name} is {'not there' if value is None else repr(value)}: write it like {_EXAMPLE}"
        raise BadMapping(path=path, why=why)
    return value


def _overlap(path: str | Path, given: object) -> float:
    if isinstance(given, (int, float)) and not isinstance(given, bool) and given >= 0:
        return float(given)
    try:
        return parse_duration(str(given))
    except BadTime as error:
        raise BadMapping(path=path, why=f"its overlap is {given!r}: write a time such as 2m, or a number") from error


def _columns(path: str | Path, given: object) -> Mapping[str, str]:
    if not isinstance(given, dict) or not all(isinstance(each, str) for pair in given.items() for each in pair):
        raise BadMapping(path=path, why="its columns are pairs of names, ours first: 'cost_usd: price'")
    known = column_of(Span)
    for name in given:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise BadMapping(path=path, why=f"there is no column '{name}' in llm_traces{hint}")
    return given
