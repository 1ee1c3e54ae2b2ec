"""tracewatch checks itself: rows that are lost or late, detection behind, calls and tables without prices."""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tracewatch import pricing, words
from tracewatch.checks.base import SELF, Check
from tracewatch.checks.losses import Dropped, OrphanWatch, dropped
from tracewatch.checks.serving import ServersWatch, undelivered
from tracewatch.records import MESSAGES_SOURCE, Headway
from tracewatch.stores.address import file_of
from tracewatch.stores.base import Filter, Store
from tracewatch.times import DAY_S, HOUR_S

BEHIND_S = 900.0  # three steps: a pass over a large import takes as long, an overloaded machine longer
LATE_SHARE = 0.01
LATE_ROWS = 20
UNPRICED_SHARE = 0.05
UNPRICED_CALLS = 20
FULL = (("medium", 0.9), ("high", 0.95), ("critical", 0.98))  # of a disk
# Of a share that is lost: any is worth knowing, a twentieth bends figures, a quarter makes them useless.
LOST = (("medium", 0.0), ("high", 0.05), ("critical", 0.25))


@dataclass(frozen=True, slots=True, kw_only=True)
class Vitals:
    """What detection knows of itself at a moment."""

    headway: Headway
    rows: int
    """How many rows were read, in all."""
    alone: bool
    """Whether what is about the whole store is told in this project."""


class Health:
    """Checks one project; remembers the last hour of what is only counted."""

    def __init__(self, store: Store, project: str) -> None:
        self.store, self.project = store, project
        self._seen: deque[tuple[float, int, int]] = deque()
        self._orphans = OrphanWatch(store, project)
        self._servers = ServersWatch(store)

    def checks(self, vitals: Vitals, now: float) -> tuple[Check, ...]:
        """All there is to check, as it is at that moment."""
        return tuple(self._checks(vitals, now))

    def _checks(self, vitals: Vitals, now: float) -> Iterator[Check]:
        for each in dropped(self.store, self.project, now):
            yield _lost(each)
        yield from self._orphans.checks(now)
        yield self._late(vitals, now)
        yield _behind(vitals.headway, now)
        yield self._unpriced(now)
        yield from undelivered(self.store, self.project, now)
        if vitals.alone:
            yield from self._servers.checks(now)
            yield from _full_disk(self.store, now)
            yield _old_prices(now)

    def _late(self, vitals: Vitals, now: float) -> Check:
        """Rows that came too late, of those of the last hour."""
        self._seen.append((now, vitals.headway.late_rows, vitals.rows))
        while len(self._seen) > 1 and self._seen[1][0] <= now - HOUR_S:
            self._seen.popleft()
        since, late_before, rows_before = self._seen[0]
        late, rows = vitals.headway.late_rows - late_before, vitals.rows - rows_before
        share = late / max(late + rows, 1)
        return Check(
            detector=SELF, metric="late_rate", bad=late >= LATE_ROWS and share > LATE_SHARE, observed=share,
            limit=LATE_SHARE, since=since, calls=late,
            title=f"{late:,} rows since {_clock(since)} came more than an hour after their calls had ended: "
            "they were left out of detection.",
            actions=(
                "See whether an exporter was cut off from the server, or holds rows back for long.",
                "Judge all of history again with: tracewatch detect --relearn",
            ),
        )  # fmt: skip

    def _unpriced(self, now: float) -> Check:
        """Calls of a day whose price is not known."""
        where = [Filter("project", "=", (self.project,)), Filter("source", "!=", (MESSAGES_SOURCE,))]
        table = self.store.rollup(
            now - DAY_S, now, by=("model_name",), where=where, step_s=DAY_S, measures=("calls", "unpriced_calls")
        )
        unpriced: dict[str, int] = {}
        for model, calls in zip(table["model_name"].to_pylist(), table["unpriced_calls"].to_pylist(), strict=True):
            unpriced[model or "no model"] = unpriced.get(model or "no model", 0) + calls
        missing, calls = sum(unpriced.values()), sum(table["calls"].to_pylist())
        share = missing / max(calls, 1)
        most = sorted((name for name, count in unpriced.items() if count), key=unpriced.__getitem__, reverse=True)[:3]
        return Check(
            detector=SELF, metric="unpriced_share", bad=missing >= UNPRICED_CALLS and share > UNPRICED_SHARE,
            observed=share, limit=UNPRICED_SHARE, since=now - DAY_S, calls=missing,
            title=f"{_percent(share)} of the calls of the last 24 hours have no price: costs are larger than shown.",
            factors=tuple(f"{unpriced[name]:,} calls of {name}" for name in most),
            actions=("See which models with: tracewatch prices check", "Give a price with: tracewatch prices set"),
        )  # fmt: skip


def _lost(each: Dropped) -> Check:
    severity = [name for name, least in LOST if each.share >= least][-1]
    whose = f" of {each.service}" if each.service else ""
    return Check(
        detector=SELF, metric="ingest_loss_rate", bad=each.rows > 0, observed=each.share, since=each.since,
        severity=severity, calls=each.rows, slice={"service_name": each.service} if each.service else {},
        title=f"You are losing {_percent(each.share)} of the rows{whose} since {_clock(each.since)}: "
        f"{each.rows:,} were dropped.",
        factors=tuple(f"{rows:,} because {why}" for why, rows in each.reasons.items()),
        actions=(
            "See whether the store or the server can be reached from there, and whether its disk is full or slow.",
            "Let more rows wait with TRACEWATCH_QUEUE_ROWS where bursts are short.",
        ),
        trace_ids=each.trace_ids,
    )  # fmt: skip


def _behind(headway: Headway, now: float) -> Check:
    behind = headway.behind_s
    return Check(
        detector=SELF, metric="detection_lag_s", bad=behind > BEHIND_S, observed=behind, limit=BEHIND_S,
        severity="high" if behind > HOUR_S else "medium", since=now - behind, kind="level_shift",
        title=f"Detection is {behind / 60:,.0f} min behind: findings come so much later.",
        actions=("Give the machine more room, or send fewer spans: tracewatch doctor says how many wait.",),
    )  # fmt: skip


def _full_disk(store: Store, now: float) -> Iterator[Check]:
    """How full the disk of a database file is."""
    path = file_of(store.url)
    if path is None:
        return
    disk = shutil.disk_usage(Path(path).absolute().parent)
    used = disk.used / max(disk.used + disk.free, 1)
    severity = next((name for name, least in reversed(FULL) if used >= least), "medium")
    yield Check(
        detector=SELF, metric="disk_used_share", bad=used >= FULL[0][1], observed=used, limit=FULL[0][1],
        severity=severity, since=now, kind="level_shift",
        title=f"The disk that holds the database is {_percent(used)} full, {disk.free / 1e9:,.1f} GB are left: when it "
        "is full, calls are turned away.",
        factors=(f"the database and its segments take {(store.size() or 0) / 1e9:,.1f} GB",),
        actions=(
            "Put older calls into compressed files with: tracewatch compact",
            "Keep less: TRACEWATCH_KEEP_GB for all projects, or a number of days for one on its page of settings.",
        ),
    )  # fmt: skip


def _old_prices(now: float) -> Check:
    age = pricing.table_age_days(now)
    limit = pricing.STALE_AFTER_DAYS
    return Check(
        detector=SELF, metric="price_table_age_days", bad=age > limit, observed=age, limit=limit, severity="low",
        since=now - (age - limit) * DAY_S, kind="level_shift",
        title=f"The price table is {age:.0f} days old: new models may lack a price, and old ones have another by now.",
        actions=("Update it with: pip install --upgrade genai-prices", "Then re-price with: tracewatch prices reprice"),
    )  # fmt: skip


def _percent(share: float) -> str:
    return words.amount(share, "share")


def _clock(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%H:%M} UTC"
