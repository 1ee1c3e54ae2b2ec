"""What a call should have taken, cost and scored, given what drove it; and the standardised surprise of what came.

Per segment (operation x model x provider) and channel: y ~ b . drivers with b >= 0, least squares of the relative
error; the log ratio is freed from centres by idle time and by turn (both known when the call starts) and from an hour
x weekend profile; then divided by its robust deviation, clipped at 3 and centred, so that windows of it have mean 0.
Our own.
"""

import numpy as np

from .arrays import Flags, Floats, Ints, Rows
from .channels import CACHE, CHANNELS, CONSTANT, COST, IS_LOG, KIND, LOG, TAILS, C
from .fits import Ordered, cell_centres, cell_means, places, profile, relative_fits

IDLE = np.array([20, 60, 300, 600, 1800, 3600.0])  # s: connections close, caches expire, models unload
TURN = np.array([1, 2, 3, 5, 9, 17])
IDLES, TURNS, HOURS = len(IDLE) + 1, len(TURN) + 1, 48
CLIP = 3.0  # deviations: further is only "far", else one call would make a window
FAR_SHARE, FAR_SD = 0.99, 2.0  # of the calls are nearer than `far`, which is at least so many deviations
MARGIN = 0.10  # log: a part must be left by more than this, so that a dense value on its edge does not matter
LEAST_ROWS = 20  # of a segment before a channel of it is known
PSEUDO_ROWS = 10  # towards no effect, in every cell
GRAIN = 2.0**20  # residuals are multiples of 1/GRAIN: sums are exact, so it does not matter how rows came in batches
WIDEST, NARROWEST = 0.01, 0.02  # log or score: least width of a cell's middle, least deviation
SHAPES: dict[str, tuple[int, ...]] = {
    "beta": (C, 4), "price": (4,), "level": (C,), "idle": (C, IDLES), "turn": (C, TURNS), "hours": (C, HOURS),
    "scale": (C,), "centre": (C,), "known": (C,), "typical": (C,), "edge": (len(TAILS),), "far": (C,),
    "miss": (TURNS, IDLES), "mature": (), "settled": (),
}  # fmt: skip


def exact(x: Floats) -> Floats:
    """Rounded to the grain at which sums are exact."""
    return np.asarray(np.round(x * GRAIN) / GRAIN)


class Expectations:
    """Learned parameters, one row per segment."""

    beta: Floats  # by channel and driver
    price: Floats  # of each kind of token
    level: Floats  # of what is not a log
    idle: Floats  # effect of idle time on the residual, by channel
    turn: Floats
    hours: Floats
    scale: Floats
    centre: Floats  # mean of the clipped residual, in deviations
    known: Floats  # rows it was learned from
    typical: Floats  # the median value
    edge: Floats  # residual at which each part of the usual values ends
    far: Floats  # log ratio that hardly any call exceeds, by channel
    miss: Floats  # chance of no cache hit
    mature: Floats  # 1 when judged at all
    settled: Floats  # 1 when its caches are judged too: they warm up with its traffic

    def __init__(self) -> None:
        for name, shape in SHAPES.items():
            setattr(self, name, np.zeros((0, *shape)))

    def grow(self, n: int) -> None:
        """Room for n segments."""
        more = n - len(self.beta)
        for name, shape in SHAPES.items() if more > 0 else ():
            setattr(self, name, np.concatenate([getattr(self, name), np.zeros((more, *shape))]))

    def keep_segments(self, keep: Ints) -> None:
        """Renumber segments."""
        for name in SHAPES:
            setattr(self, name, getattr(self, name)[keep])

    def cells(self, rows: Rows) -> None:
        """Add each row's cells of idle time, turn and hour (what is known when the call starts)."""
        rows["idle_cell"] = np.searchsorted(IDLE, rows["idle"])
        rows["warm_cell"] = np.where(rows["turn"] > 0, np.searchsorted(IDLE, rows["idle_session"]), rows["idle_cell"])
        rows["turn_cell"] = np.searchsorted(TURN, rows["turn"], "right")
        weekday = (rows["t"] // 86400).astype(np.int64) + 3  # the epoch began on a Thursday
        rows["hour_cell"] = (rows["t"] // 3600).astype(np.int64) % 24 + 24 * (weekday % 7 >= 5)

    def expect(self, g: Ints, work: Floats, tokens: Floats) -> Floats:
        """Values before cells, rows x channels."""
        fit = np.einsum("rcd,rd->rc", self.beta[g], work)
        fit[:, COST] = (tokens * self.price[g]).sum(1)
        return np.asarray(fit)

    def residuals(self, rows: Rows) -> None:
        """Add to the rows: fit (plain expectation), r (log ratio or difference), z (standardised, clipped, centred)."""
        g, y = rows["segment"], rows["y"]
        fit = self.expect(g, rows["work"], rows["tokens"])
        r = y - self.level[g]
        with np.errstate(all="ignore"):
            r[:, IS_LOG] = np.log(y[:, IS_LOG] / np.maximum(fit[:, IS_LOG], 1e-12))
        idle = self.idle[g, :, rows["idle_cell"]]
        idle[:, CACHE] = self.idle[g, CACHE, rows["warm_cell"]]
        r -= idle + self.turn[g, :, rows["turn_cell"]] + self.hours[g, :, rows["hour_cell"]]
        known = (self.known[g] > 0) & (self.mature[g] > 0)[:, None]
        known[:, CACHE] &= self.settled[g] > 0
        r[~known] = np.nan
        with np.errstate(all="ignore"):
            z = np.clip(r / self.scale[g], -CLIP, CLIP) - self.centre[g]
        rows["z"], rows["r"], rows["fit"] = exact(z), r, fit

    def of(self, g: int) -> dict[str, Floats]:
        """What is known of one segment."""
        return {name: getattr(self, name)[g] for name in SHAPES}

    def put(self, g: int, learned: dict[str, Floats]) -> None:
        """Take what was learned of one segment."""
        for name, values in learned.items():
            getattr(self, name)[g] = values

    def learn(self, g: int, rows: Rows) -> None:
        """Refit one segment from its remembered rows (y may hold further nan: what belongs to incidents)."""
        y = np.ascontiguousarray(rows["y"].T, float)
        count = np.isfinite(y).sum(1)
        live = np.flatnonzero(count >= LEAST_ROWS)
        self.known[g] = 0
        if not len(live):
            return
        y, count, is_log = y[live], count[live], KIND[live] == LOG
        has = np.isfinite(y)
        ordered = Ordered(y, count)
        self.typical[g, live] = ordered.at(0.5)
        r = self.learn_plain(g, live, y, ordered, rows)
        ordered = Ordered(r, count)
        middle = ordered.at(0.5)
        middle[~is_log] = 0
        self.beta[g, live] *= np.exp(middle)[:, None]
        if COST in live:
            self.price[g] *= np.exp(middle[live == COST])
        r -= middle[:, None]
        width = np.maximum((ordered.at(0.8413) - middle - (ordered.at(0.1587) - middle)) / 2, WIDEST)
        r = self.learn_cells(g, live, r, has, width[:, None], rows)
        self.learn_scale(g, live, r, has, count, rows["hour_cell"])
        self.known[g, live] = count

    def learn_plain(self, g: int, live: Ints, y: Floats, ordered: Ordered, rows: Rows) -> Floats:
        """Fit what drives each channel; returns log ratios or differences (channels x rows)."""
        work, tokens, is_log = rows["work"].astype(float), rows["tokens"].astype(float), KIND[live] == LOG
        self.level[g, live[~is_log]] = np.nanmean(y[~is_log], axis=1)
        constant = np.array([CHANNELS[c].drivers == CONSTANT for c in live.tolist()])
        self.beta[g, live[constant & is_log], 0] = self.typical[g, live[constant & is_log]]
        known = self.beta[g, live].any(1)
        for some in (~constant & known, ~constant & ~known):
            if some.any():
                uses = [CHANNELS[c].drivers for c in live[some].tolist()]
                self.beta[g, live[some]] = relative_fits(
                    work, y[some], ordered.some(some), uses, self.beta[g, live[some]]
                )
        fit = self.beta[g, live] @ work.T
        for i in np.flatnonzero(live == COST).tolist():
            one = slice(i, i + 1)
            self.price[g] = relative_fits(tokens, y[one], ordered.some(one), [range(4)], self.price[g : g + 1])[0]
            fit[i] = tokens @ self.price[g]
        r = y - self.level[g, live, None]
        r[is_log] = np.log(y[is_log] / np.maximum(fit[is_log], 1e-12))
        return r

    def learn_cells(self, g: int, live: Ints, r: Floats, has: Flags, width: Floats, rows: Rows) -> Floats:
        """Effects of idle time and turn; returns the residuals without them, 0 where absent (width: of each middle)."""
        present, r, logs = has.astype(float), np.where(has, r, 0.0), KIND[live] == LOG
        idle = np.repeat(rows["idle_cell"][None], len(live), 0)
        idle[live == CACHE] = rows["warm_cell"]
        turn = np.broadcast_to(rows["turn_cell"], idle.shape)
        for table, cells, size in ((self.idle, idle, IDLES), (self.turn, turn, TURNS)):
            effect = np.zeros((len(live), size))
            for some in (logs, ~logs):
                if some.any():
                    each = places(cells[some], int(some.sum()), size), r[some], present[some], size, PSEUDO_ROWS
                    effect[some] = cell_centres(*each, width[some]) if some is logs else cell_means(*each)
            table[g, live] = effect
            r -= effect.ravel()[places(cells, len(live), size)]
            r *= present
        return r

    def learn_scale(self, g: int, live: Ints, r: Floats, has: Flags, count: Ints, hour: Ints) -> None:
        """The hour profile, and the deviation and centre of what is left (of r, 0 where absent)."""
        is_log, present, gaps = KIND[live] == LOG, has.astype(float), np.where(has, r, np.nan)
        ordered = Ordered(gaps, count)
        spread = Ordered(np.abs(gaps - ordered.at(0.5)[:, None]), count).at(0.5) * 1.4826
        off = (r - r.sum(1, keepdims=True) / count[:, None]) * present
        spread[~is_log] = np.sqrt((off[~is_log] ** 2).sum(1) / count[~is_log])
        sd = np.maximum(np.maximum((ordered.at(0.8413) - ordered.at(0.1587)) / 2, spread), NARROWEST)[:, None]
        hours = profile(hour, np.clip(r / sd, -CLIP, CLIP), present) * sd
        z = np.clip((r - hours[:, hour]) / sd, -CLIP, CLIP) * present
        self.hours[g, live], self.scale[g, live], self.centre[g, live] = hours, sd[:, 0], z.sum(1) / count
        rest = Ordered(np.where(np.isfinite(gaps), gaps - hours[:, hour], np.nan), count)
        self.far[g, live] = np.maximum(rest.at(FAR_SHARE) + MARGIN, FAR_SD * sd[:, 0])
        for j, tail in enumerate(TAILS):
            for i in np.flatnonzero(live == tail.channel).tolist():
                place = (tail.share if tail.side > 0 else 1 - tail.share) * (count[i] - 1)
                within = np.sort(z[i, has[i]])[int(place + 0.5)]
                self.edge[g, j] = within + tail.side * MARGIN / sd[i, 0] - self.centre[g, tail.channel]

    def learn_misses(self, g: int, rows: Rows) -> None:
        """Chance of no cache hit by turn and idle time: cells shrunk to their turn's, those to the segment's."""
        has = np.isfinite(rows["read"])
        miss, turn = (~(rows["read"][has] > 0)).astype(float), rows["turn_cell"][has]
        if not len(miss):
            return
        cell, one = turn * IDLES + rows["warm_cell"][has], np.ones(len(miss))
        whole = (miss.sum() + 0.5) / (len(miss) + 1)
        n, k = (np.bincount(cell, x, minlength=TURNS * IDLES).reshape(TURNS, IDLES) for x in (one, miss))
        by_turn = (k.sum(1) + PSEUDO_ROWS * whole) / (n.sum(1) + PSEUDO_ROWS)
        self.miss[g] = exact((k + PSEUDO_ROWS * by_turn[:, None]) / (n + PSEUDO_ROWS))


def learned(known: dict[str, Floats], rows: Rows) -> dict[str, Floats]:
    """What is known of a segment after a lesson from its remembered rows."""
    one = Expectations()
    for name, values in known.items():
        setattr(one, name, np.array(values)[None])
    one.learn_misses(0, rows)
    one.learn(0, rows)
    return one.of(0)
