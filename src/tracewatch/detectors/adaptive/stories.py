"""Which alert belongs to which movement, and what became of it: the news after the alert. Our own."""

from dataclasses import dataclass

from .intake import TICK

Key = tuple[object, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """A movement is over. A single call is over as soon as it is told."""

    story: int
    at: float  # UTC epoch seconds: the end of the five minutes that showed it
    accepted: bool  # it did not heal, it lasted until it was the new normal


@dataclass(frozen=True, slots=True, kw_only=True)
class Return:
    """A movement that had ended is back within a day: the same story, of which no new alert tells."""

    story: int
    at: float


class Stories:
    """Numbers the movements of an engine's life, and keeps their news until it is asked for."""

    def __init__(self) -> None:
        self.begun = 0
        self.news: list[Ending | Return] = []
        self.of: dict[Key, int] = {}  # the last story of a key
        self.until: dict[Key, int] = {}  # last tick of the stories that last because nothing says that they ended
        self.levels: set[Key] = set()  # of those, what does not heal but becomes the new normal

    def begin(self) -> int:
        """The number of a new one."""
        self.begun += 1
        return self.begun

    def end(self, story: int, tick: int, accepted: bool = False) -> None:
        """A tick showed that it is over."""
        self.news.append(Ending(story=story, at=float((tick + 1) * TICK), accepted=accepted))

    def reopen(self, story: int, tick: int) -> None:
        """A tick showed that it is back."""
        self.news.append(Return(story=story, at=float((tick + 1) * TICK)))

    def last(self, key: Key, until: int, level: bool = False) -> int:
        """Begin one that lasts until a tick, unless it is heard of again; a level is the new normal then."""
        self.of[key], self.until[key] = self.begin(), until
        if level:
            self.levels.add(key)
        return self.of[key]

    def heard(self, key: Key, tick: int, until: int) -> None:
        """What it told of goes on, or is back."""
        if key in self.of:
            if key not in self.until:
                self.reopen(self.of[key], tick)
            self.until[key] = max(self.until.get(key, until), until)

    def lapse(self, tick: int) -> None:
        """End those whose time has run out."""
        for key in [key for key, until in self.until.items() if until < tick]:
            del self.until[key]
            self.end(self.of[key], tick, key in self.levels)
            self.levels.discard(key)

    def forget(self, key: Key, tick: int) -> None:
        """Its key goes to another."""
        story = self.of.pop(key, None)
        if self.until.pop(key, None) is not None and story is not None:
            self.end(story, tick)

    def keep(self, keys: set[Key]) -> None:
        """Forget which story the other keys had; those that still last keep theirs."""
        self.of = {key: story for key, story in self.of.items() if key in keys or key in self.until}

    def drain(self) -> list[Ending | Return]:
        """The news since it was last asked for, in order."""
        news, self.news = self.news, []
        return news
