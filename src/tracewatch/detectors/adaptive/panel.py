"""The sums of every slice over the ticks being read and the day before, and how surprising any window of them is."""

import numpy as np

from .arrays import Flags, Floats
from .channels import NOISE, C
from .knowledge import Knowledge
from .series import K
from .windows import CERTAIN, HISTORY, deviance_root, deviance_root_of

LEAST_N = 4  # calls in a window before its mean says anything


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
        z = m / float(g * np.sqrt(NOISE[series] / max(n, 1e-9) + s2)) if n >= LEAST_N - 1 else 0.0
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
