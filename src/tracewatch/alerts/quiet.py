"""Quiet hours: times of day, in a time zone, in which a rule tells nothing."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from tracewatch.alerts.mistakes import Path, entries
from tracewatch.alerts.reading import Reader, shown
from tracewatch.records import SEVERITIES

ENTRIES = ("from", "until", "zone", "days", "unless")
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def is_zone(name: str) -> bool:
    """Whether there is a time zone of that name."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # a name that is a folder is an OSError
        return False
    return True


def is_quiet(hours: Mapping[str, Any] | None, now: float, severity: str) -> bool:
    """Whether nothing of this severity is told at this moment (UTC epoch seconds).

    What counts is what the clock on the wall shows: nights are an hour shorter or longer when clocks change. A night
    that begins on one of the days counts to its end.

    >>> night = {"from": "22:00", "until": "07:00", "zone": "Europe/Berlin", "days": list(DAYS)}
    >>> is_quiet(night, 1_767_216_600.0, "high")  # 2025-12-31 21:30 UTC, 22:30 in Berlin
    True
    """
    if not hours:
        return False
    unless = hours.get("unless")
    if unless is not None and SEVERITIES.index(severity) >= SEVERITIES.index(unless):
        return False
    local = datetime.fromtimestamp(now, UTC).astimezone(ZoneInfo(hours["zone"]))
    clock, since, until = f"{local:%H:%M}", hours["from"], hours["until"]
    days = hours["days"]
    today, yesterday = DAYS[local.weekday()] in days, DAYS[(local - timedelta(days=1)).weekday()] in days
    if since == until:
        return today
    if since < until:
        return today and since <= clock < until
    return (today and clock >= since) or (yesterday and clock < until)


def read_zone(value: object, path: Path, reader: Reader) -> str | None:
    """The name of a time zone."""
    if isinstance(value, str) and is_zone(value):
        return value
    reader.wrong(path, f"there is no time zone {shown(value)}: write it like Europe/Berlin or UTC")
    return None


def read_quiet_hours(value: object, path: Path, reader: Reader) -> dict[str, Any] | None:
    """Quiet hours as they are kept, with every entry but `unless` filled in."""
    its, wrong = entries(value, ENTRIES, path, "quiet_hours")
    reader.mistakes += wrong
    if not its:
        return None
    read: dict[str, Any] = {}
    for name in ("from", "until"):
        if name in its:
            read[name] = reader.time_of_day(its[name], (*path, name))
        else:
            reader.wrong(path, f"quiet_hours need {name}, such as {name}: '22:00'")
    read["zone"] = read_zone(its.get("zone", "UTC"), (*path, "zone"), reader)
    read["days"] = list(reader.words(its.get("days", list(DAYS)), (*path, "days"), DAYS))
    if "unless" in its:
        read["unless"] = reader.text(its["unless"], (*path, "unless"), SEVERITIES)
    return read
