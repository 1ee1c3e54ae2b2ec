"""The rows behind a surprising window: do they bear it out, who alone explains them, what is it in figures?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np

from .arrays import Flags, Floats, Ints, Rows
from .channels import CACHE, CHANNELS, EFFECT, IS_LOG, LEAST_MS, NOISE, ROOM, TAILS, TOKEN_TIME, C, reported
from .intake import PARTS, TICK, TRUTHS
from .knowledge import Knowledge
from .panel import Panel
from .ramps import creeps
from .rates import EMPTY, FALLBACK, FAR_OFF, LEAST, LEAST_PART, NO_HIT, UNSTREAMED, R
from .rates import ROOM as RATE_ROOM
from .windows import HISTORY, WINDOWS

PART_Z = 3.0  # deviations of a part of latency, or of a slice, that may be named instead of what raised the alarm
FEW = 3  # rows: too few to ask who they are
FAR = 1.5  # log: further moves of a row count as this far when the effect is weighed
WITHOUT_WORST = 0.5  # of the limit, which must remain without the worst ten minutes or the worst session
WITHOUT_USER, HIS_SHARE, HIS_CALLS = 0.4, 0.6, 5  # he explains it when less of the limit remains without him
BY_SESSION = 0.75  # of the limit, which must remain when calls of a session count for less than one each
LEAST_SESSIONS = 4  # of what calls of a session share: fewer may be of one mind
EMPTY_LEAST = {**dict.fromkeys(range(EMPTY, NO_HIT), 0.06), NO_HIT: 0.5}  # of its usual share: less counts as empty
LEAST_FAR = 0.15  # of the calls must be far slower: a busy evening makes a tenth of them so
MANY_FAILURES = 60  # calls: with fewer, a burst of failures shorter than half an hour must last more than ten minutes
SHARED = np.array([c.shared for c in CHANNELS] + [False] * EMPTY + [True] * (R - EMPTY))  # what sessions share
ROOM_OF = np.concatenate([ROOM, RATE_ROOM])  # of each series
SOONEST = np.where(SHARED, 1, 0)  # the shortest kind of window on which a series is judged
SOONEST[C + FAR_OFF : C + EMPTY] = 1
LATEST = np.full(C + R, len(WINDOWS) - 1)  # the longest
LATEST[C + FAR_OFF : C + UNSTREAMED] = 3
BUT_STREAMING = tuple(word for word in PARTS if word != "streaming_enabled")
LASTS = np.array([not channel.heals for channel in CHANNELS] + [False] * R)  # worst five minutes, not ten
FAILURE = np.array([False] * C + [True] * 4 + [False] + [True] * (FAR_OFF - 5) + [False] * (R - FAR_OFF))


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A surprising window."""

    slice: int
    series: int
    w: int  # which kind of window
    width: int  # ticks; less than the kind's when an incident ended within it
    n: float
    s: float
    z: float
    weight: float = 0.0  # strength and neatness: which of several is named

    @property
    def sign(self) -> float:
        """Its direction: 1 up, -1 down."""
        return 1.0 if self.z > 0 else -1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What was seen and what was to be expected of the same calls, in the metric's own unit."""

    observed: float
    expected: float
    lower: float
    upper: float


def limit_of(known: Knowledge, series: int) -> float:
    """The deviations from which on a series alarms."""
    return known.settings.z * float(ROOM_OF[series])


EVERYBODY: Mapping[str, object] = MappingProxyType({})


def gather(panel: Panel, i: int, c: Candidate, columns: tuple[str, ...], who: Mapping[str, object] = EVERYBODY) -> Rows:
    """Columns of the rows behind a candidate: of its slice, a part of it and window, with a value for its series."""
    known, end = panel.known, panel.first + i + 1
    member, low, high = known.slices.members[c.slice] > 0, (end - c.width) * TICK, end * TICK
    parts = []
    for until, rows in known.recent:
        if until * TICK <= low:
            continue
        whose = rows["fails_as" if c.series == C + FALLBACK else "segment"]
        keep = member[whose] & (rows["t"] >= low) & (rows["t"] < high)
        keep &= np.isfinite(rows["z"][:, c.series]) if c.series < C else rows["use"][:, c.series - C]
        for word, value in who.items():
            keep &= rows[word] == known.intake.names[word].code[value]
        parts.append({k: v[keep] for k, v in rows.items() if k in columns})
    return {k: np.concatenate([part[k] for part in parts]) for k in parts[0]} if parts else {}


def matters(series: int, share: float, base: float) -> bool:
    """Is a rise of a share large enough to matter to anyone (or the part that should not be empty, empty)?"""
    part = series - C
    if part >= EMPTY:
        return 1 - share < EMPTY_LEAST[part] * (1 - base)
    return share - base >= max(LEAST_FAR if part >= FAR_OFF else LEAST, LEAST_PART * base)


def moved(c: Candidate, r: Floats, y: Floats) -> bool:
    """The same of a mean; short windows need more, as nobody acts on a tenth of a quarter of an hour."""
    enough = abs(float(np.clip(r, -FAR, FAR).mean())) >= EFFECT[c.series] * np.sqrt(1 + 9 / c.width)
    return bool(enough and (LEAST_MS[c.series] == 0 or c.sign * excess(r, y) >= LEAST_MS[c.series]))


def excess(r: Floats, y: Floats) -> float:
    """How much more of a channel's unit (ms) a call took than expected, where a tenth may be further off than told.

    >>> excess(np.log([2.0, 2.0]), np.array([20.0, 30.0]))
    12.5
    """
    more = np.sort(-y * np.expm1(-r))
    return float(np.minimum(more, more[int(0.9 * (len(more) - 1) + 0.5)]).mean())


def pooled(known: Knowledge, c: Candidate, table: Floats) -> float:
    """A learned number of the slice: the mean over its segments by the rows they were learned from."""
    g = np.flatnonzero(known.slices.members[c.slice])
    weight = known.expect.known[g, c.series] + 1e-9
    return float((table[g, c.series] * weight).sum() / weight.sum())


def without_worst(panel: Panel, i: int, c: Candidate, p: float, upper: float) -> float:
    """z, in its own direction, of what is left without the worst tick or two: hiccups of minutes heal by themselves."""
    n, s = panel.ticks_of(i, c.slice, c.series, c.width)
    surplus = c.sign * (s - n * p)
    at = int(np.argmax(np.convolve(surplus, [1, 1], "valid")))
    one = LASTS[c.series] or (c.width < 6 and (not FAILURE[c.series] or c.n < MANY_FAILURES))
    drop = [int(np.argmax(surplus))] if one else [at, at + 1]
    return c.sign * panel.z(c.slice, c.series, c.w, c.n - float(n[drop].sum()), c.s - float(s[drop].sum()), upper)[0]


def verify(panel: Panel, i: int, c: Candidate) -> dict[str, object] | None:
    """None when one moment or one session makes it, or nobody would care. Else {} or the user who alone explains it."""
    limit, (p, upper) = limit_of(panel.known, c.series), panel.share(i, c.slice, c.series, c.width)
    if without_worst(panel, i, c, p, upper) < WITHOUT_WORST * limit:
        return None
    rows = gather(panel, i, c, ("session_id", *PARTS, "z", "r", "y", "hit"))
    if not rows or len(rows["user_id"]) < FEW:
        return {}
    if c.series < C:
        value = rows["z"][:, c.series].astype(float)
        if not moved(c, rows["r"][:, c.series], rows["y"][:, c.series]):
            return None
    else:
        value = rows["hit"][:, c.series - C] - p
        if SHARED[c.series] and not holds_by_session(panel, c, rows["session_id"], value, p, upper):
            return None
    rest = left_without(panel, c, rows["session_id"], value, p, upper)
    if rest is not None and rest[0] < WITHOUT_WORST * limit:
        return None
    # Calls that do not stream have no time to first token: of what is slower in some channel they would seem spared.
    words = BUT_STREAMING if FAR_OFF <= c.series - C < EMPTY else PARTS
    return who_alone(panel, c, rows, words, value, p, upper)


def who_alone(
    panel: Panel, c: Candidate, rows: Rows, words: Sequence[str], value: Floats, p: float, upper: float
) -> dict[str, object]:  # fmt: skip
    """The user, version, ... without whose calls least is left, when that is little and they are few; {} if none is."""
    least, out = WITHOUT_USER * limit_of(panel.known, c.series), dict[str, object]()
    for word in words:
        rest = left_without(panel, c, rows[word], value, p, upper)
        if rest is None or rest[1] < 0:  # those without a word are no one part
            continue
        if rest[0] < least and rest[2].mean() < HIS_SHARE and rest[2].sum() >= HIS_CALLS:
            least, out = rest[0], {word: value_of(word, panel.known.intake.names[word].word.get(rest[1]))}
    return {word: value for word, value in out.items() if value is not None}


def value_of(word: str, value: object) -> object:
    """A value as its column has it: truth arrives as a number."""
    return bool(value) if word in TRUTHS else value


def holds_by_session(panel: Panel, c: Candidate, session: Ints, value: Floats, p: float, upper: float) -> bool:
    """Does it hold when calls of a session count for as much as they are unlike each other?"""
    if session[0] < 0:
        return True
    known, (_, sizes) = panel.known, np.unique(session, return_counts=True)
    if len(sizes) < LEAST_SESSIONS:
        return False
    n = known.clumps.effective(known.slices.members[c.slice], c.series - C - EMPTY, sizes)
    z = panel.z(c.slice, c.series, c.w, n, n * (float(value.mean()) + p), upper)[0]
    return z >= BY_SESSION * limit_of(known, c.series)


def left_without(
    panel: Panel, c: Candidate, who: Ints, value: Floats, p: float, upper: float
) -> tuple[float, int, Flags] | None:
    """z without whoever adds most, his code and rows; None when nobody can be told apart."""
    if who.max() < 0:
        return None
    codes, at = np.unique(who, return_inverse=True)
    if len(codes) == 1:
        return None
    top = int(np.argmax(c.sign * np.bincount(at, value)))
    mine = at == top
    n = float((~mine).sum()) * c.n / len(who)  # of very many rows a sample is at hand
    z = panel.z(c.slice, c.series, c.w, n, (float(value[~mine].mean()) + p) * n, upper)[0]
    return c.sign * z, int(codes[top]), mine


def of_part(panel: Panel, i: int, c: Candidate, who: Mapping[str, object]) -> Candidate:
    """The same window of the calls of one user, version, ... alone."""
    everybody, rows = (gather(panel, i, c, ("segment", "z", "hit"), each) for each in (EVERYBODY, who))
    value = rows["z"][:, c.series] if c.series < C else rows["hit"][:, c.series - C]
    whole = c.n / len(everybody["segment"])  # of very many rows a sample is at hand
    return replace(c, n=len(value) * whole, s=float(value.sum(dtype=float)) * whole)


def read(panel: Panel, i: int, c: Candidate, who: Mapping[str, object] = EVERYBODY) -> Reading:
    """A candidate in its metric's own unit; of a part alone if it is one's."""
    if c.series < C:
        known = panel.known
        g, s2 = known.wobble.g[c.w, c.slice, c.series], known.wobble.s2[c.w, c.slice, c.series]
        sd = pooled(known, c, known.expect.scale)
        z = abs(panel.z(c.slice, c.series, c.w, c.n, c.s, 0.0)[0])
        limit = limit_of(known, c.series) if z >= limit_of(known, c.series) else PART_Z
        wide = limit * float(g * np.sqrt(NOISE[c.series] / max(c.n, 1) + s2)) * sd
        rows = gather(panel, i, c, ("y", "r", *{channel.metric for channel in CHANNELS}), who)
        return read_mean(rows, c.series, whole_move(rows["r"][:, c.series], c.s / max(c.n, 1) * sd), wide)
    part = c.series - C
    if EMPTY <= part < NO_HIT:
        rows = gather(panel, i, c, ("y", "r", *{channel.metric for channel in CHANNELS}), who)
        channel = TAILS[part - EMPTY].channel
        move = float(np.median(rows["r"][:, channel]))
        wide = 2 * pooled(panel.known, c_of(c, channel), panel.known.expect.scale) / np.sqrt(max(c.n, 1))
        return read_mean(rows, channel, move, wide)
    return read_share(panel, i, c, who)


def whole_move(residuals: Floats, judged: float) -> float:
    """How far the calls of a window have moved: what was judged is clipped at three deviations, which hides how far.

    >>> whole_move(np.array([1.4, 1.5, 1.6]), judged=0.3), whole_move(np.array([-0.1]), judged=0.3)
    (1.5, 0.3)
    """
    known = residuals[np.isfinite(residuals)]
    plain = float(np.median(known)) if len(known) else 0.0
    return plain if plain * judged > 0 and abs(plain) > abs(judged) else judged


def c_of(c: Candidate, series: int) -> Candidate:
    """The same window of another series."""
    return Candidate(slice=c.slice, series=series, w=c.w, width=c.width, n=c.n, s=c.s, z=c.z)


def read_mean(rows: Rows, channel: int, move: float, wide: float) -> Reading:
    """The typical call of the window, and the same without the move (log ratio or difference), give or take `wide`."""
    values = reported(rows, channel)
    values = values[np.isfinite(values)]
    if not len(values):
        return Reading(observed=0.0, expected=0.0, lower=0.0, upper=0.0)
    if not IS_LOG[channel]:
        typical = float(values.mean())
        ends = (typical - move, typical - move - wide, typical - move + wide)
    elif channel == TOKEN_TIME:  # was judged as time per token
        typical = float(np.median(values))
        ends = (typical * np.exp(move), typical * np.exp(move - wide), typical * np.exp(move + wide))
    else:  # the part of it that was judged, and the rest of it (its queue, or the prompt before)
        typical, judged = float(np.median(values)), float(np.nanmedian(rows["y"][:, channel]))
        low, middle, high = (max(typical + judged * float(np.expm1(x - move)), 0.0) for x in (-wide, 0.0, wide))
        ends = (middle, low, high)
    top = 1.0 if channel == CACHE else np.inf
    expected, lower, upper = (float(np.clip(x, 0.0, top)) for x in ends)
    return Reading(observed=typical, expected=expected, lower=lower, upper=upper)


def read_share(panel: Panel, i: int, c: Candidate, who: Mapping[str, object]) -> Reading:
    """Share of hits, its base, and the share that would have reached the limit (normal approximation)."""
    share, (p, high) = c.s / c.n, panel.share(i, c.slice, c.series, c.width)
    if who and c.series - C != NO_HIT:  # the usual share of those very calls
        whose = gather(panel, i, c, ("fails_as" if c.series == C + FALLBACK else "segment",), who)
        own = float(panel.known.rates.segment[next(iter(whose.values())), c.series - C].mean())
        p, high = own, own + high - p
    g = float(panel.known.rates.g[c.w, c.slice, c.series - C])
    reach = high + limit_of(panel.known, c.series) * g * float(np.sqrt(high * (1 - high) / c.n)) + 0.5 / c.n
    reach = min(max(reach, p + max(LEAST, LEAST_PART * p)), max(share, p), 1.0)
    if c.series - C == NO_HIT:
        return Reading(observed=1 - share, expected=1 - p, lower=1 - reach, upper=1.0)
    return Reading(observed=share, expected=p, lower=0.0, upper=reach)


def kind_of(panel: Panel, i: int, c: Candidate) -> str:
    """What to call the movement."""
    if c.series >= C:
        return "rate"
    if WINDOWS[c.w] >= 72:
        return "ramp" if creeps(*panel.ticks_of(i, c.slice, c.series, HISTORY)) else "level_shift"
    return "spike" if c.z > 0 else "drop"
