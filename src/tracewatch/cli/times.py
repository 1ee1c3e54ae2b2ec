"""Times and durations as people type them and read them, for commands."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from tracewatch.errors import BadWindow
from tracewatch.times import is_duration, parse_duration, parse_time, show_time

if TYPE_CHECKING:
    from tracewatch.stores.base import Filter

__all__ = ["begin_of", "parse_duration", "parse_time", "show_time", "window"]


def begin_of(since: str, until: str, end: float) -> float:
    """When a period begins: a duration goes back from the period's end, or from now where both were typed as durations.

    Raises BadTime, and BadWindow where nothing can lie between the two.
    """
    typed = click.get_current_context().get_parameter_source("since") is ParameterSource.COMMANDLINE
    begin = parse_time(since, now=None if typed and is_duration(until) else end)
    _check(begin, end)
    return begin


def window(column: str, since: str | None, until: str | None) -> list[Filter]:
    """The conditions on the time of a row; durations go back from now. Raises BadTime or BadWindow."""
    from tracewatch.stores.base import Filter

    begin = parse_time(since) if since else None
    end = parse_time(until) if until else None
    if begin is not None and end is not None:
        _check(begin, end)
    filters = [Filter(column, ">=", (begin,))] if begin is not None else []
    return filters + ([Filter(column, "<", (end,))] if end is not None else [])


def _check(begin: float, end: float) -> None:
    """Raises BadWindow where nothing can lie between the two."""
    if begin >= end:
        raise BadWindow(since=show_time(begin), until=show_time(end))
