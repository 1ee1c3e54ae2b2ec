"""Slices: sets of segments worth an alert of their own (all, operation, model, provider, operation x model)."""

import numpy as np

from .arrays import Flags, Floats, Ints

KEYS: tuple[tuple[str, ...], ...] = (
    (),
    ("operation_type",),
    ("model_name",),
    ("model_provider",),
    ("operation_type", "model_name"),
)
OVERLAP = 0.2  # of the smaller slice's calls in the other: the two are not independent
ALIKE = 0.5  # of the calls of either that both have in common: the same incident may be told of both
SLICES = 600  # beyond, further segments are watched in the wider slices only: each slice keeps 0.6 MB of history

Pairs = tuple[Ints, Ints]
"""Slices, in order, and a segment of each that is in it."""


class Slices:
    """Labels, and which segments are members (slices x segments, 0 or 1)."""

    def __init__(self) -> None:
        self.labels: list[dict[str, object]] = []
        self.index: dict[tuple[tuple[str, object], ...], int] = {}
        self.members = np.zeros((0, 0))
        self.pairs: Pairs = (np.zeros(0, np.int64), np.zeros(0, np.int64))  # the same
        self.attributes = np.zeros(0, np.int64)  # how many each label names
        self.traffic = np.zeros(0)  # recent calls of each segment
        self.near = np.zeros((0, 0), bool)  # slices x slices: too much in common for two incidents of one family
        self.alike = np.zeros((0, 0), bool)  # slices x slices: mostly the same calls
        self.same = np.zeros(0, bool)  # nearly the same calls as a shorter slice
        self.neatness = np.zeros(0)  # of equally striking slices the tightest is named, then the shortest
        self.by_model = np.zeros(0, bool)
        self.tightest = np.zeros(0, np.int64)  # of each segment, the slice with the fewest calls that it is in

    def extend(self, segments: list[dict[str, object]]) -> None:
        """Append segments, given as operation_type, model_name and model_provider, and the slices they bring."""
        have, todo = self.members.shape[1], []
        for offset, segment in enumerate(segments):
            for keys in KEYS:
                label = tuple((key, segment[key]) for key in keys)
                if any(value is None for _, value in label):
                    continue
                if label not in self.index:
                    if len(self.labels) >= SLICES:
                        continue
                    self.index[label] = len(self.labels)
                    self.labels.append(dict(label))
                todo.append((self.index[label], have + offset))
        members = np.zeros((len(self.labels), have + len(segments)))
        members[: self.members.shape[0], :have] = self.members
        for slice_, segment_at in todo:
            members[slice_, segment_at] = 1
        self.members = members
        self.attributes = np.array([len(label) for label in self.labels], np.int64)
        self.weigh(np.concatenate([self.traffic, np.ones(len(segments))]))

    def weigh(self, traffic: Floats) -> None:
        """Compare the slices by the recent calls of each segment."""
        self.traffic = traffic
        slices, segments = np.nonzero(self.members)
        self.pairs = slices, segments
        share = self.members @ traffic / traffic.sum()
        self.neatness = 1 - 0.01 * share - 0.0005 * self.attributes
        self.by_model = np.array(["model_name" in x or "model_provider" in x for x in self.labels], bool)
        if len(share):
            self.tightest = np.where(self.members > 0, share[:, None], np.inf).argmin(0)
        both = self.common()
        self.near = both / np.minimum.outer(np.diag(both), np.diag(both)) > OVERLAP
        self.alike = both / (np.add.outer(np.diag(both), np.diag(both)) - both) > ALIKE
        self.same = self.redundant(both)

    def keep_segments(self, keep: Ints) -> Ints:
        """Renumber segments; returns the slices that are left, in their order."""
        self.members = self.members[:, keep]
        left = np.flatnonzero((self.members > 0).any(1))
        self.members, self.labels = self.members[left], [self.labels[i] for i in left]
        self.index = {tuple(label.items()): i for i, label in enumerate(self.labels)}
        self.attributes = self.attributes[left]
        self.weigh(self.traffic[keep])
        return left

    def redundant(self, both: Floats) -> Flags:
        """Which slices are nearly (98 %) the same calls as a shorter, or equally short and earlier, one."""
        own, size = np.diag(both), self.attributes + 1e-3 * np.arange(len(both))
        return np.asarray(((both > 0.98 * np.maximum.outer(own, own)) & (size[None] < size[:, None])).any(1))

    def common(self) -> Floats:
        """Calls that two slices have in common."""
        return np.asarray((self.members * (self.traffic + 1e-9)) @ self.members.T)
