"""Dealing with incidents and findings: what people do about them is written down, and what follows from it is done."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from tracewatch.errors import BadDeed
from tracewatch.records import REASONS, VERBS, Anomaly, Deed, Incident
from tracewatch.stores.base import Filter, Store

MOST_FINDINGS = 1_000  # of one incident; the engine keeps 50
MOST_DEEDS = 200
LONGEST_TEXT = 2_000  # characters of a note

OUTCOMES: Mapping[str, Mapping[str, Any]] = {
    "acknowledge": {"resolution_status": "acknowledged", "acknowledged": True},
    "snooze": {"resolution_status": "acknowledged", "acknowledged": True},
    "resolve": {"resolution_status": "resolved", "acknowledged": True},
    "dismiss": {"resolution_status": "dismissed", "acknowledged": True},
    "reopen": {"resolution_status": "pending", "acknowledged": False},
}
"""What becomes of a finding by each verb; a note changes nothing."""


def deal(
    store: Store, found: Incident | Anomaly, verb: str, *, who: str, now: float, reason: str | None = None,
    text: str | None = None, until: float | None = None,
) -> Deed:  # fmt: skip
    """Does something about an incident with all its findings, or about one finding. Raises BadDeed."""
    if verb not in VERBS:
        raise BadDeed(why=f"'{verb}' is none of {', '.join(VERBS)}")
    if reason is not None and reason not in REASONS:
        raise BadDeed(why=f"the reason '{reason}' is none of {', '.join(REASONS)}")
    text = (text or "").strip() or None
    if text is not None and len(text) > LONGEST_TEXT:
        raise BadDeed(why=f"the note has {len(text):,} characters, and {LONGEST_TEXT:,} are the most")
    if verb == "note" and text is None:
        raise BadDeed(why="a note without a text says nothing")
    if verb == "snooze" and (until is None or until <= now):
        raise BadDeed(why="a snooze ends in the future")
    deed = Deed(
        project=found.project, id=secrets.token_hex(8), about=found.id, verb=verb, done_at=now, done_by=who,
        reason=reason, text=text, until=until,
    )  # fmt: skip
    store.add([deed])
    _follow(store, found, OUTCOMES.get(verb, {}))
    return deed


def deeds_about(store: Store, project: str, about: Sequence[str]) -> tuple[Deed, ...]:
    """What was done about some incidents or findings, the newest first."""
    if not about:
        return ()
    where = [Filter("project", "=", (project,)), Filter("about", "=", tuple(about))]
    return tuple(each for each in store.page(Deed, where, limit=MOST_DEEDS).records if isinstance(each, Deed))


def _follow(store: Store, found: Incident | Anomaly, values: Mapping[str, Any]) -> None:
    """What people did about an incident they did about all its findings."""
    if not values:
        return
    store.annotate(type(found), {"project": found.project, "id": found.id}, values)
    if isinstance(found, Incident):
        where = [Filter("project", "=", (found.project,)), Filter("incident_id", "=", (found.id,))]
        findings = store.page(Anomaly, where, limit=MOST_FINDINGS).records
        keys = [{"project": each.project, "id": each.id} for each in findings if isinstance(each, Anomaly)]
        store.annotate_all(Anomaly, ((key, values) for key in keys))
