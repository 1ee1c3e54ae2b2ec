"""The order of things: take rows, measure, test windows, open and close incidents, learn once a day."""

from collections.abc import Callable, Iterable
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from . import expectations, sessions, users, volume
from .alerts import Alert, Notice, named
from .arrays import Floats, Rows
from .beside import Beside
from .channels import drivers, observed
from .culprits import judge
from .drifts import BLOCK as AT_A_TIME
from .drifts import Drifts
from .errands import CAN_SHARE, Errand, Second
from .extras import Extras
from .failover import Failover
from .firsts import Firsts
from .incidents import MEAN_FAMILY, RATE_FAMILIES, Incidents
from .intake import PARTS, TICK, Waiting
from .knowledge import Knowledge
from .lodging import Lodging
from .observations import Observations
from .parts import Parts, compare, weigh
from .points import Points
from .rates import mark
from .routes import Routes
from .runs import Run, Runs
from .schedules import Schedules
from .search import search, sight
from .series import MANY, K, by_hour, cells_of
from .sessions import Sessions
from .settings import Settings
from .stories import Ending, Return, Stories
from .streaks import Streaks
from .users import Users
from .volume import Volume
from .windows import DAY, HOUR

SETTLED_DAYS = 7  # with calls, before the caches of a segment are judged: they warm up with its traffic
MATURE_DAYS = 3  # with calls, before a new segment is judged at all
DAILY_DAYS = 8  # a segment is learned daily for so long, then every third day unless it is in trouble
WOBBLE_AFTER = 3  # days: the residuals of the first ones are not worth learning from
REMEMBER = 14 * DAY
A_TICK, AT_MIDNIGHT = 10, 40  # of the cost of segments learned a tick (16 ms); up to so many at midnight, with all else
COSTS = {
    "wobble": 10,
    "rates": 10,
    "slices": 10,
    "sessions": 10,
    "volume": 10,
    "points": 10,
    "segment": 1,
    "levels": 2,
    "drifts": 4,
}  # in such segments
BLOCK = 64  # slices whose wobble is learned at once, if not all is
LIMITS = 256  # segments whose limits of single calls are learned at once, if not all are
AT_ONCE = 50_000  # rows measured at a time, unless one tick has more: 100 MB
SILENT = 30 * DAY  # ticks after which nothing remembered applies: words, segments, and in the end everything
MANY_TICKS = 24  # of a run are worth being looked at by a second process
SHARE = 35  # per cent of lessons that go to a second process, which is done with them when the rest is
NEVER = 1 << 60  # a cost
Notices = dict[int, list[Notice]]  # by tick read
Lesson = tuple[str, int]  # of COSTS, and the segment or the first slice of a block


class Engine:
    """Reads calls and says what is odd about them. Same rows and same last moment, same alerts, however batched."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.second: Second | None = None  # a process that does a share of the lessons
        self.stories = Stories()
        self.beside = Beside((settings or Settings()).extra)
        self.sessions, self.users = Lodging("sessions", None), Lodging("users", None)
        self.start_anew(Knowledge(settings or Settings()))

    def start_anew(self, known: Knowledge) -> None:
        """With nothing learned."""
        self.known = known
        self.known.series.sharing = self.second is not None and CAN_SHARE
        self.incidents = Incidents(self.known, self.stories)
        self.points = Points()
        self.sessions.put(Sessions())
        self.users.put(Users())
        self.schedules, self.volume, self.parts = Schedules(), Volume(), Parts()
        self.failover, self.firsts = Failover(), Firsts()
        self.runs, self.routes, self.streaks, self.drifts = Runs(), Routes(), Streaks(), Drifts()
        self.now: int | None = None  # the first tick not yet read
        self.last_row = 0  # tick
        self.lessons: list[Lesson] = []  # left of the last midnight's
        self.owed: list[tuple[str, int]] = []  # steps to be done before the next tick is read, and the tick they are of

    def feed(self, batch: Waiting) -> None:
        """Take rows as a dict of equally long columns, in any order; those before the last moment count as now.

        Columns of words may be arrays of objects or `Words`.
        """
        self.known.intake.feed(batch)

    def observe(self, observations: Iterable[Observations], runs: Iterable[Run] = ()) -> None:
        """Take values of other things than calls' own measures, and runs of jobs; earlier ones count as now."""
        self.beside.extras.ask(Extras.feed, list(observations))
        self.runs.feed(runs)

    def advance(self, now: float) -> list[Alert]:
        """Alerts of all ticks that end by `now` (epoch seconds), in order. An earlier moment than before is no news."""
        end, out = int(now // TICK), list[Alert]()
        if self.now is None and not self.begin():
            return out
        assert self.now is not None
        while self.now < end:
            while self.prepare():
                pass
            if self.now - self.last_row > SILENT and not self.skip(end):
                break
            stop = min(end, (self.now // DAY + 1) * DAY, self.now + self.known.series.run)
            stop = int(self.known.intake.reach(self.now * TICK, stop * TICK, TICK, AT_ONCE) // TICK)
            stop = self.now + 1 if self.lessons else stop
            out += self.run(self.now, stop)
            self.now = stop
            self.owe(stop)
        return out

    def owe(self, tick: int) -> None:
        """What is to be done before the next tick is read, though not before the alerts of this one are told."""
        if self.lessons:
            self.owed.append(("lessons", tick))
        if tick % DAY == 0:
            self.owed.append(("day", tick))
        if self.known.series.full:
            self.owed.append(("room", tick))

    def prepare(self) -> bool:
        """Does a part of what the next tick needs: with very many segments 20 ms of it. Returns whether there was any.

        Who has time between two steps of five minutes asks for it, so that the next one has less to do.
        """
        if not self.owed:
            return False
        (step, tick), self.owed = self.owed[0], self.owed[1:]
        if step == "lessons":
            self.go_on_learning(tick, A_TICK)
        elif step == "day":
            self.learn(tick)
        elif step == "close":
            self.close_day(tick)
        elif step == "forget":
            self.forget(tick)
        else:
            self.known.series.forget()
        return True

    def share_with(self, second: Second | None) -> None:
        """Has a second process do a share of the work: it takes less time and says the same."""
        self.second = second
        self.known.series.sharing = second is not None and CAN_SHARE

    def live_with(self, second: Second) -> None:
        """Has what needs nothing of the rest live with a second process; judging raises SecondEnded when that ends."""
        for lodging in (self.beside.extras, self.users, self.sessions):
            lodging.live_with(second)

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the second process."""
        return self.__dict__ | {"second": None}

    def endings(self) -> list[Ending | Return]:
        """What became of the stories of earlier alerts since this was last asked, in order."""
        return self.stories.drain()

    def begin(self) -> bool:
        """Start at the first row that waits, if there is one."""
        first = self.known.intake.next_row()
        if first is None:
            return False
        self.now = self.known.first = self.last_row = int(first // TICK)
        return True

    def skip(self, end: int) -> bool:
        """After a month of silence nothing learned applies: begin anew at the next row, or at the end."""
        waiting, ordered, runs = self.known.intake.waiting, self.known.intake.ordered, self.runs.kept()
        self.start_anew(Knowledge(self.known.settings))
        self.beside.extras.ask(Extras.start_anew)
        self.runs.feed(runs)
        self.known.intake.waiting, self.known.intake.ordered = waiting, ordered
        return self.begin() and self.now is not None and self.now < end

    def run(self, first: int, stop: int) -> list[Alert]:
        """One run of ticks within a day."""
        known, ticks = self.known, stop - first
        rows = known.intake.take(stop * TICK)
        known.grow()
        self.incidents.grow()
        alarming = first // DAY - known.first // DAY > known.settings.warmup_days
        if rows is not None:
            self.last_row = stop - 1
            self.outcome(rows, first, ticks)
        apart = self.apart(first, ticks, rows, alarming)
        if rows is not None:
            self.measure(rows)
        self.count(rows, first, ticks)
        looking = self.look(first, ticks, alarming)
        if self.second is not None:
            self.second.ask_now()  # it has time for what nobody waits for
        if rows is not None:
            compare(known, rows, ticks)
            known.clumps.add(rows, known.rates.segment)
            known.memory.add(rows)
            known.recent.add(rows, stop)
        notices = self.notices(first, ticks, rows, alarming, apart)
        found, unusual = looking()
        known.rates.unusual += unusual
        out = self.incidents.scan(first, ticks, notices, found)
        known.recent.forget(stop + 1)
        return out

    def apart(self, first: int, ticks: int, rows: Rows | None, alarming: bool) -> list[Callable[[], Notices]]:
        """Has what needs nothing of the rest look at the ticks, elsewhere if it lives there; returns what waits for
        the notices of each.
        """
        names, jobs = self.known.intake.names, set(self.schedules.plans)
        beside = self.beside.scan(self.known, first, ticks, rows, alarming)
        users_, sessions_ = users.calls_of(rows), sessions.calls_of(rows)
        by_user = self.users.ask(Users.scan, first, ticks, users_, alarming)
        operations = names["operation_type"].size
        by_session = self.sessions.ask(Sessions.scan, first, sessions_, operations, jobs, alarming)
        return [lambda: named(by_user(), names), lambda: named(by_session(), names), beside]

    def look(self, first: int, ticks: int, alarming: bool) -> Callable[[], tuple[Floats, list[NDArray[Any]]]]:
        """Has the windows of the last ticks looked at, elsewhere if many; returns what waits for what was found."""
        known, series = self.known, self.known.series
        total, over = series.total[:, : series.slices], np.flatnonzero((first + np.arange(ticks) + 1) % HOUR == 0)
        ends, hours = series.end - ticks + 1 + over, (first + over) // HOUR
        known.wobble.sample(total[..., :K], total[..., K : 2 * K], ends, hours)
        seen = sight(known, first, ticks, self.incidents.live)
        if self.second is None or series.shared is None or ticks < MANY_TICKS:
            return lambda: search(seen, alarming)
        results = self.second.send([(search, (seen, alarming))])
        return lambda: cast("tuple[Floats, list[NDArray[Any]]]", results()[0])

    def outcome(self, rows: Rows, first: int, ticks: int) -> None:
        """Tick, outcome and weight of each row."""
        known, status = self.known, rows["status"]
        rows["tick"] = np.maximum((rows["t"] // TICK).astype(np.int64) - first, 0)
        code = {word: known.intake.names["status"].code.get(word, -2) for word in ("error", "timeout", "fallback")}
        rows["timeout"], rows["fallback"] = status == code["timeout"], status == code["fallback"]
        rows["error"] = (status == code["error"]) | rows["timeout"]
        rows["good"] = ~rows["error"] & ~rows["fallback"]
        streams, whole = rows["streaming_enabled"], known.intake.names["streaming_enabled"].code.get(False, -2)
        rows["streams"] = np.where(streams < 0, -1, streams != whole).astype(np.int64)
        weigh(rows, ticks)

    def measure(self, rows: Rows) -> None:
        """Cells, residuals and rates of each row."""
        known = self.known
        rows["y"], (rows["work"], rows["tokens"]) = observed(rows), drivers(rows)
        rows["read"] = np.where(rows["good"], rows["cache_read_input_tokens"], np.nan)
        known.expect.cells(rows)
        known.expect.residuals(rows)
        rows["fails_as"] = self.failover.blame(rows, known.intake.segments, known.slices.traffic)
        mark(rows, known.expect)

    def notices(
        self, first: int, ticks: int, rows: Rows | None, alarming: bool, apart: list[Callable[[], Notices]]
    ) -> Notices:
        """What volume, sessions, users, schedules and single calls have to say, by tick read."""
        known, names, jobs, out = self.known, self.known.intake.names, self.schedules.plans, dict[int, list[Notice]]()
        here = [
            self.volume.scan(first, ticks, rows, jobs, names, known.recent, alarming),
            self.schedules.scan(first, ticks, rows, names, alarming),
            self.points.scan(first, rows, known.expect.known, names, alarming),
            self.firsts.scan(known, first, ticks, rows, alarming),
            self.routes.scan(known, self.firsts, first, ticks, rows, alarming),
            self.streaks.scan(known, first, ticks, rows, alarming),
            self.drifts.scan(first, alarming),
        ]
        crossed = [
            (each.tick, judge(known, self.parts, each, first)) for each in self.parts.scan(known, first, ticks, rows)
        ]
        # What is judged elsewhere is waited for as late as may be.
        by_user, by_session, beside = (each() for each in apart)
        said = [here[0], by_user, by_session, *here[1:], beside]
        said.append(self.runs.scan(first, ticks, alarming, known.settings.z))
        for notices in said:
            for i, some in notices.items():
                out.setdefault(i, []).extend(some)
        for tick, notice in crossed:
            if notice is not None and alarming:
                out.setdefault(tick, []).append(notice)
        return out

    def count(self, rows: Rows | None, first: int, ticks: int) -> None:
        """Add the rows to the five-minute sums of slices, and to the hourly counts that bases are made of."""
        known, segments = self.known, len(self.known.intake.segments)
        cells = None if rows is None else cells_of(rows, segments)
        known.series.add(cells, ticks, known.slices.pairs, known.rates.segment)
        known.rates.begin_hours(first, ticks)
        if cells is not None:
            known.rates.count(*by_hour(cells, first, segments))

    def learn(self, tick: int) -> None:
        """A day is over."""
        known, day = self.known, tick // DAY
        self.parts.close_day(known.memory.today)
        known.memory.close_day(day, known.settings.rows_a_day, known.settings.remember_days)
        due = self.due(day)
        self.incidents.close_day(tick)
        self.schedules.learn(tick, known.first)
        start = known.first + WOBBLE_AFTER * DAY
        soon = (day + 2) - known.first // DAY > known.settings.warmup_days  # before, nothing is tested
        slices, small = len(known.slices.labels), len(due) <= AT_MIDNIGHT and len(known.slices.labels) <= MANY
        wobble = soon and (day % 2 == 0 or tick - REMEMBER <= start)  # natural movement changes slowly
        blocks = [("wobble", low) for low in range(0, slices, slices if small else BLOCK)] if wobble else []
        shares = [("slices", 0), ("rates", 0)]
        segments = len(known.intake.segments)
        points = [("points", low) for low in range(0, segments, max(segments, 1) if small else LIMITS)]
        self.lessons = [
            # Where they take an hour: the samples of the hour that comes take the place of those they learn from.
            *((*shares, *blocks) if small else (*blocks, *shares)),
            ("sessions", 0), *([("volume", 0)] if soon else ()), *(("segment", g) for g in due),
        ]  # fmt: skip
        elsewhere = self.lessons_elsewhere(tick) if small else None
        # What nobody waits for comes after what is waited for.
        self.users.ask(Users.learn, self.incidents.reported_users(tick - DAY))
        self.beside.extras.ask(Extras.learn, day, soon)
        points += [(name, low) for name in ("levels", "drifts") for low in range(0, segments, AT_A_TIME)]
        if not elsewhere:
            self.lessons += points
            self.owed[:0] = [("close", tick), ("forget", tick)]
            return
        self.close_day(tick)
        self.go_on_learning(tick, NEVER)
        elsewhere()
        self.lessons += points
        self.go_on_learning(tick, NEVER)
        self.forget(tick)

    def close_day(self, tick: int) -> None:
        """What the day that is over changes at once."""
        known, day = self.known, tick // DAY
        known.clumps.close_day()
        self.parts.learn(day)
        self.routes.learn(known, day)
        self.streaks.close_day()
        known.wobble.watch(self.incidents.live, tick)

    def weigh(self) -> None:
        """Which slices are alike, by the calls of the days that are remembered."""
        self.known.slices.weigh(self.known.memory.traffic(len(self.known.intake.segments)))

    def learn_rates(self, midnight: int) -> None:
        """The usual shares of hits."""
        known, mask = self.known, self.incidents.mask
        since = max(known.first + WOBBLE_AFTER * DAY, midnight - REMEMBER)
        known.rates.learn(known.slices.members, midnight, since, lambda t, width: mask(t, width, RATE_FAMILIES))

    def lessons_elsewhere(self, tick: int) -> Callable[[], None]:
        """Has the second process, if there is one, do a share of the lessons; returns what takes in what they say."""
        if self.second is None:
            return lambda: None
        known, away = self.known, [lesson for lesson in self.lessons if lesson[0] in ("volume", "segment")]
        away = away[: -(-len(away) * SHARE // 100)]
        self.lessons = [lesson for lesson in self.lessons if lesson not in away]
        errands: list[Errand] = []
        for name, g in away:
            if name == "segment":
                rows = self.rows_for(g, tick // DAY)  # first, as it says whether the segment is mature
                errands.append((expectations.learned, (known.expect.of(g), rows)))
            else:
                jobs, marks = set(self.schedules.plans), self.incidents.volume
                errands.append((volume.learned, (self.volume, tick, known.first, jobs, marks)))
        results = self.second.send(errands)

        def take() -> None:
            for (name, g), lesson in zip(away, results(), strict=True):
                if name == "segment":
                    known.expect.put(g, lesson)
                else:
                    self.volume.take(lesson)

        return take

    def go_on_learning(self, tick: int, most: int) -> None:
        """The next lessons, for `most` of COSTS: of very many some wait for the next tick, as nobody waits a second."""
        known, midnight = self.known, tick // DAY * DAY
        while self.lessons and most >= COSTS[self.lessons[0][0]]:
            (name, which), self.lessons = self.lessons[0], self.lessons[1:]
            most -= COSTS[name]
            if name == "segment":
                self.learn_segment(which, midnight // DAY)
            elif name == "wobble":
                some = slice(which, len(known.slices.labels) if most > A_TICK else which + BLOCK)
                self.learn_wobble(midnight, some)
            elif name == "rates":
                self.learn_rates(midnight)
            elif name == "slices":
                self.weigh()
            elif name == "sessions":
                self.sessions.ask(Sessions.learn, midnight)
            elif name == "volume":
                self.volume.learn(tick, known.first, self.schedules.plans, self.incidents.volume)
            elif name == "levels":
                self.drifts.close_day(known, self.incidents, which, midnight)
            elif name == "drifts":
                self.drifts.judge(known, which, midnight)
            else:
                self.points.learn(
                    known.memory, known.expect.known, slice(which, None if most > A_TICK else which + LIMITS)
                )

    def learn_wobble(self, midnight: int, slices: slice) -> None:
        """How much some slices move by themselves."""
        since, mask = max(self.known.first + WOBBLE_AFTER * DAY, midnight - REMEMBER), self.incidents.mask
        self.known.wobble.learn(midnight, since, lambda t, width: mask(t, width, MEAN_FAMILY), slices)

    def due(self, day: int) -> list[int]:
        """The segments that are young, in trouble, or whose turn it is."""
        return [
            g
            for g, days in self.known.memory.days.items()
            if len(days) < DAILY_DAYS or (day + g) % 3 == 0 or self.incidents.troubled(g, (day - 3) * DAY)
        ]

    def learn_segment(self, g: int, day: int) -> None:
        """Expectations of a segment, from its rows until a day was over."""
        rows = self.rows_for(g, day)
        self.known.expect.learn_misses(g, rows)
        self.known.expect.learn(g, rows)

    def rows_for(self, g: int, day: int) -> Rows:
        """What a segment learns from when a day is over, which also says whether it is mature."""
        known, age = self.known, (day * DAY - self.known.first) // DAY
        rows, days = known.memory.rows(g), len(known.memory.days[g])
        known.expect.settled[g] = days >= min(SETTLED_DAYS, age)
        known.expect.mature[g] = days >= min(MATURE_DAYS, age)
        self.incidents.hide(rows["y"], rows["t"], g)
        return rows

    def forget(self, tick: int) -> None:
        """Sessions that are over, users and segments that are too many or too old."""
        known, now = self.known, tick * TICK
        known.intake.forget(now)
        users = known.intake.names["user_id"].crowded()
        for column, word in enumerate(PARTS):
            codes = known.intake.names[word].crowded()
            known.intake.names[word].forget(codes)
            self.parts.forget(column, codes)
        kinds = known.intake.names["error_type"]
        kinds.forget(kinds.crowded())
        self.users.ask(Users.forget, users)
        self.incidents.forget_users(users, tick)
        keep = known.intake.retire(now, SILENT * TICK, known.memory.busy(tick // DAY, len(known.intake.segments)))
        if len(keep) < len(known.intake.segments):
            slices = known.keep_segments(keep, now - SILENT * TICK)
            self.incidents.keep_slices(slices, tick)
            self.streaks.keep_slices(slices)
            self.points.keep_segments(keep)
            self.routes.keep_segments(keep)
            self.drifts.keep_segments(keep)
            place = {int(old): new for new, old in enumerate(keep)}
            self.failover.keep_segments(place)
            left = [(name, place.get(which, -1) if name == "segment" else which) for name, which in self.lessons]
            self.lessons = [lesson for lesson in left if lesson[1] >= 0]
