"""What was never seen before and matters: a new kind of error, a model that takes over, a paid model without a price.

What is merely new is no news: releases and rare models come and go. Looked at once an hour. Our own.
"""

from dataclasses import dataclass

import numpy as np

from .alerts import Alert, Notice, score_of
from .arrays import Flags, Rows
from .intake import TICK
from .knowledge import Knowledge
from .windows import DAY, HOUR

WATCHED = ("operation_type", "model_name", "error_type")
YOUNG = 3 * DAY  # ticks: later it is no longer new; an operation so young has no usual model
ERRORS, SESSIONS = 8, 3  # of a new kind within a day: more than a handful, and not one person's
TAKEN, TAKEN_CALLS, TAKEN_TICKS = 0.3, 50, 72  # share of an operation, calls, in six hours
UNPRICED = 5  # calls of a new model that cost nobody knows what
MOST = 2_000  # words of each column remembered
HOLD = 30 * DAY  # it is said once
LOW = 5.5  # severity: at the limit of alarm, as nothing is broken by being new


@dataclass(slots=True)
class First:
    """When a word was seen first and last, in ticks."""

    first: int
    last: int
    known: bool  # since before anything was said


class Firsts:
    """Words of each watched column and when they came."""

    def __init__(self) -> None:
        self.seen: dict[str, dict[object, First]] = {column: {} for column in WATCHED}

    def scan(
        self, known: Knowledge, first: int, ticks: int, rows: Rows | None, alarming: bool
    ) -> dict[int, list[Notice]]:  # fmt: skip
        """Notices by tick read."""
        if rows is not None:
            self.note(known, first, rows, alarming)
        out: dict[int, list[Notice]] = {}
        for i in range(ticks):
            if alarming and (first + i + 1) % HOUR == 0:
                now = first + i + 1
                for column, word in self.young(now):
                    notice = self.judge(known, column, word, now)
                    if notice is not None:
                        out.setdefault(i, []).append(notice)
        return out

    def note(self, known: Knowledge, first: int, rows: Rows, alarming: bool) -> None:
        """Which words came, and which of them for the first time."""
        for column, seen in self.seen.items():
            codes, at = np.unique(rows[column], return_index=True)
            for code, i in zip(codes.tolist(), at.tolist(), strict=True):
                word, tick = known.intake.names[column].word.get(code), first + int(rows["tick"][i])
                if word is not None:
                    seen.setdefault(word, First(tick, tick, not alarming)).last = tick
            if len(seen) > MOST:
                self.seen[column] = dict(sorted(seen.items(), key=lambda x: x[1].last)[-MOST * 3 // 4 :])

    def young(self, now: int) -> list[tuple[str, object]]:
        """Words that came within three days, before a tick."""
        return [
            (column, word)
            for column, seen in self.seen.items()
            if column != "operation_type"
            for word, came in seen.items()
            if not came.known and now - YOUNG < came.first < now
        ]

    def is_new(self, column: str, word: object, now: int) -> bool:
        """Did a word come within three days, before a tick?"""
        came = self.seen[column].get(word)
        return came is not None and not came.known and came.first > now - YOUNG

    def judge(self, known: Knowledge, column: str, word: object, now: int) -> Notice | None:
        """Does a new word matter?"""
        code = known.intake.names[column].code.get(word, -2)
        return self.error(known, word, code, now) if column == "error_type" else self.model(known, word, code, now)

    def error(self, known: Knowledge, word: object, code: int, now: int) -> Notice | None:
        """A kind of error, when it is more than a handful and not one session's."""
        mine = [pick(rows, rows["error_type"] == code, now, DAY) for _, rows in known.recent]
        sessions = np.concatenate([rows["session_id"] for rows in mine] or [np.zeros(0)])
        different = len(np.unique(sessions[sessions >= 0])) + np.count_nonzero(sessions < 0)
        if len(sessions) < ERRORS or different < SESSIONS:
            return None
        since, segments = min(float(rows["t"].min(initial=np.inf)) for rows in mine), [rows["segment"] for rows in mine]
        alert = told(now, "first_seen_error_type", {"error_type": word}, len(sessions), ERRORS, since)
        covered = tuple(np.unique(np.concatenate(segments)).tolist())
        return Notice(alert=alert, key=("first", "failure", "error_type", word), hold=HOLD, segments=covered)

    def model(self, known: Knowledge, word: object, code: int, now: int) -> Notice | None:
        """A model, when nobody knows what it costs, or when it takes over an operation that is not new itself."""
        names = known.intake.names
        unpriced = names["cost_status"].code.get("unpriced", -2)
        lately = [pick(rows, rows["t"] > 0, now, TAKEN_TICKS) for _, rows in known.recent]
        rows = {name: np.concatenate([part[name] for part in lately]) for name in lately[0]} if lately else {}
        if not rows:
            return None
        mine = rows["model_name"] == code
        free = int((mine & (rows["cost_status"] == unpriced)).sum())
        since = float(rows["t"][mine].min(initial=now * TICK))
        if free >= UNPRICED:
            alert = told(now, "unpriced_rate", {"model_name": word}, free, UNPRICED, since)
            return Notice(alert=alert, key=("first", "cost", "model_name", word), hold=HOLD)
        for operation in np.unique(rows["operation_type"][mine]).tolist():
            its = rows["operation_type"] == operation
            name, n = names["operation_type"].word.get(operation), int((its & mine).sum())
            came = self.seen["operation_type"].get(name)
            if n >= max(TAKEN_CALLS, TAKEN * its.sum()) and came is not None and now - came.first > YOUNG:
                label = {"operation_type": name, "model_name": word}
                alert = told(now, "first_seen_model", label, n, TAKEN * float(its.sum()), since)
                return Notice(alert=alert, key=("first", "model", "model_name", word), hold=HOLD)
        return None


def pick(rows: Rows, keep: Flags, now: int, width: int) -> Rows:
    """Some rows of the ticks before now."""
    keep = keep & (rows["t"] < now * TICK) & (rows["t"] >= (now - width) * TICK)
    names = ("t", "segment", "session_id", "operation_type", "model_name", "cost_status")
    return {name: rows[name][keep] for name in names}


def told(now: int, metric: str, label: dict[str, object], n: int, enough: float, since: float) -> Alert:
    """What to say: calls of it so far, where none were to be expected."""
    return Alert(
        detected_at=float(now * TICK), metric=metric, direction="up", slice=label, severity=LOW, kind="first_seen",
        since=since, observed=float(n), expected=0.0, lower=0.0, upper=float(enough), n=n, score=score_of(LOW, LOW),
    )  # fmt: skip
