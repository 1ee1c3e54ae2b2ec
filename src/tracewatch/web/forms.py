"""Forms that browsers send: read without a library, small, and answered by a redirect."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import parse_qs, urlsplit

from fastapi import Depends, Request
from starlette.responses import RedirectResponse

from tracewatch.access import Caller
from tracewatch.errors import BadDeed, FormForeign
from tracewatch.records import ApiKey
from tracewatch.stores.base import Store
from tracewatch.web.serving import serving_of
from tracewatch.web.sessions import FORM_FIELD

MOST_BYTES = 64_000
MOST_FIELDS = 500
LOCAL = "this machine"


@dataclass(frozen=True, slots=True)
class Form:
    """The fields of a form; one that stands there more than once has several values."""

    fields: Mapping[str, tuple[str, ...]]

    def one(self, name: str) -> str | None:
        """The last value of a field; None when it is not there or empty."""
        return (self.fields.get(name) or ("",))[-1] or None

    def every(self, name: str) -> tuple[str, ...]:
        """All values of a field."""
        return self.fields.get(name, ())


async def form_of(request: Request) -> Form:
    """The form that was sent. Raises BadDeed when it is too large to be one of ours, FormForeign when it is not."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_BYTES:
            raise BadDeed(why=f"the form has more than {MOST_BYTES:,} bytes")
    try:
        given = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=MOST_FIELDS)
    except ValueError as error:
        raise BadDeed(why="the form has too many fields") from error
    form = Form({name: tuple(values) for name, values in given.items()})
    session: str | None = getattr(request.state, "session", None)
    if session is not None and not serving_of(request).sessions.is_form_token(session, form.one(FORM_FIELD) or ""):
        raise FormForeign()
    return form


Sent = Annotated[Form, Depends(form_of)]
"""A parameter of this type is the form that was sent."""


def answered(to: str) -> RedirectResponse:
    """After a form: see there. Only a path of this server is gone to."""
    parts = urlsplit(to)
    own = to.startswith("/") and not to.startswith("//") and "\\" not in to and not parts.scheme and not parts.netloc
    return RedirectResponse(to if own else "/", status_code=303)


def name_of(store: Store, caller: Caller) -> str:
    """Who a caller is, in words: the name of the key, or this machine where none is needed."""
    if caller.key is None:
        return LOCAL
    key = store.get(ApiKey, {"id": caller.key})
    return (key.name if isinstance(key, ApiKey) else "") or caller.key
