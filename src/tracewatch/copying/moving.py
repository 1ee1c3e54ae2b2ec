"""What is copied, in which order: figures without calls, calls day by day, all other records, what was learned."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tracewatch.copying.archive_files import Form
from tracewatch.copying.archives import Archive, File, archive
from tracewatch.copying.comparing import Compared, carried_over, end_of_hours, hours_alone, into_hours
from tracewatch.copying.digests import Digest
from tracewatch.copying.knowledge import Knowledge
from tracewatch.copying.stretches import Stretch, stretches
from tracewatch.live.pulse import pulse_of_all
from tracewatch.records import RECORDS, Baseline, Delivery, Headway, Intake, Lease, Record, Span
from tracewatch.stores.base import Filter, Progress, Store

STAYS: tuple[type[Record], ...] = (Lease, Headway, Intake)
"""Records of who works with a store just now."""
UNDER_WAY = ("waiting", "sending", "failed", "gathered")
"""States of a message that may still be sent."""
HOURLY = "hourly figures"
"""What is copied of the hours whose calls are kept no more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What became of one kind of record."""

    name: str
    """The table."""
    rows: int
    """How many there are where they come from."""
    copied: int
    """How many of them were not there, or not as they are."""
    more: int
    """How many the other store has besides."""
    source: Digest
    target: Digest
    """Of the same rows, read back."""

    @property
    def proven(self) -> bool:
        """Whether what was read back is what was to be copied."""
        return self.source == self.target


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    """What came of copying a store."""

    parts: Sequence[Part]
    learned: Sequence[str]
    """Projects for which detection goes on where it stood."""
    anew: Sequence[str]
    """Projects for which it learns from history again."""
    left: int
    """Messages that whoever watches the source will still send, and that were therefore left with it."""

    @property
    def proven(self) -> bool:
        """Whether every part is."""
        return all(each.proven for each in self.parts)

    @property
    def unproven(self) -> str:
        """Which parts are not, for people."""
        return ", ".join(
            f"{each.name} ({each.target.rows:,} of {each.rows:,})" for each in self.parts if not each.proven
        )


def copy(source: Store, target: Store, now: float, progress: Progress | None = None) -> Copied:
    """Puts all that one store has into another one, which may have some of it already; `progress` counts spans.

    Both must be caught up. Killed or stopped at any point it has lost nothing, and the next call goes on: what is the
    same in both is not written again. Rows of the target that the source has not are left alone. Raises CopyRefused
    and the Store… errors.
    """
    watched = pulse_of_all(source, now).holder != ""
    knowledge = Knowledge.of(source, target)
    parts = [_part(HOURLY, into_hours(hours_alone(source, end_of_hours(source.retained(), target)), target))]
    spans = Compared()
    plan = list(stretches(source, knowledge.recent_from))
    for each in (one for one in plan if not one.recent):
        spans += _spans(source, target, each, progress)
    knowledge.mark(target)
    for each in (one for one in plan if one.recent):
        spans += _spans(source, target, each, progress)
    parts.append(_part(Span.table, spans))
    left = _under_way(source) if watched else 0
    for record_type in _others():
        where = _SETTLED if watched and record_type is Delivery else ()
        parts.append(_part(record_type.table, carried_over(source, target, record_type, where)))
    target.roll_up()
    learned = knowledge.hand_over(target, now)
    return Copied(
        parts=[each for each in parts if each.rows],
        learned=learned,
        anew=[each for each in knowledge.projects if each not in learned],
        left=left,
    )


def export(store: Store, folder: Path, form: Form, progress: Progress | None = None) -> Mapping[str, File]:
    """Writes all that people keep into a folder of files, and returns what is in it; `progress` counts rows.

    The store must be caught up. Not in it are who works with the store just now, what detection has learned, and
    messages that are still to be sent, which would otherwise go out twice. Raises OutputRefused.
    """
    return archive(store, folder, form, _kept(store), progress)


def kept_rows(store: Store) -> int:
    """How many records `export` writes."""
    return sum(store.count(each, where) for each, where in _kept(store))


def restore(source: Archive, target: Store, progress: Progress | None = None) -> Copied:
    """Puts all that an archive holds into a store, which may have some of it already; `progress` counts spans.

    `Archive.check` belongs before it. As with `copy`, what is there as it is is not written again, and nothing else
    that the target has is touched. Raises ImportRefused and the Store… errors.
    """
    hours = into_hours(source.hours(end_of_hours(source.retained(), target)), target)
    parts = [_part(HOURLY, hours)]
    kinds: tuple[type[Record], ...] = (Span, *_others())
    for record_type in kinds:
        if record_type.table in source.files:
            counted = progress if record_type is Span else None
            parts.append(_part(record_type.table, carried_over(source, target, record_type, progress=counted)))
    target.roll_up()
    return Copied(parts=[each for each in parts if each.rows], learned=(), anew=(), left=0)


_SETTLED = (Filter("state", "!=", UNDER_WAY),)


def _kept(store: Store) -> Iterator[tuple[type[Record], Sequence[Filter]]]:
    """What goes into an archive, the calls first; without those that retention has spared (see `stretches`)."""
    least = store.retained()
    yield Span, () if least is None else (Filter("start_time", ">=", (least,)),)
    for each in _others():
        yield each, _SETTLED if each is Delivery else ()


def _others() -> Iterator[type[Record]]:
    return (each for each in RECORDS if each not in (Span, Baseline, *STAYS))


def _spans(source: Store, target: Store, stretch: Stretch, progress: Progress | None) -> Compared:
    return carried_over(source, target, Span, stretch.where(), progress)


def _under_way(source: Store) -> int:
    return source.count(Delivery, [Filter("state", "=", UNDER_WAY)])


def _part(name: str, compared: Compared) -> Part:
    return Part(
        name=name,
        rows=compared.source.rows,
        copied=compared.copied,
        more=compared.more,
        source=compared.source,
        target=compared.target,
    )
