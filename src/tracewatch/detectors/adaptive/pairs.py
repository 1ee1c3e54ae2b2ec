"""What is known of each pair of a thing and an operation: its middle and width, or the base of a share. Our own."""

from dataclasses import dataclass, field

import numpy as np

from .arrays import Flags, Floats, Ints
from .expectations import CLIP, exact
from .observations import Thing
from .parts import PRIOR_DAY, PRIOR_DAYS

DAYS, A_DAY = 14, 110  # of values remembered
DAILY, TURN = 8, 4  # days a pair is learned anew every day, then every so many
LEAST_VALUES, LEAST_DAYS = 60, 4  # before a pair is judged
SKEWED = 4.0  # times from the 10 % to the 90 % quantile: such values are judged as logarithms
NARROWEST = 0.02  # of the median: a value that never changes has some width all the same
MOST_PAIRS = 1_000
TABLES = ("share", "logs", "ready", "begun", "middle", "scale", "centre", "slack", "mean", "spread", "patience",
          "pause")  # fmt: skip
PSEUDO = 20.0  # values towards a share of nothing


@dataclass(slots=True)
class Past:
    """The days of one pair, the oldest first: of numbers a sample of each, of shares (values, hits)."""

    days: list[Floats] = field(default_factory=list)
    odd: int = 0  # days in a row on which something was borne out
    empty: int = 0  # days in a row without values


class Pairs:
    """Tables by pair."""

    def __init__(self) -> None:
        self.index: dict[tuple[str, str], int] = {}
        self.names: list[tuple[str, str]] = []
        self.keys: list[tuple[Thing, str]] = []
        self.past: list[Past] = []
        self.borne: set[int] = set()  # of today
        self.share, self.logs, self.ready, self.begun = (np.zeros(0, bool) for _ in range(4))
        self.middle, self.scale, self.centre, self.slack = (np.zeros(0) for _ in range(4))
        self.mean, self.spread, self.patience = (np.zeros(0) for _ in range(3))
        self.pause = np.zeros(0, np.int64)  # no evidence is gathered before this tick
        self.evidence = np.zeros((4, 0))

    def places(self, thing: Thing, words: tuple[str, ...]) -> Ints:
        """Rows of the tables of a thing's operations; the unknown are added while there is room, else -1."""
        new = [word for word in words if (thing.name, word) not in self.index]
        if new:
            self.add(thing, new[: max(MOST_PAIRS - len(self.names), 0)])
        return np.array([self.index.get((thing.name, word), -1) for word in words], np.int64)

    def add(self, thing: Thing, words: list[str]) -> None:
        """Room for new pairs."""
        for word in words:
            self.index[thing.name, word] = len(self.names)
            self.names.append((thing.name, word))
            self.keys.append((thing, word))
            self.past.append(Past())
        n = len(words)
        for name, value in (("share", thing.share), ("logs", False), ("ready", False), ("begun", False)):
            setattr(self, name, np.append(getattr(self, name), np.full(n, value)))
        for name in ("middle", "scale", "centre", "slack", "mean", "spread"):
            setattr(self, name, np.append(getattr(self, name), np.zeros(n)))
        self.patience = np.append(self.patience, np.full(n, thing.patience))
        self.pause = np.append(self.pause, np.zeros(n, np.int64))
        self.evidence = np.concatenate([self.evidence, np.zeros((4, n))], 1)

    def begin(self, pair: Ints) -> None:
        """Pairs whose values are read now. A share that is new and has a whole has the whole's past, without a hit."""
        for place in pair[~self.begun[pair]].tolist():
            self.begun[place] = True
            thing, word = self.keys[place]
            whole = self.index.get((thing.whole, word))
            if whole is not None:
                self.past[place].days = [each * (1.0, 0.0) for each in self.past[whole].days]
                self.fit_share(place)

    def apart(self, pair: Ints, values: Floats) -> Floats:
        """Deviations from the middle, clipped and centred; of shares the values."""
        with np.errstate(all="ignore"):
            x = np.where(self.logs[pair], np.log(np.maximum(values, 1e-300)), values)
            off = (x - self.middle[pair]) / self.scale[pair]
        off = np.where(self.logs[pair] & (values <= 0), -CLIP, off)
        return np.where(self.share[pair], values, exact(np.clip(off, -CLIP, CLIP) - self.centre[pair]))

    def within(self, pair: int, usual: float, n: int, z: float) -> tuple[float, float]:
        """The range in which nobody would have been told."""
        if self.share[pair]:
            return 0.0, min(usual + z * float(np.sqrt(usual * (1 - usual) / n)) + 1 / n, 1.0)
        wide = z * float(self.scale[pair]) * float(np.sqrt(1 / n + self.slack[pair] ** 2))
        if self.logs[pair]:
            return float(usual * np.exp(-wide)), float(usual * np.exp(wide))
        return usual - wide, usual + wide

    def learn(self, pair: Ints, values: Floats, day: int, soon: bool) -> Ints | None:
        """A day is over. Where pairs go to when some were dropped, -1 of these; else None."""
        order = np.argsort(pair.astype(np.int16), kind="stable")
        bounds = np.searchsorted(pair[order], np.arange(len(self.names) + 1)).tolist()
        values = values[order]
        for place in np.flatnonzero(self.begun).tolist():
            self.learn_pair(place, values[bounds[place] : bounds[place + 1]], day, soon)
        self.borne = set()
        keep = np.array([past.empty < DAYS for past in self.past], bool)
        return None if keep.all() else self.drop(keep)

    def learn_pair(self, place: int, values: Floats, day: int, soon: bool) -> None:
        """One pair's day; a day that was odd is not believed, unless it is the third in a row."""
        past = self.past[place]
        past.odd = past.odd + 1 if place in self.borne else 0
        past.empty = 0 if len(values) else past.empty + 1
        if past.odd and past.odd < 3:
            return
        share = bool(self.share[place])
        kept = np.array([len(values), values.sum()]) if share else spread_out(values)
        past.days = [*past.days, kept][-DAYS:]
        turn = (day + sum(map(ord, self.names[place][0]))) % TURN == 0
        if not soon or (self.ready[place] and len(past.days) > DAILY and not turn and not past.odd):
            return
        if share:
            self.fit_share(place)
        else:
            self.fit(place)

    def fit(self, place: int) -> None:
        """Middle and width of all values, and how far days differ by themselves."""
        days = [each for each in self.past[place].days if len(each)]
        if len(days) < LEAST_DAYS or sum(map(len, days)) < LEAST_VALUES:
            return
        pooled = np.concatenate(days)
        ordered = np.sort(pooled)
        low, tenth, half, ninth, high, top = np.interp(
            np.array((0.16, 0.1, 0.5, 0.9, 0.84, 0.99)) * (len(pooled) - 1), np.arange(len(pooled)), ordered
        ).tolist()
        logs = bool(ordered[0] > 0 and ninth > SKEWED * tenth)
        self.mean[place], self.spread[place] = pooled.mean(), np.minimum(pooled, top).std()
        if logs:
            low, half, high = np.log((low, half, high)).tolist()
        least = NARROWEST if logs else NARROWEST * abs(half) + 1e-9
        self.logs[place], self.middle[place] = logs, half
        self.scale[place], self.centre[place] = max((high - low) / 2, least), 0.0
        apart = self.apart(np.full(len(pooled), place), pooled)
        self.centre[place] = apart.mean()
        sizes = np.array([len(each) for each in days])
        means = np.add.reduceat(apart, np.cumsum(sizes) - sizes) / sizes - self.centre[place]
        varied = max(float((means**2 - 1 / sizes).sum()), 0.0)
        self.slack[place] = np.sqrt((varied + PRIOR_DAY * PRIOR_DAYS) / (len(days) + PRIOR_DAYS))
        self.ready[place] = True

    def fit_share(self, place: int) -> None:
        """The share of all days, and its upper plausible value: doubt of few values, and how far days differ."""
        days = np.array([each for each in self.past[place].days if each[0] > 0]).reshape(-1, 2)
        n, k = days.sum(0).tolist() if len(days) else (0.0, 0.0)
        if n < LEAST_VALUES or len(days) < LEAST_DAYS:
            return
        p = k / n
        varied = ((days[:, 1] / days[:, 0] - p) ** 2 - p * (1 - p) / days[:, 0]).mean()
        self.mean[place] = p
        self.middle[place] = p + np.sqrt(p * (1 - p) / (n + PSEUDO)) + 0.5 / n + np.sqrt(max(varied, 0.0))
        self.ready[place] = self.keys[place][0].told

    def drop(self, keep: Flags) -> Ints:
        """Forget all other pairs."""
        places = np.flatnonzero(keep)
        moved = np.full(len(keep), -1)
        moved[places] = np.arange(len(places))
        self.names, self.keys = [self.names[i] for i in places.tolist()], [self.keys[i] for i in places.tolist()]
        self.past = [self.past[i] for i in places.tolist()]
        self.index = {name: i for i, name in enumerate(self.names)}
        for name in TABLES:
            setattr(self, name, getattr(self, name)[places])
        self.evidence = self.evidence[:, places]
        return moved


def spread_out(values: Floats) -> Floats:
    """An even sample of a day."""
    return values[np.linspace(0, len(values) - 1, min(A_DAY, len(values))).astype(np.int64)].astype(np.float32)
