"""What no longer comes at all: a number that calls used to report, or, where calls are rare, one that goes well.

Counted in calls since it last came, against twice the longest such streak of two weeks: a window of a day holds too
few calls of a quiet slice, and of a number that is not there no mean is made. Our own.
"""

from dataclasses import dataclass

import numpy as np

from .alerts import Alert, Notice, score_of
from .arrays import Flags, Floats, Ints, Rows
from .channels import CHANNELS, GROWTH, TTFT
from .intake import TICK
from .knowledge import Knowledge
from .windows import DAY, HOUR

WELL = 0  # the first of what is watched: a call that goes well; the others are numbers that are reported
CHANNEL_OF = (-1, *(c for c in range(len(CHANNELS)) if c != GROWTH))
COLUMN_OF = (
    "",
    *(
        {"cache_hit_rate": "cache_read_input_tokens"}.get(CHANNELS[c].metric, CHANNELS[c].metric)
        for c in CHANNEL_OF[1:]
    ),
)
FAMILY_OF = ("failure", *(CHANNELS[c].family for c in CHANNEL_OF[1:]))
D = len(CHANNEL_OF)
UNREPORTED = "unreported"  # the metric is this and the column
LEAST = np.where(np.arange(D) == WELL, 8.0, 20.0)  # calls in a row
SPREAD = np.where(np.arange(D) == WELL, 3, 6)  # different ticks that they come in
LASTS = np.where(np.arange(D) == WELL, DAY, HOUR)  # ticks from the first to now: of failures within a day rates tell
UNKNOWN = np.where(np.arange(D) == WELL, 10.0, np.inf)  # the limit of a slice that is young
CHANCE = 1e-6  # of so long a streak, by the share of calls without it
PRIOR_CALLS = 4.0  # of which one is without it
KNOWN_DAYS = 4
ROOM = 2.0  # times the longest streak of two weeks
DAYS = 14
TOGETHER = HOUR  # ticks: what stops within an hour has one cause
HOLD = DAY
SEVERITY = 5.5  # at the limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """The streaks after each tick (slices x ticks): calls, ticks that had any, the first tick; and what ended."""

    calls: Floats
    spread: Floats
    began: Ints
    longest: Floats  # streak that ended (slices)

    def goes_on(self, slice_: int, tick: int, began: int) -> bool:
        """Does the streak that began then still last after a tick?"""
        return bool(self.calls[slice_, tick] > 0 and self.began[slice_, tick] == began)


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Over:
    """A streak over its limit in a tick, in the order in which they are looked at: of a tick the widest slice first."""

    tick: int  # read
    attributes: int
    slice: int
    watched: int
    began: int
    calls: float


class Streaks:
    """Streaks that go on (tables of slices x what is watched), and the longest of each day."""

    def __init__(self) -> None:
        self.calls, self.spread, self.limit = (np.zeros((0, D)) for _ in range(3))
        self.today = np.zeros((0, D, 3))  # the longest that ended, calls, calls without it
        self.began, self.seen = np.zeros((0, D), np.int64), np.full((0, D), -1)  # seen: the beginning of one judged
        self.told: dict[tuple[int, int], int] = {}  # slice and what is watched -> beginning of the streak that is told
        self.age = np.zeros(0)  # of slices, in days
        self.days: list[Floats] = []  # of what `today` has

    def grow(self, slices: int) -> None:
        """Room for new slices."""
        more = slices - len(self.calls)
        if more > 0:
            none = np.zeros((more, D))
            self.calls, self.spread = (np.concatenate([x, none]) for x in (self.calls, self.spread))
            self.today = padded(self.today, slices)
            self.limit, self.age = np.concatenate([self.limit, none + UNKNOWN]), np.concatenate([self.age, none[:, 0]])
            self.began = np.concatenate([self.began, none.astype(np.int64)])
            self.seen = np.concatenate([self.seen, np.full((more, D), -1)])

    def keep_slices(self, keep: Ints) -> None:
        """Renumber slices."""
        place = {int(old): new for new, old in enumerate(keep)}
        self.calls, self.spread, self.limit = (x[keep] for x in (self.calls, self.spread, self.limit))
        self.began, self.seen, self.age = self.began[keep], self.seen[keep], self.age[keep]
        *self.days, self.today = (padded(day, int(keep.max(initial=-1)) + 1)[keep] for day in (*self.days, self.today))
        self.told = {(place[s], d): began for (s, d), began in self.told.items() if s in place}

    def scan(
        self, known: Knowledge, first: int, ticks: int, rows: Rows | None, alarming: bool
    ) -> dict[int, list[Notice]]:  # fmt: skip
        """Notices by tick read."""
        self.grow(len(known.slices.labels))
        out: dict[int, list[Notice]] = {}
        if rows is None:
            return out
        courses: dict[int, Course] = {}
        for d in range(D):
            due, came = watched(known, rows, d)
            without = due & ~came
            lacking = bool(without.any())
            for j, some in ((1, due), (2, without)) if lacking or due.any() else ():
                self.today[:, d, j] += sums(known, rows["segment"][some])
            if lacking or self.calls[:, d].any():
                courses[d] = self.follow(known, rows, ticks, first, d, due, came)
        for each in sorted(each for d, course in courses.items() for each in self.over(known, course, first, d)):
            if self.is_told(known, each, courses, alarming):
                out.setdefault(each.tick, []).append(self.notice(known, each, first))
        return out

    def follow(
        self, known: Knowledge, rows: Rows, ticks: int, first: int, d: int, due: Flags, came: Flags
    ) -> Course:  # fmt: skip
        """The streaks of a run; the last of them go on."""
        members = known.slices.members
        cell, cells = rows["segment"] * ticks + rows["tick"], members.shape[1] * ticks
        n, hits = (members @ np.bincount(cell[x], minlength=cells).reshape(-1, ticks) for x in (due, due & came))
        course = course_of(n, hits > 0, first, self.calls[:, d], self.spread[:, d], self.began[:, d])
        self.calls[:, d], self.spread[:, d], self.began[:, d] = (
            x[:, -1] for x in (course.calls, course.spread, course.began)
        )
        # One that was told does not teach that such are usual; one that is told again and again does.
        self.today[:, d, 0] = np.maximum(self.today[:, d, 0], np.minimum(course.longest, self.limit[:, d]))
        return course

    def over(self, known: Knowledge, course: Course, first: int, d: int) -> list[Over]:
        """Where a streak is over its limit."""
        now = first + np.arange(course.calls.shape[1]) + 1
        hit = (course.calls >= self.limit[:, d, None]) & (course.spread >= SPREAD[d])
        hit &= (now - course.began >= LASTS[d]) & ~known.slices.same[: len(course.calls), None]
        return [
            Over(tick=t, attributes=int(known.slices.attributes[s]), slice=s, watched=d, began=int(course.began[s, t]),
                 calls=float(course.calls[s, t]))
            for s, t in zip(*(x.tolist() for x in np.nonzero(hit)), strict=True)
        ]  # fmt: skip

    def is_told(self, known: Knowledge, each: Over, courses: dict[int, Course], alarming: bool) -> bool:
        """Is it a streak to tell, or one that is told and goes on? Of what stops together one column is told."""
        s, d, near = each.slice, each.watched, known.slices.near
        if self.seen[s, d] != each.began:
            self.seen[s, d] = each.began
            alike = (
                near[s, other]
                and (which == d or (which != WELL != d and abs(then - each.began) <= TOGETHER))
                and which in courses
                and courses[which].goes_on(other, each.tick, then)
                for (other, which), then in self.told.items()
            )
            if alarming and not any(alike):
                self.told[s, d] = each.began
        return self.told.get((s, d)) == each.began

    def notice(self, known: Knowledge, each: Over, first: int) -> Notice:
        """What to say: all calls of the streak are without it, of which none was to be expected."""
        s, d = each.slice, each.watched
        severity = SEVERITY * each.calls / float(self.limit[s, d])
        alert = Alert(
            detected_at=float((first + each.tick + 1) * TICK), direction="up", kind="rate",
            metric=f"{UNREPORTED}.{COLUMN_OF[d]}" if d else "error_rate", slice=dict(known.slices.labels[s]),
            severity=severity, since=float(each.began * TICK), observed=1.0, expected=0.0, lower=0.0,
            upper=float(self.limit[s, d]) / each.calls, n=int(each.calls), score=score_of(severity, SEVERITY),
        )  # fmt: skip
        segments = tuple(np.flatnonzero(known.slices.members[s]).tolist())
        key = ("streak", COLUMN_OF[d] if d else "", *known.slices.labels[s].values())
        return Notice(alert=alert, key=key, hold=HOLD, segments=segments, families=(FAMILY_OF[d],))

    def close_day(self) -> None:
        """A day is over: limits are of two weeks."""
        self.days = [*self.days, self.today][-DAYS:]
        self.today = np.zeros_like(self.today)
        longest, calls, without = np.moveaxis(np.stack([padded(day, len(self.today)) for day in self.days]), -1, 0)
        others = np.maximum(calls.sum(0) - self.calls, 0), np.maximum(without.sum(0) - self.calls, 0)
        share = (others[1] + 1) / (others[0] + PRIOR_CALLS)
        enough = np.maximum(ROOM * longest.max(0), np.log(CHANCE) / np.log(np.minimum(share, 0.99)))
        self.age = self.age + 1
        self.limit = np.where(self.age[:, None] < KNOWN_DAYS, UNKNOWN, np.maximum(LEAST, enough))
        self.told = {(s, d): began for (s, d), began in self.told.items() if self.calls[s, d] > 0}


def watched(known: Knowledge, rows: Rows, d: int) -> tuple[Flags, Flags]:
    """Which calls might have brought it, and which did."""
    if d == WELL:
        return np.ones(len(rows["t"]), bool), ~rows["error"]
    expect, c = known.expect, CHANNEL_OF[d]
    due = rows["good"] & ((expect.known[:, c] > 0) & (expect.mature > 0))[rows["segment"]]
    if c == TTFT:  # of calls that do not stream another room tells
        due &= rows["streams"] != 0
    return due, np.isfinite(rows[COLUMN_OF[d]])


def sums(known: Knowledge, segments: Ints) -> Floats:
    """Calls of these segments, by slice."""
    members = known.slices.members
    return np.asarray(members @ np.bincount(segments, minlength=members.shape[1]))


def course_of(n: Floats, came: Flags, first: int, calls: Floats, spread: Floats, began: Ints) -> Course:
    """The streaks of some ticks (calls that were due and whether it came, slices x ticks), after what went before.

    >>> course = course_of(np.array([[2.0, 1, 0, 4]]), np.array([[False, True, False, False]]), 10,
    ...                    np.array([3.0]), np.array([1.0]), np.array([7]))
    >>> course.calls.tolist(), course.began.tolist(), course.longest.tolist()
    ([[5.0, 0.0, 0.0, 4.0]], [[7, 13, 13, 13]], [5.0])
    """
    ticks, never = n.shape[1], np.int64(1 << 60)
    last = np.maximum.accumulate(np.where(came, np.arange(1, ticks + 1), 0), axis=1)  # ticks up to the last that came
    old = last == 0
    streak, wide = (
        np.cumsum(x, axis=1) - np.take_along_axis(from_zero(np.cumsum(x, axis=1)), last, 1) + y[:, None] * old
        for x, y in ((n, calls), ((n > 0).astype(float), spread))
    )
    at = np.where(n > 0, first + np.arange(ticks), never)
    ahead = np.minimum.accumulate(at[:, ::-1], axis=1)[:, ::-1]
    ahead = np.concatenate([ahead, np.full((len(n), 1), never)], axis=1)
    begin = np.where(old & (calls > 0)[:, None], began[:, None], np.take_along_axis(ahead, last, 1))
    before = np.concatenate([calls[:, None], streak[:, :-1]], axis=1)
    return Course(calls=streak, spread=wide, began=begin, longest=np.where(came, before, 0).max(1))


def from_zero(total: Floats) -> Floats:
    """Running sums with a leading zero."""
    return np.concatenate([np.zeros((len(total), 1)), total], axis=1)


def padded(table: Floats, slices: int) -> Floats:
    """With rows of zeros up to so many."""
    return np.concatenate([table, np.zeros((max(slices - len(table), 0), *table.shape[1:]))])
