"""Times and durations as people type them."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime

from tracewatch.errors import BadTime

HOUR_S, DAY_S = 3600, 86_400
_UNITS_S = {"ms": 0.001, "s": 1, "m": 60, "min": 60, "h": HOUR_S, "d": DAY_S, "w": 7 * DAY_S}
EARLIEST, LATEST = -62_135_596_800.0, 253_402_300_799.0  # the years 1 to 9999, which calendars have
_DURATION = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*(ms|s|min|m|h|d|w)\s*$")


def parse_duration(text: str) -> float:
    """Seconds in a text such as `800ms`, `90s`, `30m`, `24h`, `7d` or `2w`. Raises BadTime.

    >>> parse_duration("24h")
    86400.0
    """
    found = _DURATION.match(text)
    if not found:
        raise BadTime(given=text)
    return float(found[1]) * _UNITS_S[found[2]]


def is_duration(text: str) -> bool:
    """Whether this is a length of time such as 24h, and no moment."""
    return _DURATION.match(text) is not None


def parse_time(text: str, now: float | None = None) -> float:
    """Epoch seconds of `now`, of a duration before now, of an ISO 8601 time (UTC without a zone) or of epoch seconds.

    Raises BadTime.

    >>> parse_time("2026-03-02T10:00:00Z")
    1772445600.0
    >>> parse_time("1h", now=7200.0)
    3600.0
    """
    moment = _moment(text, time.time() if now is None else now)
    if not EARLIEST <= moment <= LATEST:  # NaN is not either
        raise BadTime(given=text)
    return moment


def _moment(text: str, now: float) -> float:
    if text.strip() == "now":
        return now
    if is_duration(text):
        return now - parse_duration(text)
    try:
        return float(text)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise BadTime(given=text) from error
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def show_time(time_s: float | None) -> str:
    """A moment for people: `2026-03-02 10:00:00`, in UTC."""
    if time_s is None:
        return ""
    return datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%d %H:%M:%S")
