"""Keys of a project: listed, made, taken back."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field, create_model
from starlette.responses import Response

from tracewatch.access import create_key, keys_of, revoke_key, rights_of_new
from tracewatch.errors import BadKey, NotFound
from tracewatch.records import ApiKey, as_dict
from tracewatch.times import LATEST, parse_duration
from tracewatch.web.api import shapes
from tracewatch.web.gate import Admin
from tracewatch.web.serving import Server

router = APIRouter(prefix="/api/v1/keys", tags=["keys"], responses=shapes.REFUSALS)

SECRET = ("digest",)
KEY = shapes.shape(ApiKey, frozenset(SECRET))
MADE = create_model("NewKey", __base__=KEY, key=(str, Field(description="The key itself; it is told only now.")))


class Wanted(BaseModel):
    """The key that is to be made."""

    name: str = Field(default="", max_length=200, description="What it is for.")
    user_id: str | None = Field(default=None, min_length=1, max_length=500, description="The only account it opens.")
    rights: list[Literal["read", "write", "admin"]] | None = Field(
        default=None,
        min_length=1,
        max_length=3,
        description="Read and write where they are left out. The first key needs admin, and then has all.",
    )
    expires_in: str | None = Field(default=None, description="After how long it opens nothing: 12h, 90d …")


@router.get("", response_model=list[KEY])  # type: ignore[valid-type]
def list_keys(server: Server, caller: Admin) -> Response:
    """The keys of the project, the newest first; those taken back are among them."""
    return shapes.told(shapes.plain(keys_of(server.store, caller.project), SECRET))


@router.post("", response_model=MADE, status_code=201)
def make_key(server: Server, caller: Admin, wanted: Wanted) -> Response:
    """Makes a key. From then on nobody comes in without one."""
    now = server.clock()
    expires_at = None if wanted.expires_in is None else now + parse_duration(wanted.expires_in)
    if expires_at is not None and expires_at > LATEST:
        raise BadKey(why="it would not expire in this era: leave the expiry out")
    key, text = create_key(
        server.store, project=caller.project, rights=rights_of_new(server.store, wanted.rights), now=now,
        user_id=wanted.user_id, name=wanted.name, expires_at=expires_at,
    )  # fmt: skip
    return shapes.told({**shapes.plain([key], SECRET)[0], "key": text}, 201)


@router.delete("/{key_id}", response_model=KEY, responses=shapes.MISSING)
def take_back(server: Server, caller: Admin, key_id: str) -> Response:
    """Takes a key back: the next request with it is refused, and its streams end."""
    found = server.store.get(ApiKey, {"id": key_id})
    if not isinstance(found, ApiKey) or found.project != caller.project:
        hint = "See them with GET /api/v1/keys"
        raise NotFound(what="key", given=key_id, where=f"project {caller.project}", hint=hint)
    revoke_key(server.store, key_id, server.clock())
    after = server.store.get(ApiKey, {"id": key_id})
    assert after is not None, "keys are never deleted"
    return shapes.told({name: value for name, value in as_dict(after).items() if name not in SECRET})
