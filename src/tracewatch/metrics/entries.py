"""Numbers inside JSON columns: which entries there are, and each as a column of floats."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np
import pyarrow as pa

from tracewatch.detectors.spec import Floats

CHUNK = 8192  # texts read at once: as one array they take half the time of one by one
SAMPLE = 5000  # calls looked at for entries that could be watched, evenly over all
LEAST_SHARE = 0.05  # of calls: what fewer have is seldom a metric
MOST_ENTRIES = 200  # told apart; ids used as keys would be endless


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An entry of a JSON column that is a number."""

    name: str
    share: float
    """Of the calls looked at, those that have it as a number."""


def numbers(texts: pa.Array | pa.ChunkedArray, names: Sequence[str]) -> dict[str, Floats]:
    """Each named entry as floats, one a row: NaN where it is absent, no finite number, or the text no JSON object.

    True and false are 1 and 0. 1 to 5 µs a row, less where texts repeat.

    >>> numbers(pa.array(['{"score": 0.5}', None, '{"score": "high"}']), ["score"])["score"].tolist()
    [0.5, nan, nan]
    """
    encoded = _encoded(texts)
    found = np.full((len(names), len(encoded.dictionary) + 1), np.nan)
    for place, given in enumerate(objects(encoded.dictionary.to_pylist())):
        for row, name in enumerate(names):
            if name in given:
                found[row, place] = _number(given[name])
    # The last column stands for texts that are absent.
    places = encoded.indices.fill_null(len(encoded.dictionary)).to_numpy()
    return {name: found[row, places] for row, name in enumerate(names)}


def discovered(texts: pa.Array | pa.ChunkedArray, least_share: float = LEAST_SHARE) -> list[Entry]:
    """The entries that are numbers in at least that share of the rows, the most frequent first; from SAMPLE rows.

    >>> discovered(pa.array(['{"score": 1, "name": "a"}', '{"name": "b"}']))
    [Entry(name='score', share=0.5)]
    """
    rows = len(texts)
    sample = texts.take(pa.array(np.linspace(0, rows - 1, min(rows, SAMPLE)).astype(np.int64))) if rows else texts
    encoded = _encoded(sample)
    times = np.bincount(encoded.indices.drop_null().to_numpy(), minlength=len(encoded.dictionary))
    counted: Counter[str] = Counter()
    for given, count in zip(objects(encoded.dictionary.to_pylist()), times.tolist(), strict=True):
        for name, value in given.items():
            if (name in counted or len(counted) < MOST_ENTRIES) and isfinite(_number(value)):
                counted[name] += count
    shares = ((name, count / len(sample)) for name, count in counted.most_common())
    return [Entry(name=name, share=share) for name, share in shares if share >= least_share]


def _encoded(texts: pa.Array | pa.ChunkedArray) -> pa.DictionaryArray:
    joined = texts.combine_chunks() if isinstance(texts, pa.ChunkedArray) else texts
    return joined.cast(pa.string()).dictionary_encode()


def objects(texts: Sequence[str]) -> Iterator[Mapping[str, Any]]:
    """Each text as an object; an empty one for what is none."""
    for begin in range(0, len(texts), CHUNK):
        chunk = texts[begin : begin + CHUNK]
        try:
            parsed = json.loads(f"[{','.join(chunk)}]")
        except (ValueError, RecursionError):
            parsed = []
        # Texts that are no JSON can be read by chance once they are joined: '1, 2' is two.
        if len(parsed) != len(chunk):
            parsed = [_parsed(text) for text in chunk]
        yield from (each if isinstance(each, dict) else {} for each in parsed)


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _number(value: Any) -> float:
    if not isinstance(value, int | float):
        return np.nan
    try:
        number = float(value)
    except OverflowError:  # an integer beyond all floats
        return np.nan
    return number if isfinite(number) else np.nan
