"""Who watches a store, and how far watching has come: what live detection keeps about itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tracewatch.records.base import Record, Time, column


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease(Record):
    """The right to do what only one process of a store may do at a time. It is passed on, never shared."""

    table: ClassVar[str] = "tracewatch_leases"
    noun: ClassVar[str] = "lease"
    newest_by: ClassVar[str] = "taken_at"

    name: str = column("What it is the right to.", key=True)
    holder: str = column("Who has it: the command, the machine and the process; empty when nobody has.", default="")
    epoch: int = column("How often it was taken. Whoever has an earlier one has lost it, and can write no more.")
    beat: int = column("How often its holder has said that it lives. One that falls silent loses the lease.", default=0)
    taken_at: Time = column("When it was taken.", label="Since")
    renewed_at: Time = column("When its holder last said that it lives.", label="Renewed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Headway(Record):
    """How far live detection has come with a project."""

    table: ClassVar[str] = "tracewatch_headway"
    noun: ClassVar[str] = "headway"
    newest_by: ClassVar[str] = "updated_at"

    project: str = column("The project (tenant) it belongs to.", default="default", key=True)
    updated_at: Time = column("When this was written.", label="Updated")
    judged_until: Time | None = column("The moment up to which calls have been judged.", default=None, label="Judged")
    newest_call: Time | None = column("When the latest call that was read began.", default=None, label="Newest call")
    waiting_rows: int = column("Rows that were not read yet.", default=0, label="Waiting")
    behind_s: float = column(
        "By how much the judged moment lies behind the one that could be judged.", default=0.0, label="Behind", unit="s"
    )
    grace_s: float = column(
        "For how long after its end a step of five minutes waits for calls that began in it, by what is usual here.",
        default=0.0,
        label="Grace",
        unit="s",
    )
    learned_days: int = column("How many days were learned from so far.", default=0, label="Learned", unit="days")
    late_rows: int = column("Calls that came too late to count, in all.", default=0, label="Late")


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake(Record):
    """What a server that runs has counted about itself since it started: detection, another process, reads it here."""

    table: ClassVar[str] = "tracewatch_intakes"
    noun: ClassVar[str] = "intake"
    newest_by: ClassVar[str] = "updated_at"

    server: str = column("Which server: the machine, the process and when it started.", key=True)
    updated_at: Time = column("When this was written.", label="Updated")
    requests: int = column("Requests that brought spans.", default=0)
    refused_requests: int = column("Those it had no room for, or that the database did not take in time.", default=0)
    spans: int = column("Spans it has stored.", default=0)
    failed_commits: int = column("Transactions that failed.", default=0)
    queue_share: float = column("How full the queue of requests that wait to be stored is.", default=0.0, unit="share")


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed(Record):
    """How far a table of somebody else's has been read, where rows are taken from one as it grows."""

    table: ClassVar[str] = "tracewatch_followed"
    noun: ClassVar[str] = "followed table"
    newest_by: ClassVar[str] = "updated_at"

    name: str = column("The table and the database it is in, without a password.", key=True)
    updated_at: Time = column("When something last came of it.", label="Updated")
    cursor: str = column("The cursor of the last row that was read: what it is, its value, and its column.", default="")
    rows: int = column("Calls that came from it, in all.", default=0)
    problem: str = column("Why it could not be read the last time; empty when it could.", default="")
