"""Numbers without a model of their own: fields few products report, and a user's metrics from metadata or quality.

Per operation a value is compared with the median of 14 days, in robust deviations, as evidence that grows (CUSUM, Page
1954: see `parts`). A metric of one's own is one name: a column of floats, called as in `Settings.extra`. Our own.
"""

from dataclasses import dataclass, field

import numpy as np

from .alerts import Alert, Notice, score_of
from .arrays import Floats, Ints, Rows
from .expectations import CLIP, exact
from .intake import TICK, WATCHED
from .knowledge import Knowledge
from .ledger import Groups
from .names import Names
from .parts import KEPT, PRIOR_DAY, PRIOR_DAYS, climb, of_means
from .windows import DAY

DAYS, A_DAY = 14, 110  # of values remembered, per operation and metric
LEAST_VALUES, LEAST_DAYS = 60, 4  # before a metric is judged
FEW_CALLS, FEW_SESSIONS = 8, 3  # with fewer it is one person's odd hour
LEFT = 0.42  # of the evidence must remain without the worst session or ten minutes: .65 of its deviations
EFFECT, PART_OF_SCALE = 0.1, 0.3  # least move: log ratio, or part of the median; and of a deviation
SKEWED = 4.0  # times from the 10 % to the 90 % quantile: such values are judged as logarithms
NARROWEST = 0.02  # of the median: a value that never changes has some width all the same
MOST_PAIRS = 2_000  # of operation and metric
PAUSE, DOUBTED, HOLD = 12, 3, 72  # ticks after evidence that was told, not borne out; of silence about the same
LONG = 72  # ticks: a level rather than a spike


@dataclass(slots=True)
class Watched:
    """One metric of one operation."""

    today: list[Floats] = field(default_factory=list)
    days: list[Floats] = field(default_factory=list)
    logs: bool = False
    middle: float = 0.0
    scale: float = 0.0  # 0: not known yet
    centre: float = 0.0
    slack: float = 0.0
    evidence: Floats = field(default_factory=lambda: np.zeros((4, 1)))
    pause: int = 0  # no evidence is gathered before this tick
    odd: int = 0  # days in a row on which it was borne out

    def apart(self, values: Floats) -> Floats:
        """Deviations from the middle, clipped and centred."""
        with np.errstate(all="ignore"):
            x = np.log(values) if self.logs else values
        off = np.where(np.isfinite(x), (x - self.middle) / self.scale, -CLIP)
        return exact(np.clip(off, -CLIP, CLIP) - self.centre)

    def learn(self, hidden: bool) -> None:
        """A day is over; a day that was odd is not believed, unless it is the third in a row."""
        values = np.concatenate(self.today) if self.today else np.zeros(0)
        self.today, self.odd = [], self.odd + 1 if hidden else 0
        if self.odd and self.odd < 3:
            return
        self.days = [*self.days, spread_out(values)][-DAYS:]
        known = [day for day in self.days if len(day)]
        pooled = np.concatenate(known) if known else np.zeros(0)
        if len(pooled) >= LEAST_VALUES and len(known) >= LEAST_DAYS:
            self.fit(pooled, known)

    def fit(self, pooled: Floats, days: list[Floats]) -> None:
        """Middle and width of all, and how far days differ by themselves."""
        low, tenth, half, ninth, high = np.quantile(pooled, (0.16, 0.1, 0.5, 0.9, 0.84))
        self.logs = bool(pooled.min() > 0 and ninth > SKEWED * tenth)
        if self.logs:
            low, half, high = np.log((low, half, high))
        least = NARROWEST if self.logs else NARROWEST * abs(half) + 1e-9
        self.middle, self.scale, self.centre = float(half), float(max((high - low) / 2, least)), 0.0
        self.centre = float(self.apart(pooled).mean())
        v = [float(self.apart(day).mean()) ** 2 - 1 / len(day) for day in days]
        self.slack = float(np.sqrt((max(sum(v), 0.0) + PRIOR_DAY * PRIOR_DAYS) / (len(v) + PRIOR_DAYS)))


class Extras:
    """Every watched metric of every operation."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = (*WATCHED, *names)
        self.watched: dict[tuple[int, str], Watched] = {}
        self.borne: set[tuple[int, str]] = set()  # of today

    def scan(
        self, known: Knowledge, first: int, ticks: int, rows: Rows | None, names: Names, alarming: bool
    ) -> dict[int, list[Notice]]:  # fmt: skip
        """Notices by tick read; names are those of operations."""
        out: dict[int, list[Notice]] = {}
        for name in self.names if rows is not None else ():
            assert rows is not None
            has = np.flatnonzero(np.isfinite(rows[name]) & rows["good"] & (rows["operation_type"] >= 0))
            for operation in np.unique(rows["operation_type"][has]).tolist() if len(has) else ():
                at = has[rows["operation_type"][has] == operation]
                if (operation, name) in self.watched or len(self.watched) < MOST_PAIRS:
                    watched = self.watched.setdefault((operation, name), Watched())
                    watched.today.append(rows[name][at])
                    label = {"operation_type": names.word[operation]}
                    for tick, alert in self.follow(known, watched, (operation, name), first, rows, at, label):
                        if alarming:
                            notice = Notice(alert=alert, key=("extra", name, names.word[operation]), hold=HOLD)
                            out.setdefault(tick, []).append(notice)
        return out

    def follow(
        self, known: Knowledge, watched: Watched, key: tuple[int, str], first: int, rows: Rows, at: Ints,
        label: dict[str, object],
    ) -> list[tuple[int, Alert]]:  # fmt: skip
        """Evidence of one metric over the ticks read; what was borne out, by tick."""
        out = list[tuple[int, Alert]]()
        if watched.scale == 0:
            return out
        groups = Groups(rows["tick"][at])
        weight, x = rows["weight"][at], watched.apart(rows[key[1]][at])
        w, s = (exact(np.add.reduceat(y[groups.order], groups.starts)) for y in (weight, weight * x))
        gain = exact(np.stack(of_means(w, s, 0.0, watched.slack)))
        limit, begin = known.settings.z**2 / 2, 0
        gain[:, first + groups.keys < watched.pause] = 0
        path = climb(gain, alone(gain.shape[1]), watched.evidence)
        while len(over := begin + np.flatnonzero((path[:, begin:] > limit).any(0))):
            i, which = int(over[0]), int(path[:, over[0]].argmax())
            tick = int(groups.keys[i])
            alert = self.judge(known, watched, key, first + tick + 1, 1.0 if which < 2 else -1.0, label)
            path[:, i] = 0.0
            if alert is None:
                path[which, i] = KEPT * limit
            else:
                self.borne.add(key)
                out.append((tick, alert))
            watched.pause, begin = first + tick + 1 + (DOUBTED if alert is None else PAUSE), i + 1
            gain[:, first + groups.keys < watched.pause] = 0
            if begin < gain.shape[1]:
                path[:, begin:] = climb(gain[:, begin:], alone(gain.shape[1] - begin), path[:, i : i + 1].copy())
        watched.evidence = path[:, -1:].copy()
        return out

    def judge(
        self, known: Knowledge, watched: Watched, key: tuple[int, str], end: int, sign: float, label: dict[str, object]
    ) -> Alert | None:
        """What is to be said of evidence over its limit, if the calls of a day bear it out."""
        value, weight, t, session = recent(known, key, end)
        x = watched.apart(value)
        up, far, down, further = of_means(weight, weight * x, 0.0, watched.slack)
        near, far = (up, far) if sign > 0 else (down, further)
        gain = near if near.sum() >= far.sum() else far
        begin = int(np.argmax(np.cumsum(gain[::-1])[::-1])) if len(gain) else 0
        gain, value, t, session = gain[begin:], value[begin:], t[begin:], session[begin:]
        least = LEFT * known.settings.z**2 / 2
        if len(gain) < FEW_CALLS or not lasting(gain, t, session, least):
            return None
        seen, usual = (float(np.median(value)), np.exp(watched.middle)) if watched.logs else (
            float(value.mean()), watched.middle + watched.centre * watched.scale
        )  # fmt: skip
        move = abs(np.log(max(seen, 1e-12) / usual)) if watched.logs else abs(seen - usual)
        if move < max(EFFECT * (1 if watched.logs else abs(usual)), PART_OF_SCALE * watched.scale):
            return None
        wide = known.settings.z * watched.scale * float(np.sqrt(1 / len(gain) + watched.slack**2))
        ends = (usual * np.exp(-wide), usual * np.exp(wide)) if watched.logs else (usual - wide, usual + wide)
        severity, since = float(np.sqrt(2 * max(gain.sum(), 0.0))), float(t[0] // TICK * TICK)
        level = end - since / TICK >= LONG
        return Alert(
            detected_at=float(end * TICK), metric=key[1], direction="up" if sign > 0 else "down", slice=label,
            severity=severity, kind="level_shift" if level else "spike" if sign > 0 else "drop", since=since,
            observed=seen, expected=float(usual), lower=float(ends[0]), upper=float(ends[1]), n=len(gain),
            score=score_of(severity, known.settings.z),
        )  # fmt: skip

    def learn(self) -> None:
        """A day is over."""
        for key, watched in list(self.watched.items()):
            watched.learn(key in self.borne)
            if not any(len(day) for day in watched.days) and not watched.odd:
                del self.watched[key]
        self.borne = set()

    def forget(self, names: Names) -> None:
        """Operations whose codes go to others."""
        self.watched = {key: watched for key, watched in self.watched.items() if key[0] in names.word}


def recent(known: Knowledge, key: tuple[int, str], end: int) -> tuple[Floats, Floats, Floats, Ints]:
    """Value, weight, time and session of the calls of a day before a tick."""
    columns: list[list[Floats]] = [[], [], [], []]
    for until, rows in known.recent:
        if until > end - DAY:
            keep = (rows["t"] >= (end - DAY) * TICK) & (rows["t"] < end * TICK) & (rows["operation_type"] == key[0])
            keep &= np.isfinite(rows[key[1]]) & rows["good"]
            for column, name in zip(columns, (key[1], "worth", "t", "session_id"), strict=True):
                column.append(rows[name][keep])
    value, weight, t, session = (np.concatenate(column) if column else np.zeros(0) for column in columns)
    return value, weight, t, session.astype(np.int64)


def alone(n: int) -> Groups:
    """So many cells of one group."""
    return Groups(np.zeros(n, np.int64))


def lasting(gain: Floats, t: Floats, session: Ints, least: float) -> bool:
    """Does enough evidence remain without the worst session, and without the worst ten minutes?"""
    if session.max() >= 0:
        codes, at = np.unique(session, return_inverse=True)
        if len(codes) < FEW_SESSIONS or gain.sum() - np.bincount(at, gain).max() < least:
            return False
    tick = (t // TICK).astype(np.int64)
    by_tick = np.bincount(tick - tick.min(), gain)
    return bool(gain.sum() - np.convolve(by_tick, [1, 1]).max() >= least)


def spread_out(values: Floats) -> Floats:
    """An even sample of a day."""
    return values[np.linspace(0, len(values) - 1, min(A_DAY, len(values))).astype(np.int64)]
