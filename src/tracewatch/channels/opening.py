"""From an address to the channel behind it."""

from __future__ import annotations

from urllib.parse import urlsplit

from tracewatch.channels.base import Channel
from tracewatch.channels.masking import mask
from tracewatch.channels.reaching import Within
from tracewatch.channels.slack import Slack, SlackBot, is_bot, is_slack
from tracewatch.channels.webhook import Webhook
from tracewatch.errors import UnknownChannel

WEB = frozenset({"http", "https", "webhook+http", "webhook+https"})
SERVICES = ("discord.com", "discordapp.com", "hooks.slack.com", "chat.googleapis.com", "webhook.office.com")
"""Hosts whose https addresses are those of a service, which takes only what Apprise makes of a message."""


def open_channel(url: str, *, private: bool = True) -> Channel:
    """The channel behind an address; nothing is sent yet. `private` is whether it may lead into private networks.

    Raises UnknownChannel, and MissingExtra where Apprise is wanted and not installed.
    """
    return Within(_opened(url.strip()), private=private)


def _opened(url: str) -> Channel:
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError as error:
        raise UnknownChannel(given=mask(url), why="its host cannot be read") from error
    if is_slack(url):
        return SlackBot(url) if is_bot(url) else Slack(url)
    if parts.scheme in WEB and not (parts.scheme == "https" and _is_service(host)):
        return Webhook(url)
    if not parts.scheme or "://" not in url:
        raise UnknownChannel(given=mask(url), why="write it like https://…, slack://… or mailto://…")
    from tracewatch.channels.apprise import Apprised

    return Apprised(url)


def _is_service(host: str) -> bool:
    return any(host == each or host.endswith(f".{each}") for each in SERVICES)
