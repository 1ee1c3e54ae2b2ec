"""Jobs that report their runs and nothing else: a run that is due by the job's own rhythm and does not come.

A job has a rhythm when all gaps between its last runs are alike to a quarter; else the week is its rhythm, if a run
came at the same time one and two weeks before. A run is missed when it is three times as late as any was of late, and
a tenth of the rhythm at least. Our own.

    >>> cadence = Cadence()
    >>> for day in range(10):
    ...     cadence.come(day * 86_400.0)
    >>> (cadence.deadline() - 9 * 86_400.0) / 86_400.0  # a day later, and a tenth of a day
    1.1
"""

from dataclasses import dataclass, field

from tracewatch.times import DAY_S, HOUR_S

KEPT = 60  # runs: two months of a nightly job
JUDGED = 10  # gaps that must be alike
LEAST = 5  # gaps before a rhythm is one
ALIKE = 0.25  # of the rhythm
LATER = 3.0  # times the latest there was
TENTH, LEAST_S = 0.1, 600.0  # of the rhythm, and seconds, that a run may be late at least
KNOWN_S = 8 * DAY_S  # of a job that runs every half day or less often: a weekend must have been seen
SLOW_S = 12 * HOUR_S
WEEK_S = 7 * DAY_S
SAME_TIME_S = 1.25 * HOUR_S  # from one week to the next: clocks that change in between, and runs of different length
GRACE_S = 2 * HOUR_S


@dataclass(slots=True)
class Cadence:
    """When the runs of one job came, and whether the next one was missed already."""

    ends: list[float] = field(default_factory=list)
    missed: bool = False

    def come(self, end: float) -> None:
        """A run that was over at that moment, UTC epoch seconds."""
        self.ends = sorted([*self.ends, end])[-KEPT:]
        self.missed = False

    def deadline(self) -> float | None:
        """From when on the next run is missing; None where the job has no rhythm, or it is not known yet."""
        gaps = [after - before for before, after in zip(self.ends, self.ends[1:], strict=False)][-JUDGED:]
        if len(gaps) < LEAST:
            return None
        rhythm = sorted(gaps)[len(gaps) // 2]
        if rhythm >= SLOW_S and self.ends[-1] - self.ends[0] < KNOWN_S:
            return None
        late = max(abs(gap - rhythm) for gap in gaps)
        if rhythm > 0 and late <= ALIKE * rhythm:
            return self.ends[-1] + rhythm + max(LATER * late, TENTH * rhythm, LEAST_S)
        return self._by_the_week()

    def _by_the_week(self) -> float | None:
        """The next moment at which runs came one and two weeks before, and two hours' grace."""
        last = self.ends[-1]
        for end in self.ends:
            due = end + WEEK_S
            before = any(abs(other - (end - WEEK_S)) <= SAME_TIME_S for other in self.ends)
            if due > last + SAME_TIME_S and before:
                return due + GRACE_S
        return None
