"""The address book: every channel by its name, whether settings, the store or a rule tells its address."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tracewatch import settings
from tracewatch.alerts.checking import is_address, written
from tracewatch.channels import Channel, open_channel
from tracewatch.channels.masking import mask
from tracewatch.errors import UnknownChannel
from tracewatch.records import AlertChannel, AlertRule

_ONLY_A_REFERENCE = re.compile(r"\$\{\w+\}")


def is_a_variable(address: str) -> bool:
    """Whether an address is nothing but the name of a variable that holds it."""
    return _ONLY_A_REFERENCE.fullmatch(address) is not None


def called(address: str) -> str:
    """What an address without a name of its own is called: nothing of it that is secret.

    >>> called("${SLACK_WEBHOOK_URL}")
    '${SLACK_WEBHOOK_URL}'
    """
    return address if is_a_variable(address) else mask(address)


def shown_rule(rule: AlertRule) -> dict[str, Any]:
    """A rule in its written form; addresses in it are masked."""
    its = written(rule)
    for name in ("channels", "escalate"):
        if name in its:
            its[name] = [called(each) if is_address(each) else each for each in its[name]]
    return its


def split(addresses: str) -> list[str]:
    """Addresses apart by blanks or by commas before another address."""
    return [each for each in re.split(r"[\s]+|,(?=\s*[\w+$]+[:{])", addresses.strip()) if each]


class Book:
    """The channels of a project. `addresses` are those of TRACEWATCH_ALERT_CHANNELS, for every project."""

    def __init__(
        self,
        channels: Iterable[AlertChannel] = (),
        addresses: str = "",
        rules: Iterable[AlertRule] = (),
        *,
        private: bool = True,
    ) -> None:
        """`private` is whether what the project keeps may lead into private networks."""
        self._private = private
        self._urls: dict[str, str] = {}
        self._off: set[str] = set()
        for url in split(addresses):
            self._urls[called(url)] = url
        self._trusted = set(self._urls)
        for each in channels:
            self._urls[each.name] = each.url
            self._trusted.discard(each.name)
            if not each.enabled:
                self._off.add(each.name)
        self.everybody: tuple[str, ...] = tuple(each for each in self._urls if each not in self._off)
        """Whom a rule tells that names nobody."""
        for rule in rules:
            for given in (*rule.channels, *rule.escalate):
                if is_address(given):
                    self._urls.setdefault(called(given), given)

    @property
    def names(self) -> tuple[str, ...]:
        """Every channel there is, those that are switched off included."""
        return tuple(self._urls)

    def meant(self, given: Sequence[str]) -> tuple[str, ...]:
        """The names of channels that a rule names or gives by address; without those that are switched off."""
        names = (called(each) if is_address(each) else each for each in given)
        return tuple(dict.fromkeys(each for each in names if each not in self._off))

    def audience(self, rule: AlertRule) -> tuple[str, ...]:
        """Whom a rule tells."""
        return self.meant(rule.channels) if rule.channels else self.everybody

    def is_on(self, name: str) -> bool:
        """Whether anything is sent to a channel."""
        return name in self._urls and name not in self._off

    def open(self, name: str, environ: Mapping[str, str] | None = None) -> Channel:
        """The channel of that name. Raises UnknownChannel, UnsetVariable or MissingExtra."""
        if name not in self._urls:
            raise UnknownChannel(given=f"'{name}'", why="no such channel is configured any more")
        url = self._urls[name]
        # What the server's own environment says is its owner's word.
        private = self._private or name in self._trusted or is_a_variable(url)
        filled = settings.filled(url) if environ is None else settings.filled(url, environ)
        return open_channel(filled, private=private)
