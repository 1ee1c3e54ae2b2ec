"""The calls of one user, one version, one service: small parts of slices, watched against the rest of their kind.

Every part and series keeps a running sum of evidence (CUSUM, Page 1954): per call the log likelihood ratio of a move
of `delta` deviations (of a rate that is higher) against none, restarted at nothing whenever it falls below. What a call
is compared with is what its segment does at the same time, and how the part itself usually differs from it. Evidence
G counts as sqrt(2 G) deviations. Our own.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from .arrays import Flags, Floats, Ints, Rows
from .channels import CHANNELS, GOOD, ROOM, C
from .expectations import GRAIN, exact
from .intake import PARTS
from .knowledge import Knowledge
from .ledger import Groups
from .rates import FALLBACK, HALLUCINATION, NO_HIT, RETRY
from .rates import FAMILY as RATE_FAMILY
from .recent import MOST
from .series import K

RATES_OF_PARTS = (0, 1, FALLBACK, RETRY, HALLUCINATION, NO_HIT)  # errors, timeouts, fallbacks, retries, ...
M = len(RATES_OF_PARTS)
SERIES = C + M  # channels, then rates
ALTERNATIVES = 4  # of each series: up, up far, down, down far
DELTAS = (0.4, 1.2)  # deviations of a call: moves to be found within a day, and within minutes
RISES = ((0.06, 1.0), (0.3, 2.0))  # of a rate: at least so much, or so many times itself, more
CORRELATED = 0.5  # of the calls of a session within five minutes: they share their history
LATELY = 6  # ticks over which the present level of a segment's tightest slice is taken
LATE_CALLS = 20  # pseudo-calls towards the level that was expected
PSEUDO = 20.0  # calls towards no difference between a part and the rest
PSEUDO_HITS = 5.0  # of a rate, towards the rest's
PRIOR_DAY, PRIOR_DAYS = 0.04, 4  # variance of a part's days about its mean, and days it counts for
PRIOR_PART, PRIOR_PARTS = 0.10, 5  # variance of parts about the rest, and parts it counts for
LEAST_CALLS = 30  # of a part that says how parts differ
SLACK = 1.0  # deviations of what is natural that are given away
MOST_RATE = 0.9  # of a share that is tested: above, there is little to rise
SLACK_RATE = 0.005  # share of hits that is given away
KEPT = 0.6  # of evidence that was not borne out yet: the next calls may
MAIN = 0.6  # of the calls of a day: too many to be a part
KNOWN_DAYS = 3  # with calls, before a new user or service has a usual latency
RELEASED = ("app_version",)
MOST_PARTS = 1024  # parts at a time; the least recently seen leave
DAYS = 14


@dataclass(frozen=True, slots=True, kw_only=True)
class Crossing:
    """Evidence over its limit."""

    tick: int  # read
    part: int
    series: int
    sign: float


def no_difference() -> Floats:
    """How parts differ, before anything is known."""
    return np.full((len(PARTS), SERIES), PRIOR_PART)


@dataclass(slots=True)
class Bank:
    """What is known of each part: tables of parts x series."""

    index: dict[tuple[int, int], int] = field(default_factory=dict)  # (column, code) -> row of the tables
    keys: list[tuple[int, int]] = field(default_factory=list)
    last: Floats = field(default_factory=lambda: np.zeros(0))  # day last seen
    evidence: Floats = field(
        default_factory=lambda: np.zeros((0, SERIES, ALTERNATIVES))
    )  # up and down x two alternatives
    pause: Ints = field(default_factory=lambda: np.zeros((0, SERIES), np.int64))  # no evidence is gathered before
    usual: Floats = field(default_factory=lambda: np.zeros((0, SERIES)))  # difference from the rest; of rates a factor
    slack: Floats = field(default_factory=lambda: np.zeros((0, SERIES)))
    days: Floats = field(default_factory=lambda: np.zeros((DAYS, 0, SERIES, 2)))  # weight and sum of each day
    between: Floats = field(default_factory=no_difference)  # variance of parts about the rest, columns x series

    def places(self, column: int, codes: Ints) -> Ints:
        """Rows of the tables of some codes; the unknown are added."""
        new = [code for code in codes.tolist() if (column, code) not in self.index]
        if new:
            self.add([(column, code) for code in new])
        return np.array([self.index[column, code] for code in codes.tolist()], np.int64)

    def add(self, keys: list[tuple[int, int]]) -> None:
        """Room for new parts."""
        n = len(keys)
        self.index.update({key: len(self.keys) + i for i, key in enumerate(keys)})
        self.keys += keys
        self.last = np.concatenate([self.last, np.zeros(n)])
        self.evidence = np.concatenate([self.evidence, np.zeros((n, SERIES, ALTERNATIVES))])
        self.pause = np.concatenate([self.pause, np.zeros((n, SERIES), np.int64)])
        usual = np.zeros((n, SERIES))
        usual[:, C:] = 1.0
        self.usual = np.concatenate([self.usual, usual])
        slack = SLACK * np.sqrt(PRIOR_DAY + self.between[[column for column, _ in keys]])
        self.slack = np.concatenate([self.slack, slack])
        more = len(self.keys) - self.days.shape[1]
        if more > 0:  # a quarter beyond: every new user would have all moved
            more += len(self.keys) // 4
            self.days = np.concatenate([self.days, np.zeros((DAYS, more, SERIES, 2))], 1)

    def keep(self, rows: Ints) -> None:
        """Forget all other parts."""
        self.keys = [self.keys[i] for i in rows.tolist()]
        self.index = {key: i for i, key in enumerate(self.keys)}
        self.last, self.evidence, self.pause = self.last[rows], self.evidence[rows], self.pause[rows]
        self.usual, self.slack, self.days = self.usual[rows], self.slack[rows], self.days[:, rows]


def weigh(rows: Rows, ticks: int) -> None:
    """Add to the rows their weight: that of the calls of a session in the same tick is shared."""
    sessions, tick = rows["session_id"], rows["tick"]
    together = np.ones(len(tick))
    named = np.flatnonzero(sessions >= 0)
    if len(named):
        groups = Groups((sessions * ticks + tick)[named])
        together[named[groups.order]] = groups.spread(groups.sizes.astype(float))
    rows["weight"] = 1 / (1 + (together - 1) * CORRELATED)


def compare(known: Knowledge, rows: Rows, ticks: int) -> None:
    """Add to the rows what evidence is made of. Needs their weight, and the ticks to be in the series already.

    worth (the weight, for a row that stands for others of a busy tick); apart (how far from the segment's present
    level, rows x series; nan: not counted); chance (of a hit, rows x rates).
    """
    tick, g = rows["tick"], rows["segment"]
    rows["worth"] = rows["weight"] * np.maximum(1, np.bincount(tick)[tick] / MOST)
    row, slice_ = known.series.end - ticks + 1 + tick, known.slices.tightest[g]
    now = known.series.total[row, slice_] - known.series.total[row - LATELY, slice_]
    level, picked = now[:, K : K + C] / (now[:, :C] + LATE_CALLS), np.array(RATES_OF_PARTS)
    apart = np.empty((len(tick), SERIES))
    apart[:, :C] = rows["z"] - level
    apart[:, C:] = np.where(rows["use"][:, picked], rows["hit"][:, picked], np.nan)
    chance = known.rates.segment[:, picked][g]
    chance[:, RATES_OF_PARTS.index(FALLBACK)] = known.rates.segment[rows["fails_as"], FALLBACK]
    chance[:, -1] = rows["miss"]
    apart[rows["miss"] > MOST_RATE, -1] = np.nan
    rows["apart"], rows["chance"] = apart, chance


@dataclass(frozen=True, slots=True, kw_only=True)
class Sums:
    """Of calls: their weight, the weighted sum of what sets them apart (calls x series), expected hits (x rates)."""

    weight: Floats
    apart: Floats
    hits: Floats

    def some(self, which: Flags) -> "Sums":
        """Of some of the calls."""
        return Sums(weight=self.weight[which], apart=self.apart[which], hits=self.hits[which])

    def gain(self, series: int, sign: float, usual: float, slack: float) -> Floats:
        """Of one series and direction, the alternative that fits better."""
        w, s = self.weight[:, series], self.apart[:, series]
        if series < C:
            near, far = of_means(w, s, usual, slack)[:2] if sign > 0 else of_means(w, s, usual, slack)[2:]
        else:
            near, far = of_rates(w, s, self.hits[:, series - C], usual)
        return exact(near if near.sum() >= far.sum() else far)


def of_means(w: Floats, s: Floats, usual: Floats | float, slack: Floats | float) -> tuple[Floats, ...]:
    """Evidence of weighted sums: up, far up, down, far down."""
    s = s - usual * w
    near, far = (w * (delta / 2 + slack) for delta in DELTAS)
    return DELTAS[0] * (s - near), DELTAS[1] * (s - far), DELTAS[0] * (-s - near), DELTAS[1] * (-s - far)


def of_rates(w: Floats, k: Floats, expected: Floats, usual: Floats | float) -> tuple[Floats, ...]:
    """Evidence of k hits in w calls: up, far up."""
    p = np.clip(expected / np.maximum(w, 1e-9) * usual + SLACK_RATE, 1e-4, MOST_RATE)
    out = []
    for least, times in RISES:
        q = np.minimum(p + np.maximum(least, times * p), 0.98)
        out.append(k * np.log(q / p) + (w - k) * np.log((1 - q) / (1 - p)))
    return tuple(out)


def sums_of(rows: Rows) -> Sums:
    """Of each call by itself."""
    apart = rows["apart"]
    weight = rows["weight"][:, None] * np.isfinite(apart)
    return Sums(weight=weight, apart=weight * np.nan_to_num(apart), hits=weight[:, C:] * rows["chance"])


def gains(sums: Floats, usual: Floats, slack: Floats) -> Floats:
    """Evidence (tracks x cells: of each series up, up far, down, down far) of sums (weights, apart, hits x cells)."""
    weight, apart, hits = np.split(sums, (SERIES, 2 * SERIES))
    out = np.zeros((SERIES, ALTERNATIVES, sums.shape[1]))
    for j, gain in enumerate(of_means(weight[:C], apart[:C], usual[:C], slack[:C])):
        out[:C, j] = gain
    for j, gain in enumerate(of_rates(weight[C:], apart[C:], hits, usual[C:])):
        out[C:, j] = gain
    return rounded(out).reshape(SERIES * ALTERNATIVES, -1)


def rounded(x: Floats) -> Floats:
    """The same as `exact`, in place."""
    x *= GRAIN
    np.round(x, out=x)
    x /= GRAIN
    return x


@dataclass(frozen=True, slots=True, kw_only=True)
class Paths:
    """The evidence of the parts of one column: parts and ticks in order, tracks x cells."""

    column: int
    groups: Groups  # cells of each part
    part: Ints
    tick: Ints
    gain: Floats
    path: Floats

    def over(self, limit: Floats) -> Iterator[tuple[int, int, int, int]]:
        """Tick, part, series and cell of evidence over its limit (by series)."""
        for track in np.flatnonzero(self.path.max(1) > np.repeat(limit, ALTERNATIVES)).tolist():
            series = track // ALTERNATIVES
            for i in np.flatnonzero(self.path[track] > limit[series]).tolist():
                yield int(self.tick[i]), int(self.part[i]), series, i

    def rest(self, i: int) -> slice:
        """The cells of the same part after one."""
        return slice(i + 1, int(np.searchsorted(self.part, self.part[i], "right")))


class Parts:
    """Follows the evidence of every part."""

    def __init__(self) -> None:
        self.bank = Bank()
        self.told: dict[tuple[int, int], list[int]] = {}  # (column, series) -> days on which something was borne out
        self.borne: set[tuple[int, int, int]] = set()  # of today: column, code, series
        self.outcome = False  # was the last crossing borne out?
        self.main = [-2] * len(PARTS)  # code of the value that most calls of a column have: the rest, not a part

    def scan(self, known: Knowledge, first: int, ticks: int, rows: Rows | None) -> Iterator[Crossing]:
        """Crossings in order of ticks; whoever looks into one sets `pause` and `outcome` before asking for the next."""
        bank = self.bank
        if rows is None:
            return
        sums = sums_of(rows)
        table = np.concatenate([sums.weight, sums.apart, sums.hits], 1)
        each = [paths for j in range(len(PARTS)) if (paths := self.follow(j, rows, first, ticks, table)) is not None]
        limits = self.limits(known)
        waiting = sorted({(*at, j) for j, paths in enumerate(each) for at in paths.over(limits[paths.column])})
        for tick, part, series, i, j in waiting:
            paths, limit = each[j], limits[each[j].column, series]
            tracks = slice(series * ALTERNATIVES, (series + 1) * ALTERNATIVES)
            which = int(np.argmax(paths.path[tracks, i]))
            if not paths.path[tracks, i][which] > limit:  # a former crossing took its evidence
                continue
            self.outcome = False
            yield Crossing(tick=tick, part=part, series=series, sign=1.0 if which < 2 else -1.0)
            rest = paths.rest(i)
            later = paths.gain[tracks, rest] * ((first + paths.tick[rest]) >= bank.pause[part, series])
            paths.path[tracks, i] = 0.0
            if not self.outcome:
                paths.path[tracks, i][which] = KEPT * limit
            if later.shape[1]:
                paths.path[tracks, rest] = climb(later, Groups(paths.part[rest]), paths.path[tracks, i, None])
        for paths in each:
            last = paths.path[:, paths.groups.starts + paths.groups.sizes - 1]
            bank.evidence[paths.groups.keys] = last.T.reshape(-1, SERIES, ALTERNATIVES)

    def follow(self, column: int, rows: Rows, first: int, ticks: int, table: Floats) -> Paths | None:
        """The evidence of what each part of a column did in each tick; the sums of the day are kept.

        The table has the weights, what sets apart and the expected hits of each row.
        """
        code, bank = rows[PARTS[column]], self.bank
        named = np.flatnonzero((code >= 0) & (code != self.main[column]))
        if not len(named):
            return None
        values, inverse = np.unique(code[named], return_inverse=True)
        cells = Groups(bank.places(column, values)[inverse] * ticks + rows["tick"][named])
        sums = rounded(np.add.reduceat(table[named[cells.order]], cells.starts, axis=0)).T.copy()
        part, tick = cells.keys // ticks, cells.keys % ticks
        groups, today = Groups(part), bank.days[0]
        by_part = np.add.reduceat(sums, groups.starts, axis=1).T
        today[groups.keys, :C, 0] += by_part[:, :C]
        today[groups.keys, C:, 0] += by_part[:, 2 * SERIES :]
        today[groups.keys, :, 1] += by_part[:, SERIES : 2 * SERIES]
        usual, slack = (np.repeat(x[groups.keys].T, groups.sizes, axis=1) for x in (bank.usual, bank.slack))
        gain = gains(sums, usual, slack)
        for i, series in zip(*np.nonzero(bank.pause[groups.keys] > first), strict=True):
            mine = slice(groups.starts[i], groups.starts[i] + groups.sizes[i])
            paused = first + tick[mine] < bank.pause[groups.keys[i], series]
            gain[series * ALTERNATIVES : (series + 1) * ALTERNATIVES, mine][:, paused] = 0.0
        path = climb(gain, groups, bank.evidence[groups.keys].reshape(len(groups.keys), -1).T)
        return Paths(column=column, groups=groups, part=part, tick=tick, gain=gain, path=path)

    def is_known(self, part: int) -> bool:
        """May it be said that it is not as usual? A version is judged from its first call on: it should not differ."""
        seen = (self.bank.days[1:, part, :, 0] > 0).any(1).sum()
        return bool(PARTS[self.bank.keys[part][0]] in RELEASED or seen >= KNOWN_DAYS)

    def limits(self, known: Knowledge) -> Floats:
        """Evidence that is an alarm, by column and series: more where alarms were frequent."""
        table = np.full((len(PARTS), SERIES), known.settings.z**2 / 2)
        table[:, :C] *= ROOM**4  # twice the room: what one person asks and gets changes more than what all do
        for (column, series), days in self.told.items():
            table[column, series] *= 1 + 0.15 * max(len(days) - 1, 0)
        return table

    def close_day(self, rows: list[Rows]) -> None:
        """Which value of each column most calls of the day had, that is over; rows are its."""
        for column, word in enumerate(PARTS) if rows else ():
            codes = np.concatenate([each[word] for each in rows])
            count = np.bincount(codes[codes >= 0], minlength=1)
            self.main[column] = int(count.argmax()) if count.max() > MAIN * len(codes) else -2

    def learn(self, day: int) -> None:
        """A day is over: how parts usually differ, without what was borne out today."""
        bank, parts = self.bank, len(self.bank.keys)
        for column, code, series in self.borne:
            if (column, code) in bank.index:
                alike = [i for i in range(SERIES) if family_of(i) == family_of(series)]
                bank.days[0, bank.index[column, code], alike] = 0.0
            self.told.setdefault((column, series), []).append(day)
        self.borne = set()
        bank.last[(bank.days[0, :parts, :, 0] > 0).any(1)] = day
        n, s = np.ascontiguousarray(np.moveaxis(bank.days[:, :parts], -1, 0))  # half the time
        enough = n >= 3
        total, hits = n.sum(0), s.sum(0)
        bank.usual[:, :C] = (hits / (total + PSEUDO))[:, :C]
        bank.usual[:, C:] = np.clip((hits + PSEUDO_HITS) / (total + PSEUDO_HITS), 0.2, 5.0)[:, C:]
        with np.errstate(all="ignore"):
            off = np.where(enough, s / n - bank.usual, 0.0)
            each = np.where(enough, n * off**2 - 1, 0.0).sum(0) / np.maximum(np.where(enough, n, 0).sum(0), 1)
        number = enough.sum(0)
        by_day = (np.maximum(each, 0) * number + PRIOR_DAY * PRIOR_DAYS) / (number + PRIOR_DAYS)
        column_of = np.array([key[0] for key in bank.keys], np.int64)
        for column in range(len(PARTS)):
            mine = column_of == column
            many = (total >= LEAST_CALLS) & mine[:, None]
            squares = np.where(many, np.maximum(bank.usual**2 - 1 / np.maximum(total, 1), 0), 0).sum(0)
            between = (squares + PRIOR_PART * PRIOR_PARTS) / (many.sum(0) + PRIOR_PARTS)
            bank.between[column] = between
            unknown = between * PSEUDO / (total[mine] + PSEUDO)
            bank.slack[mine] = SLACK * np.sqrt(by_day[mine] + unknown)
        bank.days = np.concatenate([np.zeros_like(bank.days[:1]), bank.days[:-1]])
        self.told = {key: kept for key, days in self.told.items() if (kept := [x for x in days if x > day - DAYS])}
        if len(bank.keys) > MOST_PARTS * 3 // 4:
            bank.keep(np.sort(np.argsort(-bank.last, kind="stable")[: MOST_PARTS // 2]))

    def forget(self, column: int, codes: list[int]) -> None:
        """Words whose codes go to others."""
        gone = {(column, code) for code in codes}
        if gone & set(self.bank.keys):
            self.bank.keep(np.array([i for i, key in enumerate(self.bank.keys) if key not in gone], np.int64))


def climb(gain: Floats, groups: Groups, start: Floats) -> Floats:
    """Evidence after each cell (tracks x cells): sums that start anew at nothing, in each group (start: x groups)."""
    total = np.cumsum(gain, axis=1)
    before = np.concatenate([np.zeros((len(total), 1)), total[:, groups.starts[1:] - 1]], axis=1)
    total -= np.repeat(before - start, groups.sizes, axis=1)
    room = 2.0 ** np.ceil(np.log2(2 * np.abs(total).max(initial=1)))  # keeps groups apart in one running minimum
    base = room * np.arange(len(groups.sizes))
    bases = np.repeat(base, groups.sizes)
    low = total - bases
    low[:, groups.starts] = np.minimum(low[:, groups.starts], -base)
    np.minimum.accumulate(low, axis=1, out=low)
    low += bases
    np.minimum(low, 0.0, out=low)
    total -= low
    return total


def family_of(series: int) -> str:
    """The family of metrics of a series."""
    if series < C:
        return CHANNELS[series].family
    return RATE_FAMILY[RATES_OF_PARTS[series - C]]


def is_bad(series: int, sign: float) -> bool:
    """Is a move in this direction anything but good news?"""
    return series >= C or GOOD[series] * sign <= 0
