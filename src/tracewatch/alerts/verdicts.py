"""What people say of having been told, and what that says of a rule: how many of its messages were worth it."""

from __future__ import annotations

import hmac
from collections import Counter, defaultdict
from dataclasses import dataclass

from tracewatch.errors import BadDeed, NotFound, RightMissing
from tracewatch.records import VERDICTS, Delivery, Verdict
from tracewatch.stores.base import Filter, Store

MOST = 10_000
LEAST_JUDGED = 5  # verdicts, before a rule is called noisy
NOISY = 0.5  # fewer useful ones than that
BY_LINK = "link"


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """What verdicts say of a rule."""

    useful: int = 0
    expected: int = 0
    noise: int = 0

    @property
    def judged(self) -> int:
        """How many verdicts there are."""
        return self.useful + self.expected + self.noise

    @property
    def precision(self) -> float | None:
        """The share that was useful; None before anybody has judged."""
        return self.useful / self.judged if self.judged else None

    @property
    def noisy(self) -> bool:
        """Whether enough people said that it is not worth it."""
        return self.judged >= LEAST_JUDGED and (self.precision or 0.0) < NOISY


def judge(
    store: Store, project: str, key: str, verdict: str, *, who: str, now: float, token: str | None = None
) -> Verdict:
    """Keeps what somebody says of a delivery, in place of what was said before. It silences nothing by itself.

    Whoever follows a link of the message has its `token`, and needs no key; `who` has signed in otherwise (then None).
    Raises NotFound, BadDeed, or RightMissing where the token is another one.
    """
    found = store.get(Delivery, {"project": project, "key": key})
    if not isinstance(found, Delivery) or found.incident_id is None:
        hint = "See them with: tracewatch alerts deliveries"
        raise NotFound(what="message", given=key, where=f"project {project}", hint=hint)
    if token is not None and not (found.token and hmac.compare_digest(found.token.encode(), token.encode())):
        raise RightMissing(right="judge this message: its link is not whole")
    return judge_incident(store, project, found.incident_id, found.rule, verdict, who=who, now=now)


def judge_incident(
    store: Store, project: str, incident_id: str, rule: str, verdict: str, *, who: str, now: float
) -> Verdict:
    """The same of an incident that a rule told of. Raises BadDeed."""
    if verdict not in VERDICTS:
        raise BadDeed(why=f"the verdict '{verdict}' is none of {', '.join(VERDICTS)}")
    said = Verdict(
        project=project, rule=rule, incident_id=incident_id, verdict=verdict, given_at=now, given_by=who or BY_LINK
    )
    store.put([said])
    return said


def delivery_of(store: Store, key: str, token: str) -> Delivery | None:
    """The delivery that a link of a message is about, whatever its project; None where the token is another one."""
    for each in store.page(Delivery, [Filter("key", "=", (key,))], limit=10).records:
        if isinstance(each, Delivery) and each.token and hmac.compare_digest(each.token.encode(), token.encode()):
            return each
    return None


def qualities(store: Store, project: str) -> dict[str, Quality]:
    """What verdicts say of each rule that has any."""
    counted: dict[str, Counter[str]] = defaultdict(Counter)
    for each in store.page(Verdict, [Filter("project", "=", (project,))], limit=MOST).records:
        if isinstance(each, Verdict):
            counted[each.rule][each.verdict] += 1
    return {rule: Quality(**{name: some[name] for name in VERDICTS}) for rule, some in counted.items()}
