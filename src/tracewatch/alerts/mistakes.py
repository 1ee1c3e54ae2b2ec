"""What is wrong with something that a person wrote, one sentence each."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

Path = tuple[str | int, ...]
"""Where in what was written: names of entries and numbers in lists, outermost first."""


LONGEST_WORD = 60  # characters; longer ones are cut, and nothing is near them
MOST_TOLD = 20  # mistakes of one kind in one place: nobody reads more before the next try


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing that is wrong, and what to do."""

    path: Path
    why: str


def near(given: object, known: Iterable[str]) -> str:
    """A suggestion for a word that nobody knows; empty when nothing is near.

    >>> near("severty", ["severity", "name"])
    ': did you mean severity?'
    """
    if len(str(given)) > LONGEST_WORD:
        return ""
    found = difflib.get_close_matches(str(given).lower(), list(known), n=1, cutoff=0.6)
    return f": did you mean {found[0]}?" if found else ""


def one_of(given: object, known: Iterable[str]) -> str:
    """What to write instead of a word that is none of a few."""
    some = list(known)
    word = str(given) if len(str(given)) <= LONGEST_WORD else f"{str(given)[:LONGEST_WORD]}…"
    return f"'{word}' is none of {', '.join(some)}{near(given, some)}"


def entries(values: object, known: Iterable[str], path: Path, what: str) -> tuple[dict[str, object], list[Mistake]]:
    """The entries of a mapping that are known, and what is wrong with the others."""
    names = list(known)
    if not isinstance(values, dict):
        return {}, [Mistake(path, f"{what} has entries, such as {', '.join(names[:3])}: write each as name: value")]
    its = f": its entries are {', '.join(names)}"
    unknown = [str(name)[:LONGEST_WORD] for name in values if name not in names]
    wrong = [
        Mistake((*path, name), f"{what} has no entry '{name}'{near(name, names) or its}")
        for name in unknown[:MOST_TOLD]
    ]
    return {name: value for name, value in values.items() if name in names}, wrong
