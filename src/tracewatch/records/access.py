"""Who may see what: projects, and the keys that open them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tracewatch.records.base import Record, Texts, Time, column

RIGHTS = ("read", "write", "admin")


@dataclass(frozen=True, slots=True, kw_only=True)
class Project(Record):
    """A tenant: its rows are seen by nobody else. One that was never described here has the defaults."""

    # Not just "projects": the file may be an app's own database, and have a table of that name.
    table: ClassVar[str] = "tracewatch_projects"
    noun: ClassVar[str] = "project"
    newest_by: ClassVar[str] = "created_at"

    project: str = column("Its name, which stands in every row of it.", default="default", key=True)
    created_at: Time = column("When it was described.", label="Created")
    content_allowed: bool = column(
        "Whether texts of prompts and answers may be stored, if the server does not refuse them.",
        default=False,
        label="Content",
    )
    retention_days: int | None = column(
        "For how long its spans are kept; empty is for good. A server lets older ones go once a day.",
        default=None,
        label="Retention",
        unit="days",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey(Record):
    """A key to one project. What is stored does not open anything: only a digest of the secret is kept."""

    table: ClassVar[str] = "tracewatch_keys"
    noun: ClassVar[str] = "key"
    newest_by: ClassVar[str] = "created_at"

    id: str = column("The part of the key that may be shown; it stands in front of the secret.", key=True)
    project: str = column("The project it opens.", default="default", sliced=True)
    user_id: str | None = column(
        "The only account whose rows it sees; empty is all of the project.", default=None, label="User", sliced=True
    )
    name: str = column("What it is for, in its owner's words.", default="")
    rights: Texts = column("What it may do: read, write (send spans, deal with findings), admin (everything).")
    digest: str = column("SHA-256 of the whole key, in hexadecimal digits.")
    created_at: Time = column("When it was made.", label="Created")
    expires_at: Time | None = column("From when on it opens nothing; empty is never.", default=None, label="Expires")
    revoked_at: Time | None = column("When it was taken back.", default=None, label="Revoked")
