"""A rush of messages made bearable: beyond a few in one pass, a channel hears of all others in one summary."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from tracewatch.alerts.ledger import Telling
from tracewatch.records import SEVERITIES

MOST_SINGLY = 10  # messages to a channel in one pass; whoever gets more reads none, and receivers begin to refuse them


def gathered(told: Iterable[Telling], project: str) -> Iterator[tuple[Telling, tuple[Telling, ...]]]:
    """For each channel that would hear too much at once: the summary, and what it stands for.

    The first few of what is told, the worst, stay single; so do digests, and a single one that would be left.
    """
    by_channel: dict[str, list[Telling]] = defaultdict(list)
    for each in told:
        if each.incident_id is not None:
            by_channel[each.channel].append(each)
    for some in by_channel.values():
        if len(some) > MOST_SINGLY + 1:
            rest = tuple(some[MOST_SINGLY:])
            yield _summary(rest, project), rest


def _summary(rest: Sequence[Telling], project: str) -> Telling:
    """One telling of many; the rule is that of the worst, and the key the same for the same tellings."""
    keys = "\n".join(each.key(project) for each in rest)
    return Telling(
        rule=rest[0].rule,
        channel=rest[0].channel,
        event="summary",
        severity=max((each.severity for each in rest), key=SEVERITIES.index),
        at=rest[0].at,
        episode=hashlib.blake2b(keys.encode(), digest_size=12).hexdigest(),
        about=tuple(dict.fromkeys(each.incident_id for each in rest if each.incident_id is not None)),
    )
