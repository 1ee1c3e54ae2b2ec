"""Headers of every answer: what a browser may do with it, and that nobody keeps it."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

FILES = "/static/"
ALWAYS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
# Pages say themselves what they load; everything else that is answered loads nothing and is nobody's to keep.
NOT_PAGES = {"content-security-policy": "default-src 'none'; frame-ancestors 'none'", "cache-control": "no-store"}
HTTPS_ONLY = "max-age=31536000"


class Guard:
    """Adds the headers that an answer does not have yet."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on, and its answer with the headers."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in ALWAYS.items() | (set() if scope["path"].startswith(FILES) else NOT_PAGES.items()):
                    headers.setdefault(name, value)
                if scope.get("scheme") == "https":
                    headers.setdefault("strict-transport-security", HTTPS_ONLY)
            await send(message)

        await self.app(scope, receive, guarded)
