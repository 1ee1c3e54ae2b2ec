"""All that has been learned and is shared by the tests.

What a series (one measure of one slice) costs, which a test holds under 64 KB: five-minute totals of up to two days,
577 x 2.5 x 8 bytes = 11.5 KB, a quarter more with room to grow; hours of fifteen days, 359 x 3 x 2 x 4 = 8.6 KB of a
mean, and 336 x 2 x 4 = 2.7 KB of a rate and segment; the share of a segment's remembered rows, 14 days x 110 x 113
bytes / 28 series = 6.2 KB. Beside it the rows of the last day, at most 288 x 1000 x 280 bytes = 80 MB altogether.
"""

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
    intake: Intake = field(init=False)
    slices: Slices = field(default_factory=Slices)
    expect: Expectations = field(default_factory=Expectations)
    wobble: Wobble = field(default_factory=Wobble)
    clumps: Clumps = field(default_factory=Clumps)
    rates: Rates = field(default_factory=Rates)
    series: Series = field(default_factory=Series)
    memory: Memory = field(default_factory=Memory)
    recent: Recent = field(default_factory=Recent)

    def __post_init__(self) -> None:
        self.intake = Intake(self.settings.extra)

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
