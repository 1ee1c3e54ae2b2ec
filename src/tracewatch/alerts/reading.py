"""Single values as people write them, checked: words, numbers, times, lists, slices."""

from __future__ import annotations

import math
import re
import reprlib
from collections.abc import Collection
from typing import Any

from tracewatch.alerts.mistakes import MOST_TOLD, Mistake, Path, near, one_of
from tracewatch.errors import BadTime
from tracewatch.metrics.table import ENGINE, METRIC_OF, ROOTS, RULES
from tracewatch.metrics.types import TYPES
from tracewatch.records import Span, columns
from tracewatch.times import parse_duration

SLICED = tuple(each.name for each in columns(Span) if each.sliced)
NAMES = {
    "metrics": sorted({*METRIC_OF, *(each for each in ENGINE if "…" not in each)}),
    "types": sorted({*(each.key for each in TYPES), *RULES.values(), *METRIC_OF}),
}
LONGEST_SHOWN = 80  # characters
MOST_VALUES = 200  # of a list
LONGEST_S = 366 * 86_400.0
_BRIEF = reprlib.Repr()
_BRIEF.maxlevel = 2
_TIME_OF_DAY = re.compile(r"^([01]?\d|2[0-3]):([0-5]\d)$")


class Reader:
    """Reads values and notes what is wrong with them; each verb gives a value, or None after a mistake."""

    def __init__(self) -> None:
        self.mistakes: list[Mistake] = []

    def wrong(self, path: Path, why: str) -> None:
        """Notes a mistake."""
        self.mistakes.append(Mistake(path, why))

    def text(self, value: object, path: Path, choices: Collection[str] = ()) -> str | None:
        """A word, one of the choices where there are any."""
        if not isinstance(value, str) or not value.strip():
            self.wrong(path, f"{path[-1]} is a text: put {shown(value)} in quotes if that is what is meant")
            return None
        if choices and value not in choices:
            self.wrong(path, f"{path[-1]}: {one_of(value, choices)}")
            return None
        return value

    def truth(self, value: object, path: Path) -> bool | None:
        """True or false."""
        if isinstance(value, bool):
            return value
        self.wrong(path, f"{path[-1]} is true or false, and not {shown(value)}")
        return None

    def number(self, value: object, path: Path, least: float, most: float) -> float | None:
        """A number within bounds."""
        if isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most:
            return float(value)
        bounds = f" from {least:g} to {most:g}" if math.isfinite(most) else f" of at least {least:g}"
        bounds = bounds if math.isfinite(least) else " without its unit, such as 0.2 or 1500"
        self.wrong(path, f"{path[-1]} is a number{bounds}, and not {shown(value)}")
        return None

    def duration(self, value: object, path: Path) -> float | None:
        """Seconds of a text like 30m."""
        try:
            written = str(value) if isinstance(value, str | int | float) else ""
            found = 0.0 if value == 0 and not isinstance(value, bool) else parse_duration(written)
        except BadTime:
            found = -1.0
        if 0 <= found <= LONGEST_S:
            return found
        self.wrong(path, f"{path[-1]} is a time like 90s, 10m, 24h or 7d, and not {shown(value)}")
        return None

    def words(self, value: object, path: Path, choices: Collection[str] = ()) -> tuple[str, ...]:
        """A list of words; a single one will do."""
        some = self._few(value, path)
        read = [self.text(each, path, choices) for each in some]
        return tuple(dict.fromkeys(each for each in read if each is not None))

    def _few(self, value: object, path: Path) -> list[object]:
        """The values of a list, or the one there is; none of more than anybody means to write."""
        some = list(value) if isinstance(value, list | tuple) else [value]
        if len(some) <= MOST_VALUES:
            return some
        self.wrong(path, f"{path[-1]} has {len(some):,} values, and {MOST_VALUES} are the most: use * for many")
        return []

    def named(self, value: object, path: Path, what: str) -> tuple[str, ...]:
        """Names of metrics or of anomaly types, in which * stands for anything."""
        read = self.words(value, path)
        for each in read:
            if each not in NAMES[what] and "*" not in each and each.partition(".")[0] not in ROOTS:
                self.wrong(path, f"{path[-1]}: nothing is called '{each}'{near(each, NAMES[what])}")
        return read

    def slice(self, value: object, path: Path) -> dict[str, list[str | None]] | None:
        """Columns with the values that will do."""
        if not isinstance(value, dict) or not value:
            self.wrong(path, f"{path[-1]} names columns with their values, such as model_name: [gpt-5, claude-*]")
            return None
        read: dict[str, list[str | None]] = {}
        for place, (name, given) in enumerate(value.items()):
            if place >= MOST_TOLD + len(SLICED):
                break
            if name not in SLICED:
                hint = near(name, SLICED) or f": there are {', '.join(SLICED)}"
                self.wrong((*path, str(name)), f"incidents are not told apart by '{name}'{hint}")
                continue
            some = self._few(given, (*path, name))
            for each in some:
                if each is not None:
                    self.text(each, (*path, name))
            read[name] = [each for each in some if each is None or isinstance(each, str)]
        return read

    def time_of_day(self, value: object, path: Path) -> str | None:
        """A text like 22:00. YAML reads 22:00 without quotes as the number of minutes of that time, 1320."""
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 24 * 60:
            value = f"{value // 60:02}:{value % 60:02}"
        if isinstance(value, str) and _TIME_OF_DAY.match(value):
            return value.zfill(5)
        self.wrong(path, f"{path[-1]} is a time of day like 22:00, and not {shown(value)}")
        return None


def shown(value: Any) -> str:
    """A value in a few words: one of a file may be huge, or hold itself, or stand for billions by its anchors."""
    if isinstance(value, list | dict):
        return f"'{_BRIEF.repr(value)[:LONGEST_SHOWN]}'"
    return "nothing" if value is None or value == "" else f"'{str(value)[:LONGEST_SHOWN]}'"
