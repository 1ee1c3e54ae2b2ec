"""From an incident to the message that tells of it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from tracewatch.alerts import lines
from tracewatch.alerts.ledger import Telling
from tracewatch.channels import Message
from tracewatch.records import SEVERITIES, VERDICTS, AlertRule, Incident, as_dict

MOST_LISTED = 20  # incidents of a digest; more are counted
LONGEST_NAME = 256  # characters, of a rule or a project
LONGEST_OF_MACHINES = 1_000  # characters of one text in the incident for machines


def message_of(
    telling: Telling, rule: AlertRule, incident: Incident, *, key: str, token: str, public_url: str, before: str | None
) -> Message:
    """What is told of an incident. `before` is the severity that was told last."""
    page = f"{public_url.rstrip('/')}/incidents/{quote(incident.id)}" if public_url else None
    return Message(
        key=key,
        event=telling.event,
        project=lines.line(incident.project, LONGEST_NAME),
        rule=lines.line(rule.name, LONGEST_NAME),
        severity=incident.severity,
        title=lines.title(incident, telling.at),
        sent_at=telling.at,
        since=incident.started_at,
        until=incident.closed_at if telling.event == "recovered" else None,
        facts=(*lines.facts(incident, telling.at, before if telling.event == "grown" else None), *lines.labels(rule)),
        where=lines.where(incident),
        why=lines.why(incident),
        next=lines.next_steps(incident),
        course=lines.course(incident),
        link=page,
        verdict_links={} if telling.event == "recovered" else verdict_links(public_url, key, token),
        incident=_machine(as_dict(incident)) | {"labels": dict(lines.labels(rule))},
    )


def digest_of(
    telling: Telling, rule: AlertRule, incidents: Sequence[Incident], *, project: str, key: str, public_url: str
) -> Message:
    """What is told of several incidents at once, the worst first: a digest, or the summary of a rush."""
    some = in_order(incidents)
    counted = Counter(each.severity for each in some)
    kinds = ", ".join(f"{counted[each]} {each}" for each in reversed(SEVERITIES) if counted[each])
    noun = "incident" if len(some) == 1 else "incidents"
    more_than_told = "more " if telling.event == "summary" else ""
    more = [("And", f"{len(some) - MOST_LISTED} more")] if len(some) > MOST_LISTED else []
    return Message(
        key=key,
        event=telling.event,
        project=lines.line(project, LONGEST_NAME),
        rule=lines.line(rule.name, LONGEST_NAME),
        severity=telling.severity,
        title=f"{len(some)} {more_than_told}{noun}: {kinds}",
        sent_at=telling.at,
        since=min((each.started_at for each in some), default=None),
        facts=(*((_standing(each), lines.title(each, telling.at)) for each in some[:MOST_LISTED]), *more),
        link=f"{public_url.rstrip('/')}/incidents" if public_url else None,
        incident={
            "incidents": [_machine(as_dict(each)) for each in some[:MOST_LISTED]],
            "labels": dict(lines.labels(rule)),
        },
    )


def in_order(incidents: Sequence[Incident]) -> list[Incident]:
    """Incidents as they are listed: the worst first, and of these the one that was known first."""
    return sorted(incidents, key=lambda each: (-SEVERITIES.index(each.severity), each.detected_at))


def sample(project: str, key: str, now: float, public_url: str) -> Message:
    """What is sent to try a channel."""
    return Message(
        key=key,
        event="test",
        project=lines.line(project, LONGEST_NAME),
        rule="test",
        severity=SEVERITIES[0],
        title="A test of tracewatch: alerts reach this channel",
        sent_at=now,
        where=f"Project {lines.line(project, LONGEST_NAME)}",
        next=("Nothing: no incident is behind this message",),
        link=public_url or None,
    )


def verdict_links(public_url: str, key: str, token: str) -> dict[str, str]:
    """Where it is said what a message was worth; whoever has the message may say it."""
    if not public_url:
        return {}
    base = f"{public_url.rstrip('/')}/alerts/verdict/{quote(key)}?token={quote(token)}"
    return {each: f"{base}&verdict={each}" for each in VERDICTS}


def _standing(incident: Incident) -> str:
    return f"{incident.severity}, {'over' if incident.state == 'closed' else incident.state}"


def _machine(value: Any) -> Any:
    """A value for JSON: numbers that it cannot say are left out, and texts without end are cut."""
    if isinstance(value, str):
        return value[:LONGEST_OF_MACHINES]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(name)[:LONGEST_OF_MACHINES]: _machine(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_machine(each) for each in value]
    return value
