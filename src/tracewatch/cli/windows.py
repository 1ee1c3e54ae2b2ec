"""The window of a detection: which rows, where it ends, and what to type when nothing is in it."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tracewatch import settings
from tracewatch.cli.seen import elsewhere
from tracewatch.cli.times import parse_time, show_time

if TYPE_CHECKING:
    from tracewatch.stores.base import Store
    from tracewatch.watch import Source

SOURCES: Mapping[str, tuple[Source, ...]] = {
    "traces": ("traces",),
    "messages": ("messages",),
    "both": ("traces", "messages"),
}


def newest_of(store: Store, project: str, sources: Sequence[Source], user: str | None = None) -> float | None:
    """When the newest call of these sources (or of one account in them) began; None when there is none."""
    from tracewatch import watch

    times = [watch.newest(store, project=project, source=each, user=user) for each in sources]
    return max((each for each in times if each is not None), default=None)


def end_of(until: str) -> float:
    """Where a window ends. Raises BadTime."""
    return time.time() if until == "newest" else parse_time(until)


def why_nothing(store: Store, db: str, project: str, source: str, user: str | None, begin: float) -> str:
    """Why no call was looked at, and what to type instead."""
    options = [("--db", db, settings.load().db), ("--project", project, settings.load().project)]
    given = "".join(f" {name} {shlex.quote(value)}" for name, value, default in options if value != default)
    of_user = "" if user is None else f" of user {user}"
    newest = newest_of(store, project, SOURCES[source], user)
    if newest is None and user is not None and newest_of(store, project, SOURCES[source]) is not None:
        return f"There are no calls{of_user} in {db} (project {project}): check the name given with --user."
    if newest is None:
        return _where_else(store, db, project, source, given)
    chosen = "" if source == "traces" else f" --source {source}"
    chosen += "" if user is None else f" --user {shlex.quote(user)}"
    if newest < begin:
        return (
            f"The newest call{of_user} is of {show_time(newest)}, before this window begins ({show_time(begin)}). "
            f"Look at the 24 hours up to it with: tracewatch detect --until newest{chosen}{given}"
        )
    return f"No call{of_user} is in this window. The newest is of {show_time(newest)}."


def _where_else(store: Store, db: str, project: str, source: str, given: str) -> str:
    """Which other source has rows; how to bring some in when none has."""
    for other in SOURCES["both"]:
        newest = newest_of(store, project, [other])
        if newest is not None:
            chosen = "" if other == "traces" else f" --source {other}"
            return (
                f"{db} (project {project}) has no {source}, but it has {other}, the newest of {show_time(newest)}. "
                f"Look at the 24 hours up to it with: tracewatch detect --until newest{chosen}{given}"
            )
    there = elsewhere(store, project) or f"Bring some in with: tracewatch import FILE{given}"
    return f"There are no calls in {db} (project {project}) yet. {there}"
