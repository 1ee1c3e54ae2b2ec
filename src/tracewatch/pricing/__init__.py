"""Tokens to money, with provenance: `price_batch(batch, PriceBook(overrides))`."""

from tracewatch.pricing.batches import COLUMNS_READ, COLUMNS_WRITTEN, INCONSISTENT_USAGE, Price, price_batch, price_span
from tracewatch.pricing.book import NO_MODEL, STALE_AFTER_DAYS, PriceBook, checked
from tracewatch.pricing.coverage import SURVEYED_FROM, coverage, percent_down, survey
from tracewatch.pricing.repricing import REPORTED_KEY, REPRICED_FROM, Difference, Money, Repricing
from tracewatch.pricing.single import price_noted, price_row
from tracewatch.pricing.table import table_age_days, table_version

__all__ = [
    "COLUMNS_READ",
    "COLUMNS_WRITTEN",
    "INCONSISTENT_USAGE",
    "NO_MODEL",
    "REPORTED_KEY",
    "REPRICED_FROM",
    "STALE_AFTER_DAYS",
    "SURVEYED_FROM",
    "Difference",
    "Money",
    "Price",
    "PriceBook",
    "Repricing",
    "checked",
    "coverage",
    "percent_down",
    "price_batch",
    "price_noted",
    "price_row",
    "price_span",
    "survey",
    "table_age_days",
    "table_version",
]
