"""Attributes of other people's classes, replaced and put back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Patch:
    """One attribute of a class and what takes its place; `apply` and `undo` may be called any number of times."""

    __slots__ = ("_name", "_original", "_owner", "_replacement")

    def __init__(self, owner: type, name: str, replacement: Callable[..., Any]) -> None:
        self._owner = owner
        self._name = name
        self._replacement = replacement
        self._original: Any = vars(owner)[name]

    def apply(self) -> None:
        """Puts the replacement in the attribute's place."""
        if vars(self._owner).get(self._name) is self._original:
            setattr(self._owner, self._name, self._replacement)

    def undo(self) -> None:
        """Puts the original back, unless somebody else has wrapped ours since: then ours stays, and watches nothing."""
        if vars(self._owner).get(self._name) is self._replacement:
            setattr(self._owner, self._name, self._original)
