"""Slack, told in its own blocks: an incoming webhook or a bot.

Apprise sends Slack one block of text, or blocks from a template file; neither carries facts beside each other.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tracewatch.channels.base import Channel, mark_of
from tracewatch.channels.masking import mask
from tracewatch.channels.message import Message
from tracewatch.channels.posting import post
from tracewatch.channels.rendering import (
    PAIR,
    VERDICT_WORDS,
    badge,
    footer,
    marked,
    sections,
    spark,
    subject,
    when,
)
from tracewatch.errors import DeliveryFailed, DeliveryRefused, UnknownChannel

HOOKS = "https://hooks.slack.com/services/"
HOSTS = frozenset({"hooks.slack.com", "hooks.slack-gov.com"})
POST_MESSAGE = "https://slack.com/api/chat.postMessage"
PREFIX = "slack+"
JSON = {"Content-Type": "application/json; charset=utf-8"}
MOST_HEADER, MOST_TEXT, MOST_FIELD, MOST_FIELDS = 150, 2900, 300, 10  # Slack's limits; texts of 3,000 with marks
PASSING = frozenset({"ratelimited", "rate_limited", "service_unavailable", "internal_error", "fatal_error", "timeout"})
_BOT = re.compile(r"(?:xoxe\.)?xox[abp]-[A-Za-z0-9-]+")
_TOKEN = re.compile(r"[A-Za-z0-9]+")
_PART_OF_ESCAPE = re.compile(r"&[a-z]{0,3}$")


class Slack(Channel):
    """Posts blocks to an incoming webhook: https://hooks.slack.com/services/…, slack://A/B/C, or slack+https://…
    for whatever takes the same."""

    def __init__(self, url: str) -> None:
        self.name, self._given = mask(url), url
        self._url = _hook(url.strip(), self.name)

    def send(self, message: Message) -> None:
        post(self._url, _encoded(payload(message)), JSON, self._given)


class SlackBot(Channel):
    """Posts blocks as a bot: slack://xoxb-TOKEN/channel; one message for each channel named."""

    def __init__(self, url: str, api: str = POST_MESSAGE, only: str | None = None) -> None:
        """`only` is the one channel that is told of those named. Raises UnknownChannel."""
        self.name, self._given = mask(url), url
        parts = urlsplit(url.strip().replace("/#", "/"))
        self._token, self._api = parts.netloc, api
        named = [*parts.path.split("/"), *",".join(parse_qs(parts.query).get("to", [])).split(",")]
        found = (unquote(each).strip().lstrip("#") for part in named for each in part.split(","))
        self._channels = tuple(dict.fromkeys(each for each in found if each))
        if not self._channels:
            raise UnknownChannel(given=self.name, why="it names no channel: write slack://xoxb-TOKEN/alerts")
        if only is not None:
            self._channels = (only,)

    def send(self, message: Message) -> None:
        for each in self._channels:
            self._post(payload(message) | {"channel": each})

    @property
    def parts(self) -> Mapping[str, Channel]:
        return {mark_of(each): SlackBot(self._given, self._api, only=each) for each in self._channels}

    def _post(self, told: dict[str, Any]) -> None:
        headers = {**JSON, "Authorization": f"Bearer {self._token}"}
        try:
            answer = json.loads(post(self._api, _encoded(told), headers, self._given).body)
        except ValueError as error:
            raise DeliveryFailed(channel=self.name, why="it answered something that is not JSON") from error
        if not isinstance(answer, dict) or answer.get("ok") is not True:
            reason = str(answer.get("error", "no reason given") if isinstance(answer, dict) else "no reason given")
            raised = DeliveryFailed if reason in PASSING else DeliveryRefused
            raise raised(channel=self.name, why=f"it answered {reason[:100]}")


def is_slack(url: str) -> bool:
    """Whether we speak to this address as to Slack ourselves: hooks and bots; workflows are left to Apprise."""
    if url.startswith((f"{PREFIX}http://", f"{PREFIX}https://")):
        return True
    parts = urlsplit(url)
    if parts.scheme == "https":
        return parts.hostname in HOSTS and parts.path.startswith("/services/")
    return parts.scheme == "slack" and (is_bot(url) or len(_tokens(url)) == 3)


def is_bot(url: str) -> bool:
    """Whether the address is that of a bot."""
    parts = urlsplit(url)
    return parts.scheme == "slack" and bool(_BOT.fullmatch(parts.netloc))


def payload(message: Message) -> dict[str, Any]:
    """The message as Slack takes it: blocks, and a line for notifications."""
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": {"type": "plain_text", "text": _cut(badge(message), 150)}}
    ]
    blocks.append(_mrkdwn(f"*{_linked(message)}*"))
    facts = [(label, text) for label, text in message.facts if text]
    if moment := when(message):
        facts.insert(0, ("When", moment))
    for start in range(0, len(facts), MOST_FIELDS):
        fields = [_text(f"*{escaped(label)}*\n{escaped(text)}") for label, text in facts[start : start + MOST_FIELDS]]
        blocks.append({"type": "section", "fields": fields})
    if message.course:
        blocks.append(_mrkdwn(f"`{spark(message.course)}`"))
    for each in sections(message):
        lines = "\n".join(escaped(line) for line in marked(each))
        blocks.append(_mrkdwn(f"*{each.heading}*\n{lines}"))
    blocks.append({"type": "context", "elements": [_text(_last_line(message))]})
    return {"text": escaped(subject(message)), "blocks": blocks, "unfurl_links": False}


def escaped(text: str) -> str:
    """A text in which nothing is a command of Slack's: no mention, no link, no markup.

    >>> escaped("<!channel> & *bold* `code`")
    '&lt;!channel&gt; &amp; \u2217bold\u2217 \u02cbcode\u02cb'
    """
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    # Slack has no escape for its marks; within words, as in names of models, a _ is none.
    text = text.replace("*", "\u2217").replace("`", "\u02cb").replace("~", "\u223c")
    return re.sub(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", "\u02cd", text)


def _last_line(message: Message) -> str:
    words = [f"<{link}|{VERDICT_WORDS[each]}>" for each, link in message.verdict_links.items()]
    asked = f"Was this worth telling? {PAIR.join(words)}\n" if words else ""
    return asked + escaped(footer(message))


def _linked(message: Message) -> str:
    title = escaped(message.title)
    return f"<{message.link}|{title}>" if message.link else title


def _mrkdwn(text: str) -> dict[str, Any]:
    return {"type": "section", "text": _text(text, MOST_TEXT)}


def _text(text: str, most: int = MOST_FIELD * 6) -> dict[str, Any]:
    # Verbatim: what looks like an address or a channel in a name does not become a link.
    return {"type": "mrkdwn", "text": _cut(text, most), "verbatim": True}


def _cut(text: str, most: int) -> str:
    """Of a text already escaped its beginning, without a part of an escape."""
    return text if len(text) <= most else _PART_OF_ESCAPE.sub("", text[: most - 1]) + "…"


def _encoded(told: dict[str, Any]) -> bytes:
    return json.dumps(told, ensure_ascii=False).encode("utf-8", "replace")


def _tokens(url: str) -> Sequence[str]:
    """The parts of slack://A/B/C, which may name a user before an @ that has no say any more."""
    parts = urlsplit(url)
    found = [parts.netloc.rpartition("@")[2], *(each for each in parts.path.split("/") if each)]
    return found if all(_TOKEN.fullmatch(each) for each in found) else ()


def _hook(url: str, name: str) -> str:
    """The address of the webhook. Raises UnknownChannel."""
    if url.startswith("slack://"):
        return HOOKS + "/".join(_tokens(url))
    bare = url.removeprefix(PREFIX)
    try:
        host = urlsplit(bare).hostname or ""
        host.encode("idna")  # as it is looked up
        if not host or not bare.isascii() or " " in bare:
            raise UnknownChannel(given=name, why="it has no host, or characters that an address does not have")
    except ValueError as error:
        raise UnknownChannel(given=name, why="its host cannot be read") from error
    return bare
