"""What every rendering of a message shares: its words, its order, its small picture; and the plain text."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from tracewatch.channels.message import Course, Message

SHAPES = {"low": "●", "medium": "◆", "high": "▲", "critical": "⬣"}
EVENT_WORDS = {
    "opened": "New",
    "grown": "Worse",
    "reopened": "Back again",
    "recovered": "Recovered",
    "digest": "Digest",
    "summary": "Many at once",
    "test": "Test",
}
VERDICT_WORDS = {"useful": "Useful", "expected": "Expected", "noise": "Noise"}
COLOURS = {"low": "#5583c4", "medium": "#b28d10", "high": "#c24e12", "critical": "#b5103a"}
OVER = "#2f9163"  # of what is over
BARS = "▁▂▃▄▅▆▇█"
MOST_COURSE = 40  # values of the small picture
PAIR = " · "


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A part of a message under its heading, in the order in which it is read."""

    heading: str
    lines: tuple[str, ...]
    numbered: bool = False


def badge(message: Message) -> str:
    """How bad it is and what happened, in a few words.

    >>> badge(Message(key="k", event="opened", project="p", rule="r", severity="critical", title="t", sent_at=0.0))
    '⬣ Critical · New'
    """
    word = EVENT_WORDS[message.event]
    if message.event == "test":
        return word
    if message.event == "recovered":
        return f"✓ {word}"
    return f"{SHAPES[message.severity]} {message.severity.capitalize()}{PAIR}{word}"


def subject(message: Message) -> str:
    """The one line by which the message is known in a list of mails or on a lock screen."""
    return f"{badge(message)}: {message.title}"


def colour(message: Message) -> str:
    """The colour of a message, readable with white on it and on white and black ground."""
    return OVER if message.event == "recovered" else COLOURS[message.severity]


def when(message: Message) -> str:
    """Since when, and until when.

    >>> when(Message(key="k", event="recovered", project="p", rule="r", severity="low", title="t", sent_at=0.0,
    ...              since=1772460120.0, until=1772463720.0))
    '2026-03-02 14:02 – 15:02 UTC'
    """
    if message.since is None:
        return ""
    if message.until is None:
        return f"since {minute(message.since)} UTC"
    first, last = minute(message.since), minute(message.until)
    return f"{first} – {last[11:] if last[:10] == first[:10] else last} UTC"


def minute(time_s: float) -> str:
    """A moment in UTC, to the minute."""
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(time_s))


def sections(message: Message) -> tuple[Section, ...]:
    """Where, why and what next; what is not known is left out."""
    found = (
        Section(heading="Where", lines=(message.where,) if message.where else ()),
        Section(heading="Why", lines=message.why),
        Section(heading="What to do next", lines=message.next, numbered=True),
    )
    return tuple(each for each in found if each.lines)


def footer(message: Message) -> str:
    """Who says it, and why to this place."""
    rule = f"rule {message.rule}{PAIR}" if message.rule else ""
    return f"tracewatch{PAIR}{rule}project {message.project}"


def spark(course: Course) -> str:
    """The course as a row of blocks; a gap where there were no calls.

    >>> spark(Course(values=(1.0, 1.0, None, 4.5, 8.0)))
    '▂▂ ▅█'
    """
    return "".join(" " if level is None else BARS[round(level * (len(BARS) - 1))] for level in levels(course))


def levels(course: Course) -> list[float | None]:
    """The newest values as parts of the highest, 0 to 1; from the lowest where all are far from nothing."""
    values = course.values[-MOST_COURSE:]
    known = [each for each in values if each is not None]
    low, high = min(known, default=0.0), max(known, default=0.0)
    floor = 0.0 if 0 <= low < high / 2 else low
    reach = high - floor
    return [None if each is None else (each - floor) / reach if reach > 0 else 0.0 for each in values]


def plain(message: Message, most: int = 100_000) -> str:
    """The message as plain text of at most so many characters, without its subject; what matters least goes first."""
    blocks = [block for block in _blocks(message) if block]
    while len(blocks) > 1 and len("\n\n".join(blocks)) > most:
        del blocks[-2 if blocks[-1] == message.link else -1]
    return "\n\n".join(blocks)[:most]


def _blocks(message: Message) -> list[str]:
    facts = "\n".join(f"{label}: {text}" for label, text in message.facts)
    picture = spark(message.course) if message.course else ""
    told = [_section(each) for each in sections(message)]
    verdicts = "\n".join(f"{VERDICT_WORDS[each]}: {link}" for each, link in message.verdict_links.items())
    head = [when(message), facts, picture, *told]
    asked = f"Was this worth telling?\n{verdicts}" if verdicts else ""
    return [*head, asked, footer(message), message.link or ""]


def _section(section: Section) -> str:
    return f"{section.heading}:\n" + "\n".join(marked(section))


def marked(section: Section) -> Sequence[str]:
    """The lines of a section with their numbers or dashes; a single one stands for itself."""
    if section.numbered:
        return [f"{number}. {line}" for number, line in enumerate(section.lines, start=1)]
    return section.lines if len(section.lines) == 1 else [f"- {line}" for line in section.lines]
