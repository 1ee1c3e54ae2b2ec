"""The files a page needs, each under a name that changes with its content: a browser keeps them for good."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from pathlib import Path

from fastapi import APIRouter, Request
from starlette.responses import Response

FOLDER = Path(__file__).resolve().parent / "static"
TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".woff2": "font/woff2",
    ".svg": "image/svg+xml",
}
FOR_GOOD = "public, max-age=31536000, immutable"
HASHED = 5  # bytes of the hash in a name

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asset:
    """A file as it is sent."""

    body: bytes
    packed: bytes
    """The body in gzip; the body itself where that is no shorter."""
    media_type: str


@cache
def _all() -> tuple[Mapping[str, str], Mapping[str, Asset]]:
    """From a file's name to the one with its hash, and from that to the file."""
    names: dict[str, str] = {}
    files: dict[str, Asset] = {}
    paths = [each for each in FOLDER.iterdir() if each.suffix in TYPES]
    # Style sheets come last, because they name other files.
    for path in sorted(paths, key=lambda each: (each.suffix == ".css", each.name)):
        body = path.read_bytes()
        if path.suffix == ".css":
            for plain, hashed in names.items():
                body = body.replace(f'url("{plain}")'.encode(), f'url("{hashed}")'.encode())
        name = f"{path.stem}.{blake2b(body, digest_size=HASHED).hexdigest()}{path.suffix}"
        packed = gzip.compress(body, mtime=0)
        names[path.name] = name
        files[name] = Asset(body=body, packed=min(packed, body, key=len), media_type=TYPES[path.suffix])
    return names, files


def address(name: str) -> str:
    """Where a file of `static/` is found, such as /static/app.1f2e3d4c5b.css."""
    return f"/static/{_all()[0][name]}"


@router.get("/static/{name}")
async def asset(name: str, request: Request) -> Response:
    """The file with that hash in its name."""
    found = _all()[1].get(name)
    if found is None:
        return Response("There is no such file.", status_code=404, media_type="text/plain")
    headers = {"cache-control": FOR_GOOD, "vary": "accept-encoding", "x-content-type-options": "nosniff"}
    if found.packed is not found.body and "gzip" in request.headers.get("accept-encoding", ""):
        return Response(found.packed, media_type=found.media_type, headers={**headers, "content-encoding": "gzip"})
    return Response(found.body, media_type=found.media_type, headers=headers)
