"""How things stand: whether calls come, whether they are judged yet, and how far behind that is."""

from __future__ import annotations

from dataclasses import dataclass

from tracewatch.access import Caller
from tracewatch.judge import WARMUP_DAYS
from tracewatch.live.baselines import DETECTOR
from tracewatch.live.pulse import Pulse, pulse
from tracewatch.records import Baseline, Span
from tracewatch.stores.base import Store
from tracewatch.web.views.hours import Hours
from tracewatch.web.views.usual import usual_over

DAY_S, HOUR_S = 86_400, 3600
BEHIND_SPANS = 5_000  # waiting to be counted: about a second's work, and not worth a word
BEHIND_S = 180.0
QUIET_S = 900.0  # without a call before anybody is told, however many are usual
MISSED = 12.0  # calls that were to be expected: fewer are missing by chance now and then
OLD_S = 2 * DAY_S  # after which nobody expects calls: the data was brought in from elsewhere


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What there is to say about the calls and about detection itself. Times are UTC epoch seconds."""

    first_call: float | None
    last_call: float | None
    waiting: int
    """Spans that are not counted yet."""
    learned_until: float | None
    """Up to when calls were judged when that was last kept; None when detection has not run."""
    learned_days: int
    missed: float
    """How many calls were to be expected since the last one; 0 where that is nothing to speak of."""
    now: float
    pulse: Pulse

    @property
    def is_late(self) -> bool:
        """Whether findings come later than they could."""
        return self.pulse.state == "behind" and self.pulse.behind_s > BEHIND_S

    @property
    def is_empty(self) -> bool:
        """Whether there is no call at all."""
        return self.last_call is None

    @property
    def is_learning(self) -> bool:
        """Whether too little was seen for detection to say anything."""
        return self.learned_until is not None and self.learned_days < WARMUP_DAYS

    @property
    def is_unwatched(self) -> bool:
        """Whether there are calls and nothing has ever judged them."""
        return self.last_call is not None and self.learned_until is None

    @property
    def is_behind(self) -> bool:
        """Whether so many spans wait that the figures are not those of now."""
        return self.waiting >= BEHIND_SPANS

    @property
    def is_stale(self) -> bool:
        """Whether calls have stopped coming that were to be expected."""
        return self.missed >= MISSED

    @property
    def is_old(self) -> bool:
        """Whether the last call is of another day: then the time that is shown ends with it."""
        return self.last_call is not None and self.now - self.last_call > OLD_S

    @property
    def silent_s(self) -> float:
        """For how long no call has come."""
        return 0.0 if self.last_call is None else max(self.now - self.last_call, 0.0)

    @property
    def of_days(self) -> int:
        """How many days detection learns before it says anything."""
        return int(WARMUP_DAYS)


def standing(store: Store, caller: Caller, now: float) -> Standing:
    """How things stand with the rows that a caller may see."""
    reach = store.extent(Span, caller.where)
    first, last = reach or (None, None)
    beat = pulse(store, caller.project, now)
    learned = beat.judged_until or _learned(store, caller.project)
    days = 0 if learned is None or first is None else int(max(learned - first, 0.0) // DAY_S)
    return Standing(
        first_call=first,
        last_call=last,
        waiting=store.pending(),
        learned_until=learned,
        learned_days=days,
        missed=0.0 if last is None else _missed(store, caller, last, now),
        now=now,
        pulse=beat,
    )


def _learned(store: Store, project: str) -> float | None:
    """Up to when calls had been judged when what was learned was last kept."""
    found = store.get(Baseline, {"project": project, "detector": DETECTOR, "part": 0})
    return (found.learned_until or found.updated_at) if isinstance(found, Baseline) else None


def _missed(store: Store, caller: Caller, last: float, now: float) -> float:
    """How many calls were to be expected since the last one."""
    silent = now - last
    if not QUIET_S <= silent <= OLD_S:
        return 0.0
    usual = usual_over(Hours.of_calls(store, caller, last, now).calls(), last, now, kind="sum")
    return usual.low if usual and usual.low >= MISSED else 0.0
