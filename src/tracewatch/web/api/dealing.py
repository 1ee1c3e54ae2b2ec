"""Dealing with incidents and findings: every verb there is."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field
from starlette.responses import Response

from tracewatch.access import Caller
from tracewatch.dealing import LONGEST_TEXT, deal
from tracewatch.records import REASONS, VERBS, Anomaly, Deed, Incident, as_dict
from tracewatch.times import parse_time
from tracewatch.web.api import shapes
from tracewatch.web.forms import name_of
from tracewatch.web.serving import Serving

DEED = shapes.shape(Deed)


class Wanted(BaseModel):
    """What is to be done about an incident or a finding."""

    verb: Literal[VERBS]  # type: ignore[valid-type]
    reason: Literal[REASONS] | None = Field(default=None, description="Why, in a word.")  # type: ignore[valid-type]
    text: str | None = Field(default=None, max_length=LONGEST_TEXT, description="A note.")
    until: str | None = Field(default=None, description="Until when a snooze lasts: a time in the future.")
    until_worse: bool = Field(default=False, description="Whether a snooze lasts until it is half as far off again.")


def done(server: Serving, caller: Caller, about: Incident | Anomaly, wanted: Wanted) -> Response:
    """Does it, and tells what was done. Raises BadDeed or BadTime."""
    now = server.clock()
    deed = deal(
        server.store, about, wanted.verb, who=name_of(server.store, caller), now=now,
        reason=wanted.reason, text=wanted.text, until=None if wanted.until is None else parse_time(wanted.until, now),
        until_worse=wanted.until_worse,
    )  # fmt: skip
    return shapes.told(as_dict(deed), 201)
