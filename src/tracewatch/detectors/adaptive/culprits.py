"""The calls behind a part's evidence: do they bear it out, who explains them best, and what is it in figures?"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .alerts import Alert, Notice, Proof, score_of
from .arrays import Flags, Floats, Ints, Rows
from .channels import CACHE, CHANNELS, EFFECT, LEAST_MS, PART, TOKEN_TIME, C
from .evidence import FAR, read_mean, value_of
from .evidence import matters as share_matters
from .intake import PARTS, TICK
from .knowledge import Knowledge
from .parts import RATES_OF_PARTS, SERIES, Crossing, Parts, Sums, family_of, is_bad, sums_of
from .rates import NO_HIT, RATES, UP
from .windows import DAY

LEFT = 0.42  # of the evidence must remain without the worst session or ten minutes: .65 of its deviations
FEW_CALLS, FEW_SESSIONS = 5, 3  # with fewer it is one person's odd hour
MOST = 0.6  # of the calls of its segments: more is no part
SAME = 0.5  # of its move is made by the rest too: it is everybody's
FEW_VALUES = 4  # of each column are asked whether they explain it better
HOLD = 72  # ticks
PAUSE, DOUBTED = 12, 3  # ticks after evidence that was told, that was not borne out
LONG = 72  # ticks: a level rather than a spike
FAMILIES = tuple(family_of(i) for i in range(SERIES))


class Calls:
    """Some rows of several tables; a column is put together when it is asked for."""

    def __init__(self, pieces: list[tuple[Rows, Ints]]) -> None:
        self.pieces = pieces
        self.columns: Rows = {}

    def __getitem__(self, name: str) -> NDArray[Any]:
        if name not in self.columns:
            self.columns[name] = np.concatenate([rows[name][at] for rows, at in self.pieces])
        return self.columns[name]

    def sums(self) -> Sums:
        """What they add to evidence, each."""
        return sums_of({"weight": self["worth"], "apart": self["apart"], "chance": self["chance"]})


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Calls of the segments of a part since its evidence began to grow, and which are its own."""

    rows: Calls
    sums: Sums
    mine: Flags
    since: int  # tick


def look(known: Knowledge, parts: Parts, crossing: Crossing, first: int) -> Window | None:
    """The calls of a day, from the tick on since when the evidence has grown."""
    end, (column, code) = first + crossing.tick + 1, parts.bank.keys[crossing.part]
    own = calls(known, crossing.series, end - DAY, end, lambda rows: rows[PARTS[column]] == code)
    if not own.pieces or len(own["t"]) < FEW_CALLS:
        return None
    gain = evidence(parts, own.sums(), crossing.part, crossing.series, crossing.sign)
    begin = int(np.argmax(np.cumsum(gain[::-1])[::-1]))
    since, segments = int(own["t"][begin] // TICK), np.unique(own["segment"][begin:])
    rows = calls(known, crossing.series, since, end, lambda rows: np.isin(rows["segment"], segments))
    return Window(rows=rows, sums=rows.sums(), mine=rows[PARTS[column]] == code, since=since)


def calls(known: Knowledge, series: int, low: int, end: int, of: Callable[[Rows], Flags]) -> Calls:
    """Calls in the ticks from low to before end that count for a series."""
    pieces = []
    for until, rows in known.recent:
        if until > low:
            some = slice(*np.searchsorted(rows["t"], (low * TICK, end * TICK)))
            keep = of({name: rows[name][some] for name in ("segment", *PARTS)})
            keep &= np.isfinite(rows["apart"][some, series])
            pieces.append((rows, some.start + np.flatnonzero(keep)))
    return Calls(pieces)


def judge(known: Knowledge, parts: Parts, crossing: Crossing, first: int) -> Notice | None:
    """What is to be said of evidence over its limit, if anything. The part is then left alone for a while."""
    parts.bank.pause[crossing.part, crossing.series] = first + crossing.tick + 1 + DOUBTED
    if not is_bad(crossing.series, crossing.sign):
        return None
    window = look(known, parts, crossing, first)
    if window is None:
        return None
    column, code = parts.bank.keys[crossing.part]
    series = named(known, parts, window, crossing.part, crossing)
    if series is None:
        return None
    column, code, mine = blamed(parts, window, series, crossing.sign, (column, code))
    part = parts.bank.index.get((column, code))
    if (
        part is None
        or (series < C and not parts.is_known(part))
        or not holds(known, parts, window, part, mine, series, crossing.sign)
    ):
        return None
    parts.bank.pause[crossing.part, crossing.series] = first + crossing.tick + 1 + PAUSE
    parts.outcome = True
    parts.borne.add((column, code, series))
    return told(known, parts, window, part, mine, series, crossing, first)


def evidence(parts: Parts, sums: Sums, part: int, series: int, sign: float) -> Floats:
    """Of each of some calls, as calls of the part."""
    usual, slack = float(parts.bank.usual[part, series]), float(parts.bank.slack[part, series])
    return sums.gain(series, sign, usual, slack)


def named(known: Knowledge, parts: Parts, window: Window, part: int, crossing: Crossing) -> int | None:
    """The series of the family that stands out most; of latency the part rather than the sum."""
    best, series = 0.0, None
    for i in range(SERIES):
        if FAMILIES[i] != FAMILIES[crossing.series]:
            continue
        which = window.mine & (window.sums.weight[:, i] > 0)
        if which.sum() < FEW_CALLS:
            continue
        strength = float(np.sqrt(2 * max(evidence(parts, window.sums.some(which), part, i, crossing.sign).sum(), 0.0)))
        if i < C and FAMILIES[i] == "latency":
            strength *= PART[i]
        if strength > best and matters(known, parts, window, part, which, i):
            best, series = strength, i
    return series


def blamed(parts: Parts, window: Window, series: int, sign: float, who: tuple[int, int]) -> tuple[int, int, Flags]:
    """The part, of any column, whose calls in the window carry the most evidence."""
    present, best, found = window.sums.weight[:, series] > 0, 0.0, (*who, window.mine)
    for column, word in enumerate(PARTS):
        codes, count = np.unique(window.rows[word][window.mine & present], return_counts=True)
        for code in codes[np.argsort(-count, kind="stable")][:FEW_VALUES].tolist():
            part = parts.bank.index.get((column, code))
            which = present & (window.rows[word] == code)
            if part is None or which.sum() > MOST * present.sum():
                continue
            total = float(evidence(parts, window.sums.some(which), part, series, sign).sum())
            if total * (1.05 if (column, code) == who else 1.0) > best:  # as good as the one that was found: that one
                best, found = total, (column, code, window.rows[word] == code)
    return found


def matters(known: Knowledge, parts: Parts, window: Window, part: int, which: Flags, series: int) -> bool:
    """Is the move large enough for anyone to act on?"""
    if series >= C:
        hits, calls, expected = rate_of(parts, window, part, which, series)
        return share_matters(C + RATES_OF_PARTS[series - C], hits / calls, expected)
    move, typical = move_of(known, parts, window, part, which, series)
    width = max((window.rows["t"][which].max() - window.since * TICK) / TICK, 1.0)
    enough = abs(move) >= EFFECT[series] * np.sqrt(1 + 9 / width)
    return bool(enough and (LEAST_MS[series] == 0 or typical * np.expm1(abs(move)) >= LEAST_MS[series]))


def move_of(
    known: Knowledge, parts: Parts, window: Window, part: int, which: Flags, series: int
) -> tuple[float, float]:
    """How far the calls moved from how the part usually is (log ratio or difference), and a typical value."""
    g = window.rows["segment"][which]
    usual = parts.bank.usual[part, series] * known.expect.scale[g, series]
    move = np.clip(window.rows["r"][which, series], -FAR, FAR) - usual
    return float(move.mean()), float(known.expect.typical[g, series].mean())


def rate_of(parts: Parts, window: Window, part: int, which: Flags, series: int) -> tuple[float, float, float]:
    """Hits, calls and the share to be expected."""
    hit = window.rows["apart"][which, series]
    chance = window.rows["chance"][which, series - C].mean() * parts.bank.usual[part, series]
    return float(hit.sum()), float(len(hit)), float(min(chance, 0.9))


def holds(
    known: Knowledge, parts: Parts, window: Window, part: int, mine: Flags, series: int, sign: float
) -> bool:  # fmt: skip
    """Not one session's, not one moment's, not everybody's, and large enough to matter."""
    present = window.sums.weight[:, series] > 0
    which = mine & present
    if not FEW_CALLS <= which.sum() <= MOST * present.sum() or not matters(known, parts, window, part, which, series):
        return False
    gain, least = evidence(parts, window.sums.some(which), part, series, sign), LEFT * known.settings.z**2 / 2
    session, tick = window.rows["session_id"][which], (window.rows["t"][which] // TICK).astype(np.int64)
    if session.max() >= 0:
        codes, at = np.unique(session, return_inverse=True)
        if len(codes) < FEW_SESSIONS or gain.sum() - np.bincount(at, gain).max() < least:
            return False
    by_tick = np.bincount(tick - tick.min(), gain)
    if gain.sum() - np.convolve(by_tick, [1, 1]).max() < least:
        return False
    return stands_out(parts, window, part, which, present & ~mine, series, sign)


def stands_out(
    parts: Parts, window: Window, part: int, which: Flags, rest: Flags, series: int, sign: float
) -> bool:  # fmt: skip
    """Do the other calls of its segments not move as well?"""
    if not rest.any():
        return True
    if series < C:
        ours = window.rows["z"][which, series].mean() - parts.bank.usual[part, series]
        return bool(window.rows["z"][rest, series].mean() * sign < SAME * ours * sign)
    hits, calls, expected = rate_of(parts, window, part, which, series)
    theirs = (window.rows["apart"][rest, series].sum() + expected) / (rest.sum() + 1)
    return bool(theirs - expected < SAME * (hits / calls - expected))


def told(
    known: Knowledge, parts: Parts, window: Window, part: int, mine: Flags, series: int, crossing: Crossing, first: int
) -> Notice:  # fmt: skip
    """What to say."""
    which = mine & (window.sums.weight[:, series] > 0)
    column, code = parts.bank.keys[part]
    value = value_of(PARTS[column], known.intake.names[PARTS[column]].word[code])
    each = evidence(parts, window.sums.some(which), part, series, crossing.sign)
    gain = float(each.sum())
    severity, n, width = float(np.sqrt(2 * max(gain, 0.0))), int(which.sum()), first + crossing.tick + 1 - window.since
    if series < C:
        seen, kind = mean_of(known, parts, window, part, which, series), "spike" if crossing.sign > 0 else "drop"
        kind = "level_shift" if width >= LONG else kind
        up, metric = (crossing.sign > 0) != (series == TOKEN_TIME), CHANNELS[series].metric
    else:
        rate = RATES_OF_PARTS[series - C]
        seen, kind, up, metric = share_of(known, parts, window, part, which, series), "rate", UP[rate], RATES[rate]
    alert = Alert(
        detected_at=float((first + crossing.tick + 1) * TICK), metric=metric, direction="up" if up else "down",
        slice={PARTS[column]: value}, severity=severity, kind=kind, since=float(window.since * TICK),
        observed=seen[0], expected=seen[1], lower=seen[2], upper=seen[3], n=n,
        score=score_of(severity, known.settings.z),
    )  # fmt: skip
    whose = "fails_as" if metric == "fallback_rate" else "segment"
    segments = tuple(np.unique(window.rows[whose][which]).tolist())
    key = ("part", FAMILIES[series], PARTS[column], value)
    proof = Proof(
        tick=(window.rows["t"][which] // TICK).astype(np.int64), segment=window.rows["segment"][which], gain=each,
        least=known.settings.z**2 / 2,
    )  # fmt: skip
    return Notice(alert=alert, key=key, hold=HOLD, segments=segments, proof=proof)


def share_of(
    known: Knowledge, parts: Parts, window: Window, part: int, which: Flags, series: int
) -> tuple[float, float, float, float]:  # fmt: skip
    """Observed, expected, lower and upper share of hits; of calls without a cache hit the other way round."""
    hits, calls, p = rate_of(parts, window, part, which, series)
    reach = p + known.settings.z * float(np.sqrt(p * (1 - p) / calls)) + 0.5 / calls
    reach = min(reach, max(hits / calls, p), 1.0)
    if RATES_OF_PARTS[series - C] == NO_HIT:
        return 1 - hits / calls, 1 - p, 1 - reach, 1.0
    return hits / calls, p, 0.0, reach


def mean_of(
    known: Knowledge, parts: Parts, window: Window, part: int, which: Flags, series: int
) -> tuple[float, float, float, float]:  # fmt: skip
    """Observed, expected, lower and upper in the metric's own unit."""
    move = move_of(known, parts, window, part, which, series)[0]
    scale = float(known.expect.scale[window.rows["segment"][which], series].mean())
    wide = known.settings.z * scale * float(np.sqrt(1 / which.sum() + parts.bank.slack[part, series] ** 2))
    names = ("y", CHANNELS[series].metric) if series != CACHE else ("y",)
    seen = read_mean({name: window.rows[name][which] for name in names}, series, move, wide)
    return seen.observed, seen.expected, seen.lower, seen.upper
