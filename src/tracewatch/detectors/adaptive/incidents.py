"""One open incident per family of metrics and overlapping slice, closed by its short windows.

After an incident closes, its series look only at later rows; the same movement within a day is the same incident. Our
own.
"""

from dataclasses import dataclass, replace

import numpy as np

from .alerts import Alert, Notice, Proof, score_of
from .arrays import Flags, Floats, Ints
from .channels import CHANNELS, FAMILY, FAR, GOOD, PART, TOKEN_TIME, TTFT, C
from .culprits import HOLD
from .evidence import LATEST, PART_Z, SOONEST, Candidate, kind_of, limit_of, matters, of_part, read, verify
from .intake import TICK
from .knowledge import Knowledge
from .panel import LEAST_N, Panel
from .rates import ERROR, FALLBACK, FAR_OFF, RATES, UNSTREAMED, UP
from .rates import FAMILY as RATE_FAMILY
from .series import K
from .stories import Stories
from .windows import DAY, WINDOWS

FAMILIES = ("latency", "network", "tokens", "output", "cost", "cache", "quality", "failure")
LATENCY = FAMILIES.index("latency")
MEAN_FAMILY = np.array([FAMILIES.index(f) for f in FAMILY])
RATE_FAMILIES = np.array([FAMILIES.index(f) for f in RATE_FAMILY])
FAMILY_OF = np.concatenate([MEAN_FAMILY, RATE_FAMILIES])  # of each series
GOOD_OF = np.concatenate([GOOD, np.zeros(len(RATES), np.int64)])
FALLS_BACK, UNSTREAMS = C + FALLBACK, C + UNSTREAMED
FELT = 1.0  # deviations of the time to first token: calls that do not stream are told as what people feel of it
PRIMARY = 0.8  # of its strength has a primary's model or provider: it is named when several operations fall back
NEARLY_ALL, IN_FEW = 0.9, 0.5  # of its hits, of its calls: then it is that part of the slice alone
NEVER = 1 << 60  # a tick
ACCEPTED = 3 * DAY  # a level that lasts so long is the new normal: re-based, said once
CANDIDATES = 6  # of a family and tick are verified
LEAST_ROOM = 3  # ticks after an incident before its series are looked at again
RECOVERED = 0.55  # of the move that raised it: below, it has healed
LEVEL, DOUBTS = 72, 2.0  # ticks, deviations: what took hours to be seen would heal by chance, and be told again
HEALING = (6, 12, 24, 48, 96, 192, 288)  # ticks: the shortest that gives a clear answer decides
BACK = 288  # ticks after its end within which a like movement is the same incident again
SAME_MOVE = (0.3, 2.0)  # of the former move: the same incident again
ECHO = 0.5  # of the hold of a notice: repeats put off the end of the story by as much
LULL = 36  # ticks: a notice that is not repeated for three hours, or its hold if less, is over
SLOW_TOO = 1.0  # log units over its limit for a single call to be told while its slice is slow as a whole


@dataclass(slots=True, kw_only=True)
class Incident:
    """A movement of a series in a slice."""

    slice: int
    series: int
    family: int
    sign: float
    level: float  # base share, 0 of residuals
    move: float  # from the level, when raised
    since: int
    opened: int
    closed: int = NEVER
    up: bool
    metric: str
    accepted: bool = False
    lasting: bool = False  # a level, too small to be seen in a few hours
    story: int = 0


class Incidents:
    """Which are open, which are past, and which series are therefore not looked at."""

    def __init__(self, known: Knowledge, stories: Stories) -> None:
        self.known, self.stories = known, stories
        self.open: list[Incident] = []
        self.past: list[Incident] = []  # of 14 days
        self.blocked = np.zeros((0, len(FAMILIES)), np.int64)  # slices x families: how many are open
        self.since = np.zeros((0, len(FAMILIES)), np.int64)  # first tick to look at
        self.pause = np.zeros((0, K), np.int64)  # slices x series: not to be verified before this tick
        self.live = np.zeros((0, K), bool)  # series that ever said anything, known at midnight
        self.today = self.live
        self.quiet: dict[tuple[object, ...], int] = {}  # until which tick a story is known
        self.volume: list[tuple[int, int, int]] = []  # operation, first and last tick of odd volume

    def grow(self) -> None:
        """Room for new slices; the neighbours of open incidents may have changed."""
        more = len(self.known.slices.labels) - len(self.blocked)
        if more > 0:
            self.blocked, self.since, self.pause, self.live = (
                np.concatenate([x, np.zeros((more, x.shape[1]), x.dtype)])
                for x in (self.blocked, self.since, self.pause, self.live)
            )
            self.live[-more:, C + ERROR] = True  # that a new one fails altogether is not left for midnight

    def keep_slices(self, keep: Ints, tick: int) -> None:
        """Renumber slices; incidents of slices that are gone are forgotten."""
        place = {int(old): new for new, old in enumerate(keep)}
        for x in self.open:
            if x.slice not in place:
                self.stories.end(x.story, tick - 1)
        for held in (self.open, self.past):
            held[:] = [x for x in held if x.slice in place]
            for x in held:
                x.slice = place[x.slice]
        self.since, self.pause, self.live = self.since[keep], self.pause[keep], self.live[keep]
        self.today = self.live
        self.recount()

    def mask(self, times: Ints, width: int, families: Ints) -> Flags:
        """Does a window ending at a time overlap an incident of its family and slice? slices x series x times."""
        near = self.known.slices.near
        out = np.zeros((len(near), len(families), len(times)), bool)
        for x in (*self.past, *self.open):
            first, last = np.searchsorted(times, (x.since, x.closed + width)).tolist()  # times are in order
            series = np.flatnonzero(families == x.family)
            if first < last and len(series):
                out[np.flatnonzero(near[x.slice])[:, None], series, first:last] = True
        return out

    def hide(self, y: Floats, t: Floats, segment: int) -> None:
        """Forget values that belong to incidents; once a level is accepted, those before it."""
        for x in (*self.past, *self.open):
            if self.known.slices.members[x.slice, segment]:
                start = x.since * TICK
                rows = t < start if x.accepted else (t >= start) & (t < x.closed * TICK)
                y[np.ix_(rows, np.flatnonzero(x.family == MEAN_FAMILY))] = np.nan

    def troubled(self, segment: int, since: int) -> bool:
        """Was the segment in an incident that was open since a tick?"""
        members = self.known.slices.members
        return any(members[x.slice, segment] and x.closed >= since for x in (*self.past, *self.open))

    def close_day(self, tick: int) -> None:
        """Note which series are alive; forget what is old."""
        if self.today.shape == self.live.shape:
            self.live |= self.today
        self.past = [x for x in self.past if x.closed > tick - 14 * DAY]
        self.quiet = {key: until for key, until in self.quiet.items() if until > tick - 2 * DAY}
        self.stories.keep(set(self.quiet))
        self.volume = [x for x in self.volume if x[2] > tick - 15 * DAY]

    def reported_users(self, since: int) -> list[int]:
        """Codes of the users whose story was open after a tick."""
        return [int(str(key[1])) for key, until in self.quiet.items() if key[0] == "user" and until > since]

    def forget_users(self, codes: list[int], tick: int) -> None:
        """Their codes go to others."""
        for code in codes:
            self.quiet.pop(("user", code), None)
            self.stories.forget(("user", code), tick - 1)

    def scan(self, first: int, ticks: int, notices: dict[int, list[Notice]], found: Floats) -> list[Alert]:
        """Alerts of a run of ticks within a day, in order, of what a search found."""
        panel = Panel(self.known, first, ticks)
        self.today = panel.active
        at, out = np.searchsorted(found[:, 0], np.arange(ticks + 1)), list[Alert]()
        for i in range(ticks):
            self.close_healed(panel, i)
            self.stories.lapse(first + i)
            if at[i + 1] > at[i]:
                out += self.judge(panel, i, found[at[i] : at[i + 1]])
            for notice in notices.get(i, ()):
                out += self.pass_gate(first + i, notice)
        return out

    def judge(self, panel: Panel, i: int, found: Floats) -> list[Alert]:
        """Alerts of one tick: in each family the candidate that stands out most and bears verification."""
        now, (slices, series, w) = panel.first + i, found[:, 1:4].astype(np.int64).T
        free = (self.blocked[slices, FAMILY_OF[series]] == 0) & (self.pause[slices, series] <= now)
        free &= (w >= SOONEST[series]) & (w <= LATEST[series])
        families: dict[int, list[Candidate]] = {}
        for row in found[free]:
            c = self.candidate(panel, i, row)
            if c is not None:
                families.setdefault(int(FAMILY_OF[c.series]), []).append(c)
        out: list[Alert] = []
        for family, candidates in families.items():
            for c in sorted(candidates, key=lambda c: -c.weight)[:CANDIDATES]:
                if self.blocked[c.slice, family] or self.pause[c.slice, c.series] > now:
                    continue
                user = verify(panel, i, c)
                if user is None:
                    self.pause[c.slice, c.series] = now + max(1, c.width // 6)
                    continue
                out += self.start(panel, i, c, user)
                break
        return out

    def candidate(self, panel: Panel, i: int, row: Floats) -> Candidate | None:
        """A surprise, judged on rows after the last incident alone; None if it is then not large enough."""
        slice_, series, w = int(row[1]), int(row[2]), int(row[3])
        z, n, s = float(row[4]), float(row[5]), float(row[6])
        room, width = int(panel.first + i + 1 - self.since[slice_, FAMILY_OF[series]]), WINDOWS[w]
        if room < width:
            if room < LEAST_ROOM:
                return None
            width = room
            n, s = panel.window(i, slice_, series, width)
        base, upper = panel.share(i, slice_, series, width)
        z, strength = panel.z(slice_, series, w, n, s, upper)
        limit = limit_of(self.known, series) * (self.known.settings.good if GOOD_OF[series] * z > 0 else 1.0)
        if abs(z) < limit or (series >= C and not matters(series, s / n, base)):
            return None
        weight = strength * float(self.known.slices.neatness[slice_])
        return Candidate(slice=slice_, series=series, w=w, width=width, n=n, s=s, z=z, weight=weight)

    def part(self, panel: Panel, i: int, c: Candidate) -> int:
        """The series to tell: of latency the part that stands out most rather than the sum."""
        series = c.series
        if series == UNSTREAMS:
            z = panel.z(c.slice, TTFT, c.w, *panel.window(i, c.slice, TTFT, c.width), 0.0)[0]
            return TTFT if z > FELT else series
        far = FAR_OFF <= series - C < UNSTREAMED
        if far or FAMILY_OF[series] == LATENCY:
            best, series = 0.0, FAR[series - C - FAR_OFF][-1] if far else series
            for part in np.flatnonzero((FAMILY_OF[series] == MEAN_FAMILY) & (PART > 0)).tolist():
                z, strength = panel.z(c.slice, part, c.w, *panel.window(i, c.slice, part, c.width), 0.0)
                if c.sign * z > (0.0 if far else PART_Z) and strength * PART[part] > best:
                    best, series = strength * PART[part], part
        return int(series)

    def name(self, panel: Panel, i: int, c: Candidate) -> tuple[int, int]:
        """The part rather than the sum, then the slice that stands out most in it, of those that overlap."""
        series, slices = self.part(panel, i, c), self.known.slices
        striking = panel.strengths(i, series, c.width, c.sign) * slices.neatness
        striking[~slices.near[c.slice] | slices.same | (self.blocked[:, FAMILY_OF[series]] > 0)] = 0
        if series == FALLS_BACK:  # the rows that fell back have the substitute's model: the operation shows them
            striking[slices.by_model | (slices.attributes == 0)] *= PRIMARY
        best = int(np.argmax(striking)) if striking.max() > 0 else c.slice
        shared = series < C or series == FALLS_BACK
        return (best if shared else self.purest(panel, i, best, series, c.width)), series

    def purest(self, panel: Panel, i: int, best: int, series: int, width: int) -> int:
        """The slice that has nearly all hits of the best one in few of its calls: one that is new stands out less."""
        slices, (n, s) = self.known.slices, panel.across(i, series, width)
        pure = slices.near[best] & ~slices.same & (s >= NEARLY_ALL * s[best]) & (n < IN_FEW * n[best])
        pure &= self.blocked[:, FAMILY_OF[series]] == 0
        return int(np.flatnonzero(pure)[n[pure].argmin()]) if pure.any() else best

    def start(self, panel: Panel, i: int, c: Candidate, user: dict[str, object]) -> list[Alert]:
        """Open an incident; its alert, unless it is an old one that came back."""
        now = panel.first + i
        if not user:
            slice_, series = self.name(panel, i, c)
        else:  # a share of calls that are far slower is told as what takes them longer
            slice_, series = c.slice, self.part(panel, i, c) if FAR_OFF <= c.series - C <= UNSTREAMED else c.series
        n, s = panel.window(i, slice_, series, c.width)
        c = Candidate(slice=slice_, series=series, w=c.w, width=c.width, n=n, s=s, z=c.z)
        level = panel.share(i, slice_, series, c.width)[0]
        up = (c.z > 0) != (series == TOKEN_TIME) if series < C else UP[series - C]
        x = Incident(
            slice=slice_, series=series, family=int(FAMILY_OF[series]), sign=c.sign, level=level, move=s / n - level,
            since=panel.onset(i, slice_, series, c.width, c.sign), opened=now, up=up,
            metric=CHANNELS[series].metric if series < C else RATES[series - C],
            lasting=series < C and WINDOWS[c.w] >= LEVEL,
        )  # fmt: skip
        old = self.again(x)
        if old is not None:
            self.past.remove(old)
            old.closed = NEVER
            if not old.accepted:  # of a new normal nothing is news
                self.stories.reopen(old.story, now)
        else:
            x.story = self.stories.begin()
        self.open.append(old or x)
        self.blocked[self.known.slices.near[(old or x).slice], (old or x).family] += 1
        known = user and self.known_part(FAMILIES[x.family], user, now)
        return [] if old or known else [self.alert(panel, i, c, x, user)]

    def known_part(self, family: str, user: dict[str, object], now: int) -> bool:
        """Was it said already that this part (a user, a version) is what moved? From now on it was."""
        key = ("part", family, *next(iter(user.items())))
        known = self.quiet.get(key, -1) >= now
        self.quiet[key] = now + HOLD
        return known

    def alert(self, panel: Panel, i: int, c: Candidate, x: Incident, user: dict[str, object]) -> Alert:
        """What to say of a new incident."""
        told = of_part(panel, i, c, user) if user else c
        seen = read(panel, i, told, user)
        return Alert(
            detected_at=float((panel.first + i + 1) * TICK), metric=x.metric, direction="up" if x.up else "down",
            slice=user or dict(self.known.slices.labels[c.slice]), severity=abs(c.z), kind=kind_of(panel, i, c),
            since=float(x.since * TICK), observed=seen.observed, expected=seen.expected, lower=seen.lower,
            upper=seen.upper, n=round(told.n), score=score_of(abs(c.z), limit_of(self.known, x.series)), story=x.story,
        )  # fmt: skip

    def again(self, x: Incident) -> Incident | None:
        """The same movement of the same series that closed within a day."""
        for old in self.past[::-1]:
            if x.opened - old.closed > BACK:
                break
            alike = old.up == x.up and old.family == x.family and self.known.slices.alike[old.slice, x.slice]
            same_series = old.series == x.series
            if alike and (SAME_MOVE[0] < x.move / old.move < SAME_MOVE[1] if same_series else old.metric == x.metric):
                return old
        return None

    def close_healed(self, panel: Panel, i: int) -> None:
        """Close what has healed or become normal."""
        now = panel.first + i
        for x in list(self.open):
            told, x.accepted = x.accepted, x.accepted or now - x.opened > ACCEPTED
            if x.accepted or self.healed(panel, i, x):
                x.closed = now + 1
                self.open.remove(x)
                self.past.append(x)
                if not told:
                    self.stories.end(x.story, now, x.accepted)
                self.recount()
                self.since[self.known.slices.near[x.slice], x.family] = now + 1

    def recount(self) -> None:
        """How many incidents are open near each slice, by family."""
        self.blocked = np.zeros((len(self.known.slices.labels), len(FAMILIES)), np.int64)
        for x in self.open:
            self.blocked[self.known.slices.near[x.slice], x.family] += 1

    def healed(self, panel: Panel, i: int, x: Incident) -> bool:
        """Has the level of the last half hour or more fallen back, beyond doubt?"""
        for width in HEALING:
            if width > max(panel.first + i - x.opened, HEALING[0]):
                return False
            n, s = panel.window(i, x.slice, x.series, width)
            if n < LEAST_N:
                continue
            doubt = n**-0.5 if x.series < C else (abs(x.move) / n) ** 0.5
            doubt *= DOUBTS if x.lasting else 1.0
            if (s / n - x.level) * x.sign + doubt < RECOVERED * abs(x.move):
                return True
        return False

    def pass_gate(self, now: int, notice: Notice) -> list[Alert]:
        """What sessions, users, volume, schedules and single calls have to say, unless it is known."""
        if notice.alert.kind == "point":
            members = self.known.slices.members
            slow = any(x.family == LATENCY and members[x.slice, notice.segment] for x in self.open)
            return [] if notice.excess < SLOW_TOO * slow else [self.one_off(notice.alert, now)]
        if notice.segments and self.covered(notice):
            if notice.key is not None and notice.key[0] == "first":  # told as part of it
                self.quiet[notice.key] = now + notice.hold
            return []
        key, about_volume = notice.key, notice.key is not None and notice.key[0] == "volume"
        if key is None:
            return [self.one_off(notice.alert, now)]
        if self.quiet.get(key, -1) >= now:
            self.quiet[key] = max(self.quiet[key], now + int(notice.hold * ECHO))
            self.stories.heard(key, now, now + int(notice.hold * ECHO))
            if about_volume:
                self.prolong(int(str(key[1])), now)
            return []
        self.quiet[key] = now + notice.hold
        if about_volume:
            self.volume.append((int(str(key[1])), now - notice.window, now + notice.hold))
        if notice.level:
            return [replace(notice.alert, story=self.stories.last(key, now + ACCEPTED, level=True))]
        return [replace(notice.alert, story=self.stories.last(key, now + min(notice.hold, LULL)))]

    def one_off(self, alert: Alert, now: int) -> Alert:
        """One that is over as soon as it is told."""
        story = self.stories.begin()
        self.stories.end(story, now)
        return replace(alert, story=story)

    def covered(self, notice: Notice) -> bool:
        """Is an incident of its family, or of one of its families, open in the segments of a part?"""
        assert notice.key is not None
        members, named = self.known.slices.members[:, list(notice.segments)], notice.families
        families = [FAMILIES.index(each) for each in named or (str(notice.key[1]),)]
        if any(x.family in families and members[x.slice].any() for x in self.open):
            return True
        return notice.proof is not None and self.is_echo(notice.proof, families)

    def is_echo(self, proof: Proof, families: list[int]) -> bool:
        """Is too little left of the evidence without calls of incidents of these families that were told?"""
        told, members = np.zeros(len(proof.tick), bool), self.known.slices.members
        for x in (*self.past, *self.open):
            if x.family in families:
                told |= (proof.tick >= x.since) & (proof.tick < x.closed) & (members[x.slice, proof.segment] > 0)
        return bool(told.any() and proof.gain[~told].sum() < proof.least)

    def prolong(self, operation: int, now: int) -> None:
        """The odd volume of an operation goes on."""
        for i in range(len(self.volume) - 1, -1, -1):
            if self.volume[i][0] == operation:
                self.volume[i] = (operation, self.volume[i][1], max(now, self.volume[i][2]))
                break
