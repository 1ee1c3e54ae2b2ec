"""Sign-ins of browsers: a signed cookie that stands for a key as long as the key opens anything.

The secret lives and dies with the process: nothing that is stored, and no copy of the database, lets anybody in. The
price is that people sign in again after a restart.
"""

from __future__ import annotations

import hmac
import secrets
import threading
from hashlib import sha256

COOKIE = "tracewatch_session"
LASTS_S = 7 * 86_400.0
FORM_FIELD = "form_token"


class Sessions:
    """All sign-ins of a server. Times are UTC epoch seconds."""

    def __init__(self) -> None:
        self._secret = secrets.token_bytes(32)
        self._ended: dict[str, float] = {}
        self._turn = threading.Lock()

    def begin(self, key: str, now: float) -> str:
        """The cookie of a new sign-in with the key of that id."""
        told = f"{key}.{int(now + LASTS_S)}.{secrets.token_hex(8)}"
        return f"{told}.{self._signed(told)}"

    def key_of(self, cookie: str, now: float) -> str | None:
        """The id of the key that a cookie stands for; None when it is none of ours, or over."""
        told, _, signature = cookie.rpartition(".")
        if not hmac.compare_digest(signature.encode(errors="replace"), self._signed(told).encode()):
            return None
        key, expires, number = told.split(".")
        return None if float(expires) <= now or number in self._ended else key

    def end(self, cookie: str, now: float) -> None:
        """From now on the cookie stands for nothing."""
        if self.key_of(cookie, now) is None:
            return
        _, expires, number, _ = cookie.split(".")
        with self._turn:
            self._ended = {each: until for each, until in self._ended.items() if until > now}
            self._ended[number] = float(expires)

    def form_token(self, cookie: str) -> str:
        """What a form of a page carries, so that a page of somebody else cannot send it."""
        return self._signed(f"form.{cookie}")

    def is_form_token(self, cookie: str, given: str) -> bool:
        """Whether a form carries what it should."""
        return hmac.compare_digest(given.encode(errors="replace"), self.form_token(cookie).encode())

    def _signed(self, text: str) -> str:
        return hmac.new(self._secret, text.encode(errors="surrogatepass"), sha256).hexdigest()
