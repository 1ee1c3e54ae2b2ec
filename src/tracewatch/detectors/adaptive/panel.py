"""The sums of every slice over the ticks being read and the day before, and how surprising any window of them is."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .arrays import Flags, Floats, Ints
from .channels import C
from .knowledge import Knowledge
from .rates import TYPICAL_99, R
from .series import TOTALS, K
from .windows import HISTORY, HOUR, STEPS, WINDOWS, deviance_root, deviance_root_of

LEAST_N = 4  # calls in a window before its mean says anything
CERTAIN = 0.9999  # a base of 1 has no upper tail


class Panel:
    """Running totals n (calls), s (residuals, or hits) and e (expected hits), ticks x slices x series."""

    def __init__(self, known: Knowledge, first: int, ticks: int) -> None:
        self.known, self.first, self.ticks = known, first, ticks
        total = known.series.total[:, : known.series.slices]
        self.n, self.s, self.e = total[..., :K], total[..., K : 2 * K], total[..., 2 * K :]
        self.before = known.series.end - ticks  # the row of the last tick before the run
        self.margin = known.rates.margin

    @property
    def active(self) -> Flags:
        """Which series had calls in the last day."""
        end = self.before + self.ticks
        return np.asarray(self.n[end] > self.n[end - HISTORY])

    def window(self, i: int, slice_: int, series: int, width: int) -> tuple[float, float]:
        """Calls and sum of the `width` ticks up to and including the i-th that is read."""
        end, n, s = self.before + i + 1, self.n, self.s
        return (
            float(n[end, slice_, series] - n[end - width, slice_, series]),
            float(s[end, slice_, series] - s[end - width, slice_, series]),
        )

    def ticks_of(self, i: int, slice_: int, series: int, width: int) -> tuple[Floats, Floats]:
        """The same, tick by tick."""
        span = slice(self.before + i + 1 - width, self.before + i + 2)
        return np.diff(self.n[span, slice_, series]), np.diff(self.s[span, slice_, series])

    def across(self, i: int, series: int, width: int) -> tuple[Floats, Floats]:
        """The same of every slice."""
        end, n, s = self.before + i + 1, self.n[..., series], self.s[..., series]
        return n[end] - n[end - width], s[end] - s[end - width]

    def share(self, i: int, slice_: int, series: int, width: int) -> tuple[float, float]:
        """Share of hits to expect in the window, and its upper plausible value; 0, 0 for channels."""
        if series < C:
            return 0.0, 0.0
        end, e = self.before + i + 1, self.e[:, slice_, series - C]
        p = float(e[end] - e[end - width]) / max(self.window(i, slice_, series, width)[0], 1e-9)
        return p, min(p + float(self.margin[slice_, series - C]), CERTAIN)

    def z(self, slice_: int, series: int, w: int, n: float, s: float, upper: float) -> tuple[float, float]:
        """(z, strength) of a sum s over n in windows of kind w; strength, to compare slices, ignores wobble."""
        known = self.known
        if series >= C:
            z = deviance_root_of(s, n, upper)
            return z / float(known.rates.g[w, slice_, series - C]), z
        m, g, s2 = s / max(n, 1e-9), known.wobble.g[w, slice_, series], known.wobble.s2[w, slice_, series]
        z = m / float(g * np.sqrt(1 / max(n, 1e-9) + s2)) if n >= LEAST_N - 1 else 0.0
        return z, float(abs(m) * np.sqrt(n))

    def strengths(self, i: int, series: int, width: int, sign: float) -> Floats:
        """How much each slice stands out in a direction."""
        n, s = self.across(i, series, width)
        if series < C:
            return np.asarray(sign * s / np.sqrt(np.maximum(n, 1)))
        end, e = self.before + i + 1, self.e[..., series - C]
        p = (e[end] - e[end - width]) / np.maximum(n, 1e-9)
        return deviance_root(s, n, np.minimum(p + self.margin[:, series - C], CERTAIN))

    def onset(self, i: int, slice_: int, series: int, width: int, sign: float) -> int:
        """First tick of the last day's stretch whose sum of surprise is largest: CUSUM's last reset (Page 1954)."""
        n, s = self.ticks_of(i, slice_, series, HISTORY)
        if series < C:
            x = sign * s - 0.5 * n
        else:
            p = self.known.rates.base[slice_, series - C]
            excess = (s[-width:].sum() - p * n[-width:].sum()) / max(n[-width:].sum(), 1)
            x = sign * (s - p * n) - 0.3 * excess * n
        return self.first + i - int(np.argmax(np.cumsum(x[::-1])))


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One kind of window at the ticks it is looked at: where among rows taken out each begins and ends."""

    w: int
    ticks: Ints
    starts: slice | Ints
    ends: slice | Ints

    def rows(self, i: Ints) -> tuple[Ints, Ints]:
        """Where the i-th windows begin and end."""
        first, last = (
            at[i] if isinstance(at, np.ndarray) else at.start + i * at.step for at in (self.starts, self.ends)
        )
        return first, last


def place_of(some: Ints, rows: Ints) -> slice | Ints:
    """Where some evenly spaced rows are among (sorted) others; as a slice, which needs no copy, if none is missing."""
    if len(rows) <= rows[-1] - rows[0] or len(some) < 2:
        return np.searchsorted(rows, some)
    return slice(int(some[0] - rows[0]), int(some[-1] - rows[0]) + 1, int(some[1] - some[0]))


class Search:
    """Looks at every window of every live series; keeps hourly samples, and what is beyond the limits."""

    def __init__(self, panel: Panel, live: Flags) -> None:
        self.panel = panel
        columns = np.flatnonzero((live & ~panel.known.slices.same[:, None]).ravel())
        slices, series = columns // K, columns % K
        hits = panel.s[panel.before + panel.ticks] > panel.s[panel.before - HISTORY]
        mean, rate = series < C, (series >= C) & hits[slices, series]  # a rate without any hit cannot have risen
        self.mean = slices[mean], series[mean]
        self.rate = slices[rate], series[rate] - C
        self.found: list[Floats] = []

    def run(self, alarming: bool) -> Floats:
        """Surprises, one a row: tick read, slice, series, kind of window, z, n, s; in order of ticks."""
        panel = self.panel
        ticks = panel.first + np.arange(panel.ticks)
        hours = np.flatnonzero((ticks + 1) % HOUR == 0)
        panel.known.wobble.sample(panel.n, panel.s, panel.before + 1 + hours, (panel.first + hours) // HOUR)
        if alarming:
            self.means(STEPS)
        self.rates(STEPS if alarming else (HOUR,) * len(STEPS), alarming)
        found = np.concatenate(self.found) if self.found else np.zeros((0, 7))
        order = np.lexsort((found[:, 2], found[:, 1], found[:, 2] >= C, found[:, 3], found[:, 0]))
        return found[order]

    def take(self, steps: Sequence[int], columns: Ints) -> tuple[Floats, list[Look]]:
        """The rows of running totals that windows begin or end with (rows x columns), and where in them each does."""
        panel, total = self.panel, self.panel.known.series.total
        at = [np.arange(-(panel.first + 1) % step, panel.ticks, step) for step in steps]
        ends = [panel.before + 1 + x for x in at]
        rows = np.unique(np.concatenate([*ends, *(x - width for x, width in zip(ends, WINDOWS, strict=True))]))
        looks = [
            Look(w=w, ticks=at[w], starts=place_of(ends[w] - WINDOWS[w], rows), ends=place_of(ends[w], rows))
            for w in range(len(WINDOWS))
            if len(at[w])
        ]
        flat = total.reshape(len(total), -1)
        if len(rows) and len(rows) > rows[-1] - rows[0]:  # without a gap: a third of the time
            return flat[rows[0] : rows[-1] + 1].take(columns, axis=1), looks
        return flat[rows[:, None], columns], looks

    def means(self, steps: Sequence[int]) -> None:
        """Means whose |z| is over the limit."""
        (slices, series), wobble = self.mean, self.panel.known.wobble
        calls, many = slices * TOTALS + series, len(slices)
        total, looks = self.take(steps, np.concatenate([calls, calls + K]))
        for look in looks:
            sums = total[look.ends] - total[look.starts]
            n, s, g, s2 = sums[:, :many], sums[:, many:], *(x[look.w, slices, series] for x in (wobble.g, wobble.s2))
            limit = self.panel.known.settings.z * g
            # Two bounds of the limit of |s|, cheaper than itself: that of the fewest calls, and that of ever so many.
            few, slope = limit * np.sqrt(LEAST_N * (1 + LEAST_N * s2)), limit * np.sqrt(s2)
            i, c = np.nonzero(np.abs(s) > np.maximum(few, n * slope))
            n, s = n[i, c], s[i, c]
            over = (s * s > n * (1 + n * s2[c]) * limit[c] ** 2) & (n >= LEAST_N)
            z = s / (g[c] * np.sqrt(n * (1 + n * s2[c])))
            self.keep(over, look.ticks[i], slices[c], series[c], look.w, z, n, s)

    def rates(self, steps: Sequence[int], alarming: bool) -> None:
        """Rates whose z is over the limit; those of whole hours that are unusual are remembered."""
        (slices, series), panel, bases = self.rate, self.panel, self.panel.known.rates
        calls, margin = slices * TOTALS + C + series, panel.margin[slices, series]
        total, looks = self.take(steps, np.concatenate([calls, calls + K, calls + K + R]))
        n, k, e = np.split(total, 3, axis=1)
        excess = k - e - n * margin
        for look in looks:
            i, c = np.nonzero(excess[look.ends] - excess[look.starts] > 0.5)  # of others the deviance is 0
            first, last = look.rows(i)
            hits, calls, expected = (x[last, c] - x[first, c] for x in (k, n, e))
            p = np.minimum(expected / calls + margin[c], CERTAIN)
            bound = (hits - 0.5 - calls * p) ** 2 / (calls * p * (1 - p))  # of the deviance
            some = np.flatnonzero(bound > TYPICAL_99**2)
            i, c, hits, calls = i[some], c[some], hits[some], calls[some]
            z = deviance_root(hits, calls, p[some])
            bases.sample(panel.first + look.ticks[i], look.w, slices[c], series[c], z)
            if alarming:
                g, where = bases.g[look.w, slices[c], series[c]], (look.ticks[i], slices[c], series[c] + C, look.w)
                self.keep(z > panel.known.settings.z * g, *where, z / g, calls, hits)

    def keep(self, over: Flags, *columns: Ints | Floats | int) -> None:
        """Remember what is over its limit."""
        if over.any():
            rows = [x[over] if isinstance(x, np.ndarray) else x for x in columns]
            self.found.append(np.stack(np.broadcast_arrays(*rows), 1).astype(float, copy=False))
