"""What a person may have meant by a word that a command does not know."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

import click

MOST_MEANT = 2  # words suggested; of a trace and traces nobody can tell which was meant


def meant(given: str, known: Iterable[str]) -> str:
    """A sentence with the words that come nearest; nothing where none is near.

    >>> meant("tracse", ("stats", "trace", "traces"))
    " Did you mean 'trace' or 'traces'?"
    >>> meant("zzz", ("stats", "traces"))
    ''
    """
    near = difflib.get_close_matches(given.lower(), list(known), n=MOST_MEANT)
    return f" Did you mean {' or '.join(map(repr, near))}?" if near else ""


class OneOf(click.Choice[str]):
    """One of a few words; for another one the nearest is suggested."""

    def get_invalid_choice_message(self, value: Any, ctx: click.Context | None) -> str:
        """What there is, and what may have been meant."""
        return super().get_invalid_choice_message(value, ctx) + meant(str(value), self.choices)


class Suggesting(click.Group):
    """A group that suggests the nearest of its commands for one that it does not have."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that is named first, and the words after it."""
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-"):
            raise click.UsageError(f"No such command '{name}'.{self.instead_of(ctx, name)}", ctx)
        return super().resolve_command(ctx, args)

    def instead_of(self, context: click.Context, name: str) -> str:
        """What to type instead."""
        return meant(name, self.list_commands(context))


class ShowsOne(Suggesting):
    """A list with commands about its members, which is given the id of one of them now and then."""

    def __init__(self, *args: Any, one: str = "", **more: Any) -> None:
        super().__init__(*args, **more)
        self.one = one
        """The command that shows one member."""

    def instead_of(self, context: click.Context, name: str) -> str:
        """The nearest command, and the one that shows a member of that id."""
        return f"{super().instead_of(context, name)} To see one by its id, type: tracewatch {self.one} {name}"
