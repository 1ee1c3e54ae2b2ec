"""Every setting: its name, its default and one sentence; read once, at start, into a frozen object."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

from tracewatch.errors import BadSetting

PREFIX = "TRACEWATCH_"
DURABILITIES = ("normal", "full")


def setting(help: str, default: str, choices: tuple[str, ...] = ()) -> Any:
    """A field of `Settings` that says what it is for and what it may be."""
    return dataclasses.field(default=default, metadata={"help": help, "choices": choices})


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a user may set; each field is also an environment variable, TRACEWATCH_ and its name in capitals."""

    db: str = setting("The database: a file path or a sqlite:/// address.", "tracewatch.db")
    project: str = setting("The project whose rows are read and written.", "default")
    durability: str = setting(
        "What a power loss may cost: 'normal' the last moments of writing, 'full' nothing (slower).",
        "normal",
        DURABILITIES,
    )
    metrics: str = setting(
        "Numbers of your own to watch, with the direction that is bad: 'metadata.judge_score:down, quality.tone'.", ""
    )


def load(environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings of this environment. Raises BadSetting."""
    given = {}
    for field in dataclasses.fields(Settings):
        name = PREFIX + field.name.upper()
        value = environ.get(name, "")
        if not value:
            continue
        choices = field.metadata["choices"]
        if choices and value not in choices:
            raise BadSetting(name=name, given=value, why=f"it must be one of {', '.join(choices)}")
        given[field.name] = value
    return Settings(**given)
