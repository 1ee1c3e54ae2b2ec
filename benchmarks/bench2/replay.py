"""Real request streams. A stream is a list of sessions in their real order; a session is a list of calls
(seconds since its first call, input tokens, output tokens, prefix-block hashes).

Azure has no session field: each request is a session of one call without hashes. In Mooncake, calls which share
a prefix of at least two blocks belong to one session, so the gaps between turns and the reuse of prefixes are real."""
import os
from functools import lru_cache

import numpy as np

BLOCK = 512


class Stream:
    def __init__(self, name, start, calls):
        self.name, self.calls = name, calls
        s = np.asarray(start, float); gap = np.diff(s, append=s[-1] + (s[-1] - s[0]) / max(1, len(s) - 1))
        gap = np.minimum(gap, 15 * gap.mean())  # a 7-minute hole in the one-hour code trace would become a day without calls
        self.gap = gap / gap.mean()            # real gaps between session starts in units of their mean
        self.n = len(calls); self.calls_per_session = sum(map(len, calls)) / self.n


def _sessions(t, n_in, n_out, hashes, rng):
    root, last, out, start = {}, {}, [], []
    quantum = 3.0 if len(np.unique(t)) < len(t) / 5 else 0.0       # Mooncake conversation is stamped every 3 s; spread inside the quantum
    tt = t + (rng.random(len(t)) * quantum if quantum else 0)
    for i in np.argsort(tt, kind="stable"):
        h = hashes[i]; s = None
        if len(h) > 2:
            for b in h[1:][::-1]:
                if b in root: s = root[b]; break
        if s is None or len(out[s]) >= 60: s = len(out); out.append([]); start.append(tt[i])
        for b in h[1:]: root[b] = s
        out[s].append((float(tt[i] - start[s]), int(n_in[i]), int(n_out[i]), h))
    return start, out


@lru_cache(None)
def load():
    z = np.load(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "data", "real_arrivals.npz")); rng = np.random.default_rng(20231116); S = {}
    for k in ("conv", "code"):
        S[f"azure_{k}"] = Stream(f"azure_{k}", z[f"azure_{k}_t"], [[(0.0, int(a), int(b), ())] for a, b in zip(z[f"azure_{k}_in"], z[f"azure_{k}_out"])])
    for k in ("conversation", "synthetic"):
        cut = np.cumsum(z[f"moon_{k}_len"])[:-1]; h = [tuple(x.tolist()) for x in np.split(z[f"moon_{k}_hash"], cut)]
        start, calls = _sessions(z[f"moon_{k}_t"], z[f"moon_{k}_in"], z[f"moon_{k}_out"], h, rng)
        S[f"moon_{k}"] = Stream(f"moon_{k}", start, calls)
    return S


def tile(stream, rate, step, rng, offset=None):
    """Session starts whose gaps are the real ones, in the order of the trace, in operational time: the k-th session
    starts when the integral of `rate` (sessions per `step` seconds) reaches the k-th real cumulative gap."""
    lam = np.concatenate([[0], np.cumsum(rate)]); total = lam[-1]; k0 = int(rng.integers(stream.n)) if offset is None else offset
    need = int(total * 1.15) + 50; idx = (k0 + np.arange(need)) % stream.n; lap = (k0 + np.arange(need)) // stream.n
    s = np.cumsum(stream.gap[idx]); keep = s < total
    return np.interp(s[keep], lam, np.arange(len(lam)) * step), idx[keep], lap[keep]
