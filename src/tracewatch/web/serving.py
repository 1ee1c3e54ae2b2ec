"""What the routes of a running server share, and how a route gets at it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request

from tracewatch.settings import Settings
from tracewatch.stores import Store
from tracewatch.web.bodies import Room
from tracewatch.web.counters import Counters
from tracewatch.web.events import Events
from tracewatch.web.sessions import Sessions
from tracewatch.web.storing import Storing


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """One running server."""

    store: Store
    settings: Settings
    counters: Counters
    room: Room
    storing: Storing
    events: Events
    open_without_keys: bool
    """Whether anybody may come in as long as there is no key: only where nobody but this machine can."""
    sessions: Sessions = field(default_factory=Sessions)
    clock: Callable[[], float] = time.time


def serving_of(request: Request) -> Serving:
    """The server that answers this request."""
    serving: Serving = request.app.state.serving
    return serving


Server = Annotated[Serving, Depends(serving_of)]
"""A parameter of this type is the running server."""
