"""Whether servers take what is sent to them, and whether alerts reach anybody."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Iterator

from tracewatch import words
from tracewatch.checks.base import SELF, Check
from tracewatch.records import Delivery, Intake
from tracewatch.stores.base import Filter, Store
from tracewatch.times import HOUR_S

ALIVE_S = 60.0  # since a server last wrote: six times as long as it leaves between two reports
WINDOW_S = 900.0
FULL = 0.8  # of the queue: beyond it the next burst is refused
TRIED = 3  # times without success: a receiver that is away for a minute is none
MOST = 1_000

Counted = tuple[float, int, int]
"""When, and how many requests were taken and refused by then."""


class ServersWatch:
    """What servers of a store counted, over the last quarter of an hour."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._counted: dict[str, deque[Counted]] = defaultdict(deque)

    def checks(self, now: float) -> Iterator[Check]:
        """The queue and the refusals of all of them together."""
        alive = [Filter("updated_at", ">=", (now - WINDOW_S,))]
        found = [each for each in self.store.page(Intake, alive, limit=MOST).records if isinstance(each, Intake)]
        taken = refused = 0
        for each in found:
            before = self._before(each, now)
            taken += each.requests - before[1]
            refused += each.refused_requests + each.failed_commits - before[2]
        for gone in set(self._counted) - {each.server for each in found}:
            del self._counted[gone]
        share = refused / max(taken + refused, 1)
        yield Check(
            detector=SELF, metric="ingest_refused_rate", bad=refused > 0, observed=share, since=now - WINDOW_S,
            severity="high" if share > 0.05 else "medium", calls=refused,
            title=f"The server could not take {refused:,} requests in a quarter of an hour "
            f"({words.amount(share, 'share')} of them): their senders try again, and drop rows when that lasts.",
            actions=(
                "See whether the disk is full or slow: tracewatch doctor",
                "Let more wait with TRACEWATCH_QUEUE_MB, or send fewer spans.",
            ),
        )  # fmt: skip
        full = max((each.queue_share for each in found if now - each.updated_at <= ALIVE_S), default=0.0)
        yield Check(
            detector=SELF, metric="ingest_queue_share", bad=full >= FULL, observed=full, limit=FULL, since=now,
            kind="level_shift",
            title=f"The queue of requests that wait to be stored is {words.amount(full, 'share')} full: beyond that "
            "they are turned away.",
            actions=("See whether the disk is slow, or another program holds the database: tracewatch doctor",),
        )  # fmt: skip

    def _before(self, each: Intake, now: float) -> Counted:
        """What the server had counted a quarter of an hour ago, or when it was first seen."""
        seen = self._counted[each.server]
        seen.append((now, each.requests, each.refused_requests + each.failed_commits))
        while len(seen) > 1 and seen[1][0] <= now - WINDOW_S:
            seen.popleft()
        return seen[0]


def undelivered(store: Store, project: str, now: float) -> Iterator[Check]:
    """Messages of the last hour that do not reach their channel, one check a channel."""
    where = [
        Filter("project", "=", (project,)),
        Filter("created_at", ">=", (now - HOUR_S,)),
        Filter("state", "=", ("failed", "dead")),
    ]
    found = [each for each in store.page(Delivery, where, limit=MOST).records if isinstance(each, Delivery)]
    lost: dict[str, list[Delivery]] = defaultdict(list)
    for each in found:
        if each.state == "dead" or each.attempts >= TRIED:
            lost[each.channel].append(each)
    for channel, some in lost.items():
        answers = Counter(each.answer or "nothing came back" for each in some)
        yield Check(
            detector=SELF, metric="failed_deliveries", bad=True, observed=float(len(some)), severity="high",
            since=min(each.created_at for each in some), slice={"channel": channel}, calls=len(some),
            title=f"{len(some):,} {'alert does' if len(some) == 1 else 'alerts do'} not reach {channel}: "
            f"{answers.most_common(1)[0][0]}",
            actions=("Try the channel, and see what it answers: tracewatch alerts test",),
        )  # fmt: skip
