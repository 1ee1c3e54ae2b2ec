"""Who calls belong to, as numbers that stay the same after a restart, and what calls that come together count for."""

from __future__ import annotations

from collections.abc import Sequence
from zlib import crc32

import numpy as np

from tracewatch.detectors.adaptive.intake import TICK
from tracewatch.detectors.adaptive.ledger import Groups
from tracewatch.detectors.adaptive.parts import CORRELATED
from tracewatch.detectors.spec import Floats, Integers
from tracewatch.metrics.rows import Rows

NOBODY = -1


def numbered(words: Sequence[str | None]) -> Integers:
    """A number for each word, NOBODY for None. Two of a million words may have the same one.

    >>> numbered(["a", None, "a"]).tolist()
    [3904355907, -1, 3904355907]
    """
    return np.array([NOBODY if word is None else crc32(word.encode("utf-8", "replace")) for word in words], np.int64)


def people(rows: Rows, name: str) -> Integers:
    """The number of each row's session or conversation."""
    codes, words = rows.codes(name)
    return numbered(words)[codes]


def weights(who: Integers, times: Floats) -> Floats:
    """What each row counts for: those of one session within five minutes share their history."""
    together = np.ones(len(who))
    named = np.flatnonzero(who >= 0)
    if len(named):
        tick = (times[named] // TICK).astype(np.int64)
        span = int(np.ptp(tick)) + 1
        groups = Groups(who[named] * span + tick - tick.min())
        together[named[groups.order]] = groups.spread(groups.sizes.astype(float))
    return 1 / (1 + (together - 1) * CORRELATED)
