"""Numbers, times and ids as screens show them: one function a kind, each also a filter of the templates."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, tzinfo
from math import isfinite

THIN = "\u202f"  # a narrow no-break space: a number never stands on another line than its unit
MISSING = "–"
LEAST_CENTS = 0.001  # less is nothing to anybody
MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000
SHORT_ID = 8  # characters of an id on screen; addresses carry it whole
WHOLE_ID = 12  # characters up to which an id is shown whole
EXACT_UP_TO = 99_999  # beyond, three digits; the exact number stands in the title
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def duration(ms: float | None) -> str:
    """A length of time from milliseconds.

    >>> [duration(each).replace(THIN, " ") for each in (0.4, 710, 9840, 41_200, 252_000, 8_040_000, 273_600_000)]
    ['0.4 ms', '710 ms', '9.84 s', '41.2 s', '4 m 12 s', '2 h 14 m', '3 d 4 h']
    """
    if ms is None or not isfinite(ms):
        return MISSING
    size = abs(ms)
    sign = "-" if ms < 0 else ""
    if size == 0:
        return f"0{THIN}ms"
    if round(size, 1) < 10:
        return f"{sign}{_plain(size, 1)}{THIN}ms"
    if round(size) < 1000:
        return f"{sign}{size:.0f}{THIN}ms"
    seconds = size / 1000
    if round(seconds, 2) < 10:
        return f"{sign}{seconds:.2f}{THIN}s"
    if round(seconds, 1) < 100:
        return f"{sign}{seconds:.1f}{THIN}s"
    return sign + _long(round(seconds))


def seconds(length_s: float | None) -> str:
    """A length of time from seconds."""
    return MISSING if length_s is None else duration(length_s * 1000)


def lasting(length_s: float) -> str:
    """How long something has lasted, to what matters.

    >>> [lasting(each).replace(THIN, " ") for each in (20, 310, 8_040, 273_600)]
    ['20 s', '5 m', '2 h 14 m', '3 d 4 h']
    """
    whole = max(round(length_s), 0)
    if whole < 60:
        return f"{whole}{THIN}s"
    return f"{whole // 60}{THIN}m" if whole < 3600 else _long(whole)


def count(number: float | None) -> str:
    """A count: exact up to 99,999, then three digits.

    >>> count(14_284), count(1_240_000).replace(THIN, " "), count(2.5)
    ('14,284', '1.24 M', '2.5')
    """
    if number is None or not isfinite(number):
        return MISSING
    if abs(number) <= EXACT_UP_TO:
        return f"{number:,.0f}" if abs(number) >= 100 or number == int(number) else _plain(number, 1)
    for size, word in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= size * 0.9995:  # 999,950 and more would round to 1000 of the smaller one
            return f"{_three(number / size)}{THIN}{word}"
    return f"{number:,.0f}"


def exactly(number: float | None) -> str:
    """A count in all its digits, for titles."""
    return "not reported" if number is None else f"{number:,.0f}"


def call_cost(usd: float | None) -> str:
    """What one call cost: below a dollar in cents with three digits that count.

    >>> call_cost(0.0589), call_cost(0.0008), call_cost(0.000012), call_cost(1.5), call_cost(0.0), call_cost(None)
    ('5.89¢', '0.08¢', '0.0012¢', '$1.50', '$0', 'unknown')
    """
    if usd is None or not isfinite(usd):
        return "unknown"
    cents = abs(usd) * 100
    if usd == 0:
        return "$0"
    if cents >= 99.95:
        return money(usd)
    if cents < LEAST_CENTS:
        return f"<{THIN}{LEAST_CENTS}¢"
    return f"{'-' if usd < 0 else ''}{_three(cents)}¢"


def money(usd: float | None) -> str:
    """A sum of money, in dollars.

    >>> money(70.94), money(1234.4), money(0.82), money(0.0041), money(0.0), money(-3.2), money(None)
    ('$70.94', '$1,234', '$0.82', '$0.0041', '$0', '-$3.20', 'unknown')
    """
    if usd is None or not isfinite(usd):
        return "unknown"
    sign, size = ("-" if usd < 0 else ""), abs(usd)
    if size == 0:
        return "$0"
    if size >= 999.995:
        return f"{sign}${size:,.0f}"
    if size >= 0.095:  # two digits that count are then within the cents
        return f"{sign}${size:,.2f}"
    return f"{sign}${_significant(size, 2)}"


def cost(usd: float | None, unpriced: int) -> str:
    """What calls cost, of some of which that may not be known.

    >>> cost(70.94, 0), cost(70.94, 3), cost(0.0, 3), cost(0.0, 0)
    ('$70.94', '$70.94 + unpriced', 'unknown', '$0')
    """
    if not unpriced:
        return money(usd)
    return f"{money(usd)} + unpriced" if usd else money(None)


def more_money(usd: float | None) -> str:
    """A change of money with its sign."""
    return ("+" if usd is not None and usd > 0 else "") + money(usd)


def percent(share: float | None) -> str:
    """A share as per cent.

    >>> [percent(each).replace(THIN, " ") for each in (0.93, 0.012, 0.0004, 0.00001, 0.0, 1.0, 0.9996)]
    ['93 %', '1.2 %', '0.04 %', '< 0.01 %', '0 %', '100 %', '> 99.9 %']
    """
    if share is None or not isfinite(share):
        return MISSING
    value = share * 100 + 0.0  # no nothing with a sign
    if 0 < abs(value) < 0.01:
        return f"<{THIN}0.01{THIN}%"
    if 99.9 < value < 100:
        return f">{THIN}99.9{THIN}%"
    digits = 0 if abs(value) >= 10 and not 99 < value < 100 else 1 if abs(value) >= 1 else 2
    return f"{_plain(value, digits)}{THIN}%"


def ratio(value: float | None) -> str:
    """How many times as much.

    >>> ratio(4.12), ratio(23.4), ratio(0.05), ratio(9.97)
    ('4.1×', '23×', '0.05×', '10×')
    """
    if value is None or not isfinite(value):
        return MISSING
    if abs(value) >= 9.95:
        return f"{value:,.0f}×"
    return f"{value:.1f}×" if abs(value) >= 0.95 else f"{_significant(value, 1)}×"


def amount(value: float | None, unit: str | None) -> str:
    """A number in its unit: ms, USD (of one call), share, tokens, tokens/s, score, s, or a plain count."""
    if value is None:
        return MISSING
    match unit:
        case "ms":
            return duration(value)
        case "s":
            return seconds(value)
        case "USD":
            return call_cost(value)
        case "share":
            return percent(value)
        case "score":
            return f"{value:.2f}"
        case "tokens/s":
            return f"{_three(value)}{THIN}tok/s"
        case None if 0 < abs(value) < 10 and not float(value).is_integer():
            return f"{value:.2g}"  # the mean of what is counted call by call
        case _:
            return count(value)


def between(lower: float | None, upper: float | None, unit: str | None) -> str:
    """A range with its unit said once.

    >>> between(0.012, 0.018, "USD"), between(600, 1100, "ms").replace(THIN, " ")
    ('1.2–1.8¢', '600 ms–1.10 s')
    >>> between(None, 1100, "ms").replace(THIN, " "), between(0.6, None, "share").replace(THIN, " ")
    ('up to 1.10 s', 'at least 60 %')
    """
    if lower is None and upper is None:
        return MISSING
    if lower is None or (lower <= 0 and upper is not None and upper > 0):
        return f"up to {amount(upper, unit)}"
    if upper is None or (unit in ("share", "score") and upper >= 1):
        return f"at least {amount(lower, unit)}"
    low, high = amount(lower, unit), amount(upper, unit)
    return spanning(low, high)


def spanning(low: str, high: str) -> str:
    """Two texts of the same kind as one range."""
    if low == high:
        return high
    for unit in (f"{THIN}ms", f"{THIN}s", f"{THIN}%", "¢", f"{THIN}tok/s", f"{THIN}M", f"{THIN}k"):
        if low.endswith(unit) and high.endswith(unit) and THIN not in low.removesuffix(unit):
            return f"{low.removesuffix(unit)}–{high}"
    if low.startswith("$") and high.startswith("$"):
        return f"{low}–{high[1:]}"
    return f"{low}–{high}"


def moment(time_s: float, zone: tzinfo, now: float, *, to_the_second: bool = False) -> str:
    """A moment in the reader's zone: the time today, with the day this year, with the year before.

    >>> from datetime import UTC
    >>> moment(1772460120.0, UTC, 1772470000.0), moment(1772460120.0, UTC, 1775000000.0)
    ('14:02', '2 Mar 14:02')
    >>> moment(1772460120.0, UTC, 1875000000.0)
    '2 Mar 2026 14:02'
    """
    there, here = datetime.fromtimestamp(time_s, zone), datetime.fromtimestamp(now, zone)
    clock = there.strftime("%H:%M:%S" if to_the_second else "%H:%M")
    return clock if there.date() == here.date() else f"{day(time_s, zone, now)} {clock}"


def day(time_s: float, zone: tzinfo, now: float) -> str:
    """A day in the reader's zone, with its year where that is another than this.

    >>> from datetime import UTC
    >>> day(1772460120.0, UTC, 1775000000.0), day(1772460120.0, UTC, 1875000000.0)
    ('2 Mar', '2 Mar 2026')
    """
    there, here = datetime.fromtimestamp(time_s, zone), datetime.fromtimestamp(now, zone)
    named = f"{there.day} {MONTHS[there.month - 1]}"
    return named if there.year == here.year else f"{named} {there.year}"


def full_moment(time_s: float, zone: tzinfo) -> str:
    """A moment in full for titles: in the reader's zone and in UTC."""
    from datetime import UTC

    there, universal = datetime.fromtimestamp(time_s, zone), datetime.fromtimestamp(time_s, UTC)
    stamp = "%Y-%m-%d %H:%M:%S"
    own = there.strftime(f"{stamp} %Z")
    return own if there.utcoffset() == universal.utcoffset() else f"{own}, {universal.strftime(stamp)} UTC"


def iso(time_s: float) -> str:
    """A moment for machines: ISO 8601 in UTC."""
    from tracewatch.records import iso as written

    return written(time_s)


def ago(length_s: float) -> str:
    """How long ago something was.

    >>> ago(0.4), ago(130).replace(THIN, " ")
    ('just now', '2 m ago')
    """
    return "just now" if length_s < 1 else f"{lasting(length_s)} ago"


def short_id(given: str | None) -> str:
    """An id as it is shown: its beginning, or all of it where that is hardly longer.

    >>> short_id("7f3ac01e5b91d4"), short_id("t010056f8")
    ('7f3ac01e', 't010056f8')
    """
    if not given:
        return MISSING
    return given if len(given) <= WHOLE_ID else given[:SHORT_ID]


def plural(number: float, noun: str) -> str:
    """So many of something.

    >>> plural(1, "call"), plural(1204, "call")
    ('1 call', '1,204 calls')
    """
    return f"{count(number)} {noun}" if number == 1 else f"{count(number)} {noun}s"


def listed(texts: Sequence[str], word: str = "and", most: int | None = None) -> str:
    """Texts as a list in a sentence; of more than `most` the last place says how many there are besides.

    >>> listed(["a"]), listed(["a", "b", "c"]), listed(["a", "b", "c", "d"], "or", most=3)
    ('a', 'a, b and c', 'a, b or 2 more')
    """
    shown = list(texts)
    if most is not None and len(shown) > most:
        shown[most - 1 :] = [f"{len(texts) - most + 1} more"]
    return f" {word} ".join(filter(None, (", ".join(shown[:-1]), *shown[-1:])))


def _long(whole_s: int) -> str:
    """Minutes, hours or days with the next smaller unit."""
    minutes, rest_s = divmod(whole_s, 60)
    if minutes < 60:
        return f"{minutes}{THIN}m {rest_s}{THIN}s".replace(" ", THIN)
    hours, minutes = divmod(round(whole_s / 60), 60)
    if hours < 24:
        return f"{hours}{THIN}h {minutes}{THIN}m".replace(" ", THIN)
    days, hours = divmod(round(whole_s / 3600), 24)
    return f"{days:,}{THIN}d {hours}{THIN}h".replace(" ", THIN)


def _three(value: float) -> str:
    """Three digits that count, without zeros behind the point."""
    if abs(value) >= 99.95:
        return f"{value:,.0f}"
    return _significant(value, 3)


def _significant(value: float, digits: int) -> str:
    """So many digits that count, never as a power of ten."""
    rounded = float(f"{value:.{digits}g}")
    return f"{rounded:.12f}".rstrip("0").removesuffix(".") or "0"


def _plain(value: float, digits: int) -> str:
    text = f"{value:,.{digits}f}"
    return text.rstrip("0").removesuffix(".") if "." in text else text
