"""Where messages leave the house: by address, to a webhook, Slack, e-mail and everything Apprise knows."""

from tracewatch.channels.base import Channel
from tracewatch.channels.masking import mask, without_secrets
from tracewatch.channels.message import LONGEST_TITLE, Course, Message, as_json, from_json
from tracewatch.channels.opening import open_channel
from tracewatch.records import EVENTS, VERDICTS

__all__ = [
    "EVENTS",
    "LONGEST_TITLE",
    "VERDICTS",
    "Channel",
    "Course",
    "Message",
    "as_json",
    "from_json",
    "mask",
    "open_channel",
    "without_secrets",
]
