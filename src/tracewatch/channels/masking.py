"""The one place where secrets are taken out of addresses and texts, before these are shown, logged or kept."""

from __future__ import annotations

import re
from hashlib import blake2b
from urllib.parse import unquote, unquote_plus, urlsplit

GONE = "…"
SHORTEST = 4  # characters: shorter pieces of an address are words by chance

_HOST_IS_A_HOST = frozenset({"http", "https", "webhook", "webhook+http", "webhook+https", "slack+http", "slack+https"})
_MAIL = frozenset({"mailto", "mailtos"})
_PLAIN_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,250}[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\]")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,30}")
_PIECES = re.compile(r"[/?#&=:@;,\s]+")


def mask(url: str) -> str:
    """An address as it may be shown: its scheme, its host where that is one, and a mark that tells two apart.

    Paths, queries, users and passwords are gone: half of all services carry their token in the path. The mark is 16
    bits of a hash: enough to tell the few channels of a server apart, too little to find out a secret.

    >>> mask("https://hooks.example.com/services/T0/B0/x9?secret=s3cret")
    'https://hooks.example.com/… (b9fa)'
    >>> mask("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7"), mask("mailtos://me:pw@gmail.com?to=ops@example.com")
    ('slack://… (f740)', 'mailtos://gmail.com/… (ddb4)')
    """
    scheme, separator, rest = url.strip().partition("://")
    mark = blake2b(url.strip().encode("utf-8", "replace"), digest_size=2).hexdigest()
    if not separator or not _SCHEME.fullmatch(scheme):
        return f"{GONE} ({mark})"
    return f"{scheme.lower()}://{_shown(scheme.lower(), rest)}{GONE} ({mark})"


def without_secrets(text: str, url: str) -> str:
    """A text without any piece of the address that `mask` does not show, at any encoding and in any case.

    >>> without_secrets("404 at /services/T0AB/B0CD for s3cret", "https://h.example.com/services/T0AB/B0CD?secret=s3cret")
    '404 at /…/…/… for …'
    """
    for piece in sorted(_secrets(url), key=len, reverse=True):
        text = re.sub(re.escape(piece), GONE, text, flags=re.IGNORECASE)
    return text


def _shown(scheme: str, rest: str) -> str:
    """The host, where it is certain to be one: an unescaped / or @ in a password would move a part of it there."""
    if scheme not in _HOST_IS_A_HOST | _MAIL:
        return ""
    authority = re.split(r"[/?#\\]", rest, maxsplit=1)[0]
    tail = rest[len(authority) :]
    user, at, host = authority.rpartition("@")
    if "@" in re.split(r"[?#]", tail, maxsplit=1)[0] or (not at and "@" in tail) or "@" in user:
        return ""
    name, _, port = host.rpartition(":") if re.search(r":\d{1,5}$", host) else (host, "", "")
    if not _PLAIN_HOST.fullmatch(name):
        return ""
    return f"{name.lower()}:{port}/" if port and scheme not in _MAIL else f"{name.lower()}/"


def _secrets(url: str) -> set[str]:
    """The pieces of an address that are not shown, as they are written and as they are meant."""
    shown = set(_PIECES.split(mask(url)))
    try:
        password = urlsplit(url).password or ""
    except ValueError:
        password = ""
    whole = [url, url.partition("://")[2], password]
    found = {piece for each in (url, unquote(url), unquote_plus(url)) for piece in _PIECES.split(each)}
    found |= {form for each in whole for form in (each, unquote(each))}
    return {each for each in found if len(each) >= SHORTEST and each not in shown}
