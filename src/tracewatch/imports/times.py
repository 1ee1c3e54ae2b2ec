"""Moments in every usual form -> UTC epoch seconds: ISO 8601, epoch numbers of any unit, Arrow's own types."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tracewatch.imports.values import NUMBER, Converted, as_text, nulled, reals

if TYPE_CHECKING:
    import pyarrow as pa

_DAY = r"^\d{4}-\d\d-\d\d"
_CLOCK = r"[T ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?"
NAIVE = f"{_DAY}({_CLOCK})?$"
DIGITS = r"^20\d{6}$"  # 20260302 is a day; as epoch seconds it would be in 1970
ZONED = f"{_DAY}{_CLOCK}(Z|[+-]\\d\\d(:?\\d\\d)?)$"
_UTC_WORD = re.compile(r"\s*(UTC|GMT|z)$")

# An epoch number tells its unit by its size: as seconds these are the years 5138, as milliseconds too, and so on.
_SECONDS_UNTIL, _MILLIS_UNTIL, _MICROS_UNTIL = 1e11, 1e14, 1e17
_WHY = "is not a time (write it like 2026-03-02T10:00:00Z, or in epoch seconds)"


def times(raw: pa.Array, _: float = 1.0) -> Converted:
    """Epoch seconds; those without a zone are taken as UTC and counted."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = raw.type
    if pa.types.is_timestamp(kind):
        naive = 0 if kind.tz else len(raw) - raw.null_count
        return Converted(_seconds(raw), naive=naive)
    if pa.types.is_date(kind):
        return Converted(_seconds(pc.cast(raw, pa.timestamp("ms"))), naive=len(raw) - raw.null_count)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return Converted(_epochs(reals(raw).values))
    return _read(nulled(pc.utf8_trim_whitespace(as_text(raw))))


def _seconds(stamps: pa.Array) -> pa.Array:
    """Arrow time stamps as epoch seconds: microseconds are exact in a float, nanoseconds are not."""
    import pyarrow as pa
    import pyarrow.compute as pc

    stamps = stamps if stamps.type.unit == "us" else pc.cast(stamps, pa.timestamp("us", stamps.type.tz), safe=False)
    return pc.divide(pc.cast(pc.cast(stamps, pa.int64()), pa.float64(), safe=False), 1e6)


def _epochs(numbers: pa.Array) -> pa.Array:
    import pyarrow.compute as pc

    size = pc.abs(numbers)
    unit = pc.if_else(pc.less(size, _MICROS_UNTIL), 1e6, 1e9)
    unit = pc.if_else(pc.less(size, _MILLIS_UNTIL), 1e3, unit)
    return pc.divide(numbers, pc.if_else(pc.less(size, _SECONDS_UNTIL), 1.0, unit))


def _read(texts: pa.Array) -> Converted:
    """Texts by shape, each shape at once; only what has no usual shape is read one by one."""
    import pyarrow as pa
    import pyarrow.compute as pc

    naive, zoned, number, day = (pc.match_substring_regex(texts, shape) for shape in (NAIVE, ZONED, NUMBER, DIGITS))
    number = pc.and_not(number, day)
    none = pa.scalar(None, pa.string())
    try:
        values = pc.coalesce(
            _seconds(pc.cast(pc.if_else(naive, texts, none), pa.timestamp("ns"))),
            _seconds(pc.cast(pc.if_else(zoned, texts, none), pa.timestamp("ns", "UTC"))),
            _epochs(reals(pc.if_else(number, texts, none)).values),
        )
    except pa.ArrowInvalid:  # a month 13, or a year that nanoseconds cannot hold
        values = pa.nulls(len(texts), pa.float64())
        naive = pa.array([False] * len(texts))
    counted = pc.sum(pc.cast(naive, pa.int64())).as_py() or 0
    unread = pc.and_(pc.is_null(values), pc.is_valid(texts))
    if not pc.any(unread).as_py():
        return Converted(values, naive=counted)
    return _one_by_one(texts, values, unread, counted)


def _one_by_one(texts: pa.Array, values: pa.Array, unread: pa.Array, counted: int) -> Converted:
    import pyarrow as pa
    import pyarrow.compute as pc

    read = values.to_pylist()
    bad = [False] * len(read)
    for index in pc.indices_nonzero(unread).to_pylist():
        try:
            read[index], without_zone = _moment(texts[index].as_py())
            counted += without_zone
        except (ValueError, OverflowError):
            bad[index] = True
    return Converted(pa.array(read, pa.float64()), pa.array(bad), _WHY, counted)


def _moment(text: str) -> tuple[float, bool]:
    """Epoch seconds of a text, and whether it had no zone. Raises ValueError or OverflowError."""
    if re.match(NUMBER, text) and not re.match(DIGITS, text):
        import pyarrow as pa

        return _epochs(pa.array([float(text)]))[0].as_py(), False
    moment = datetime.fromisoformat(_UTC_WORD.sub("+00:00", text))
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp(), moment.tzinfo is None
