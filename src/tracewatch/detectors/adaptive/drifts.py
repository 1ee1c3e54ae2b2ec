"""Numbers that creep for weeks, a little every day, while expectations follow them: told once, from weekly levels.

Looked at once a day. What was told begins anew, so that only what creeps as far again is told again. Our own.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from .alerts import Alert, Notice, score_of
from .arrays import Flags, Floats, Ints, Rows
from .channels import CHANNELS, FAMILY, IS_LOG, LEAST_MS, PART, ROOM, TOKEN_TIME, C
from .incidents import FAMILIES, Incidents
from .intake import TICK
from .knowledge import Knowledge
from .levels import SHARES, WEEK, Levels, Weeks
from .lines import PRIOR_WEEKS, SERIES, SPANS, STEPS, began, lines_of, share_of, steps_of
from .rates import ERROR, RATES
from .rates import FAMILY as RATE_FAMILY
from .windows import DAY

BLOCK = 16  # segments at a time: two milliseconds
FAMILY_OF = np.array([FAMILIES.index(each) for each in (*FAMILY, *RATE_FAMILY[:SHARES])])
LIMITS = np.array([*ROOM, *[1.0] * SHARES])  # in limits of alarm
WEIGHT = np.array([*np.where(PART > 0, PART, 1.0), *[1.0] * SHARES])  # the part is named rather than the sum
MOST_OF = 0.8  # of a slice's calls must be of segments that are known all the time
HOLD = SPANS[0] * WEEK * DAY


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """A line to tell of a series in a slice."""

    slice: int
    series: int
    z: float
    weeks: int
    rise: float


class Drifts:
    """Daily levels, and what is to be told of the day that is over."""

    def __init__(self) -> None:
        self.levels = Levels()
        self.said: list[Notice] = []
        self.steps, self.sums = STEPS**2, np.zeros((2, SERIES))  # by which weeks differ, of each series in all segments

    def scan(self, first: int, alarming: bool) -> dict[int, list[Notice]]:
        """Notices by tick read: of the day that is over, in the first one."""
        said, self.said = self.said, []
        at = float((first + 1) * TICK)
        told = [replace(each, alert=replace(each.alert, detected_at=at)) for each in said]
        return {0: told} if told and alarming else {}

    def close_day(self, known: Knowledge, incidents: Incidents, low: int, tick: int) -> None:
        """Take the day of a block of segments that ended with a tick."""
        self.levels.grow(len(known.intake.segments))
        some = block(known, low)
        rows = [
            days[-1][1] if (days := known.memory.days.get(g)) and days[-1][0] == tick // DAY else None
            for g in some.tolist()
        ]
        self.levels.close_day(some, rows, known.expect, known.rates, tick)
        for x in (*incidents.past, *incidents.open):
            if x.closed > tick - DAY and x.since < tick:
                mine: Flags = np.equal(FAMILY_OF, x.family)
                its = some[known.slices.members[x.slice, some] > 0]
                if x.accepted:
                    self.levels.take_out(its, mine[:C], x.since, tick)
                    self.levels.begin_anew(its, mine & (np.arange(SERIES) >= C), tick)
                else:
                    self.levels.leave_out(its, mine[C:], tick)

    def judge(self, known: Knowledge, low: int, tick: int) -> None:
        """Note what is to be told of a block of segments, after all have taken their day."""
        if tick - known.first < SPANS[0] * WEEK * DAY or low >= len(known.intake.segments):  # some were forgotten
            return
        if low == 0:
            self.steps, self.sums = pooled_steps(self.sums), np.zeros((2, SERIES))
        some = block(known, low)
        weeks = self.levels.weeks(some, tick)
        self.sums += steps_of(weeks)
        z = lines_of(weeks, self.steps).z
        over = np.abs(z) >= known.settings.z * LIMITS
        for i in np.flatnonzero(over.any(1)).tolist():
            strength = np.where(over[i], np.abs(z[i]) * WEIGHT, 0.0)
            for family in np.unique(FAMILY_OF[over[i]]).tolist():
                series = int(np.where(family == FAMILY_OF, strength, 0.0).argmax())
                self.tell(known, self.clearest(known, int(some[i]), series, float(np.sign(z[i, series])), tick), tick)

    def clearest(self, known: Knowledge, segment: int, series: int, sign: float, tick: int) -> Drift:
        """The slice of a segment in which it creeps most clearly."""
        slices, own = known.slices, int(known.slices.tightest[segment])
        best, most = self.drift(own, series, self.levels.weeks(np.array([segment]), tick)), 0.0
        for s in np.flatnonzero((slices.members[:, segment] > 0) & ~slices.same).tolist():
            pooled = self.pooled(known, s, best.weeks, series, tick)
            drift = None if pooled is None else self.drift(s, series, pooled)
            if drift is not None and drift.z * sign * slices.neatness[s] > most:
                best, most = drift, drift.z * sign * float(slices.neatness[s])
        return best

    def drift(self, slice_: int, series: int, weeks: Weeks) -> Drift:
        """The line of a series through the levels of one slice."""
        z, fresh = float(lines_of(weeks, self.steps).z[0, series]), int(weeks.fresh[0, series])
        since, rise = began(weeks.level[0, series, -fresh:])
        return Drift(slice=slice_, series=series, z=z, weeks=since, rise=rise)

    def pooled(self, known: Knowledge, slice_: int, weeks: int, series: int, tick: int) -> Weeks | None:
        """The mean levels of a slice, by the present calls of its segments, as if it were one; None if not known."""
        members = np.flatnonzero(known.slices.members[slice_] > 0)
        its, traffic = self.levels.weeks(members, tick), known.slices.traffic[members]
        there = np.isfinite(its.level[:, series, -weeks:]).all(1)
        if traffic[there].sum() < MOST_OF * traffic.sum():
            return None
        weight = traffic[there] / traffic[there].sum()
        return Weeks(
            level=np.einsum("g,gsw->sw", weight, its.level[there])[None],
            chance=np.einsum("g,gsw->sw", weight**2, its.chance[there])[None],
            fresh=its.fresh[there].min(0)[None],
        )

    def tell(self, known: Knowledge, drift: Drift, tick: int) -> None:
        """Note what is to be said, if it is anything anybody would notice; from then on it is the usual."""
        members = np.flatnonzero(known.slices.members[drift.slice] > 0)
        alert = self.alert(known, drift, members, tick)
        if alert is None:
            return
        family = FAMILY_OF[drift.series]
        key = ("drift", FAMILIES[family], *known.slices.labels[drift.slice].items(), alert.metric)
        self.said.append(Notice(alert=alert, key=key, hold=HOLD, level=True))
        self.levels.begin_anew(members, family == FAMILY_OF, tick)

    def alert(self, known: Knowledge, drift: Drift, members: Ints, tick: int) -> Alert | None:
        """What to say: the last week, beside what it would be without the rise."""
        series, lately = drift.series, (tick // DAY - np.arange(WEEK)) % self.levels.n.shape[2]
        calls = self.levels.n[members][:, :, lately].sum((0, 2), dtype=float)
        limit = known.settings.z * LIMITS[series]
        if series >= C:
            hits = float(self.levels.k[members][:, series - C, lately].sum(dtype=float))
            values = np.array([hits / max(calls[series - C], 1.0)])
        else:
            values = values_of(known, members, series, tick)
        if not len(values):
            return None
        observed, expected, lower, upper = reading(series, values, drift.rise, limit / abs(drift.z))
        if series < C and abs(observed - expected) < LEAST_MS[series] * (series != TOKEN_TIME):
            return None
        return Alert(
            detected_at=float(tick * TICK), metric=CHANNELS[series].metric if series < C else RATES[series - C],
            direction="up" if observed > expected else "down", slice=dict(known.slices.labels[drift.slice]),
            severity=abs(drift.z), kind="drift", since=float((tick - (drift.weeks - 1) * WEEK * DAY) * TICK),
            observed=observed, expected=expected, lower=lower, upper=upper, n=round(calls[max(series - C, ERROR)]),
            score=score_of(abs(drift.z), limit),
        )  # fmt: skip

    def keep_segments(self, keep: Ints) -> None:
        """Renumber segments."""
        self.levels.keep_segments(keep)


def block(known: Knowledge, low: int) -> Ints:
    """The segments of a block."""
    return np.arange(low, min(low + BLOCK, len(known.intake.segments)))


def pooled_steps(sums: Floats) -> Floats:
    """The variance of steps of each series, from their sums (see `steps_of`) and a prior."""
    prior = STEPS**2
    return np.asarray(np.maximum((PRIOR_WEEKS * prior + sums[0]) / (PRIOR_WEEKS + sums[1]), prior / 4))


def values_of(known: Knowledge, members: Ints, channel: int, tick: int) -> Floats:
    """What the sample of a slice's calls reported in the last week."""
    found = [np.zeros(0)]
    for rows in recent(known, members, tick // DAY - WEEK):
        y = rows["y"][:, channel].astype(float)
        if channel == TOKEN_TIME:  # was judged as the time of the whole answer
            y = rows["work"][:, 2] / y * 1000
        found.append(y - (CHANNELS[channel].name in ("queue_time_ms", "network_time_ms")))  # see `observed`
    values = np.concatenate(found)
    return values[np.isfinite(values)]


def recent(known: Knowledge, members: Ints, day: int) -> Iterator[Rows]:
    """The remembered rows of some segments after a day."""
    for g in members.tolist():
        for when, rows in known.memory.days.get(g, ()):
            if when > day:
                yield rows


def reading(series: int, values: Floats, rise: float, part: float) -> tuple[float, float, float, float]:
    """The typical value, what it would be without the rise, and the range in which nobody would be told."""
    moves = np.array([0.0, rise, rise - part * abs(rise), rise + part * abs(rise)])
    if series >= C:
        told = share_of(np.arcsin(np.sqrt(values[0])) - moves)
    elif IS_LOG[series]:
        told = np.median(values) * np.exp(moves if series == TOKEN_TIME else -moves)
    else:
        told = values.mean() - moves
    observed, expected, low, high = (float(x) for x in told)
    return observed, expected, min(low, high), max(low, high)
