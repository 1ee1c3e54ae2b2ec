"""Where messages leave the house: by URL, to a webhook, Slack, e-mail and everything Apprise knows."""

from tracewatch.channels.base import Channel
from tracewatch.channels.message import LONGEST_TITLE, Course, Message
from tracewatch.records import EVENTS, VERDICTS

__all__ = ["EVENTS", "LONGEST_TITLE", "VERDICTS", "Channel", "Course", "Message"]
