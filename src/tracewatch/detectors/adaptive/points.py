"""Single calls that took absurdly long for what they did: log(inference / expected) over a tail-extrapolated limit.

Threshold per segment: u = 95th percentile, beta = mean excess between the 95th and 99.7th (top three left out, they
are past outliers), limit = u + 1.25 beta ln(.05 n 80): exponential tail, one false in a long time (peaks over
threshold, Pickands 1975). The numbers are our own.
"""

import numpy as np

from .alerts import Alert, Notice, score_of
from .arrays import Floats, Ints, Rows
from .channels import CHANNELS, DURATION, INFERENCE, SINGLE, reported
from .intake import TICK
from .memory import Memory
from .names import Names

LOW, HIGH = 1.6, 2.1  # log: between 5 x and 8 x of what was expected of a model's own work
DEVIATIONS = 9.0  # robust ones of the segment: tails of natural calls are heavier than exponential where they are wide
HIGHEST = 4.0  # log, 55 x: durations of agents and tools have tails as long as what they wait for
LEAST_MS = 500.0  # longer than expected: less is nobody's wait (2 s lost a fifth of the outliers on the benchmark)
LEAST_ROWS = 60
DAYS = 7
FLOOR = 0.02  # log, of the mean excess


class Points:
    """Limits by segment and channel: a call that does not report its own time is judged by its duration."""

    def __init__(self) -> None:
        self.limit: dict[tuple[int, int], float] = {}

    def learn(self, memory: Memory, known: Floats, segments: slice) -> None:
        """Renew the limits of some segments; known is the rows each channel of a segment was learned from."""
        for g in range(len(known))[segments]:
            if g not in memory.days:
                continue
            days = memory.days[g]
            both = np.concatenate([rows["r"] for _, rows in days[-DAYS:]])
            for channel, highest in ((INFERENCE, HIGH), (DURATION, HIGHEST)):
                r = both[:, SINGLE.index(channel)]
                r = np.sort(r[np.isfinite(r)])
                if known[g, channel] and len(r) >= LEAST_ROWS:
                    self.limit[g, channel] = limit_of(r, highest)

    def scan(
        self, first: int, rows: Rows | None, known: Floats, names: dict[str, Names], alarming: bool
    ) -> dict[int, list[Notice]]:
        """Notices by tick read."""
        out: dict[int, list[Notice]] = {}
        if rows is None or not alarming:
            return out
        limits = np.full(known.shape, np.inf)
        for where, each in self.limit.items():
            limits[where] = each
        g, at = rows["segment"], np.arange(len(rows["t"]))
        own = (known[g, INFERENCE] > 0) & np.isfinite(rows["y"][:, INFERENCE])
        channel = np.where(own, INFERENCE, DURATION)
        r, y, fit = (rows[k][at, channel] for k in ("r", "y", "fit"))
        limit = limits[g, channel]
        with np.errstate(invalid="ignore"):
            hit = np.flatnonzero((r > limit) & (y - fit > LEAST_MS) & rows["good"])
        for i in hit.tolist():
            tick = int(rows["tick"][i])
            alert = alert_of(first + tick, rows, i, int(channel[i]), float(limit[i]), names)
            notice = Notice(alert=alert, segment=int(g[i]), excess=float(r[i] - limit[i]))
            out.setdefault(tick, []).append(notice)
        return out

    def keep_segments(self, keep: Ints) -> None:
        """Renumber segments."""
        place = {g: i for i, g in enumerate(keep.tolist())}
        self.limit = {(place[g], channel): x for (g, channel), x in self.limit.items() if g in place}


def limit_of(r: Floats, highest: float) -> float:
    """The limit of sorted residuals, at most `highest`."""
    n, first = len(r), int(0.95 * len(r))
    excess = r[first : max(first + 5, min(int(0.997 * n), n - 3))] - r[first]
    beta = 1.25 * max(float(excess.mean()), FLOOR)
    deviation = float(r[int(0.8413 * n)] - r[int(0.1587 * n)]) / 2
    return float(np.clip(max(r[first] + beta * np.log(max(0.05 * n * 80, 2)), DEVIATIONS * deviation), LOW, highest))


def alert_of(tick: int, rows: Rows, i: int, channel: int, limit: float, names: dict[str, Names]) -> Alert:
    """What to say of the i-th row."""
    value, judged, r = float(reported(rows, channel)[i]), float(rows["y"][i, channel]), float(rows["r"][i, channel])
    rest, usual = value - judged, judged * float(np.exp(-r))
    return Alert(
        detected_at=float((tick + 1) * TICK), metric=CHANNELS[channel].metric, direction="up",
        slice={word: names[word].word.get(int(rows[word][i])) for word in ("operation_type", "model_name")},
        trace_ids=(str(rows["trace_id"][i]),), severity=r, kind="point", since=float(rows["t"][i]), observed=value,
        expected=rest + usual, lower=0.0, upper=rest + max(usual * float(np.exp(limit)), usual + LEAST_MS), n=1,
        score=score_of(r, limit),
    )  # fmt: skip
