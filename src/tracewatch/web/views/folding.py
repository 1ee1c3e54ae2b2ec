"""Which rows a long trace is shown in: runs of siblings of one name share one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tracewatch.trees import Tree

WHOLE = 200  # rows: up to here every span has its own
FOLDED_FROM = 6  # siblings of one name in a row
SHOWN_FAILED = 3  # of the failed spans of a folded row that still have their own


def folded(tree: Tree, columns: Mapping[str, Sequence[Any]], opened: frozenset[int]) -> list[tuple[int, int]]:
    """Which rows there are: of a long trace, runs of siblings of one name share one."""
    count = len(tree.depths)
    if count <= WHOLE:
        return [(place, 0) for place in range(count)]
    runs = _runs(tree, columns)
    rows: list[tuple[int, int]] = []
    at = 0
    while at < count:
        run = runs.get(at)
        if run is None or at in opened:
            rows.append((at, 0 if run is None else -len(run)))
            at += 1
            continue
        rows.append((at, len(run)))
        rows += [(each, 0) for each in run if columns["status"][each] != "ok"][:SHOWN_FAILED]
        at = tree.ends[run[-1]]
    return rows


def _runs(tree: Tree, columns: Mapping[str, Sequence[Any]]) -> dict[int, list[int]]:
    """Runs of siblings that follow each other, are called the same and have nothing below them, by their first."""
    last: dict[int, list[int]] = {}
    found: dict[int, list[int]] = {}
    for place, parent in enumerate(tree.parents):
        leaf = tree.ends[place] == place + 1
        run = last.get(parent)
        name = (columns["span_name"][place], columns["operation_type"][place], columns["model_name"][place])
        same = run and name == (
            columns["span_name"][run[0]],
            columns["operation_type"][run[0]],
            columns["model_name"][run[0]],
        )
        if leaf and run and same and run[-1] == place - 1:
            run.append(place)
            if len(run) == FOLDED_FROM:
                found[run[0]] = run
        else:
            last[parent] = [place] if leaf else []
    return found
