"""What a channel is: an address that a message leaves by."""

from __future__ import annotations

from abc import ABC, abstractmethod

from tracewatch.channels.message import Message


class Channel(ABC):
    """A way out for messages. It knows the message and its own address, nothing else."""

    name: str
    """The address with everything secret in it masked: for pages, logs and records."""

    @abstractmethod
    def send(self, message: Message) -> None:
        """Deliver the message, or raise.

        Raises DeliveryFailed where another try may succeed, DeliveryRefused where none will.
        """
