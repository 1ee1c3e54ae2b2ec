"""What people did about findings: who, what, when and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tracewatch.records.base import Json, Record, Time, column

VERBS = ("acknowledge", "resolve", "dismiss", "snooze", "note", "reopen", "undo")
REASONS = (
    "fixed",
    "went_away",
    "expected",
    "expected_once",
    "noise",
    "too_small",
    "too_short",
    "wrong_metric",
    "other",
)
BY_ITSELF = ("regressed", "worse")
"""Why something was opened again that nobody opened."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deed(Record):
    """One thing that somebody did about an incident, or about a finding of its own."""

    table: ClassVar[str] = "tracewatch_deeds"
    noun: ClassVar[str] = "deed"
    newest_by: ClassVar[str] = "done_at"

    project: str = column("The project (tenant) it belongs to.", default="default", key=True)
    id: str = column("Identifies it.", key=True)
    about: str = column("The incident, or the finding, it was done about.")
    verb: str = column("What was done.", choices=VERBS)
    done_at: Time = column("When it was done.", label="When")
    done_by: str = column("Who did it: the name of the key, or of the machine's own user.", default="", label="Who")
    reason: str | None = column("Why, in a word.", default=None, choices=(*REASONS, *BY_ITSELF))
    text: str | None = column("What they wrote.", default=None, label="Note")
    until: Time | None = column("Until when nobody wants to hear of it.", default=None, label="Snoozed until")
    reached: Time | None = column("The moment up to which calls had been judged then.", default=None)
    before: Json | None = column("What it changed, as it was before, so that it can be undone.", default=None)
