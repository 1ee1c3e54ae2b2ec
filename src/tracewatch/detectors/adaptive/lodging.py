"""Where a part of the engine that needs nothing of the others lives: here, or with a second process."""

from collections.abc import Callable
from typing import Any

from .errands import Second


class Lodging:
    """A thing and its steps, which are done in the order they are asked for, here or elsewhere with the same result."""

    def __init__(self, name: str, thing: object) -> None:
        self.name = name
        self.thing: Any = thing
        self.second: Second | None = None  # where it lives, if not here

    def live_with(self, second: Second) -> None:
        """Has it live with a second process from now on; when that ends, so does what was learned."""
        second.settle(**{self.name: self.thing})
        self.thing, self.second = None, second

    def put(self, thing: object) -> None:
        """Another in its place."""
        if self.second is None:
            self.thing = thing
        else:
            self.second.settle(**{self.name: thing})

    def ask(self, step: Callable[..., Any], *given: Any) -> Callable[[], Any]:
        """Has a step done, a function of the thing and of what is given; returns what gives its result."""
        if self.second is not None:
            return self.second.ask(step, (self.name,), *given)
        result = step(self.thing, *given)
        return lambda: result

    def __getstate__(self) -> dict[str, Any]:
        """As if it had always lived here."""
        return {"name": self.name, "thing": self.ask(_itself)(), "second": None}


def _itself(thing: object) -> object:
    return thing
