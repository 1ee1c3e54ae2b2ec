"""All that has been learned and is shared by the tests."""

from dataclasses import dataclass, field

from .arrays import Ints
from .clumps import Clumps
from .expectations import Expectations
from .intake import Intake
from .memory import Memory
from .rates import Rates
from .recent import Recent
from .series import Series
from .settings import Settings
from .slices import Slices
from .wobble import Wobble


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
    recent: Recent = field(default_factory=Recent)

    def grow(self) -> None:
        """Room for the segments that intake has seen."""
        segments = len(self.intake.segments)
        new = [self.intake.describe(g) for g in range(self.slices.members.shape[1], segments)]
        if new:
            self.slices.extend(new)
            self.expect.grow(segments)
            self.clumps.grow(segments)
            self.series.grow(len(self.slices.labels))
            self.wobble.grow(len(self.slices.labels))
            self.rates.grow(segments, len(self.slices.labels))

    def keep_segments(self, keep: Ints, before: float) -> Ints:
        """Renumber segments everywhere; returns the slices that are left."""
        self.intake.keep_segments(keep, before)
        left = self.slices.keep_segments(keep)
        self.expect.keep_segments(keep)
        self.clumps.keep_segments(keep)
        self.series.keep_slices(left)
        self.memory.keep_segments(keep)
        self.wobble.keep_slices(left)
        self.rates.keep(keep, left)
        self.recent.keep_segments(keep)
        return left
