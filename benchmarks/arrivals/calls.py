"""The calls of a product before anything goes wrong: who calls what when, with which prompt, step by step."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .products import Cron, Product, Site
from .shapes import MINUTES, activity, local_times
from .streams import NAMES, Floats, Ints, replay, stream

Table = dict[str, NDArray[Any]]
ROOT = -1  # the step of the span around the others
SETTLED = 12  # days after which the legitimate changes come: the first ten are for learning
RELEASE_EVERY = 6  # days between releases of a site that change nothing
TENSE = 100  # room between the orders of two steps: no step repeats so often


@dataclass(slots=True)
class Story:
    """What changes for good reasons, in minutes from the start; nobody should be woken for any of it."""

    holiday: tuple[str, int]  # country, day
    growth: int  # site
    spike: tuple[int, int, int]  # site, from, until
    deploy: tuple[int, int]  # site, since: shorter prompts and answers for good
    releases: dict[int, list[int]] = field(default_factory=dict)


def story_of(product: Product, rng: np.random.Generator) -> Story:
    """The legitimate changes of a case."""
    by_people = [i for i, site in enumerate(product.sites) if site.cron is None]
    settled = min(SETTLED, product.days // 2)
    weekdays = [day for day in range(settled, product.days - 2) if day % 7 < 5] or [settled]
    countries = sorted({tenant.country for tenant in product.tenants})
    grown, spiked, deployed = rng.choice(by_people, 3, replace=False).tolist()
    spike = int(rng.choice(weekdays)) * MINUTES + 13 * 60
    return Story(
        holiday=(str(rng.choice(countries)), int(rng.choice(weekdays))),
        growth=grown,
        spike=(spiked, spike, spike + 300),
        deploy=(deployed, int(rng.choice(weekdays)) * MINUTES + 11 * 60),
        releases={i: _release_times(product.days, rng) for i in range(len(product.sites))},
    )


def _release_times(days: int, rng: np.random.Generator) -> list[int]:
    times = np.cumsum(rng.uniform(0.5, 1.5, 2 * days // RELEASE_EVERY) * RELEASE_EVERY * MINUTES)
    return [int(t) for t in times if t < days * MINUTES]


def calls_of(product: Product, story: Story, rng: np.random.Generator) -> Table:
    """Every step of every trace, a row each, in order of time; `id` is its place."""
    parts = []
    first = 0
    for i, site in enumerate(product.sites):
        traces = _scheduled(product, i, rng) if site.cron else _by_people(product, story, i, rng)
        traces["call"] = first + np.arange(len(traces["t"]))
        first += len(traces["t"])
        parts.append(_steps(product, story, i, traces, rng))
    table = joined(parts)
    order = np.lexsort((table["order"], table["call"], table["t"]))
    table = {name: values[order] for name, values in table.items()}
    table["id"] = np.arange(len(order))
    return table


def joined(parts: list[Table]) -> Table:
    """Tables one after the other."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _by_people(product: Product, story: Story, index: int, rng: np.random.Generator) -> Table:
    site = product.sites[index]
    countries = sorted({tenant.country for tenant in product.tenants})
    weight = {c: sum(t.weight for t in product.tenants if t.country == c) for c in countries}
    level = np.stack([weight[c] * _wanted(product, story, site, c) for c in countries])
    total = level.sum(0) * site.daily / MINUTES
    day = np.arange(len(total)) / MINUTES
    if index == story.growth:
        total = total * (1 + 0.015 * np.maximum(day - SETTLED, 0))
    if index == story.spike[0]:
        total[story.spike[1] : story.spike[2]] *= 1.35
    request, t, talk = replay(stream(site.stream), total, rng)
    starts = np.unique(talk, return_index=True)[1]
    minute = np.minimum((t[starts] / 60).astype(int), len(total) - 1)
    tenant = _tenants(product, countries, level, minute, rng)[np.searchsorted(talk[starts], talk)]
    if site.stream.startswith("azure"):  # no conversations there: what a customer asks within five minutes is one
        talk = tenant.astype(np.int64) * 100_000 + (t / 300).astype(np.int64)
    return {"t": t, "request": request, "talk": talk, "tenant": tenant}


def _wanted(product: Product, story: Story, site: Site, country: str) -> Floats:
    level = activity(product.start, product.days, country, site.shape)
    if country == story.holiday[0]:
        local = local_times(product.start, product.days, country)
        level = level * np.where(local.day_of_year == product.start.day_of_year + story.holiday[1], 0.12, 1.0)
    return level


def _tenants(
    product: Product, countries: list[str], level: Floats, minute: Ints, rng: np.random.Generator
) -> NDArray[np.int64]:
    """A customer for each conversation: of a country that is awake, large ones more often."""
    share = np.cumsum(level[:, minute] / level[:, minute].sum(0), 0)
    country = (rng.random(len(minute)) > share).sum(0).clip(max=len(countries) - 1)
    out = np.zeros(len(minute), np.int64)
    for c, name in enumerate(countries):
        own = [i for i, tenant in enumerate(product.tenants) if tenant.country == name]
        weight = np.array([product.tenants[i].weight for i in own])
        mine = country == c
        out[mine] = rng.choice(own, mine.sum(), p=weight / weight.sum())
    return out


def run_starts(product: Product, cron: Cron) -> list[int]:
    """The minutes at which a cron is due."""
    local = local_times(product.start, product.days, cron.country)
    due = (local.hour * 60 + local.minute == int(cron.hour * 60)) & np.isin(local.day_of_week, cron.weekdays)
    minutes = np.flatnonzero(due)
    # When the clocks are put back an hour comes twice, but a good scheduler runs once a day.
    once = np.unique(local.normalize().to_numpy()[minutes], return_index=True)[1]
    return [int(minute) for minute in minutes[once]]


def _scheduled(product: Product, index: int, rng: np.random.Generator) -> Table:
    site = product.sites[index]
    assert site.cron is not None, "only a site with a cron is scheduled"
    source = stream(site.stream)
    times, requests = [], []
    for minute in run_starts(product, site.cron):
        count = max(1, int(site.cron.calls * np.exp(rng.normal(0, 0.07))))
        length = site.cron.minutes * rng.uniform(0.93, 1.07)
        times.append(60 * (minute + rng.uniform(0, 3) + np.sort(rng.random(count)) * length))
        requests.append((rng.integers(len(source.n_in)) + np.arange(count)) % len(source.n_in))
    t = np.concatenate(times)
    tenant = np.full(len(t), len(product.tenants) + index)
    inside = t < 60 * product.days * MINUTES
    table = {"t": t, "request": np.concatenate(requests), "talk": (t / 86_400).astype(np.int64), "tenant": tenant}
    return {name: values[inside] for name, values in table.items()}


def _steps(product: Product, story: Story, index: int, traces: Table, rng: np.random.Generator) -> Table:
    site = product.sites[index]
    source = stream(site.stream)
    n = len(traces["t"])
    repeats = 1 + rng.poisson(max(step.repeats for step in site.steps) - 1, n)
    together = all(step.repeats > 1 for step in site.steps)
    minute = traces["t"] / 60
    shorter = np.where((index == story.deploy[0]) & (minute >= story.deploy[1]), 0.7, 1.0)
    version = np.searchsorted(story.releases[index], minute).astype(float)
    version += 100.0 * (shorter < 1)  # a new major version
    parts = []
    if site.root:
        parts.append(_root(traces, version))
    for s, step in enumerate(site.steps):
        times = repeats if step.repeats > 1 else np.ones(n, np.int64)
        which = np.repeat(np.arange(n), times)
        turn = np.arange(len(which)) - np.repeat(np.cumsum(times) - times, times)
        part = 0.5 + 0.5 * (turn + 1) / times[which] if together else np.ones(len(which))
        rows = {name: values[which] for name, values in traces.items()}
        request = rows["request"]
        has_prompt = bool(step.models) and step.most_out > 0 and step.scale_in >= 0.1
        n_in = source.n_in[request] * step.scale_in * part * shorter[which] + site.template * has_prompt
        n_out = source.n_out[request] * step.scale_out * np.exp(rng.normal(0, 0.15, len(which))) * shorter[which]
        rows |= {
            "step": np.full(len(which), s),
            "order": turn * len(site.steps) + s + 1 if together else s * TENSE + turn + 1,
            "model": np.full(len(which), step.models[0] if step.models else -1),
            "n_in": np.maximum(n_in, 4.0) if step.models else np.full(len(which), np.nan),
            "n_out": np.clip(n_out, 1.0 * (step.most_out > 0), step.most_out)
            if step.models
            else np.full(len(which), np.nan),
            "part": part if has_prompt else np.zeros(len(which)),
            "version": version[which],
        }
        parts.append(rows)
    table = joined(parts)
    table["site"] = np.full(len(table["t"]), index)
    table["stream"] = np.full(len(table["t"]), NAMES.index(site.stream))
    return table


def _root(traces: Table, version: Floats) -> Table:
    n = len(traces["t"])
    nothing = np.full(n, np.nan)
    return traces | {
        "step": np.full(n, ROOT), "order": np.zeros(n, np.int64), "model": np.full(n, -1), "n_in": nothing,
        "n_out": nothing, "part": np.zeros(n), "version": version,
    }  # fmt: skip


def stamp(product: Product, minute: float) -> str:
    """A moment as cases write it."""
    return str(product.start + pd.Timedelta(minutes=round(float(minute), 3)))
