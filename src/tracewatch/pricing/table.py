"""The price table: the entries of the genai-prices package, found by any name a caller may use."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracewatch.pricing.names import GATEWAYS, PROVIDERS, Spelling, spellings, squash, undated
from tracewatch.pricing.rates import Band, bands_of
from tracewatch.times import DAY_S

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, Provider

PACKAGE = "genai-prices"
_LATEST_S = 4_102_444_800.0  # 2100-01-01: a clock that is wrong by ages shall not break the calendar


@dataclass(frozen=True, slots=True)
class Entry:
    """A model of the table as a provider sells it, and how its name was found there (a cost status)."""

    model: ModelInfo
    lister: Provider  # whose list it stands in; Azure, for one, is priced from the lists of those whose models it sells
    borrowed: bool
    found: str

    @property
    def name(self) -> str:
        """The entry as it is called in the table, such as `anthropic/claude-haiku-4-5`."""
        return f"{self.lister.id}/{self.model.id}"


@dataclass(frozen=True, slots=True)
class Listing:
    """What an entry costs at a moment; no bands when it has no price per token."""

    bands: tuple[Band, ...]
    since: date | None
    context_known: bool
    priced_by: tuple[str, ...]


class Table:
    """The prices of the installed genai-prices package."""

    def __init__(self) -> None:
        import genai_prices
        from genai_prices.data_snapshot import get_snapshot

        self.version = genai_prices.__version__
        self._installed = Path(genai_prices.__file__).with_name("data.py").stat().st_mtime
        self._snapshot = get_snapshot()
        self._by_id = {each.id: each for each in self._snapshot.providers}
        self._by_squashed = {squash(each.id): each for each in self._snapshot.providers}
        self.moments, self.slots = _boundaries(self._snapshot.providers)

    @property
    def source(self) -> str:
        """The table's name and version."""
        return f"{PACKAGE} {self.version}"

    def as_of(self, now: float | None = None) -> float:
        """When the newest price that is in force began (epoch s): the table cannot be older than its news.

        The package carries no date of its own. Prices announced for a time after it was installed do not count.
        """
        known = min(time.time() if now is None else now, self._installed)
        return max((each for each in self.moments if each <= known), default=0.0)

    def age_days(self, now: float | None = None) -> float:
        """How long ago that was, in days: what the table may not know yet."""
        now = time.time() if now is None else now
        return max(0.0, now - self.as_of(now)) / DAY_S

    def provider(self, text: str) -> Provider | None:
        """The provider of that name in any of its spellings; None for a gateway or an unknown one."""
        squashed = squash(text)
        if squashed in GATEWAYS:
            return None
        strict = self._strict_provider(text)
        if strict:
            return strict
        try:
            return self._snapshot.find_provider(None, text, None)
        except LookupError:
            return None

    def find(self, provider: str | None, model: str) -> Entry | None:
        """The entry for a model as a caller names it, or None.

        First with the provider that was named, then with the one a prefix of the name says, then with the one
        provider (or the one price) the name can only mean.
        """
        read = spellings(model)
        named = self.provider(provider) if provider else None
        for each in read:
            entry = (named and self._listed(named, each, read[0])) or self._prefixed(each, read[0])
            if entry:
                return entry
        return self._made(read) or (None if named else self._agreed(read))

    def listing(self, entry: Entry, time_s: float, context: Mapping[str, str]) -> Listing:
        """What the entry costs at that moment under that context (`processing`, `service_tier`, `speed`)."""
        moment = datetime.fromtimestamp(min(max(time_s, 0.0), _LATEST_S), UTC)
        # Service tiers are the lister's offer, not that of a provider which borrows its list.
        known = not entry.borrowed and _has_variant(entry.model, moment, context)
        price = entry.model.get_prices(moment, dict(context) if known else None)
        keys = tuple(sorted(key for key, value in price.__dict__.items() if value is not None))
        return Listing(bands_of(price), _since(entry.model, moment), known, keys)

    @cached_property
    def _bearers(self) -> Mapping[str, Sequence[tuple[Provider, ModelInfo]]]:
        """Who sells a model under exactly this name."""
        bearers: dict[str, list[tuple[Provider, ModelInfo]]] = {}
        for provider in self._snapshot.providers:
            for model in provider.models:
                for name in _names(model):
                    bearers.setdefault(name, []).append((provider, model))
        return bearers

    def _strict_provider(self, text: str) -> Provider | None:
        known = PROVIDERS.get(squash(text))
        return self._by_id[known] if known in self._by_id else self._by_squashed.get(squash(text))

    def _listed(self, provider: Provider, spelling: Spelling, literal: Spelling) -> Entry | None:
        model = provider.find_model(spelling.name, all_providers=self._snapshot.providers)
        if model is None:
            return None
        found = _how(model, spelling, literal)
        if any(each is model for each in provider.models):
            return Entry(model, provider, False, found)
        lister = next(one for one in self._snapshot.providers if any(each is model for each in one.models))
        return Entry(model, lister, True, "alias" if found == "exact" else found)

    def _prefixed(self, spelling: Spelling, literal: Spelling) -> Entry | None:
        """The entry at the provider which the innermost prefix of the name says."""
        known = (self._strict_provider(prefix) for prefix in reversed(spelling.prefixes))
        provider = next((each for each in known if each), None)
        return self._listed(provider, spelling, literal) if provider else None

    def _made(self, read: Iterable[Spelling]) -> Entry | None:
        """The entry at the one maker whose names look like this one."""
        for each in read:
            makers = [
                one for one in self._snapshot.providers if one.model_match and one.model_match.is_match(each.name)
            ]
            found = [(one, model) for one in makers if (model := one.find_model(each.name))]
            if len(found) == 1:
                maker, model = found[0]
                return Entry(model, maker, False, "date_stripped" if each.dated else "alias")
        return None

    def _agreed(self, read: Iterable[Spelling]) -> Entry | None:
        """An entry that bears exactly this name, if several providers sell it and all ask the same.

        One seller alone says little: an open model may run anywhere, at any price.
        """
        for each in read:
            found = self._bearers.get(each.name, ())
            if len({one.id for one, _ in found}) > 1 and all(model.prices == found[0][1].prices for _, model in found):
                seller, model = found[0]
                return Entry(model, seller, False, "date_stripped" if each.dated else "alias")
        return None


@cache
def price_table() -> Table:
    """The table of this process; it takes 0.4 s to load."""
    return Table()


def table_version() -> str:
    """The version of the genai-prices package."""
    return price_table().version


def table_age_days(now: float | None = None) -> float:
    """How many days the price table has had no news, at `now` (epoch s; the present when not given)."""
    return price_table().age_days(now)


def _how(model: ModelInfo, spelling: Spelling, literal: Spelling) -> str:
    """How a name was found: as the table writes it, without its date, or under another name."""
    if spelling == literal and spelling.name in _names(model):
        return "exact"
    bare = undated(spelling.name)
    date_text = spelling.name[len(bare) :].strip("-@")
    return "date_stripped" if spelling.dated or (date_text and date_text not in model.id) else "alias"


def _names(model: ModelInfo) -> frozenset[str]:
    """The names which the entry bears exactly, beside those that merely look like them."""
    return frozenset(each.lower() for each in (model.id, *_equals(model.match)))


def _equals(clause: Any) -> Iterator[str]:
    if hasattr(clause, "equals"):
        yield clause.equals
    for each in getattr(clause, "or_", ()):
        yield from _equals(each)


def _boundaries(providers: Iterable[Provider]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """All moments (epoch s) and all times of the day (seconds) at which any price of the table changes."""
    moments: set[float] = set()
    slots: set[float] = set()
    for each in _constraints(providers):
        if hasattr(each, "start_date"):
            moments.add(_midnight(each.start_date))
        else:
            slots.update(_second_of_day(moment) for moment in (each.start_time, each.end_time))
    return tuple(sorted(moments)), tuple(sorted(slots))


def _constraints(providers: Iterable[Provider]) -> Iterator[Any]:
    for provider in providers:
        for model in provider.models:
            dated = model.prices if isinstance(model.prices, list) else []
            for each in (*dated, *(model.price_variants or ())):
                if each.constraint is not None:
                    yield each.constraint


def _midnight(day: date) -> float:
    return datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()


def _second_of_day(moment: Any) -> float:
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return datetime.combine(date(2000, 1, 1), aware).timestamp() % DAY_S


def _has_variant(model: ModelInfo, moment: datetime, context: Mapping[str, str]) -> bool:
    return any(
        all(context.get(key) == value for key, value in each.when.items())
        and (each.constraint is None or each.constraint.active(moment))
        for each in model.price_variants or ()
    )


def _since(model: ModelInfo, moment: datetime) -> date | None:
    """The day from which the standard price in force at that moment holds; None when it has always held."""
    dated = model.prices if isinstance(model.prices, list) else []
    for each in reversed(dated):
        if each.constraint is None or each.constraint.active(moment):
            return getattr(each.constraint, "start_date", None)
    return None
