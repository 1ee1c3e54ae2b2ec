"""Keys and what they open: made, found and taken back here; what a caller may do is worked out nowhere else."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from hashlib import sha256

from tracewatch.errors import BadKey, NotFound
from tracewatch.records import RIGHTS, ApiKey
from tracewatch.stores.base import Filter, Store

PREFIX = "tw"
ID_BYTES = 6  # enough that two keys of one store never meet
SECRET_BYTES = 24  # 192 bits: nobody guesses it, so a plain digest is as good as a slow one
USUAL_RIGHTS = ("read", "write")
MOST_KEYS = 10_000  # of one store; they are listed in one go


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who is asking, and so what may be seen: every question to the store carries `where`."""

    project: str
    user_id: str | None = None
    """The only account whose rows may be seen; None: all of the project."""
    rights: frozenset[str] = frozenset(RIGHTS)
    key: str | None = None
    """The id of the key that was shown; None where none is needed."""

    @property
    def where(self) -> tuple[Filter, ...]:
        """The rows that may be seen."""
        of_project = Filter("project", "=", (self.project,))
        return (of_project,) if self.user_id is None else (of_project, Filter("user_id", "=", (self.user_id,)))

    def may(self, right: str) -> bool:
        """Whether this is allowed; admin may do everything."""
        assert right in RIGHTS, f"there is no right '{right}'"
        return right in self.rights or "admin" in self.rights


def create_key(
    store: Store,
    *,
    project: str,
    rights: Sequence[str],
    now: float,
    user_id: str | None = None,
    name: str = "",
    expires_at: float | None = None,
) -> tuple[ApiKey, str]:
    """Makes a key. Returns what is stored, and the key itself, which cannot be told a second time. Raises BadKey."""
    unknown = [each for each in rights if each not in RIGHTS]
    if unknown or not rights:
        raise BadKey(why=f"'{', '.join(rights)}' is no list of rights: choose from {', '.join(RIGHTS)}")
    if user_id is not None and "admin" in rights:
        raise BadKey(why="admin is a right over the whole project, so it does not go with one user")
    if expires_at is not None and expires_at <= now:
        raise BadKey(why="it would have expired already")
    id_ = secrets.token_hex(ID_BYTES)
    text = f"{PREFIX}_{id_}_{secrets.token_hex(SECRET_BYTES)}"
    key = ApiKey(
        id=id_,
        project=project,
        user_id=user_id,
        name=name,
        rights=tuple(each for each in RIGHTS if each in rights),
        digest=_digest(text),
        created_at=now,
        expires_at=expires_at,
    )
    store.add([key])
    return key, text


def rights_of_new(store: Store, given: Sequence[str] | None) -> tuple[str, ...]:
    """The rights of a key that is to be made: those given, or all for the first one and USUAL_RIGHTS for any other.

    Nobody comes in without a key once there is one, so the first may do everything. Raises BadKey.
    """
    is_first = not keys_needed(store)
    if given is None:
        return RIGHTS if is_first else USUAL_RIGHTS
    if is_first and "admin" not in given:
        raise BadKey(
            why="it is the first one, and without the right admin nobody could make another on the server's pages or "
            "through its API: make a key with the right admin first"
        )
    return tuple(given)


def keys_of(store: Store, project: str | None = None) -> tuple[ApiKey, ...]:
    """The keys of a project, or of all of them, the newest first; those taken back are among them."""
    where = [] if project is None else [Filter("project", "=", (project,))]
    return tuple(each for each in store.page(ApiKey, where, limit=MOST_KEYS).records if isinstance(each, ApiKey))


def revoke_key(store: Store, id_: str, now: float) -> ApiKey:
    """Takes a key back at once: the next request with it is refused. Raises NotFound."""
    key = store.get(ApiKey, {"id": id_})
    if not isinstance(key, ApiKey):
        raise NotFound(what="key", given=id_, where="this store", hint="See them with: tracewatch keys list")
    if key.revoked_at is None:
        store.annotate(ApiKey, {"id": id_}, {"revoked_at": now})
    return key


def keys_needed(store: Store) -> bool:
    """Whether there is any key that was not taken back: then nobody comes in without one."""
    return store.count(ApiKey, [Filter("revoked_at", "=", (None,))]) > 0


def still_open(store: Store, ids: Collection[str | None], now: float) -> frozenset[str | None]:
    """Those of some keys, by id, that still open something; None stands for needing no key."""
    where = [Filter("id", "=", tuple(each for each in ids if each is not None))]
    keys = store.page(ApiKey, where, limit=MOST_KEYS).records if any(ids) else ()
    found: set[str | None] = {each.id for each in keys if isinstance(each, ApiKey) and _opens(each, now)}
    if None in ids and not keys_needed(store):
        found.add(None)
    return frozenset(found)


def find_caller(store: Store, given: str, now: float) -> Caller | None:
    """Whom this key stands for; None when it is no key of ours, has expired or was taken back."""
    prefix, _, rest = given.partition("_")
    id_ = rest.partition("_")[0]
    if prefix != PREFIX or not id_.isalnum():
        return None
    key = store.get(ApiKey, {"id": id_})
    if not isinstance(key, ApiKey) or not hmac.compare_digest(key.digest, _digest(given)):
        return None
    return caller_of(key) if _opens(key, now) else None


def caller_with(store: Store, id_: str, now: float) -> Caller | None:
    """Whom the key of that id stands for; None when it opens nothing any more."""
    key = store.get(ApiKey, {"id": id_})
    return caller_of(key) if isinstance(key, ApiKey) and _opens(key, now) else None


def caller_of(key: ApiKey) -> Caller:
    """Whom a key stands for."""
    return Caller(project=key.project, user_id=key.user_id, rights=frozenset(key.rights), key=key.id)


def state_of(key: ApiKey, now: float) -> str:
    """Whether a key still opens anything: valid, expired or revoked."""
    if key.revoked_at is not None:
        return "revoked"
    return "expired" if key.expires_at is not None and key.expires_at <= now else "valid"


def _opens(key: ApiKey, now: float) -> bool:
    return key.revoked_at is None and (key.expires_at is None or key.expires_at > now)


def _digest(text: str) -> str:
    return sha256(text.encode(errors="surrogatepass")).hexdigest()
