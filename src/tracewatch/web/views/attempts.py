"""Which spans of a trace are attempts at the same, and what a fallback stands in for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tracewatch.trees import Tree


def attempts_of(
    tree: Tree, columns: Mapping[str, Sequence[Any]], starts: Sequence[float], ends: Sequence[float]
) -> tuple[dict[int, tuple[int, int]], dict[int, float], dict[int, str]]:
    """Siblings of one name, of which one begins after the one before had failed, are attempts at the same."""
    attempts: dict[int, tuple[int, int]] = {}
    paused: dict[int, float] = {}
    instead: dict[int, str] = {}
    last_of: dict[tuple[int, str], list[int]] = {}
    statuses = columns["status"]
    failed_before: dict[int, int] = {}
    for place, parent in enumerate(tree.parents):
        name = columns["span_name"][place] or columns["usage_type"][place] or columns["operation_type"][place] or ""
        chain = last_of.get((parent, name))
        failed = statuses[place] in ("error", "timeout")
        if chain and statuses[chain[-1]] in ("error", "timeout") and starts[place] >= ends[chain[-1]] - 0.001:
            paused[place] = ends[chain[-1]]
            if statuses[place] == "fallback":
                instead[place] = name
            else:
                chain.append(place)
        else:
            last_of[parent, name] = chain = [place]
            if statuses[place] == "fallback" and parent in failed_before:
                before = failed_before[parent]
                instead[place] = str(columns["span_name"][before] or columns["model_name"][before] or "")
        if failed:
            failed_before[parent] = place
        if len(chain) > 1:
            attempts.update((each, (number + 1, len(chain))) for number, each in enumerate(chain))
    return attempts, paused, instead
