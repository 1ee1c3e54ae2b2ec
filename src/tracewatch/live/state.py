"""What is kept between two passes: what has been learned, and where reading stands."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf

from tracewatch.judge import Judge
from tracewatch.times import HOUR_S

MOST_KEYS = 1_000_000  # remembered keys: 100 rows a second for almost three hours; 20 bytes each in the file


class Keys:
    """Which rows have been handed over already, and in which hour each of them ended."""

    def __init__(self) -> None:
        self.all: set[int] = set()
        self.of_hour: dict[int, list[int]] = {}

    def __len__(self) -> int:
        return len(self.all)

    def __contains__(self, key: int) -> bool:
        return key in self.all

    def add(self, key: int, ended: float) -> None:
        """Remembers a key that is not known yet."""
        self.all.add(key)
        self.of_hour.setdefault(int(ended // HOUR_S), []).append(key)

    def forget(self, before: float) -> None:
        """Forgets rows that ended in hours before that moment, and of too many the oldest."""
        for hour in sorted(self.of_hour):
            if (hour + 1) * HOUR_S > before and len(self) <= MOST_KEYS:
                break
            self.all.difference_update(self.of_hour.pop(hour))


@dataclass(slots=True, kw_only=True)
class Reading:
    """How far the rows of a store have been read. Times are UTC epoch seconds."""

    cursor: str | None = None
    """Rows written up to here have been read; None before the first pass."""
    target: str | None = None
    """Rows written up to here are being read, in order of their start; None between two passes."""
    through: float = -inf
    """Of those, the ones that began before this have been read."""
    judged: float = -inf
    """The moment up to which calls have been judged."""
    newest: float = -inf
    """When the latest call that was read began."""
    fresh: bool = False
    """Whether rows have ever come as they happened, and not only as the history of an import."""
    ahead_from: float = inf
    """Rows that began from here on have been passed over, because their time had not come."""
    ahead_until: float = -inf
    """When the latest of those begins."""
    rows: int = 0
    """How many calls have been learned from."""
    late: int = 0
    """How many came too late to count."""
    keys: Keys = field(default_factory=Keys)


@dataclass(slots=True, kw_only=True)
class Told:
    """A finding that may still end."""

    id: str
    since: float
    ended: float | None = None


@dataclass(slots=True, kw_only=True)
class State:
    """Everything that a pass leaves to the next one."""

    judge: Judge
    reading: Reading = field(default_factory=Reading)
    anew: bool = True
    """Whether history is being learned for the first time, or again."""
    told: dict[int, Told] = field(default_factory=dict)
    """Findings by the engine's number of their story."""

    @property
    def whole(self) -> bool:
        """Whether everything is there and of its kind: what was stored may have been written by anybody."""
        kinds = {"judge": Judge, "reading": Reading, "anew": bool, "told": dict}
        return all(isinstance(getattr(self, name, None), kind) for name, kind in kinds.items())
