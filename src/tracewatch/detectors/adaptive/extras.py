"""Values without a model of their own: fields few products report, derived figures, a user's numbers, new shares.

Per operation a value is compared with the median of 14 days, in robust deviations, and a share with its own base, as
evidence that grows (CUSUM, Page 1954: see `parts`). A metric of one's own is one name: a column of floats, called as in
`Settings.extra`, or `Observations` of a `Thing`. Our own.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from .alerts import Alert, score_of
from .arrays import Floats, Ints
from .expectations import exact
from .intake import TICK
from .ledger import Groups
from .observations import SEEN, VALUE, Observations, Thing
from .pairs import Pairs
from .parts import KEPT, climb, of_means, of_rates
from .rates import LEAST, LEAST_PART
from .windows import DAY

FEW_CALLS, FEW_SESSIONS = 8, 3  # with fewer it is one person's odd hour
LEFT = 0.42  # of the evidence must remain without the worst session or ten minutes: .65 of its deviations
EFFECT, PART_OF_SCALE = 0.1, 0.3  # least move: log ratio, or part of the median; and of a deviation
PAUSE, DOUBTED = 12, 3  # ticks after evidence that was told, and not borne out
LONG = 72  # ticks: a level rather than a spike
Table = NDArray[np.void]  # of VALUE, or of SEEN
Said = tuple[int, Thing, str, Alert]
"""A tick read, a thing, an operation and what is odd about it."""
LATEST = 400  # values of a pair at hand, of a day at most


class Extras:
    """Every watched value of every operation."""

    def __init__(self) -> None:
        self.pairs = Pairs()
        self.waiting = np.zeros(0, VALUE)
        self.recent = np.zeros(0, VALUE)  # by pair, each in order of time
        self.now = np.zeros(0, VALUE)  # the same of the run
        self.today: list[Table] = []

    def feed(self, observations: Iterable[Observations]) -> None:
        """Take values; those of earlier ticks count as now."""
        tables = [self.waiting]
        for each in observations:
            used = np.flatnonzero(np.bincount(each.operation, minlength=len(each.words)))
            place = np.full(len(each.words), -1)
            place[used] = self.pairs.places(each.thing, tuple(each.words[code] for code in used.tolist()))
            pair = place[each.operation]
            new = np.zeros(len(pair), VALUE)
            new["t"], new["value"], new["weight"], new["who"], new["pair"] = (
                each.t, each.value, each.weight, each.who, pair
            )  # fmt: skip
            tables.append(new if (pair >= 0).all() else new[pair >= 0])
        self.waiting = np.concatenate(tables)

    def kept(self) -> list[Observations]:
        """The values that wait, to be fed to another."""
        groups = Groups(self.waiting["pair"].astype(np.int64))
        out = []
        for pair, begin, size in zip(groups.keys.tolist(), groups.starts.tolist(), groups.sizes.tolist(), strict=True):
            mine, (thing, word) = self.waiting[groups.order[begin : begin + size]], self.pairs.keys[pair]
            out.append(
                Observations(
                    thing=thing,
                    words=(word,),
                    operation=np.zeros(size, np.int64),
                    t=mine["t"],
                    value=mine["value"],
                    weight=mine["weight"],
                    who=mine["who"],
                )
            )
        return out

    def start_anew(self) -> None:
        """With nothing learned; what waits still does."""
        waiting = self.kept()
        self.__init__()  # type: ignore[misc]
        self.feed(waiting)

    def scan(
        self, first: int, ticks: int, read: Sequence[Observations], alarming: bool, z: float
    ) -> list[Said]:  # fmt: skip
        """What was borne out in the ticks read, in order; `read` are values of these very ticks."""
        self.feed(read)
        soon = self.waiting["t"] < (first + ticks) * TICK
        table, self.waiting = (self.waiting, self.waiting[:0]) if soon.all() else (
            self.waiting[soon], self.waiting[~soon]
        )  # fmt: skip
        if not len(table):
            return []
        seen = np.zeros(len(table), SEEN)
        seen["pair"], seen["value"] = table["pair"], table["value"]
        self.today.append(seen)
        # Each pair's values come in order of time; sixteen bits sort in linear time.
        self.now = table = table[np.argsort(np.ascontiguousarray(table["pair"]), kind="stable")]
        self.pairs.begin(np.flatnonzero(np.bincount(table["pair"])))
        found = self.follow(table, first, ticks, z)
        self.forget(first + ticks)
        return [(tick, *self.pairs.keys[pair], alert) for tick, pair, alert in found] if alarming else []

    def forget(self, tick: int) -> None:
        """Of each pair all but the latest of a day; those of the run are no longer apart."""
        both = np.concatenate([self.recent, latest(self.now)])
        both = latest(both[np.argsort(np.ascontiguousarray(both["pair"]), kind="stable")])
        self.recent, self.now = both[both["t"] >= (tick - DAY) * TICK], self.now[:0]

    def follow(self, table: Table, first: int, ticks: int, z: float) -> list[tuple[int, int, Alert]]:
        """Evidence of all pairs over the ticks read; what was borne out: tick, pair and alert, in order."""
        pairs, out = self.pairs, list[tuple[int, int, Alert]]()
        table = table[pairs.ready[table["pair"]]]
        if not len(table):
            return out
        at = table["pair"].astype(np.int64)
        tick = np.maximum((table["t"] // TICK).astype(np.int64) - first, 0)
        cells = Groups(at * ticks + tick)
        begin, weight = cells.starts, table["weight"].astype(float)[cells.order]
        values = weight * pairs.apart(at, table["value"])[cells.order]
        w, s = (exact(np.add.reduceat(x, begin)) for x in (weight, values))
        part, when = cells.keys // ticks, cells.keys % ticks
        gain = exact(self.gains(part, w, s))
        gain[:, first + when < pairs.pause[part]] = 0
        groups = Groups(part)
        path = climb(gain, groups, pairs.evidence[:, groups.keys])
        limit = z**2 / 2 * pairs.patience
        over = np.flatnonzero(path.max(0) > limit[part])
        ends = dict(zip(groups.keys.tolist(), (groups.starts + groups.sizes).tolist(), strict=True))
        waiting = sorted((int(when[i]), pairs.names[part[i]], int(i)) for i in over.tolist())
        while waiting:
            now, _, i = waiting.pop(0)
            pair = int(part[i])
            if not path[:, i].max() > limit[pair]:  # a former crossing took its evidence
                continue
            which, end = int(path[:, i].argmax()), ends[pair]
            alert = self.judge(pair, first + now + 1, 1.0 if which < 2 else -1.0, z)
            path[:, i] = 0.0
            if alert is None:
                path[which, i] = KEPT * limit[pair]
            else:
                pairs.borne.add(pair)
                if pairs.keys[pair][0].bad in ("either", alert.direction):
                    out.append((now, pair, alert))
            pairs.pause[pair] = first + now + 1 + (DOUBTED if alert is None else PAUSE)
            rest = slice(i + 1, end)
            gain[:, rest][:, first + when[rest] < pairs.pause[pair]] = 0
            if i + 1 < end:
                path[:, rest] = climb(gain[:, rest], Groups(part[rest]), path[:, i : i + 1].copy())
                later = i + 1 + np.flatnonzero(path[:, rest].max(0) > limit[pair])
                mine = [(int(when[j]), pairs.names[pair], int(j)) for j in later.tolist()]
                waiting = sorted([each for each in waiting if part[each[2]] != pair] + mine)
        pairs.evidence[:, groups.keys] = path[:, groups.starts + groups.sizes - 1]
        return out

    def gains(self, pair: Ints, w: Floats, s: Floats) -> Floats:
        """Evidence of weighted sums: up, far up, down, far down; a share only rises."""
        pairs, out = self.pairs, np.zeros((4, len(pair)))
        share = pairs.share[pair]
        mean, rate = np.flatnonzero(~share), np.flatnonzero(share)
        out[:, mean] = of_means(w[mean], s[mean], 0.0, pairs.slack[pair[mean]])
        out[:2, rate] = of_rates(w[rate], s[rate], w[rate] * pairs.middle[pair[rate]], 1.0)
        return out

    def judge(self, pair: int, end: int, sign: float, z: float) -> Alert | None:
        """What is to be said of evidence over its limit, if the values of a day bear it out."""
        pairs, table = self.pairs, self.lately(pair, end)
        same = np.full(len(table), pair)
        x, weight = pairs.apart(same, table["value"]), table["weight"].astype(float)
        up, far, down, further = self.gains(same, weight, weight * x)
        near, far = (up, far) if sign > 0 else (down, further)
        gain = near if near.sum() >= far.sum() else far
        begin = int(np.argmax(np.cumsum(gain[::-1])[::-1])) if len(gain) else 0
        gain, table = gain[begin:], table[begin:]
        least = LEFT * z**2 / 2 * float(pairs.patience[pair])
        if len(gain) < FEW_CALLS or not lasting(gain, table["t"], table["who"], least):
            return None
        seen, usual = self.reading(pair, table["value"])
        if not self.matters(pair, seen, usual):
            return None
        low, high = pairs.within(pair, usual, len(gain), z)
        severity, since = float(np.sqrt(2 * max(gain.sum(), 0.0))), float(table["t"][0] // TICK * TICK)
        thing, word = pairs.keys[pair]
        level = end - since / TICK >= LONG
        kind = "rate" if thing.share else "level_shift" if level else "spike" if sign > 0 else "drop"
        return Alert(
            detected_at=float(end * TICK), metric=thing.name, direction="up" if sign > 0 else "down",
            slice={"operation_type": word}, severity=severity, kind=kind, since=since, observed=seen, expected=usual,
            lower=low, upper=high, n=len(gain), score=score_of(severity, z),
        )  # fmt: skip

    def lately(self, pair: int, end: int) -> Table:
        """The latest values of a pair within the day before a tick."""
        tables = []
        for table in (self.recent, self.now):
            first, last = np.searchsorted(table["pair"], [pair, pair + 1])
            tables.append(table[first:last])
        mine = np.concatenate(tables)
        mine = mine[(mine["t"] >= (end - DAY) * TICK) & (mine["t"] < end * TICK)]
        return mine[-LATEST:]

    def reading(self, pair: int, values: Floats) -> tuple[float, float]:
        """What was seen, and what is usual."""
        if self.pairs.logs[pair]:
            return float(np.median(values)), float(np.exp(self.pairs.middle[pair]))
        return float(values.mean()), float(self.pairs.mean[pair])

    def matters(self, pair: int, seen: float, usual: float) -> bool:
        """Is it a move that anybody would act on?"""
        pairs, move = self.pairs, abs(seen - usual)
        thing = pairs.keys[pair][0]
        if thing.share:
            return move >= max(LEAST, LEAST_PART * usual)
        if pairs.logs[pair]:
            ratio = abs(float(np.log(max(seen, 1e-12) / usual)))
            return move >= thing.least and ratio >= max(EFFECT, PART_OF_SCALE * pairs.scale[pair])
        return bool(move >= max(thing.least, EFFECT * abs(usual), PART_OF_SCALE * pairs.spread[pair]))

    def learn(self, day: int, soon: bool) -> None:
        """A day is over; before anything is soon to be told nothing is made of the days."""
        today = np.concatenate(self.today) if self.today else np.zeros(0, SEEN)
        self.today, keys = [], self.pairs.keys
        gone = self.pairs.learn(today["pair"].astype(np.int64), today["value"].astype(float), day, soon)
        if gone is not None:
            moved = gone.copy()
            for pair in np.unique(self.waiting["pair"]).tolist():
                if gone[pair] < 0:  # it comes again: as a new one, as if it had come after this
                    gone[pair] = self.pairs.places(keys[pair][0], (keys[pair][1],))[0]
            self.recent = self.recent[np.append(moved, -1)[self.recent["pair"]] >= 0]
            for held in (self.recent, self.waiting):
                held["pair"] = np.append(gone, -1)[held["pair"]]
            self.recent, self.waiting = (held[held["pair"] >= 0] for held in (self.recent, self.waiting))
            self.recent = self.recent[np.argsort(self.recent["pair"], kind="stable")]


def latest(table: Table) -> Table:
    """The latest values of each pair; the table stands by pair, each in order of time."""
    groups = Groups(table["pair"].astype(np.int64))
    return table[groups.spread(groups.sizes) - groups.rank <= LATEST]


def lasting(gain: Floats, t: Floats, session: Ints, least: float) -> bool:
    """Does enough evidence remain without the worst session, and without the worst ten minutes?"""
    if session.max() >= 0:
        codes, at = np.unique(session, return_inverse=True)
        if len(codes) < FEW_SESSIONS or gain.sum() - np.bincount(at, gain).max() < least:
            return False
    tick = (t // TICK).astype(np.int64)
    by_tick = np.bincount(tick - tick.min(), gain)
    return bool(gain.sum() - np.convolve(by_tick, [1, 1]).max() >= least)
