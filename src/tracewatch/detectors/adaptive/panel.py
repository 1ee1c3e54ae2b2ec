"""The sums of every slice over the ticks being read and the day before, and how surprising any window of them is."""

import numpy as np

from .arrays import Flags, Floats, Ints
from .channels import C
from .knowledge import Knowledge
from .windows import HISTORY, STEPS, WINDOWS, deviance_root, deviance_root_of, trailing

LEAST_N = 4  # calls in a window before its mean says anything
Sums = tuple[Floats, ...]
CERTAIN = 0.9999  # a base of 1 has no upper tail


class Panel:
    """Cumulative n (calls), s (residuals, or hits) and e (expected hits), slices x series x ticks."""

    def __init__(self, known: Knowledge, first: int, ticks: int) -> None:
        self.known, self.first, self.ticks = known, first, ticks
        self.n, self.s, self.e = known.series.by_slice(known.slices.members)
        self.margin = known.rates.margin

    def window(self, i: int, slice_: int, series: int, width: int) -> tuple[float, float]:
        """Calls and sum of the `width` ticks up to and including the i-th that is read."""
        end = HISTORY + i + 1
        n, s = self.n[slice_, series], self.s[slice_, series]
        return float(n[end] - n[end - width]), float(s[end] - s[end - width])

    def ticks_of(self, i: int, slice_: int, series: int, width: int) -> tuple[Floats, Floats]:
        """The same, tick by tick."""
        span = slice(max(HISTORY + i + 1 - width, 0), HISTORY + i + 2)
        return np.diff(self.n[slice_, series, span]), np.diff(self.s[slice_, series, span])

    def across(self, i: int, series: int, width: int) -> tuple[Floats, Floats]:
        """The same of every slice."""
        end = HISTORY + i + 1
        n, s = self.n[:, series], self.s[:, series]
        return n[:, end] - n[:, end - width], s[:, end] - s[:, end - width]

    def share(self, i: int, slice_: int, series: int, width: int) -> tuple[float, float]:
        """Share of hits to expect in the window, and its upper plausible value; 0, 0 for channels."""
        if series < C:
            return 0.0, 0.0
        end, e = HISTORY + i + 1, self.e[slice_, series - C]
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
        end, e = HISTORY + i + 1, self.e[:, series - C]
        p = (e[:, end] - e[:, end - width]) / np.maximum(n, 1e-9)
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


class Search:
    """Looks at every window of every live series; keeps hourly samples of all, and what is beyond the limits."""

    def __init__(self, panel: Panel, live: Flags) -> None:
        self.panel, series = panel, live.shape[1]
        columns = np.flatnonzero((live & ~panel.known.slices.same[:, None]).ravel())
        kind = columns % series
        hits = panel.s[:, :, -1].ravel()[columns] > 0  # a rate without any cannot have risen
        mean, rate = columns[kind < C], columns[(kind >= C) & hits]
        self.mean = mean // series, mean % series
        self.rate = rate // series, rate % series - C
        self.found: list[Floats] = []

    def run(self, alarming: bool) -> Floats:
        """Surprises, one a row: tick read, slice, series, kind of window, z, n, s; in order of ticks."""
        panel = self.panel
        (ms, mk), (rs, rk) = self.mean, self.rate
        means = panel.n[ms, mk], panel.s[ms, mk]
        rates = panel.n[rs, rk + C], panel.s[rs, rk + C], panel.e[rs, rk]
        hours = np.flatnonzero((np.arange(panel.first, panel.first + panel.ticks) + 1) % 12 == 0)
        slots = (panel.first + hours) // 12 % panel.known.sampled.size
        panel.known.sampled[slots] = panel.first + hours
        for store in (panel.known.wobble.n, panel.known.wobble.mean, panel.known.rates.z):
            store[..., slots] = 0
        for w in range(len(WINDOWS)):
            self.window(w, means, rates, hours, slots, alarming)
        found = np.concatenate(self.found) if self.found else np.zeros((0, 7))
        order = np.lexsort((found[:, 2], found[:, 1], found[:, 2] >= C, found[:, 3], found[:, 0]))
        return found[order]

    def window(self, w: int, means: Sums, rates: Sums, hours: Ints, slots: Ints, alarming: bool) -> None:
        """One kind of window: the ticks it is looked at, or the hours alone while nothing may be said."""
        panel, width = self.panel, WINDOWS[w]
        step = STEPS[w] if alarming else 12
        first = -(panel.first + 1) % step
        at, hour = np.arange(first, panel.ticks, step), (hours - first) // step
        span = (width, HISTORY + first, HISTORY + panel.ticks, step)
        n, s = (trailing(x, *span) for x in means)
        nr, kr, er = (trailing(x, *span) for x in rates)
        wobble, bases = panel.known.wobble, panel.known.rates
        (ms, mk), (rs, rk) = (x[:, None] for x in self.mean), (x[:, None] for x in self.rate)
        wobble.mean[w, ms, mk, slots] = s[:, hour] / np.maximum(n[:, hour], 1)
        wobble.n[w, ms, mk, slots] = n[:, hour]
        upper = np.minimum(er / np.maximum(nr, 1e-9) + panel.margin[rs, rk], CERTAIN)
        zr = deviance_root(kr, nr, upper)
        bases.z[w, rs, rk, slots] = zr[:, hour]
        if alarming:
            self.means_beyond(w, at, n, s)
            self.rates_beyond(w, at, nr, kr, zr)

    def means_beyond(self, w: int, at: Ints, n: Floats, s: Floats) -> None:
        """Means whose |z| is over the limit."""
        (slices, series), wobble = self.mean, self.panel.known.wobble
        g, s2 = wobble.g[w, slices, series], wobble.s2[w, slices, series]
        least = (self.panel.known.settings.z * g) ** 2
        c, i = np.nonzero((s * s > n * (1 + n * s2[:, None]) * least[:, None]) & (n >= LEAST_N))
        if len(c):
            n, s = n[c, i], s[c, i]
            z = s / (g[c] * np.sqrt(n * (1 + n * s2[c])))
            self.found.append(np.stack([at[i], slices[c], series[c], np.full(len(i), w), z, n, s], 1))

    def rates_beyond(self, w: int, at: Ints, n: Floats, k: Floats, z: Floats) -> None:
        """Rates whose z is over the limit."""
        slices, series = self.rate
        g = self.panel.known.rates.g[w, slices, series]
        c, i = np.nonzero(z > self.panel.known.settings.z * g[:, None])
        if len(c):
            found = [at[i], slices[c], series[c] + C, np.full(len(i), w), z[c, i] / g[c], n[c, i], k[c, i]]
            self.found.append(np.stack(found, 1))
