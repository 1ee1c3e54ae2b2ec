"""Whether weekly levels creep: a line through the last of them, beyond their natural movement and beyond a step.

Two things must be told apart from it. Of levels that sway around a middle the slope is compared with what second
differences show, in which a line is nothing, or with what the line leaves, if that is more. Of levels that wander the
mean step from week to week is compared with how steps differ, here and, as a prior, in the same measure of all
segments: a Student test of increments. Each third of the time must contribute to the rise: of one step two thirds hold
still. Our own.
"""

from dataclasses import dataclass

import numpy as np

from .arrays import Flags, Floats, Ints
from .channels import EFFECT, GOOD, GROWTH, IS_LOG, ROOM, C
from .levels import SHARES, WEEKS, Weeks
from .rates import LEAST, LEAST_PART

SERIES = C + SHARES
SPANS = tuple(range(4, WEEKS + 1))  # weeks: in three a step in the middle one looks like a line
CREEPS = 0.18  # least log ratio: a fifth
TIMES = 2.0  # the least effect of a window, of what is not a log: in weeks it may sway
THIRD = 0.15  # of the whole, that each third of the time contributes
PRIOR_WEEKS, PRIOR_STEPS = 4, 8  # pseudo-weeks of the priors
SWAYS = np.array([*np.where(IS_LOG, 0.03, 0.01), *[0.02] * SHARES])  # deviation around a line, before chance
STEPS = SWAYS * 4 / 3  # of the step from one week to the next, before other series are known
WALKS = 1.375  # a slope that is over its limit must be over this part of it as a walk, too: 4.0 of 5.5
LEAST_RISE = np.where(IS_LOG, np.maximum(CREEPS, EFFECT), TIMES * EFFECT)
GOOD_OF = np.array([*GOOD, *[-1] * SHARES])
WATCHED = np.arange(SERIES) != GROWTH  # prompts have a series of their own
SWAYING = 6  # weeks at least of prompts and answers: what people ask and get goes up and down for a month by itself
LEAST_WEEKS = np.array([*np.where(ROOM > 1, SWAYING, SPANS[0]), *[SPANS[0]] * SHARES])


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """Of each series (segments x series) the line that is clearest; a z of 0 where there is none to tell."""

    z: Floats
    weeks: Ints  # that it goes through


def lines_of(weeks: Weeks, steps: Floats) -> Lines:
    """The lines through weekly levels, given the variance of steps of each series.

    >>> level = np.full((1, SERIES, WEEKS), np.nan)
    >>> level[0, :2, -6:] = np.arange(6) * 0.08, np.arange(6) > 2
    >>> weeks = Weeks(level=level, chance=np.full(level.shape, 1e-4), fresh=np.full((1, SERIES), WEEKS))
    >>> found = lines_of(weeks, STEPS**2)
    >>> found.weeks[0, :2].tolist(), found.z[0, :2].round(1).tolist()
    ([6, 0], [7.4, 0.0])
    """
    level, noise, apart = weeks.level, noise_of(weeks), np.diff(weeks.level, axis=-1)
    between = 2 * mean_of(weeks.chance, np.isfinite(level))  # of two weeks
    z, best = np.zeros(noise.shape), np.zeros(noise.shape, np.int64)
    for span in SPANS:
        last, x = level[..., -span:], np.arange(span) - (span - 1) / 2
        square = float(x @ x)
        middle, slope = last.mean(-1), last @ x / square
        left = ((last - middle[..., None] - slope[..., None] * x) ** 2).sum(-1) / (span - 2)
        each = slope * np.sqrt(square / np.maximum(noise, left))
        walk = np.abs(walk_of(apart, between, steps, span - 1)) * WALKS
        each = np.clip(each, -walk, walk)
        told = creeps(last, slope) & matters(middle, slope * (span - 1)) & (span <= weeks.fresh) & (span >= LEAST_WEEKS)
        each[~told | (each * GOOD_OF > 0)] = 0.0
        clearer = (np.abs(each) > np.abs(z)) & WATCHED
        z[clearer], best[clearer] = each[clearer], span
    return Lines(z=z, weeks=best)


def noise_of(weeks: Weeks) -> Floats:
    """The variance of a week's level around any line."""
    level = weeks.level
    bends = (level[..., :-2] - 2 * level[..., 1:-1] + level[..., 2:]) ** 2 / 6
    there = np.isfinite(bends)
    prior = SWAYS**2 + mean_of(weeks.chance, np.isfinite(level))
    return np.asarray((PRIOR_WEEKS * prior + np.where(there, bends, 0).sum(-1)) / (PRIOR_WEEKS + there.sum(-1)))


def walk_of(apart: Floats, between: Floats, prior: Floats, last: int) -> Floats:
    """How far a walk has come in its last steps, in its deviations; the steps before them are steps about nothing.

    What differs between two weeks by chance does not add up from step to step.
    """
    late, early = apart[..., -last:], apart[..., :-last]
    mean, there = late.mean(-1), np.isfinite(early)
    squares, many = ((late - mean[..., None]) ** 2).sum(-1), last - 1 + there.sum(-1)
    squares = np.maximum(squares + np.where(there, early**2, 0.0).sum(-1) - many * between, 0)
    step = (PRIOR_STEPS * prior + squares) / (PRIOR_STEPS + many)
    return np.asarray(mean * last / np.sqrt(last * step + between))


def steps_of(weeks: Weeks) -> Floats:
    """Sums of squares of steps about their mean, beyond chance, and how many there are (2 x series)."""
    apart = np.diff(weeks.level, axis=-1)
    there = np.isfinite(apart)
    many = np.maximum(there.sum(-1) - 1, 0)
    off = np.where(there, apart - mean_of(apart, there)[..., None], 0.0)
    beyond = (off**2).sum(-1) - many * 2 * mean_of(weeks.chance, np.isfinite(weeks.level))
    return np.stack([beyond.sum(0), many.sum(0)])


def mean_of(x: Floats, there: Flags) -> Floats:
    """The mean over the last axis of what is there; 0 of nothing."""
    return np.asarray(np.where(there, x, 0.0).sum(-1) / np.maximum(there.sum(-1), 1))


def creeps(last: Floats, slope: Floats) -> Flags:
    """Does each third of the time contribute?"""
    cuts = np.round(np.linspace(0, last.shape[-1] - 1, 4)).astype(np.int64)
    thirds = np.diff(last[..., cuts], axis=-1) * np.sign(slope)[..., None]
    return np.asarray((thirds >= THIRD * np.abs(slope)[..., None] * (last.shape[-1] - 1)).all(-1))


def matters(middle: Floats, rise: Floats) -> Flags:
    """Is it a move that anybody would act on? A share is known by the arcsine of its root."""
    out = np.zeros(rise.shape, bool)
    out[..., :C] = np.abs(rise[..., :C]) >= LEAST_RISE
    before, now = (share_of((middle + side * rise / 2)[..., C:]) for side in (-1, 1))
    out[..., C:] = now - before >= np.maximum(LEAST, LEAST_PART * before)
    return out


def began(levels: Floats) -> tuple[int, float]:
    """Weeks since a level that was even began to creep, by least squares over all, and how far it has come.

    >>> began(np.array([np.nan, 0, 0, 0, 0, 1, 2, 3, 4]))
    (5, 4.0)
    """
    known = levels[np.isfinite(levels)]
    x, best, out = np.arange(len(known)), np.inf, (len(known), 0.0)
    for weeks in range(SPANS[0], len(known) + 1):
        since = np.maximum(x - (len(known) - weeks), 0.0)
        off = since - since.mean()
        slope = float(off @ known / (off @ off))
        left = float(((known - known.mean() - slope * off) ** 2).sum())
        if left < best:
            best, out = left, (weeks, slope * (weeks - 1))
    return out


def share_of(angle: Floats) -> Floats:
    """The share that has this arcsine of its root."""
    return np.asarray(np.sin(np.clip(angle, 0, np.pi / 2)) ** 2)
