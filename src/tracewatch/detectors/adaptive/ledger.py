"""A table of numbers by integer key."""

from typing import Any

import numpy as np

from .arrays import Flags, Floats, Ints

LATELY = 1024  # keys that are found by themselves before they are put among the others, or a part of those
PART = 16


class Ledger:
    """Rows of `width` numbers by key; unknown keys start as `empty`.

    Rows stay where they were put, and what is kept in order is where each key is. The latest keys are in an order of
    their own: of a day's sessions some hundred new ones come with each step, and to make room for them among all the
    others took a quarter of its time.

    >>> ledger = Ledger((0.0, 1.0))
    >>> at = ledger.at(np.array([5, 9]))
    >>> ledger.values[at, 0] = 7.0
    >>> at = ledger.at(np.array([4, 9]))
    >>> ledger.values[at].tolist()
    [[0.0, 1.0], [7.0, 1.0]]
    >>> [each.tolist() for each in ledger.split(ledger.values[:, 0] == 0)], ledger.keys.tolist()
    ([[4], [[0.0, 1.0]]], [5, 9])
    """

    def __init__(self, empty: tuple[float, ...]) -> None:
        self.empty = np.array(empty)
        self._put(np.zeros(0, np.int64), np.zeros((0, len(empty))))

    @property
    def keys(self) -> Ints:
        """The key of each row."""
        return self._keys[: self._rows]

    @property
    def values(self) -> Floats:
        """The numbers of each row, to be changed in place."""
        return self._values[: self._rows]

    def at(self, keys: Ints) -> Ints:
        """The rows of the (sorted, unique) keys; the unknown are added first, and `values` are then others."""
        place = np.full(len(keys), -1)
        for order, rows in (self._order, self._lately):
            if len(order):
                near = np.minimum(np.searchsorted(order, keys), len(order) - 1)
                place = np.where(order[near] == keys, rows[near], place)
        new = place < 0
        if new.any():
            place[new] = self._add(keys[new])
        return place

    def split(self, leave: Flags) -> tuple[Ints, Floats]:
        """Take out the rows that leave: their keys and values, in the order of keys."""
        order = np.argsort(self.keys)
        gone, stay = order[leave[order]], order[~leave[order]]
        out = self.keys[gone], self.values[gone]
        self._put(self.keys[stay], self.values[stay])
        return out

    def _put(self, keys: Ints, values: Floats) -> None:
        """Rows in the order of their keys, in place of all there are."""
        self._keys, self._values, self._rows = keys, values, len(keys)
        self._order, self._lately = (keys, np.arange(len(keys))), (keys[:0], np.zeros(0, np.int64))

    def _add(self, keys: Ints) -> Ints:
        """The rows of new keys."""
        rows = np.arange(self._rows, self._rows + len(keys))
        self._rows += len(keys)
        if self._rows > len(self._keys):
            more = self._rows + self._rows // 4 - len(self._keys)
            self._keys = np.concatenate([self._keys, np.zeros(more, np.int64)])
            self._values = np.concatenate([self._values, np.zeros((more, len(self.empty)))])
        self._keys[rows], self._values[rows] = keys, self.empty
        self._lately = _merged(self._lately, (keys, rows))
        if len(self._lately[0]) > max(LATELY, len(self._order[0]) // PART):
            self._order, self._lately = _merged(self._order, self._lately), (keys[:0], rows[:0])
        return rows

    def __getstate__(self) -> dict[str, Any]:
        """The rows in the order of their keys, whichever came first: brought into it here, as a copy would be felt."""
        order = np.argsort(self.keys)
        self._put(self.keys[order], self.values[order])
        return {"empty": self.empty, "keys": self._keys, "values": self._values}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.empty = state["empty"]
        self._put(state["keys"], state["values"])


def _merged(one: tuple[Ints, Ints], other: tuple[Ints, Ints]) -> tuple[Ints, Ints]:
    """Keys and their rows in the order of keys."""
    keys, rows = (np.concatenate(both) for both in zip(one, other, strict=True))
    order = np.argsort(keys, kind="stable")  # two runs are put together in one pass
    return keys[order], rows[order]


class Groups:
    """Rows sorted by key, in their old order within each key."""

    def __init__(self, keys: Ints) -> None:
        self.order = np.argsort(keys, kind="stable")
        ordered = keys[self.order]
        self.first = np.concatenate([[True], ordered[1:] != ordered[:-1]]) if len(keys) else np.zeros(0, bool)
        self.starts = np.flatnonzero(self.first)
        self.sizes = np.diff(np.append(self.starts, len(keys)))
        self.keys = ordered[self.starts]
        self.rank = np.arange(len(keys)) - np.repeat(self.starts, self.sizes)

    def spread(self, per_group: Floats) -> Floats:
        """A number per group, repeated for its rows."""
        return np.repeat(per_group, self.sizes, axis=0)
