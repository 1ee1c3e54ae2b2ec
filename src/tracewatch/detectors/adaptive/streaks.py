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
CHANNEL_OF = (-1, *(channel for channel in range(len(CHANNELS)) if channel != GROWTH))
COLUMN_OF = (
    "",
    *(
        {"cache_hit_rate": "cache_read_input_tokens"}.get(CHANNELS[channel].metric, CHANNELS[channel].metric)
        for channel in CHANNEL_OF[1:]
    ),
)
FAMILY_OF = ("failure", *(CHANNELS[channel].family for channel in CHANNEL_OF[1:]))
WATCHED = len(CHANNEL_OF)
UNREPORTED = "unreported"  # the metric is this and the column
LEAST = np.where(np.arange(WATCHED) == WELL, 8.0, 20.0)  # calls in a row
SPREAD = np.where(np.arange(WATCHED) == WELL, 3, 6)  # different ticks that they come in
LASTS = np.where(np.arange(WATCHED) == WELL, DAY, HOUR)  # ticks to now: of failures within a day rates tell
UNKNOWN = np.where(np.arange(WATCHED) == WELL, 10.0, np.inf)  # the limit of a slice that is young
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
        self.calls, self.spread, self.limit = (np.zeros((0, WATCHED)) for _ in range(3))
        self.today = np.zeros((0, WATCHED, 3))  # the longest that ended, calls, calls without it
        self.began = np.zeros((0, WATCHED), np.int64)
        self.seen = np.full((0, WATCHED), -1)  # the beginning of one that was judged
        self.told: dict[tuple[int, int], int] = {}  # slice and what is watched -> beginning of the streak that is told
        self.age = np.zeros(0)  # of slices, in days
        self.days: list[Floats] = []  # of what `today` has

    def grow(self, slices: int) -> None:
        """Room for new slices."""
        more = slices - len(self.calls)
        if more > 0:
            none = np.zeros((more, WATCHED))
            self.calls, self.spread = (np.concatenate([table, none]) for table in (self.calls, self.spread))
            self.today = padded(self.today, slices)
            self.limit, self.age = np.concatenate([self.limit, none + UNKNOWN]), np.concatenate([self.age, none[:, 0]])
            self.began = np.concatenate([self.began, none.astype(np.int64)])
            self.seen = np.concatenate([self.seen, np.full((more, WATCHED), -1)])

    def keep_slices(self, keep: Ints) -> None:
        """Renumber slices."""
        place = {int(old): new for new, old in enumerate(keep)}
        self.calls, self.spread, self.limit = (table[keep] for table in (self.calls, self.spread, self.limit))
        self.began, self.seen, self.age = self.began[keep], self.seen[keep], self.age[keep]
        *self.days, self.today = (padded(day, int(keep.max(initial=-1)) + 1)[keep] for day in (*self.days, self.today))
        self.told = {(place[slice_], what): began for (slice_, what), began in self.told.items() if slice_ in place}

    def scan(
        self, known: Knowledge, first: int, ticks: int, rows: Rows | None, alarming: bool
    ) -> dict[int, list[Notice]]:  # fmt: skip
        """Notices by tick read."""
        self.grow(len(known.slices.labels))
        out: dict[int, list[Notice]] = {}
        if rows is None:
            return out
        courses: dict[int, Course] = {}
        for what in range(WATCHED):
            due, came = watched(known, rows, what)
            without = due & ~came
            lacking = bool(without.any())
            for column, some in ((1, due), (2, without)) if lacking or due.any() else ():
                self.today[:, what, column] += sums(known, rows["segment"][some])
            if lacking or self.calls[:, what].any():
                courses[what] = self.follow(known, rows, ticks, first, what, due, came)
        for each in sorted(each for what, course in courses.items() for each in self.over(known, course, first, what)):
            if self.is_told(known, each, courses, alarming):
                out.setdefault(each.tick, []).append(self.notice(known, each, first))
        return out

    def follow(
        self, known: Knowledge, rows: Rows, ticks: int, first: int, what: int, due: Flags, came: Flags
    ) -> Course:  # fmt: skip
        """The streaks of a run; the last of them go on."""
        members = known.slices.members
        cell, cells = rows["segment"] * ticks + rows["tick"], members.shape[1] * ticks
        calls, hits = (
            members @ np.bincount(cell[some], minlength=cells).reshape(-1, ticks) for some in (due, due & came)
        )
        course = course_of(calls, hits > 0, first, self.calls[:, what], self.spread[:, what], self.began[:, what])
        self.calls[:, what], self.spread[:, what], self.began[:, what] = (
            table[:, -1] for table in (course.calls, course.spread, course.began)
        )
        # One that was told does not teach that such are usual; one that is told again and again does.
        self.today[:, what, 0] = np.maximum(self.today[:, what, 0], np.minimum(course.longest, self.limit[:, what]))
        return course

    def over(self, known: Knowledge, course: Course, first: int, what: int) -> list[Over]:
        """Where a streak is over its limit."""
        now = first + np.arange(course.calls.shape[1]) + 1
        hit = (course.calls >= self.limit[:, what, None]) & (course.spread >= SPREAD[what])
        hit &= (now - course.began >= LASTS[what]) & ~known.slices.same[: len(course.calls), None]
        return [
            Over(tick=tick, attributes=int(known.slices.attributes[slice_]), slice=slice_, watched=what,
                 began=int(course.began[slice_, tick]), calls=float(course.calls[slice_, tick]))
            for slice_, tick in np.argwhere(hit).tolist()
        ]  # fmt: skip

    def is_told(self, known: Knowledge, each: Over, courses: dict[int, Course], alarming: bool) -> bool:
        """Is it a streak to tell, or one that is told and goes on? Of what stops together one column is told."""
        slice_, what, near = each.slice, each.watched, known.slices.near
        if self.seen[slice_, what] != each.began:
            self.seen[slice_, what] = each.began
            alike = (
                near[slice_, other]
                and (which == what or (which != WELL != what and abs(then - each.began) <= TOGETHER))
                and which in courses
                and courses[which].goes_on(other, each.tick, then)
                for (other, which), then in self.told.items()
            )
            if alarming and not any(alike):
                self.told[slice_, what] = each.began
        return self.told.get((slice_, what)) == each.began

    def notice(self, known: Knowledge, each: Over, first: int) -> Notice:
        """What to say: all calls of the streak are without it, of which none was to be expected."""
        slice_, what = each.slice, each.watched
        severity = SEVERITY * each.calls / float(self.limit[slice_, what])
        alert = Alert(
            detected_at=float((first + each.tick + 1) * TICK), direction="up", kind="rate",
            metric=f"{UNREPORTED}.{COLUMN_OF[what]}" if what else "error_rate", slice=dict(known.slices.labels[slice_]),
            severity=severity, since=float(each.began * TICK), observed=1.0, expected=0.0, lower=0.0,
            upper=float(self.limit[slice_, what]) / each.calls, n=int(each.calls), score=score_of(severity, SEVERITY),
        )  # fmt: skip
        segments = tuple(np.flatnonzero(known.slices.members[slice_]).tolist())
        key = ("streak", COLUMN_OF[what] if what else "", *known.slices.labels[slice_].values())
        return Notice(alert=alert, key=key, hold=HOLD, segments=segments, families=(FAMILY_OF[what],))

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
        self.told = {at: began for at, began in self.told.items() if self.calls[at] > 0}


def watched(known: Knowledge, rows: Rows, what: int) -> tuple[Flags, Flags]:
    """Which calls might have brought it, and which did."""
    if what == WELL:
        return np.ones(len(rows["t"]), bool), ~rows["error"]
    expect, channel = known.expect, CHANNEL_OF[what]
    due = rows["good"] & ((expect.known[:, channel] > 0) & (expect.mature > 0))[rows["segment"]]
    if channel == TTFT:  # of calls that do not stream another room tells
        due &= rows["streams"] != 0
    return due, np.isfinite(rows[COLUMN_OF[what]])


def sums(known: Knowledge, segments: Ints) -> Floats:
    """Calls of these segments, by slice."""
    members = known.slices.members
    return np.asarray(members @ np.bincount(segments, minlength=members.shape[1]))


def course_of(due: Floats, came: Flags, first: int, calls: Floats, spread: Floats, began: Ints) -> Course:
    """The streaks of some ticks (calls that were due and whether it came, slices x ticks), after what went before.

    >>> course = course_of(np.array([[2.0, 1, 0, 4]]), np.array([[False, True, False, False]]), 10,
    ...                    np.array([3.0]), np.array([1.0]), np.array([7]))
    >>> course.calls.tolist(), course.began.tolist(), course.longest.tolist()
    ([[5.0, 0.0, 0.0, 4.0]], [[7, 13, 13, 13]], [5.0])
    """
    ticks, never = due.shape[1], np.int64(1 << 60)
    last = np.maximum.accumulate(np.where(came, np.arange(1, ticks + 1), 0), axis=1)  # ticks up to the last that came
    old = last == 0
    streak, wide = (
        np.cumsum(new, axis=1) - np.take_along_axis(from_zero(np.cumsum(new, axis=1)), last, 1) + before[:, None] * old
        for new, before in ((due, calls), ((due > 0).astype(float), spread))
    )
    at = np.where(due > 0, first + np.arange(ticks), never)
    ahead = np.minimum.accumulate(at[:, ::-1], axis=1)[:, ::-1]
    ahead = np.concatenate([ahead, np.full((len(due), 1), never)], axis=1)
    begin = np.where(old & (calls > 0)[:, None], began[:, None], np.take_along_axis(ahead, last, 1))
    before = np.concatenate([calls[:, None], streak[:, :-1]], axis=1)
    return Course(calls=streak, spread=wide, began=begin, longest=np.where(came, before, 0).max(1))


def from_zero(total: Floats) -> Floats:
    """Running sums with a leading zero."""
    return np.concatenate([np.zeros((len(total), 1)), total], axis=1)


def padded(table: Floats, slices: int) -> Floats:
    """With rows of zeros up to so many."""
    return np.concatenate([table, np.zeros((max(slices - len(table), 0), *table.shape[1:]))])
