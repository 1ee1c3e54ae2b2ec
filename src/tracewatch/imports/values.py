"""Values as files spell them -> values as a span's columns hold them, a whole Arrow array at a time."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

# How databases, Python and pandas write that there is nothing.
NULLS = ("", "NULL", "null", "\\N", "None", "nan", "NaN", "NaT", "<NA>")
TRUE = ("true", "t", "1", "1.0", "yes", "y", "on")
FALSE = ("false", "f", "0", "0.0", "no", "n", "off")

# No separators of thousands: 1,234 is one thousand to some and one and a bit to others, so it is refused.
NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
LARGEST_WHOLE = 2.0**53  # beyond it a float no longer holds every whole number
LONGEST_LITERAL = 100_000  # Python literals are parsed slowly, so only reasonable ones are tried

STATUS_WORDS = {
    "ok": "ok success successful succeeded complete completed done finished unset status_code_ok status_code_unset",
    "error": "error err fail failed failure exception errored status_code_error",
    "timeout": "timeout timed_out timedout time_out deadline_exceeded 408 504",
    "fallback": "fallback fell_back fallen_back degraded",
}
STATUS_OF = {word: status for status, words in STATUS_WORDS.items() for word in words.split()}


@dataclass(frozen=True, slots=True)
class Converted:
    """Values in the column's own type; `bad` marks (without nulls) those that could not be read, `why` says so."""

    values: pa.Array
    bad: pa.Array | None = None
    why: str = ""
    naive: int = 0


def nulled(texts: pa.Array) -> pa.Array:
    """The texts without the spellings of nothing."""
    import pyarrow as pa
    import pyarrow.compute as pc

    nothing = pc.is_in(texts, value_set=pa.array(NULLS))
    return pc.if_else(nothing, None, texts) if pc.any(nothing).as_py() else texts


def texts(raw: pa.Array) -> Converted:
    """Any values as text: whole numbers without a fraction, lists separated by commas, objects as JSON."""
    return Converted(nulled(as_text(raw)))


def as_text(raw: pa.Array) -> pa.Array:
    """Any Arrow array as texts."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = raw.type
    if pa.types.is_dictionary(kind):
        return as_text(raw.dictionary_decode())
    if pa.types.is_floating(kind):
        # pandas turns whole numbers with gaps into floats: 42.0 was 42.
        whole = pc.all(pc.equal(raw, pc.floor(raw))).as_py() and (pc.max(pc.abs(raw)).as_py() or 0) < LARGEST_WHOLE
        raw = pc.cast(raw, pa.int64()) if whole else raw
    try:
        return pc.cast(raw, pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return pa.array([_one_text(value) for value in raw.to_pylist()], pa.string())


def _one_text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list):
        return ",".join(str(each) for each in value)
    return json.dumps(value, default=str)


def reals(raw: pa.Array, scale: float = 1.0) -> Converted:
    """Numbers as float64, multiplied by `scale`; NaN is null, what is not finite is bad."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_duration(raw.type):
        # A timedelta; every column of ours that holds a length of time is in milliseconds.
        micros = pc.cast(pc.cast(raw, pa.duration("us"), safe=False), pa.int64())
        raw, scale = pc.cast(micros, pa.float64()), 1e-3
    if pa.types.is_integer(raw.type) or pa.types.is_floating(raw.type) or pa.types.is_decimal(raw.type):
        read = Converted(pc.cast(raw, pa.float64(), safe=False))
    elif pa.types.is_null(raw.type):
        return Converted(pc.cast(raw, pa.float64()))
    else:
        read = _numbers_in(nulled(pc.utf8_trim_whitespace(as_text(raw))))
    values = pc.if_else(pc.is_nan(read.values), None, read.values)
    values = pc.multiply(values, scale) if scale != 1.0 else values
    finite = pc.fill_null(pc.is_finite(values), True)
    if pc.all(finite).as_py() is not False:
        return Converted(values, read.bad, read.why)
    bad = pc.invert(finite)
    return Converted(values, bad if read.bad is None else pc.or_(bad, read.bad), "is not a number of ordinary size")


def _numbers_in(texts: pa.Array) -> Converted:
    import pyarrow as pa
    import pyarrow.compute as pc

    shaped = pc.fill_null(pc.match_substring_regex(texts, NUMBER), True)
    if pc.all(shaped).as_py() is not False:
        return Converted(_floats(texts))
    good = _floats(pc.if_else(shaped, texts, pa.scalar(None, pa.string())))
    return Converted(good, pc.invert(shaped), "is not a number (write it like 1234.5, without separators)")


def _floats(texts: pa.Array) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        return pc.cast(texts, pa.float64())
    except pa.ArrowInvalid:  # such as 1e999
        return pa.array([None if text is None else float(text) for text in texts.to_pylist()], pa.float64())


def integers(raw: pa.Array, scale: float = 1.0) -> Converted:
    """Whole numbers as int64; 12.0 is one, 12.5 is bad."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_signed_integer(raw.type):
        return Converted(pc.cast(raw, pa.int64()))
    read = reals(raw, scale)
    whole = pc.fill_null(
        pc.and_(pc.equal(read.values, pc.floor(read.values)), pc.less(pc.abs(read.values), LARGEST_WHOLE)), True
    )
    values = pc.cast(pc.if_else(whole, read.values, None), pa.int64())
    if pc.all(whole).as_py() is not False:
        return Converted(values, read.bad, read.why)
    bad = pc.invert(whole)
    return Converted(values, bad if read.bad is None else pc.or_(bad, read.bad), "is not a whole number")


def booleans(raw: pa.Array, _: float = 1.0) -> Converted:
    """Truth as databases write it: booleans, 0 and 1, t/f, true/false, yes/no, on/off."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_boolean(raw.type):
        return Converted(raw)
    given = pc.utf8_lower(nulled(pc.utf8_trim_whitespace(as_text(raw))))
    true = pc.is_in(given, value_set=pa.array(TRUE))
    readable = pc.or_(true, pc.is_in(given, value_set=pa.array(FALSE)))
    values = pc.if_else(pc.and_(readable, pc.is_valid(given)), true, None)
    bad = pc.and_(pc.is_valid(given), pc.invert(readable))
    return Converted(values, bad, "is not true or false")


def statuses(raw: pa.Array) -> Converted:
    """ok, error, timeout or fallback, from the words and HTTP codes that others use."""
    import pyarrow.compute as pc

    return by_distinct(pc.utf8_lower(nulled(pc.utf8_trim_whitespace(as_text(raw)))), _status)


def _status(text: str) -> str:
    """Raises ValueError."""
    word = text.replace(" ", "_").replace("-", "_")
    if word in STATUS_OF:
        return STATUS_OF[word]
    if len(word) == 3 and word.isdecimal() and word[0] in "2345":
        return "ok" if word[0] in "23" else "error"
    raise ValueError("is not a status (ok, error, timeout or fallback)")


def lists(raw: pa.Array, _: float = 1.0) -> Converted:
    """JSON arrays of texts, from JSON, Postgres arrays, Python lists, list columns or text with commas."""
    import pyarrow as pa

    if pa.types.is_list(raw.type) or pa.types.is_large_list(raw.type):
        read = [None if value is None else _array(value) for value in raw.to_pylist()]
        return Converted(pa.array(read, pa.string()))
    return by_distinct(nulled(as_text(raw)), _list)


def _list(text: str) -> str | None:
    inner = text.strip()
    if inner.startswith("{") and inner.endswith("}"):
        return _array(_postgres_array(inner[1:-1]))
    if inner.startswith("["):
        loaded = _loaded(inner)
        return _array(loaded if isinstance(loaded, list) else [text])
    return _array([part.strip() for part in inner.split(",")])


def _array(values: list[Any]) -> str:
    parts = [
        value if isinstance(value, str) else json.dumps(value, default=str) for value in values if value is not None
    ]
    return json.dumps([part for part in parts if part], ensure_ascii=False)


def _postgres_array(inner: str) -> list[str | None]:
    """The entries of a Postgres array literal, as in {a,b,"c d",NULL}."""
    entries: list[str | None] = []
    entry, quoted, inside, escaped = "", False, False, False
    for character in inner + ",":
        if escaped:
            entry, escaped = entry + character, False
        elif character == "\\":
            escaped = True
        elif character == '"':
            quoted, inside = True, not inside
        elif character == "," and not inside:
            entries.append(None if not quoted and entry.upper() in ("NULL", "") else entry)
            entry, quoted = "", False
        else:
            entry += character
    return entries


def objects(raw: pa.Array, _: float = 1.0) -> Converted:
    """JSON objects as text. What is no object is kept as {"value": …}, what cannot be read as {"text": …}."""
    import pyarrow as pa

    if pa.types.is_map(raw.type):
        read = [None if value is None else _object(dict(value)) for value in raw.to_pylist()]
    elif pa.types.is_nested(raw.type):
        # Of a struct column, a row that gives nothing has an object full of nulls.
        read = [_object(value) if _is_given(value) else None for value in raw.to_pylist()]
    else:
        return by_distinct(nulled(as_text(raw)), _object_in)
    return Converted(pa.array(read, pa.string()))


def _object_in(text: str) -> str | None:
    loaded = _loaded(text)
    return _object({"text": text} if loaded is _UNREADABLE else loaded)


def _object(value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        value = {"value": value}
    try:
        return _as_utf8(json.dumps(value, ensure_ascii=False, default=str, allow_nan=False))
    except (ValueError, TypeError, RecursionError):
        return json.dumps({"text": str(value)})


def _is_given(value: Any) -> bool:
    return value is not None and (not isinstance(value, dict) or any(each is not None for each in value.values()))


def _as_utf8(text: str) -> str:
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


_UNREADABLE = object()


def _loaded(text: str) -> Any:
    """What a text says as JSON, or as the Python literal that str(a_dict) writes."""
    try:
        return json.loads(text, parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        pass
    if len(text) > LONGEST_LITERAL or text.lstrip()[:1] not in ("{", "["):
        return _UNREADABLE
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return _UNREADABLE


def by_distinct(given: pa.Array, read: Callable[[str], str | None]) -> Converted:
    """Each distinct text read once by `read`, which raises ValueError for those that are bad."""
    import pyarrow as pa
    import pyarrow.compute as pc

    encoded = pc.dictionary_encode(given)
    outcomes: list[str | None] = []
    faults: list[bool] = []
    why = ""
    for text in encoded.dictionary.to_pylist():
        try:
            outcomes.append(read(text))
            faults.append(False)
        except ValueError as error:
            why = str(error)
            outcomes.append(None)
            faults.append(True)
    values = pc.take(pa.array(outcomes, pa.string()), encoded.indices)
    if not why:
        return Converted(values)
    return Converted(values, pc.fill_null(pc.take(pa.array(faults), encoded.indices), False), why)


READERS: Mapping[str, Callable[[pa.Array, float], Converted]] = {
    "text": lambda raw, _: texts(raw),
    "integer": integers,
    "real": reals,
    "boolean": booleans,
    "list": lists,
    "json": objects,
}
