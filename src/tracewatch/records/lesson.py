"""What people taught the detectors: movements that are not to be told of, and from when until when."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tracewatch.records.base import Json, Record, Time, column
from tracewatch.records.deed import REASONS
from tracewatch.records.detection import DIRECTIONS

TEACHINGS = ("noise", "expected")


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson(Record):
    """What a dismissal taught: which movement of which calls is known, and how far it may go until it is told."""

    table: ClassVar[str] = "tracewatch_lessons"
    noun: ClassVar[str] = "lesson"
    newest_by: ClassVar[str] = "taught_at"

    project: str = column("The project (tenant) it belongs to.", default="default", key=True)
    id: str = column("That of the deed that taught it.", key=True)
    about: str = column("The incident, or the finding, that was dismissed.")
    title: str = column("What had happened, in one sentence.")
    teaching: str = column("Whether it is noise or expected.", choices=TEACHINGS, sliced=True)
    reason: str = column("Why, in a word.", choices=REASONS)
    detector: str = column("Which detector is taught.", default="adaptive", sliced=True)
    metric_name: str = column("The metric, or the type of a rule, that is known to move.", label="Metric", sliced=True)
    direction: str = column("Which way it moves.", choices=DIRECTIONS)
    slice: Json | None = column("The calls it is about, narrower ones included; all calls when empty.", default=None)
    single: bool = column("Whether it is about single calls, and not about movements of many.", default=False)
    effect: float | None = column(
        "How far it moved, less 1 as a factor or as a difference; 1.5 times as far is told. Empty: any.", default=None
    )
    level: float | None = column(
        "Of what is expected: the value beyond which it is told again.", default=None, label="Told beyond"
    )
    lasted_s: float | None = column(
        "Of what is too short: how long it lasted; 1.5 times as long is told.", default=None, unit="s", label="Lasted"
    )
    since: Time = column("The moment up to which calls had been judged when it was taught; it counts from then on.")
    until: Time | None = column("The moment from which it does not count any more.", default=None)
    taught_at: Time = column("When it was taught.", label="Taught")
    taught_by: str = column("Who taught it.", default="", label="By")
    forgotten_at: Time | None = column("When it was taken back.", default=None, label="Taken back")
    forgotten_by: str | None = column("Who took it back.", default=None, label="Taken back by")
