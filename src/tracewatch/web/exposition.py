"""Numbers as Prometheus reads them: the text format, version 0.0.4."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One number, with the labels that tell it from its siblings; `suffix` is for the parts of a histogram."""

    value: float
    labels: Labels
    suffix: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """All numbers of one name."""

    name: str
    kind: Literal["counter", "gauge", "histogram", "summary"]
    help: str
    samples: Sequence[Sample]


def one(value: float | None, **labels: str) -> list[Sample]:
    """A sample, or none where nothing is known."""
    return [] if value is None else [Sample(value=float(value), labels=labels)]


def written(families: Iterable[Family]) -> str:
    r"""The families as text; those without a sample are left out.

    >>> print(written([Family(name="up", kind="gauge", help="Up.", samples=one(1, of="a\"b"))]), end="")
    # HELP up Up.
    # TYPE up gauge
    up{of="a\"b"} 1
    """
    return "".join(f"{line}\n" for family in families if family.samples for line in _lines(family))


def _lines(family: Family) -> Iterator[str]:
    help = family.help.replace("\\", r"\\").replace("\n", r"\n")
    yield f"# HELP {family.name} {help}"
    yield f"# TYPE {family.name} {family.kind}"
    for each in family.samples:
        labels = ",".join(f'{name}="{_escaped(value)}"' for name, value in each.labels.items())
        yield f"{family.name}{each.suffix}{'{' + labels + '}' if labels else ''} {_number(each.value)}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _number(value: float) -> str:
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return repr(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)
