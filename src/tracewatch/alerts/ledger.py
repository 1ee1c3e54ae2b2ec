"""What has been told so far, of which incident and to whom: what deciding remembers. Read off the deliveries."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from tracewatch.records import SEVERITIES

OPENINGS = ("opened", "reopened")


@dataclass(frozen=True, slots=True, kw_only=True)
class Telling:
    """One thing that is told to one channel."""

    rule: str
    channel: str
    event: str
    severity: str
    at: float
    incident_id: str | None = None
    """None of a digest."""
    episode: str = ""
    """Which time this is that the incident is new; of a digest the end of its period (epoch seconds)."""
    about: tuple[str, ...] = ()
    """The incidents of a digest."""

    def key(self, project: str) -> str:
        """The same whoever decides it, and however often."""
        event = "opened" if self.event in OPENINGS else self.event
        about = self.incident_id or f"rule {self.rule}"
        which = self.severity if event == "grown" else self.episode
        text = "\x1f".join((project, about, event, which, self.channel))
        return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()


class Ledger:
    """What has been told. Nothing is told twice, so what is told is added at once."""

    def __init__(self, told: Iterable[Telling] = ()) -> None:
        self._of: dict[str, dict[str, list[Telling]]] = defaultdict(lambda: defaultdict(list))
        self._opened: dict[str, float] = {}
        self._digests: dict[tuple[str, str], float] = {}
        for each in sorted(told, key=lambda each: each.at):
            self.add(each)

    def add(self, told: Telling) -> None:
        """Notes that something is told."""
        if told.incident_id is None:
            self.digested(told.rule, told.channel, float(told.episode or told.at))
            return
        self._of[told.incident_id][told.channel].append(told)
        if told.event in OPENINGS:
            self.noted_opening(told.rule, told.at)

    def channels(self, incident_id: str) -> tuple[str, ...]:
        """Who was told of an incident."""
        return tuple(self._of.get(incident_id, ()))

    def opened(self, incident_id: str, channel: str) -> bool:
        """Whether a channel was ever told that there is an incident."""
        return bool(self._told(incident_id, channel))

    def knows(self, incident_id: str, channel: str, episode: str) -> bool:
        """Whether a channel was told of an incident since it is new this time.

        When people take up again what had come back, that is no news to those who were told that it came back.
        """
        told = [each.episode for each in self._told(incident_id, channel)]
        return any(each == episode or each.startswith(f"{episode} ") for each in told)

    def last(self, incident_id: str, channel: str) -> Telling | None:
        """What a channel was told last of an incident."""
        told = self._told(incident_id, channel)
        return told[-1] if told else None

    def waiting(self, incident_id: str) -> list[tuple[str, Telling]]:
        """Channels that were told of an incident and not of its end, with what they were told last."""
        told = self._of.get(incident_id, {}).items()
        return [(channel, its[-1]) for channel, its in told if its and its[-1].event != "recovered"]

    def worst(self, incident_id: str, channel: str) -> str | None:
        """The worst severity that a channel was told of an incident."""
        told = [each.severity for each in self._told(incident_id, channel)]
        return max(told, key=SEVERITIES.index, default=None)

    def noted_opening(self, rule: str, at: float) -> None:
        """Notes when a rule told of something new."""
        self._opened[rule] = max(at, self._opened.get(rule, at))

    def opened_at(self, rule: str) -> float | None:
        """When a rule last told of something new."""
        return self._opened.get(rule)

    def digested(self, rule: str, channel: str, until: float) -> None:
        """Notes that everything up to a moment is in a digest, or that there was nothing."""
        self._digests[rule, channel] = max(until, self._digests.get((rule, channel), until))

    def digested_until(self, rule: str, channel: str) -> float | None:
        """Up to when everything is in a digest."""
        return self._digests.get((rule, channel))

    def _told(self, incident_id: str, channel: str) -> list[Telling]:
        return self._of.get(incident_id, {}).get(channel, [])
