"""Everything else that takes a message, through Apprise: e-mail, Teams, Discord, PagerDuty, ntfy and a hundred more."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tracewatch.channels.base import Channel, mark_of
from tracewatch.channels.mail import html
from tracewatch.channels.masking import mask, without_secrets
from tracewatch.channels.message import LONGEST_TITLE, Message
from tracewatch.channels.rendering import plain, subject
from tracewatch.errors import DeliveryFailed, DeliveryRefused, MissingExtra, UnknownChannel

if TYPE_CHECKING:
    from apprise import Apprise, AppriseResult

WHOLE_S = 30  # for a delivery, with a look-up of channels before it where a service needs one
SHORT = 600  # characters: a service that takes no more is a text message, and gets the line and the link
LONGEST_REASON = 200
RECIPIENTS = ("targets", "topics")  # what Apprise's services call those whom they tell one after the other
AGAIN = frozenset({408, 425, 429})
_MARKED = re.compile(r"<(?=[^\s\d])")
# At the end of a word, too, some find everyone, people and their groups by number.
_MENTION = re.compile(r"(?<!\w)@(?=[\w*&!])|@(?=everyone|here|channel|all\b|[&!]?\d{15})", re.IGNORECASE)
_STATUS = re.compile(r"error=(\d{3})\b|was refused: (\d{3})\b|\((\d{3})(?:\)|, b)")  # of HTTP, SMTP, what SMTP raised


class Apprised(Channel):
    """A channel by an address of Apprise's."""

    def __init__(self, url: str) -> None:
        """Raises UnknownChannel where Apprise cannot read the address, MissingExtra where it is not installed."""
        self.name = mask(url)
        self._url = url.strip()
        self._apprise = _opened(self._url, self.name)

    @property
    def parts(self) -> Mapping[str, Channel]:
        return {mark_of(each): self._only(each) for each in self._recipients()}

    def _recipients(self) -> list[Any]:
        """Whom the service tells one by one, where it says so."""
        found = next((its for name in RECIPIENTS if isinstance(its := getattr(self._apprise[0], name, None), list)), [])
        return found if len(found) == len(self._apprise[0]) else []

    def _only(self, recipient: Any) -> Apprised:
        """The same for one of them."""
        one = Apprised(self._url)
        service = one._apprise[0]
        setattr(service, next(name for name in RECIPIENTS if hasattr(service, name)), [recipient])
        return one

    def send(self, message: Message) -> None:
        from apprise import NotifyFormat, NotifyType

        service = self._apprise[0]
        _told_apart(service, message)
        formats = service.notify_format if isinstance(service.notify_format, tuple) else (service.notify_format,)
        most = service.body_maxlen if isinstance(service.body_maxlen, int) else SHORT
        mail = formats[0] == NotifyFormat.HTML and most > SHORT and "tgram" not in self._url[:5]
        line = subject(message)
        message = message if mail else _disarmed(message)
        line = subject(message)
        room = most - (0 if service.title_maxlen else len(line) + 1)
        body = html(message) if mail else _text(message, room)
        kind = NotifyType.SUCCESS if message.event == "recovered" else _kind(message, NotifyType)
        try:
            self._notify(body, line, kind, mail=mail)
        except UnicodeError as error:
            raise DeliveryRefused(channel=self.name, why="its host is no name that a host can have") from error

    def _notify(self, body: str, line: str, kind: Any, *, mail: bool) -> None:
        from apprise import NotifyFormat

        with self._apprise.notify(
            body=body,
            title=line,
            notify_type=kind,
            body_format=NotifyFormat.HTML if mail else NotifyFormat.TEXT,
            timeout=WHOLE_S,
            log_level=logging.DEBUG if mail else logging.WARNING,  # of mails the status is told there alone
        ) as result:
            if not result:
                raise self._failure(result)

    def _failure(self, result: AppriseResult) -> DeliveryFailed | DeliveryRefused:
        """Whether another try may help, by the status that Apprise heard of."""
        entries = list(result.logs())
        statuses = [int(next(filter(None, found))) for each in entries for found in _STATUS.findall(each.message)]
        said = [each.message for each in entries if each.level not in ("DEBUG", "INFO")]
        why = without_secrets(said[-1] if said else f"no answer within {WHOLE_S} s", self._url)
        why = " ".join(why.split())[:LONGEST_REASON].rstrip(".")
        final = [each for each in statuses if 400 <= each < 600 and each not in AGAIN]
        mail = self._url.startswith("mailto")
        # In HTTP a 4xx is final and a 5xx is not; in SMTP it is the other way round.
        if final and all((each >= 500) == mail for each in final):
            return DeliveryRefused(channel=self.name, why=why)
        return DeliveryFailed(channel=self.name, why=why)


def _opened(url: str, name: str) -> Apprise:
    try:
        import apprise
    except ModuleNotFoundError as error:
        raise MissingExtra(what=f"The channel {name}", package="apprise", extra="server") from error
    _hush()
    asset = apprise.AppriseAsset(
        app_id="tracewatch", app_desc="tracewatch", app_url="", image_url_mask="", image_url_logo="",
        async_mode=False, http_redirects=False, secure_logging=True, pgp_autogen=False,
    )  # fmt: skip
    found = apprise.Apprise(asset=asset)
    if not found.add(url) or len(found) != 1:
        scheme = url.partition("://")[0] if "://" in url else ""
        known = f"Apprise cannot read this {scheme} address" if scheme in _schemes() else "its scheme is not known"
        raise UnknownChannel(given=name, why=f"{known}. What there is: https://appriseit.com/services")
    return found


def _hush() -> None:
    """Keeps addresses out of logs: Apprise and what it asks with write them there as they are.

    What Apprise has to say of a delivery comes with the result.
    """
    logger = logging.getLogger("apprise")
    logger.propagate = False
    logger.setLevel(logging.DEBUG)  # or the result has nothing of the level that is asked for
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    for name in ("urllib3", "requests_oauthlib", "oauthlib"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _schemes() -> frozenset[str]:
    from apprise.manager_plugins import NotificationManager

    return frozenset(NotificationManager().schemas())  # type: ignore[no-untyped-call]


def _told_apart(service: Any, message: Message) -> None:
    """Lets a service that keeps incidents know this one again, and a mail program lay mails of one together."""
    key = str(message.incident.get("id") or message.key)
    if hasattr(service, "dedup") and hasattr(service, "action"):
        service.dedup, service.action = key, "map"
    if isinstance(getattr(service, "headers", None), dict) and hasattr(service, "smtp_host"):
        word = re.sub(r"[^A-Za-z0-9.-]", "", key) or "message"
        service.headers["References"] = f"<{word}@tracewatch>"


def disarmed(text: str) -> str:
    """A text in which no service finds a mention or a link with another face: each has marks of its own, and some none
    that take their meaning away, so a character that is not seen, or one that looks the same, stands in the way.

    >>> disarmed("@everyone gpt@here <@1> <!channel> <http://a|b> [c](http://d) me@example.com model@2026")
    '@\u200beveryone gpt@\u200bhere ‹@\u200b1> ‹!channel> ‹http://a|b> [c] (http://d) me@example.com model@2026'
    """
    text = _MARKED.sub("‹", text).replace("](", "] (")
    return _MENTION.sub("@\u200b", text)


def _disarmed(message: Message) -> Message:
    """The message with all that others may have named disarmed; its own links are whole."""
    return replace(
        message,
        title=disarmed(message.title)[:LONGEST_TITLE],
        facts=tuple((disarmed(label), disarmed(text)) for label, text in message.facts),
        where=disarmed(message.where),
        why=tuple(map(disarmed, message.why)),
        next=tuple(map(disarmed, message.next)),
        rule=disarmed(message.rule),
        project=disarmed(message.project),
    )


def _text(message: Message, most: int) -> str:
    if most > SHORT:
        return plain(message, most)
    return (message.link or "")[: max(most, 0)] or " "


def _kind(message: Message, kinds: Any) -> Any:
    if message.event in ("test", "digest"):
        return kinds.INFO
    return kinds.FAILURE if message.severity in ("high", "critical") else kinds.WARNING
