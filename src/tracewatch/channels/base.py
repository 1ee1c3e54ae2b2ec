"""What a channel is: an address that a message leaves by."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from hashlib import blake2b

from tracewatch.channels.message import Message

SHORT_MARK = 6  # characters: enough to show; too few to rely on, since two of 5,000 recipients would share one


class Channel(ABC):
    """A way out for messages. It knows the message and its own address, nothing else."""

    name: str
    """The address with everything secret in it masked: for pages, logs and records."""

    @abstractmethod
    def send(self, message: Message) -> None:
        """Deliver the message, or raise.

        Raises DeliveryFailed where another try may succeed, DeliveryRefused where none will.
        """

    @property
    def parts(self) -> Mapping[str, Channel]:
        """The way to each of its recipients, by a mark that tells them apart; empty where it cannot tell one by one.

        So that each is told once: where one of them fails, the others are not told again.
        """
        return {}


def mark_of(recipient: object) -> str:
    """A mark for a recipient, who may be nobody to name: an address of people, a number.

    Its beginning is a mark of its own, which was all of it once: what is kept under that is known again.

    >>> mark_of("#alerts")
    '07ad12a6b0cedc2119005c'
    """
    text = repr(recipient).encode("utf-8", "replace")
    return "".join(blake2b(text, digest_size=size).hexdigest() for size in (SHORT_MARK // 2, 8))
