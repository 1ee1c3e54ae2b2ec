"""The pages of the navigation: a page stands there as soon as it has a route."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A page in the navigation: its title, where it is, the icon's path in a box of 16, and the key after `g`."""

    title: str
    path: str
    icon: str
    key: str = ""
    on_phone: bool = False
    """Whether it has a place in the bar of a phone."""
    apart: bool = False
    """Whether a line stands before it."""


ENTRIES = (
    Entry(title="Overview", path="/", key="o", on_phone=True, icon="M2.5 9.5 5.5 6l3 2.5 5-6M2.5 13.5h11"),
    Entry(title="Incidents", path="/incidents", key="i", on_phone=True, icon="M8 2 14.5 13.5h-13zM8 6.5v3M8 11.6v.1"),
    Entry(title="Anomalies", path="/anomalies", key="a", icon="M1.5 9.5h3l2-6 3 9 2-5h3"),
    Entry(title="Traces", path="/traces", key="t", on_phone=True, icon="M2 3.5h7M4.5 8h8M7 12.5h7"),
    Entry(title="Metrics", path="/metrics", key="m", icon="M2.5 13.5v-5M6.2 13.5v-10M9.8 13.5v-7M13.5 13.5V5"),
    Entry(
        title="Cost",
        path="/cost",
        key="c",
        on_phone=True,
        icon="M8 1.5v13M11.5 4.5c-1-1.2-6.5-1.8-6.5 1.2 0 3.2 6.5 1.6 6.5 4.8 0 3-5.8 2.6-7 .8",
    ),
    Entry(title="Sessions", path="/sessions", icon="M2.5 3h11v7.5h-6L4.5 13v-2.5h-2z"),
    Entry(title="Users", path="/users", icon="M8 8a2.8 2.8 0 1 0 0-5.6A2.8 2.8 0 0 0 8 8zM2.5 14c1-5 10-5 11 0"),
    Entry(title="Jobs", path="/jobs", apart=True, icon="M8 4.5V8l2.5 2M8 14A6 6 0 1 0 8 2a6 6 0 0 0 0 12"),
    Entry(title="Alerts", path="/alerts", key="l", icon="M4 11V7.5a4 4 0 0 1 8 0V11l1.3 1.5H2.7zM6.7 14h2.6"),
    Entry(title="Settings", path="/settings", icon="M2 4.5h7M12 4.5h2M2 11.5h2M7 11.5h7M10.5 3v3M5.5 10v3"),
    Entry(
        title="Help",
        path="/help",
        icon="M6 6a2 2 0 1 1 2.8 2c-.8.3-.8.7-.8 1.4M8 11.6v.1M8 14A6 6 0 1 0 8 2a6 6 0 0 0 0 12z",
    ),
)


def shown(paths: Collection[str]) -> tuple[Entry, ...]:
    """The entries whose page is there."""
    return tuple(each for each in ENTRIES if each.path in paths)


def current(path: str) -> str:
    """The path of the entry under which a page lies."""
    first = "/" + path.strip("/").partition("/")[0]
    return next((each.path for each in ENTRIES if each.path == first), "")
