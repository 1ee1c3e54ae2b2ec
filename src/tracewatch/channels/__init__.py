"""Where messages leave the house: by URL, to a webhook, Slack, e-mail and everything Apprise knows."""

from tracewatch.channels.base import Channel
from tracewatch.channels.message import EVENTS, LONGEST_TITLE, VERDICTS, Course, Message

__all__ = ["EVENTS", "LONGEST_TITLE", "VERDICTS", "Channel", "Course", "Message"]
