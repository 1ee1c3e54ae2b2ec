"""The time a page shows, as it stands in the address: `?since=24h`, or `?from=` and `?to=`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, tzinfo

from tracewatch.errors import BadTime, PeriodTooLong
from tracewatch.times import parse_duration, parse_time

CHOICES = ("1h", "6h", "24h", "7d", "30d")
USUAL = "24h"
MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86_400
FIRST, LAST = 0.0, 7_258_118_400.0  # 1970 and 2200: clocks of every zone can be shown around them
LONGEST_S = 3_660 * DAY_S  # ten years, which files of exports may span
LONGEST_DRAWN_S = 800 * DAY_S  # pages work out every hour of it: two years take some seconds and 20 MB
WHOLE_HOURS_FROM_S = 2 * DAY_S  # minutes are kept for so long; before that a time begins with an hour


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """A stretch of time, from its beginning up to, not including, its end. Times are UTC epoch seconds."""

    since: float
    until: float
    name: str
    """The choice it came from; empty for one of the reader's own."""
    follows: bool
    """Whether it ends now, and goes on doing so."""

    @property
    def length_s(self) -> float:
        """How long it is."""
        return self.until - self.since

    @property
    def step_s(self) -> int:
        """The steps in which it is drawn: few enough to be seen, and no shorter than what is kept."""
        for step_s in (MINUTE_S, 5 * MINUTE_S, HOUR_S, 3 * HOUR_S, 6 * HOUR_S, DAY_S):
            if self.length_s / step_s <= 75:
                return step_s
        return 7 * DAY_S

    @property
    def said(self) -> str:
        """What it is called in a title.

        >>> Period(since=0.0, until=86400.0, name="24h", follows=True).said
        'last 24 hours'
        """
        if not self.name:
            return "this time"
        number = int(self.name[:-1])
        unit = "hour" if self.name.endswith("h") else "day"
        return f"last {number} {unit}s" if number > 1 else f"last {unit}"


def period_of(given: Mapping[str, str], now: float, zone: tzinfo = UTC, *, longest_s: float = LONGEST_S) -> Period:
    """The period of an address, `longest_s` at most. Raises BadTime or PeriodTooLong.

    >>> period_of({"since": "6h"}, 100_000.0).since
    78400.0
    """
    found = _told(given, now, zone)
    if found.length_s > longest_s:
        raise PeriodTooLong(days=int(found.length_s / DAY_S), longest=int(longest_s / DAY_S))
    if not FIRST <= found.since < found.until <= LAST:
        raise BadTime(given=given.get("from") or given.get("to") or given.get("since"))
    return found


def _told(given: Mapping[str, str], now: float, zone: tzinfo) -> Period:
    """The period as the address has it, which may be longer than can be looked at."""
    until = _moment(given["to"], now, zone) if given.get("to") else now
    if given.get("from") and not given["from"].isalpha():  # a word there says where the reader came from
        since = _moment(given["from"], now, zone)
        if since >= until:
            raise BadTime(given=given["from"])
        return Period(since=since, until=until, name="", follows=not given.get("to"))
    name = given.get("since") or USUAL
    length_s = parse_duration(name)
    if length_s <= 0:
        raise BadTime(given=name)
    since = until - length_s
    if length_s > WHOLE_HOURS_FROM_S:
        since = since // HOUR_S * HOUR_S
    return Period(since=since, until=until, name=name if name in CHOICES else "", follows=not given.get("to"))


def ending(period: Period, until: float) -> Period:
    """The same length of time up to another end."""
    return replace(period, since=until - period.length_s, until=until, follows=False)


def _moment(text: str, now: float, zone: tzinfo) -> float:
    """A time in the reader's zone, unless it names one of its own. Raises BadTime."""
    try:
        there = datetime.fromisoformat(text.strip())
    except ValueError:
        return parse_time(text, now)
    return (there if there.tzinfo else there.replace(tzinfo=zone)).timestamp()
