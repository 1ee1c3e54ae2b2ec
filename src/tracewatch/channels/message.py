"""What a channel is given to tell: the finding in words, and the same for machines. Never a prompt, never an answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from tracewatch.records import EVENTS, VERDICTS

LONGEST_TITLE = 160  # characters: what a lock screen and a list of mails show


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How the metric went around the onset, for a small picture."""

    values: tuple[float | None, ...]
    """One number a step, the oldest first, in the unit of the metric; None where there were no calls."""
    lower: float | None = None
    upper: float | None = None
    """The expected range."""
    onset: int | None = None
    """Index of the value at which it began."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One thing to be told to one channel. Times are UTC epoch seconds; all texts are plain, without markup."""

    key: str
    """The same for every attempt at the same telling, so that a receiver may drop the second one."""
    event: str
    """One of EVENTS."""
    project: str
    rule: str
    """Name of the rule that wants it told."""
    severity: str
    """low, medium, high or critical."""
    title: str
    """What happened, in one line of LONGEST_TITLE characters at most."""
    sent_at: float
    since: float | None = None
    until: float | None = None
    """When it was over; None while it lasts."""
    facts: tuple[tuple[str, str], ...] = ()
    """How bad it is: (label, text) each."""
    where: str = ""
    """Which calls it is about."""
    why: tuple[str, ...] = ()
    next: tuple[str, ...] = ()
    """What to do, the first thing first."""
    link: str | None = None
    """The page of the incident."""
    verdict_links: Mapping[str, str] = field(default_factory=dict)
    """From one of VERDICTS to the page where it is confirmed."""
    incident: Mapping[str, Any] = field(default_factory=dict)
    """The incident for machines, ready for JSON."""
    course: Course | None = None

    def __post_init__(self) -> None:
        assert self.event in EVENTS, f"{self.event!r} is no event: {EVENTS}"
        assert 0 < len(self.title) <= LONGEST_TITLE, f"a title has 1 to {LONGEST_TITLE} characters: {self.title!r}"
        assert set(self.verdict_links) <= set(VERDICTS), f"verdicts are {VERDICTS}"


def as_json(message: Message) -> dict[str, Any]:
    """The message as JSON-ready values, so that it can wait in a record until it is sent."""
    kept: dict[str, Any] = _lists(asdict(message))
    return kept


def from_json(given: Mapping[str, Any]) -> Message:
    """The message that was kept by `as_json`, also after JSON has made lists of its tuples."""
    course = given.get("course")
    texts = {name: tuple(given.get(name) or ()) for name in ("why", "next")}
    facts = tuple((label, text) for label, text in given.get("facts") or ())
    drawn = None if course is None else Course(**{**course, "values": tuple(course["values"])})
    return Message(**{**given, **texts, "facts": facts, "course": drawn})


def _lists(value: Any) -> Any:
    """The same with lists for tuples, which JSON does not have."""
    if isinstance(value, Mapping):
        return {name: _lists(each) for name, each in value.items()}
    return [_lists(each) for each in value] if isinstance(value, list | tuple) else value
