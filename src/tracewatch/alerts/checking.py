"""A rule from what a person wrote, in a file or in a form, with everything that is wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tracewatch.alerts.conditions import read_condition
from tracewatch.alerts.mistakes import Mistake, Path, entries, near
from tracewatch.alerts.quiet import DAYS, read_quiet_hours
from tracewatch.alerts.reading import Reader
from tracewatch.records import AlertRule, Column, columns

WRITTEN: Mapping[str, Column] = {
    (each.aliases[0] if each.aliases else each.name): each
    for each in columns(AlertRule)
    if each.name not in ("project", "changed_at", "changed_by")
}
"""The columns of a rule by the names under which people write them."""
LONGEST_NAME = 80
MOST_LABELS = 20


def is_address(channel: str) -> bool:
    """Whether a channel is given by its address, and not by a name."""
    return "://" in channel or "${" in channel or channel.startswith("mailto:")


def read_rule(
    given: object, *, project: str, now: float, who: str, path: Path = (), known: Sequence[str] | None = None
) -> tuple[AlertRule | None, list[Mistake]]:
    """A rule from its written form, and what is wrong with it (then None). `known` are the names of all channels."""
    reader = Reader()
    its, wrong = entries(given, WRITTEN, path, "a rule")
    if not isinstance(given, dict):
        return None, wrong
    reader.mistakes += wrong
    values = {WRITTEN[name].name: _value(WRITTEN[name], value, (*path, name), reader) for name, value in its.items()}
    _check(values, path, reader, known)
    if reader.mistakes:
        return None, reader.mistakes
    return AlertRule(project=project, changed_at=now, changed_by=who, **values), []


def written(rule: AlertRule) -> dict[str, Any]:
    """A rule in its written form, without what is as it is by default."""
    usual = AlertRule(name=rule.name, changed_at=0.0)
    out: dict[str, Any] = {}
    for name, each in WRITTEN.items():
        value = getattr(rule, each.name)
        if each.key or value != getattr(usual, each.name):
            out[name] = _written(each, value)
    return out


def as_duration(seconds: float) -> str:
    """Seconds as a person would write them.

    >>> as_duration(5400.0)
    '90m'
    """
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds and seconds % size == 0:
            return f"{seconds / size:g}{unit}"
    return f"{seconds:g}s"


def _written(each: Column, value: Any) -> Any:
    if each.kind == "list":
        return list(value)
    if each.unit == "s":
        return as_duration(value)
    if each.name == "quiet_hours" and value:
        return {name: its for name, its in value.items() if its != list(DAYS)}
    if each.name == "condition" and value:
        return {kind: dict(map(_said, some.items())) for kind, some in value.items()}
    return value


def _said(entry: tuple[str, Any]) -> tuple[str, Any]:
    name, value = entry
    return (name.removesuffix("_s"), as_duration(value)) if name.endswith("_s") else entry


def _value(each: Column, value: object, path: Path, reader: Reader) -> Any:
    """One entry; what it may be stands in the column, except for those that have entries themselves."""
    if each.name in _READ:
        return _READ[each.name](value, path, reader)
    if each.name in ("types", "metrics"):
        return reader.named(value, path, each.name)
    if each.kind == "list":
        return reader.words(value, path, each.choices)
    if each.kind == "boolean":
        return reader.truth(value, path)
    if each.unit == "s":
        return reader.duration(value, path)
    if each.kind == "real":
        return reader.number(value, path, 0.0, 1.0 if each.name == "confidence" else float("inf"))
    return reader.text(value, path, each.choices)


def _labels(value: object, path: Path, reader: Reader) -> dict[str, str] | None:
    if isinstance(value, dict) and len(value) > MOST_LABELS:
        reader.wrong(path, f"there are {len(value):,} labels, and {MOST_LABELS} are the most")
        return None
    if isinstance(value, dict) and all(isinstance(each, str | int | float) for each in value.values()):
        return {str(name): str(each) for name, each in value.items()}
    reader.wrong(path, "labels are words with a value each, such as team: search")
    return None


_READ: Mapping[str, Callable[[object, Path, Reader], Any]] = {
    "slice": lambda value, path, reader: reader.slice(value, path),
    "quiet_hours": read_quiet_hours,
    "labels": _labels,
    "condition": read_condition,
}


def _check(values: Mapping[str, Any], path: Path, reader: Reader, known: Sequence[str] | None) -> None:
    """What must be there, and what does not go together."""
    name = values.get("name")
    if "name" not in values:
        reader.wrong(path, "a rule needs a name, such as name: costs")
    elif name is not None and len(name) > LONGEST_NAME:
        reader.wrong((*path, "name"), f"a name has at most {LONGEST_NAME} characters, and this one has {len(name)}")
    elif name is not None and not name.isprintable():
        reader.wrong((*path, "name"), "a name is words in one line, without control characters")
    if values.get("digest_s") and values.get("cooldown_s"):
        reader.wrong((*path, "cooldown"), "a digest comes at its own time anyway: leave out the cooldown")
    for each in ("channels", "escalate"):
        for channel in values.get(each) or ():
            if known is not None and not is_address(channel) and channel not in known:
                there = f": there are {', '.join(known)}" if known else ": describe it under channels"
                reader.wrong((*path, each), f"there is no channel '{channel}'{near(channel, known) or there}")
