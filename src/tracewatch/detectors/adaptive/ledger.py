"""A table of numbers by integer key."""

import numpy as np

from .arrays import Flags, Floats, Ints


class Ledger:
    """Rows of `width` numbers in the order of their keys; unknown keys start as `empty`."""

    def __init__(self, empty: tuple[float, ...]) -> None:
        self.empty = np.array(empty)
        self.keys = np.zeros(0, np.int64)
        self.values = np.zeros((0, len(empty)))

    def at(self, keys: Ints) -> Ints:
        """Where the (sorted, unique) keys are; the unknown are added first."""
        place = np.searchsorted(self.keys, keys)
        new = place == len(self.keys)
        new[~new] = self.keys[place[~new]] != keys[~new]
        if new.any():
            self.keys = np.insert(self.keys, place[new], keys[new])
            self.values = np.insert(self.values, place[new], self.empty, axis=0)
            place = np.searchsorted(self.keys, keys)
        return place

    def split(self, leave: Flags) -> tuple[Ints, Floats]:
        """Take out the rows that leave: their keys and values."""
        gone = self.keys[leave], self.values[leave]
        self.keys, self.values = self.keys[~leave], self.values[~leave]
        return gone


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
