"""All that has been learned and is shared by the tests."""

from dataclasses import dataclass, field

import numpy as np

from .arrays import Ints, Rows
from .clumps import Clumps
from .expectations import Expectations
from .intake import Intake
from .memory import Memory
from .rates import Rates
from .series import Series
from .settings import Settings
from .slices import Slices
from .windows import SAMPLES
from .wobble import Wobble


def no_samples() -> Ints:
    """Places for hourly samples, none taken."""
    return np.full(SAMPLES, -1, np.int64)


@dataclass(slots=True)
class Knowledge:
    """The state that tests read and the daily lesson renews."""

    settings: Settings
    first: int = 0  # tick of the first row
    intake: Intake = field(default_factory=Intake)
    slices: Slices = field(default_factory=Slices)
    expect: Expectations = field(default_factory=Expectations)
    wobble: Wobble = field(default_factory=Wobble)
    clumps: Clumps = field(default_factory=Clumps)
    rates: Rates = field(default_factory=Rates)
    series: Series = field(default_factory=Series)
    memory: Memory = field(default_factory=Memory)
    sampled: Ints = field(default_factory=no_samples)  # ticks of the hourly samples of wobble and rates
    recent: list[tuple[int, Rows]] = field(default_factory=list)  # (tick after the last, rows) of at least a day

    def grow(self) -> None:
        """Room for the segments that intake has seen."""
        segments = len(self.intake.segments)
        new = [self.intake.describe(g) for g in range(self.slices.members.shape[1], segments)]
        if new:
            self.slices.extend(new)
            self.expect.grow(segments)
            self.series.grow(segments)
            self.clumps.grow(segments)
            self.wobble.grow(len(self.slices.labels))
            self.rates.grow(segments, len(self.slices.labels))

    def keep_segments(self, keep: Ints, before: float) -> Ints:
        """Renumber segments everywhere; returns the slices that are left."""
        self.intake.keep_segments(keep, before)
        left = self.slices.keep_segments(keep)
        self.expect.keep_segments(keep)
        self.series.keep_segments(keep)
        self.clumps.keep_segments(keep)
        self.memory.keep_segments(keep)
        self.wobble.keep_slices(left)
        self.rates.keep(keep, left)
        place = np.full(int(keep.max(initial=-1)) + 1, -1)
        place[keep] = np.arange(len(keep))
        self.recent = [(end, renumbered(rows, place)) for end, rows in self.recent]
        return left


def renumbered(rows: Rows, place: Ints) -> Rows:
    """Rows with new segment numbers, without those whose segment is gone."""
    known = rows["segment"] < len(place)
    known[known] = place[rows["segment"][known]] >= 0
    out = {k: v[known] for k, v in rows.items()}
    return {**out, "segment": place[out["segment"]]}
