"""What is observed besides a call's own measures: a thing's values, operation by operation, as they become known."""

from dataclasses import dataclass

import numpy as np

from .arrays import Floats, Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class Thing:
    """What is observed, and what is news about it."""

    name: str  # as alerts call it
    share: bool = False  # each value is 1 or 0
    bad: str = "either"  # the direction that is told: "up", "down" or "either"
    least: float = 0.0  # a smaller move is nobody's incident, in the thing's own unit
    whole: str = ""  # of a share: the thing whose values it would have had, all 0, before it first came
    told: bool = True  # False: it is only counted, as the whole of others
    covers: tuple[str, ...] = ()  # families of metrics: while an incident of one is open, it says the same
    everywhere: bool = False  # such an incident of any operation says the same: values are of whole requests
    group: str = ""  # of things that tell the same only one is told at a time
    patience: float = 1.0  # times the usual evidence: what other metrics show as well may wait for them


@dataclass(frozen=True, slots=True, kw_only=True)
class Observations:
    """Values of one thing in order of time: equally long columns."""

    thing: Thing
    words: tuple[str, ...]  # operations
    operation: Ints  # places in words
    t: Floats  # when each was known, UTC epoch seconds
    value: Floats
    weight: Floats  # values that come together from one session count for less than one each
    who: Ints  # a number for each session, conversation or request; -1: none


VALUE = np.dtype([("t", "f8"), ("value", "f8"), ("weight", "f4"), ("who", "i8"), ("pair", "i2")])
"""One value of a pair of thing and operation."""
SEEN = np.dtype([("pair", "i2"), ("value", "f8")])
"""The same, as far as a day is learned from."""
