"""From a channel to the answer that stays open: server-sent events over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from starlette.responses import Response, StreamingResponse

from tracewatch.errors import TooManyListeners
from tracewatch.web.events import Channel, Message
from tracewatch.web.serving import Serving

# A proxy that keeps back what it forwards (nginx does, unless told) would hold the messages until there are enough.
HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}


def stream(server: Serving, channel: Channel, missed: Callable[[], Sequence[Message]] = lambda: ()) -> Response:
    """The open answer in which a channel is told. Raises TooManyListeners."""
    if server.events.full:
        raise TooManyListeners(most=server.events.listeners)
    return StreamingResponse(
        server.events.listen(channel, missed), media_type="text/event-stream", headers=dict(HEADERS)
    )
