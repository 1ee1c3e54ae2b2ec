"""Words as small numbers."""

from itertools import repeat

import numpy as np

from .arrays import Flags, Ints, Rows


class Names:
    """Words and their codes, in order of first appearance; missing words, and those beyond `limit`, have code -1."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.code: dict[object, int] = {}
        self.word: dict[int, object] = {}
        self.free: list[int] = []  # codes of forgotten words, to be used again
        self.last = np.zeros(64)  # when a code was last seen
        self.size = 0  # one more than the largest code ever given

    def encode(self, rows: Rows, column: str) -> Ints:
        """Codes of a column; new words are added."""
        values = rows[column].tolist()
        if values.count(None) == len(values):
            return np.full(len(values), -1, np.int64)
        codes = np.fromiter(map(self.code.get, values, repeat(-1)), np.int64, len(values))
        unknown = np.flatnonzero(codes < 0)
        strange = [values[i] for i in unknown.tolist()]
        if new := [value for value in dict.fromkeys(strange) if value is not None and value == value]:
            self.add(new)
            codes[unknown] = np.fromiter(map(self.code.get, strange, repeat(-1)), np.int64, len(strange))
        self.last[codes[codes >= 0]] = rows["t"][-1]
        return codes

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
        for code in codes:
            del self.code[self.word.pop(code)]
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
