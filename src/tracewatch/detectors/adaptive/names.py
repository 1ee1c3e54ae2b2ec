"""Words as small numbers."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arrays import Flags, Ints


@dataclass(slots=True, eq=False)
class Words:
    """A column of words as places in a list that may hold some more, or one twice; -1 where there is no word."""

    places: NDArray[np.integer[Any]]
    words: list[object]

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, rows: slice | Ints | Flags) -> Words:
        return Words(self.places[rows], self.words)

    def objects(self) -> NDArray[Any]:
        """The words themselves, None where there is none."""
        out = np.empty(len(self.words) + 1, object)
        out[:-1] = self.words
        return np.asarray(out[self.places])

    def needed(self) -> Words:
        """The same without the words that no row has, and each but once."""
        used, places = np.unique(self.places, return_inverse=True)
        words = [None if place < 0 else self.words[place] for place in used.tolist()]
        place_of = {word: i for i, word in enumerate(dict.fromkeys(word for word in words if word is not None))}
        new = np.array([-1 if word is None else place_of[word] for word in words], np.int64)
        return Words(new[places], list(place_of))


def words_of(values: NDArray[Any] | Words | None, n: int) -> Words:
    """A column as words; what is no word (None, not a number, a missing column) is none."""
    if values is None:
        return Words(np.full(n, -1), [])
    if isinstance(values, Words):
        return values
    given = values.tolist()
    place = {word: i for i, word in enumerate(x for x in dict.fromkeys(given) if x is not None and x == x)}
    return Words(np.fromiter(map(place.get, given, repeat(-1)), np.int64, len(given)), list(place))


def joined(parts: Sequence[Any]) -> Any:
    """Columns of one kind, one after the other."""
    if len(parts) == 1:
        return parts[0]
    if not isinstance(parts[0], Words):
        return np.concatenate(parts)
    words: list[object] = []
    places = list[NDArray[Any]]()
    for part in parts:
        places.append(np.where(part.places < 0, -1, part.places + len(words)))
        words += part.words
    return Words(np.concatenate(places), words)


class Names:
    """Words and their codes, in order of first appearance; missing words, and those beyond `limit`, have code -1."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.code: dict[object, int] = {}
        self.word: dict[int, object] = {}
        self.free: list[int] = []  # codes of forgotten words, to be used again
        self.last = np.zeros(64)  # when a code was last seen
        self.size = 0  # one more than the largest code ever given

    def encode(self, column: Words, now: float) -> Ints:
        """Codes of a column that was seen until `now`; new words are added, in the order in which they appear."""
        if not column.words:
            return np.full(len(column), -1, np.int64)
        table = self.codes_of(column.words)
        if (table[:-1] < 0).any():
            present, first = np.unique(column.places, return_index=True)
            new = present[np.argsort(first)]
            new = new[(new >= 0) & (table[new] < 0)]
            if len(new):
                self.add(list(dict.fromkeys(column.words[i] for i in new.tolist())))
                table = self.codes_of(column.words)
        codes: Ints = table[column.places]
        self.last[codes[codes >= 0]] = now
        return codes

    def codes_of(self, words: Sequence[object]) -> Ints:
        """The code of each word, and -1 at the end."""
        return np.fromiter([*map(self.code.get, words, repeat(-1)), -1], np.int64, len(words) + 1)

    def add(self, words: list[object]) -> None:
        """Give new words codes, freed ones first, while there is room."""
        words = words[: max(self.limit - len(self.word), 0)]
        freed = max(len(self.free) - len(words), 0)
        codes = self.free[freed:][::-1]
        del self.free[freed:]
        more = len(words) - len(codes)
        codes += range(self.size, self.size + more)
        self.size += more
        if self.size > len(self.last):
            self.last = np.concatenate([self.last, np.zeros(max(self.size, len(self.last)))])
        self.code.update(zip(words, codes, strict=True))
        self.word.update(zip(codes, words, strict=True))

    def forget(self, codes: list[int]) -> None:
        """Their codes become free."""
        deque(map(self.code.pop, map(self.word.pop, codes)), 0)  # ten thousands of sessions at a midnight
        self.free.extend(codes)

    def stale(self, before: float, keep: Flags | None = None) -> list[int]:
        """Codes not seen since a moment, except those to keep."""
        old = self.last[: self.size] < before
        if keep is not None:
            old &= ~keep
        return [code for code in np.flatnonzero(old).tolist() if code in self.word]

    def crowded(self) -> list[int]:
        """The least recently used codes that must go for a quarter of the room to be free."""
        excess = len(self.word) - self.limit * 3 // 4
        return sorted(self.word, key=lambda code: self.last[code])[:excess] if excess > 0 else []
