"""Where the engine meets what is watched beside its own measures: it may live here, or with a second process."""

from collections.abc import Callable, Iterable

import numpy as np

from .alerts import Notice
from .arrays import Rows
from .extras import Extras, Said
from .intake import WATCHED
from .knowledge import Knowledge
from .lodging import Lodging
from .names import Names
from .observations import Observations, Thing

HOLD = 72  # ticks of silence about the same
EXTRAS = "extras"
"""As it is called where it lives with others."""


class Beside:
    """Extras, the numbers of calls that are watched by name, and what becomes of what is said of them."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.things = tuple(Thing(name=name) for name in (*WATCHED, *names))
        self.extras = Lodging(EXTRAS, Extras())

    def scan(
        self, known: Knowledge, first: int, ticks: int, rows: Rows | None, alarming: bool
    ) -> Callable[[], dict[int, list[Notice]]]:
        """Has the ticks read judged; returns what gives the notices by tick read."""
        names = known.intake.names["operation_type"]
        read = [] if rows is None else list(self.read(rows, names))
        said = self.extras.ask(Extras.scan, first, ticks, read, alarming, known.settings.z)
        return lambda: notices(said(), known, names)

    def read(self, rows: Rows, names: Names) -> Iterable[Observations]:
        """The columns of calls that are watched by name."""
        for thing in self.things:
            at = np.flatnonzero(np.isfinite(rows[thing.name]) & rows["good"] & (rows["operation_type"] >= 0))
            if len(at):
                codes, operation = np.unique(rows["operation_type"][at], return_inverse=True)
                yield Observations(
                    thing=thing, words=tuple(str(names.word[code]) for code in codes.tolist()), operation=operation,
                    t=rows["t"][at], value=rows[thing.name][at], weight=rows["weight"][at], who=rows["session_id"][at],
                )  # fmt: skip


def notices(said: Iterable[Said], known: Knowledge, names: Names) -> dict[int, list[Notice]]:
    """What is to be told, by tick read; names are those of operations."""
    out: dict[int, list[Notice]] = {}
    for tick, thing, word, alert in said:
        key = ("extra", thing.group or thing.name, word)
        mine = segments(known, names, thing, word)
        out.setdefault(tick, []).append(Notice(alert=alert, key=key, hold=HOLD, segments=mine, families=thing.covers))
    return out


def segments(known: Knowledge, names: Names, thing: Thing, word: str) -> tuple[int, ...]:
    """The segments in which an incident may say the same: of a thing that covers nothing none."""
    code = names.code.get(word)
    return tuple(
        g
        for g, segment in enumerate(known.intake.segments)
        if thing.covers and (thing.everywhere or segment[0] == code)
    )
