"""The price book of a store: the price table, what projects say themselves, and what is free."""

from __future__ import annotations

import logging
import math
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from tracewatch.errors import BadPrice
from tracewatch.pricing.names import is_local, squash
from tracewatch.pricing.rates import Band, Rates
from tracewatch.pricing.table import Entry, price_table
from tracewatch.records import PriceOverride, iso
from tracewatch.times import DAY_S

NO_MODEL = "(no model)"
STALE_AFTER_DAYS = 30.0  # providers change prices about weekly; a month is what a careful owner would still accept

FREE = (Band(-1.0, Rates(input=0, output=0, cache_read=0, cache_write=0, cache_write_1h=0, reasoning=0)),)

MOST_ALIKE = 10_000
_PER_MILLION = 1_000_000
# What a caller may ask for that costs more or less than the standard price. All other values are the standard.
_SPECIAL = {"processing": ("batch",), "service_tier": ("flex", "priority", "fast"), "speed": ("fast",)}

_log = logging.getLogger("tracewatch.pricing")
_warned: set[str] = set()


@dataclass(frozen=True, slots=True)
class Call:
    """What decides the price of a token, and is the same for many calls."""

    project: str
    provider: str | None
    model: str | None
    context: tuple[tuple[str, str], ...] = ()
    cached: bool = False  # the client answered from its own cache, nobody was asked
    models: bool = True  # False for work which calls no model, such as a tool


@dataclass(frozen=True, slots=True)
class Tariff:
    """What a call's tokens cost and how that is known; no bands when there is no price."""

    cost_status: str
    source: str | None
    bands: tuple[Band, ...] = ()


_UNMETERED = Tariff("unmetered", None)


class PriceBook:
    """Looks prices up, remembers them, and counts the models it has no price for.

    `overrides` are the projects' own prices. With `believe_reported` (the default) a cost which the caller reported
    is kept; without it, only where no price is known. Raises BadPrice for an override that cannot be used.
    """

    def __init__(self, overrides: Iterable[PriceOverride] = (), *, believe_reported: bool = True) -> None:
        self.believe_reported = believe_reported
        self.table = price_table()
        self._overrides = sorted(map(checked, overrides), key=_specificity, reverse=True)
        self._patterns = {each.pattern: _compiled(each.pattern) for each in self._overrides}
        own = {moment for each in self._overrides for moment in (each.starts_at, each.ends_at) if moment is not None}
        self.moments = tuple(sorted({*self.table.moments, *own}))
        self._known: dict[tuple[Call, int, int], Tariff] = {}
        self._alike: dict[tuple[Any, ...], tuple[Call, Tariff]] = {}
        self._entries: dict[tuple[str | None, str], Entry | None] = {}
        self._unpriced: Counter[str] = Counter()

    @property
    def unpriced(self) -> Mapping[str, int]:
        """How many rows each model without a price had, by the model's name."""
        return MappingProxyType(self._unpriced)

    def tariff(self, call: Call, time_s: float) -> Tariff:
        """What such a call costs at that moment (epoch s)."""
        era = bisect_right(self.moments, time_s), bisect_right(self.table.slots, time_s % DAY_S)
        key = call, *era
        if key not in self._known:
            self._known[key] = self._decide(call, time_s)
        return self._known[key]

    def known(self, parts: tuple[Any, ...], time_s: float) -> tuple[Call, Tariff]:
        """The call of those parts, and what it costs at that moment: for rows by themselves, most of them alike."""
        key = parts, bisect_right(self.moments, time_s), bisect_right(self.table.slots, time_s % DAY_S)
        found = self._alike.get(key)
        if found is None:
            if len(self._alike) >= MOST_ALIKE:  # names come from outside: what is remembered of them is bounded
                self._alike.clear()
            call = Call(*parts)
            found = self._alike[key] = call, self.tariff(call, time_s)
        return found

    def count_unpriced(self, call: Call, rows: int) -> None:
        """Notes rows without a price; the first time in this process that a model has none, it is logged."""
        self._unpriced[call.model or NO_MODEL] += rows
        if call.model and call.model not in _warned:
            _warned.add(call.model)
            _log.warning(
                "no price is known for the model '%s' of %s: its cost stays empty. "
                "Set one with: tracewatch prices set '%s' --input USD --output USD (per million tokens)",
                call.model,
                call.provider or "an unnamed provider",
                re.escape(call.model).replace("\\-", "-"),
            )

    def _decide(self, call: Call, time_s: float) -> Tariff:
        if call.cached:
            return Tariff("free", "the client's own cache", FREE)
        if _calls_nothing(call):
            return _UNMETERED
        override = self._override(call, time_s)
        if override:
            return Tariff("override", _described(override), _bands(override))
        if is_local(call.provider) or (call.model and is_local(call.model.partition("/")[0])):
            return Tariff("free", "a local model", FREE)
        entry = self._entry(call)
        if entry is None:
            return Tariff("unpriced", f"{self.table.source}: not listed")
        return self._listed(entry, call, time_s)

    def _listed(self, entry: Entry, call: Call, time_s: float) -> Tariff:
        context = dict(call.context)
        listing = self.table.listing(entry, time_s, context)
        source = f"{self.table.source}: {entry.name}"
        if not listing.bands and entry.model.id.endswith(":free"):
            return Tariff("free", source, FREE)
        if not listing.bands:
            # A 0 here would be a silent one: an hour of audio or a subscription is money, but not per token.
            return Tariff("unpriced", f"{source} has no price per token ({', '.join(listing.priced_by) or 'none'})")
        if listing.since:
            source += f" from {listing.since.isoformat()}"
        special = [f"{key}={value}" for key, value in call.context if value in _SPECIAL.get(key, ())]
        if special and not listing.context_known:
            return Tariff("default_rate", f"{source}, standard price for {' '.join(special)}", listing.bands)
        return Tariff(entry.found, ", ".join([source, *special]), listing.bands)

    def _entry(self, call: Call) -> Entry | None:
        if call.model is None:
            return None
        key = call.provider, call.model
        if key not in self._entries:
            self._entries[key] = self.table.find(*key)
        return self._entries[key]

    def _override(self, call: Call, time_s: float) -> PriceOverride | None:
        """The first of the project's own prices that fits; they are kept in the order of their precedence."""
        for each in self._overrides:
            if (
                each.project == call.project
                and call.model is not None
                and each.starts_at <= time_s
                and (each.ends_at is None or time_s < each.ends_at)
                and self._patterns[each.pattern].fullmatch(call.model)
                and self._same_provider(each.model_provider, call.provider)
            ):
                return each
        return None

    def _same_provider(self, wanted: str | None, given: str | None) -> bool:
        if wanted is None or given is None:
            return wanted is None
        known, other = self.table.provider(wanted), self.table.provider(given)
        return known is other if known and other else squash(wanted) == squash(given)


def checked(override: PriceOverride) -> PriceOverride:
    """The same override, if it can be used. Raises BadPrice."""
    _compiled(override.pattern)
    prices = {
        "input": override.input_per_million,
        "output": override.output_per_million,
        "cache read": override.cache_read_per_million,
        "cache write": override.cache_write_per_million,
    }
    for name, price in prices.items():
        if price is not None and not (math.isfinite(price) and price >= 0):
            raise BadPrice(why=f"the {name} price of '{override.pattern}' is {price}, but must be 0 or more")
    if override.ends_at is not None and override.ends_at <= override.starts_at:
        raise BadPrice(why=f"the price of '{override.pattern}' ends ({iso(override.ends_at)}) before it begins")
    return override


def _compiled(pattern: str) -> re.Pattern[str]:
    if not pattern.strip():
        raise BadPrice(why="its pattern is empty. Write '.*' for every model")
    try:
        return re.compile(pattern, re.IGNORECASE)
    except re.error as error:
        raise BadPrice(why=f"'{pattern}' is not a regular expression: {error}") from error


def _specificity(override: PriceOverride) -> tuple[bool, bool, float, int, str]:
    """Larger wins: a named provider, a plain name, the later start, the longer pattern; then any fixed order."""
    plain = re.fullmatch(r"(?:[\w/:@-]|\\?\.)+", override.pattern) is not None
    return override.model_provider is not None, plain, override.starts_at, len(override.pattern), override.pattern


def _described(override: PriceOverride) -> str:
    since = f" from {iso(override.starts_at)[:10]}" if override.starts_at > 0 else ""
    return f"override '{override.pattern}'{since}"


def _bands(override: PriceOverride) -> tuple[Band, ...]:
    fresh, output = override.input_per_million / _PER_MILLION, override.output_per_million / _PER_MILLION
    read, write = override.cache_read_per_million, override.cache_write_per_million
    written = fresh if write is None else write / _PER_MILLION
    rates = Rates(
        input=fresh,
        output=output,
        cache_read=fresh if read is None else read / _PER_MILLION,
        cache_write=written,
        cache_write_1h=written,
        reasoning=output,
    )
    return (Band(-1.0, rates),)


def _calls_nothing(call: Call) -> bool:
    """Whether the row is no call of a model: a step around one, or the summary of a batch job."""
    system = squash(call.provider or "") == "system"
    return system or not call.models or (call.model == "batch" and call.provider is None)
