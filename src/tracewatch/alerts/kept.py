"""The rules and channels that a project keeps, and how those of a file are put in their place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from tracewatch.alerts.book import Book
from tracewatch.alerts.file import Written
from tracewatch.errors import RulesChanged
from tracewatch.records import AlertChannel, AlertRule, Record
from tracewatch.stores.base import Filter, Store

MOST = 1_000  # rules, and channels, of a project

Named = TypeVar("Named", AlertRule, AlertChannel)


def rules_of(store: Store, project: str) -> tuple[AlertRule, ...]:
    """The rules that a project keeps, by name; the default is in force besides (see `deciding.Rules`)."""
    return tuple(sorted(_all(store, AlertRule, project), key=lambda each: each.name))


def channels_of(store: Store, project: str) -> tuple[AlertChannel, ...]:
    """The channels that a project keeps, by name."""
    return tuple(sorted(_all(store, AlertChannel, project), key=lambda each: each.name))


def book_of(store: Store, project: str, addresses: str, *, private: bool = True) -> Book:
    """The address book of a project; `addresses` are those of the setting, `private` is as in `Book`."""
    return Book(channels_of(store, project), addresses, rules_of(store, project), private=private)


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What makes what is kept equal to a file: names of rules or channels."""

    added: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]
    same: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What a file changes."""

    rules: Difference
    channels: Difference


def apply(store: Store, project: str, wanted: Written, *, dry_run: bool = False) -> Applied:
    """Makes the rules and channels of a project equal to a file; what is the same already stays as it is.

    The rules are changed in one transaction, or not at all. Channels that a rule may name are there before it, and
    those that no rule names any more go after it. Raises RulesChanged.
    """
    rules, channels = rules_of(store, project), channels_of(store, project)
    done = Applied(rules=_difference(rules, wanted.rules), channels=_difference(channels, wanted.channels))
    if dry_run:
        return done
    theirs = [Filter("project", "=", (project,))]
    new = [each for each in wanted.channels if each.name in {*done.channels.added, *done.channels.changed}]
    if new:
        store.put(new)
    if done.rules:
        kept = {each.name: each for each in rules}
        rows = [kept[each.name] if each.name in done.rules.same else each for each in wanted.rules]
        if not store.swap(AlertRule, theirs, rows, expected=len(rules)):
            raise RulesChanged(project=project)
    if done.channels.removed:
        store.remove(AlertChannel, [*theirs, Filter("name", "=", done.channels.removed)])
    return done


def _difference(there: Sequence[Named], wanted: Sequence[Named]) -> Difference:
    old: Mapping[str, Named] = {each.name: each for each in there}
    new: Mapping[str, Named] = {each.name: each for each in wanted}
    both = [name for name in new if name in old]
    same = tuple(name for name in both if _undated(old[name]) == _undated(new[name]))
    return Difference(
        added=tuple(name for name in new if name not in old),
        changed=tuple(name for name in both if name not in same),
        removed=tuple(name for name in old if name not in new),
        same=same,
    )


def _undated(each: Named) -> Named:
    return replace(each, changed_at=0.0, changed_by="")


def _all(store: Store, record_type: type[Named], project: str) -> list[Named]:
    found: Sequence[Record] = store.page(record_type, [Filter("project", "=", (project,))], limit=MOST).records
    return [each for each in found if isinstance(each, record_type)]
