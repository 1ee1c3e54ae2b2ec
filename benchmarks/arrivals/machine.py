"""The machine room: queues, limits, failures, retries and fail-over turn calls into rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .caches import cached_tokens
from .calls import ROOT, Table
from .knobs import Knobs, Mask
from .products import Model, Product
from .shapes import MINUTES
from .streams import Floats, Ints

LONGEST_WAIT_MS = 60_000.0
HANDSHAKE_S = 240.0  # a connection that idles for longer is opened anew
DRAWS = 24  # random numbers of a row, the same with and without its faults


@dataclass(slots=True)
class Weather:
    """What the world outside does, with or without our faults."""

    load: Floats  # models x minutes: how busy a provider is, one on average
    failing: Floats  # models x minutes: share of attempts that fail in a hiccup
    hiccups: list[tuple[int, int, int]]  # model, from, until, in minutes
    slots: Floats  # of local models


def weather_of(product: Product, table: Table, rng: np.random.Generator) -> Weather:
    """Load of the providers through the days, their hiccups of a few minutes, and enough local machines."""
    minutes = product.days * MINUTES
    providers = sorted({model.provider for model in product.models})
    load = {name: _load(minutes, name.startswith(product.models[0].provider), rng) for name in providers}
    failing = np.zeros((len(product.models), minutes))
    hiccups = []
    for i, model in enumerate(product.models):
        for begin in rng.integers(0, minutes - 10, 0 if model.local else rng.poisson(product.days / 4)).tolist():
            end = begin + int(rng.integers(2, 8))
            failing[i, begin:end] = rng.uniform(0.08, 0.3)
            hiccups.append((i, begin, end))
    slots = np.array([_slots(product, table, i) for i in range(len(product.models))])
    return Weather(
        load=np.stack([load[model.provider] for model in product.models]), failing=failing, hiccups=hiccups, slots=slots
    )


def _load(minutes: int, swings: bool, rng: np.random.Generator) -> Floats:
    """A daily swing of other customers and a slow wander."""
    hour = np.arange(minutes) / 60 % 24
    swing = (0.12 if swings else 0.05) * np.cos((hour - rng.uniform(14, 22)) / 24 * 2 * np.pi)
    steps = rng.normal(0, 1, minutes // 10 + 2)
    wander = np.zeros(len(steps))
    for i in range(1, len(steps)):  # half of it is forgotten within two hours
        wander[i] = 0.944 * wander[i - 1] + 0.33 * steps[i]
    slow = np.interp(np.arange(minutes), np.arange(len(steps)) * 10, wander)
    return np.exp(swing + 0.04 * slow)


def _slots(product: Product, table: Table, model: int) -> float:
    """Requests that a local model can serve at once: its busiest minutes fill most of it."""
    mine = table["model"] == model
    if not mine.any() or not product.models[model].local:
        return 1e9
    work_s = busy_s(product.models[model], table["n_in"][mine], table["n_out"][mine])
    a_minute = np.bincount((table["t"][mine] / 60).astype(int), work_s) / 60
    return float(max(1.0, np.ceil(np.quantile(a_minute[a_minute > 0], 0.995) / 0.75)))


def busy_s(model: Model, n_in: Floats, n_out: Floats) -> Floats:
    """How long a model works at a call when nothing disturbs it."""
    return model.base_ms / 1000 + n_in / model.prefill + n_out / model.speed


@dataclass(slots=True)
class Attempts:
    """One row for each attempt that was made, as columns; `row` is the step it belongs to."""

    columns: Table
    elapsed: Floats  # ms of each step of the table, waiting between attempts included
    failed: Mask  # steps that failed in the end


class Room:
    """Runs a table of calls."""

    def __init__(self, product: Product, weather: Weather, table: Table, knobs: Knobs, draws: Floats) -> None:
        self.product, self.weather, self.table, self.knobs, self.draws = product, weather, table, knobs, draws
        self.noise = np.sqrt(-2 * np.log(np.maximum(draws[:, 8:16], 1e-12))) * np.cos(2 * np.pi * draws[:, 16:24])
        self.minute = np.minimum((table["t"] / 60).astype(np.int64), weather.load.shape[1] - 1)
        self.read = cached_tokens(product, table, knobs, draws)
        self.site = [product.sites[s] for s in range(len(product.sites))]

    def per_site(self, name: str) -> Floats:
        """A number of the site of each row."""
        return np.array([float(getattr(site, name)) for site in self.site])[self.table["site"]]

    def per_model(self, name: str, model: Ints) -> Floats:
        """A number of each row's model."""
        return np.array([float(getattr(each, name)) for each in self.product.models])[model]

    def run(self) -> Attempts:
        """Every attempt of every step."""
        steps = np.flatnonzero(self.table["step"] != ROOT)
        elapsed, failed = np.zeros(len(self.table["t"])), np.zeros(len(self.table["t"]), bool)
        parts: list[Table] = []
        tries = self.per_site("tries").astype(int)
        waiting = steps
        limited = self.limited()
        for k in range(int(tries.max()) + 1):
            if not len(waiting):
                break
            last = k >= tries[waiting]  # nothing is left but another model
            other = self.others(waiting)
            failed[waiting[last & (other < 0)]] = True
            waiting, model, last = (
                x[~(last & (other < 0))] for x in (waiting, np.where(last, other, self.table["model"][waiting]), last)
            )
            rows = self.attempt(waiting, model, k, last, limited)
            rows["offset"] = elapsed[waiting].copy()
            bad = np.isin(rows["status"], ("error", "timeout"))
            over = bad & last
            failed[waiting[over]] = True
            elapsed[waiting] += rows["duration_ms"] + np.where(bad & ~last, 400.0 * 2**k, 0.0)
            rows["final"] = ~bad | over | ((k + 1 >= tries[waiting]) & (self.others(waiting) < 0))
            parts.append(rows)
            waiting = waiting[bad & ~last]
        columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        return Attempts(columns=columns, elapsed=elapsed, failed=failed)

    def others(self, rows: Ints) -> Ints:
        """The model that a step falls back to; -1 for none."""
        widest = max(len(site.steps) for site in self.site)
        fallback = np.full((len(self.site), widest), -1)
        for s, site in enumerate(self.site):
            for i, step in enumerate(site.steps):
                fallback[s, i] = step.models[1] if len(step.models) > 1 else -1
        return fallback[self.table["site"][rows], self.table["step"][rows]]

    def limited(self) -> Floats:
        """The share of each row's attempts that its model refuses because of tokens a minute."""
        limit = self.knobs.at("limit", np.inf)
        out = np.zeros(len(limit))
        for m in np.unique(self.table["model"][np.isfinite(limit)]).tolist():
            mine = self.table["model"] == m
            tokens = np.nan_to_num(self.table["n_in"][mine] + self.table["n_out"][mine])
            used = np.bincount(self.minute[mine], tokens, self.weather.load.shape[1])
            used = np.maximum(used, np.convolve(used, np.full(5, 0.2), "same"))
            out[mine] = np.clip(1 - limit[mine] / np.maximum(used[self.minute[mine]], 1), 0, 0.92)
        return out

    def attempt(self, rows: Ints, model: Ints, k: int, last: Mask, limited: Floats) -> Table:
        """The k-th attempt of some steps, on these models; on the last the fault of the first model is not felt."""
        own = ~last
        timing = self.timing(rows, model, k, own)
        knob = lambda name, default: np.where(own, self.knobs.at(name, default)[rows], default)  # noqa: E731
        status, category = np.full(len(rows), "ok", object), np.full(len(rows), None, object)
        status[last] = "fallback"
        chance = self.draws[rows, 1 + min(k, 4)]
        failing = np.where(
            model >= 0, self.per_model("failing", model) + self.weather.failing[model, self.minute[rows]], 0.0015
        )
        refused = chance < np.where(own, limited[rows], 0)
        down = ~refused & (chance < 0.0 + np.where(own, limited[rows], 0) + failing + knob("err", 0.0))
        injected = down & (chance > failing)
        parse = ~refused & ~down & (self.draws[rows, 6] ** (k + 1) > 1 - knob("parse", 0.0))
        kinds = np.array(["server_error", "connection_error", "overloaded", "rate_limit"], object)
        category[down] = kinds[(self.draws[rows, 7] * 4).astype(int)][down]
        named = self.knobs.categories[rows]
        category[injected] = np.where(named[injected] == None, category[injected], named[injected])  # noqa: E711
        category[refused], category[parse] = "rate_limit", "invalid_output"
        limit_ms = self.per_site("timeout_s")[rows] * 1000 * knob("timeout", 1.0)
        late = ~refused & ~down & (timing["duration_ms"] > limit_ms) & (model >= 0)
        status[refused | down | parse], status[late], category[late] = "error", "timeout", "timeout"
        quick = np.select(
            [refused, down], [90 + 80 * self.draws[rows, 7], timing["ttft"] * 0.8 + 60], timing["duration_ms"]
        )
        timing["duration_ms"] = np.where(late, limit_ms, quick)
        return timing | {
            "row": rows, "model": model, "attempt": np.full(len(rows), k), "status": status, "error_category": category,
        }  # fmt: skip

    def timing(self, rows: Ints, model: Ints, k: int, own: Mask) -> Table:
        """What an attempt would take if nothing failed, ms."""
        table, noise = self.table, self.noise
        knob = lambda name, default: np.where(own, self.knobs.at(name, default)[rows], default)  # noqa: E731
        load = np.where(model >= 0, self.weather.load[model, self.minute[rows]], 1.0)
        again = np.exp(0.15 * noise[rows, 6] * k)
        n_in, n_out = table["n_in"][rows], table["n_out"][rows]
        read = np.where(own, self.read[rows], np.nan)
        uncached = n_in - np.nan_to_num(read)
        heavy = np.where(self.draws[rows, 7] > 0.985, 1 + noise[rows, 5] ** 2 * 0.4, 1.0)  # now and then a slow one
        tool = np.array([[(s.steps[i].ms if i < len(s.steps) else 0.0) for i in range(4)] for s in self.site])
        tool_ms = tool[table["site"][rows], table["step"][rows]] * np.exp(0.4 * noise[rows, 0]) * heavy
        first = self.per_model("base_ms", model) * load + uncached / self.per_model("prefill", model) * 1000 * load
        first = first * np.exp(0.22 * noise[rows, 0]) * heavy * again * knob("first", 1.0)
        speed = self.per_model("speed", model) / np.sqrt(load) * np.exp(0.13 * noise[rows, 1]) * knob("speed", 1.0)
        ttft = np.where(model >= 0, first, 0.0)
        inference = np.where(model >= 0, first + n_out / speed * 1000 * again, tool_ms * knob("slow", 1.0))
        inference = inference * np.where(own, self.knobs.at("stall", 1.0)[rows], 1.0)
        network = self.network(rows, model, own)
        queue = self.queue(rows, model, own)
        return {
            "ttft": ttft, "inference": inference, "network": network, "queue": queue, "speed": speed, "read": read,
            "duration_ms": queue + inference + network,
        }  # fmt: skip

    def network(self, rows: Ints, model: Ints, own: Mask) -> Floats:
        """From where the customer's requests leave; a connection that idled is opened anew."""
        far = self.table["tenant"][rows] % 2 == 1
        idle = self.idle_s()[rows] > HANDSHAKE_S
        hosted = ~self.per_model("local", model).astype(bool) & (model >= 0)
        base = np.where(hosted, np.where(far, 62.0, 28.0) * np.where(idle, 2.2, 1.0), 1.5)
        return base * np.exp(0.3 * self.noise[rows, 2]) * self.knobs.at("net", 1.0)[rows]

    def idle_s(self) -> Floats:
        """Time since the same site called the same model."""
        key = self.table["site"] * 100 + self.table["model"]
        order = np.lexsort((self.table["t"], key))
        gap = np.diff(self.table["t"][order], prepend=-np.inf)
        gap[np.diff(key[order], prepend=-1) != 0] = np.inf
        out = np.zeros(len(key))
        out[order] = gap
        return out

    def queue(self, rows: Ints, model: Ints, own: Mask) -> Floats:
        """Waiting for a slot of a local model; hosted ones wait a little with their load."""
        out = 9.0 * np.exp(0.5 * self.noise[rows, 3])
        part = self.knobs.at("slots", 1.0)
        for m in np.unique(model[model >= 0]).tolist():
            each = self.product.models[m]
            if not each.local:
                continue
            mine = self.table["model"] == m
            busy = (
                np.bincount(
                    self.minute[mine],
                    busy_s(each, self.table["n_in"][mine], self.table["n_out"][mine]),
                    self.weather.load.shape[1],
                )
                / 60
            )
            here = model == m
            full = np.clip(busy[self.minute[rows[here]]] / (self.weather.slots[m] * part[rows[here]]), 0, 0.985)
            service = 1000 * busy_s(each, self.table["n_in"][rows[here]], self.table["n_out"][rows[here]]).mean()
            wait = service * full**2 / (1 - full) * np.exp(0.5 * self.noise[rows[here], 3])
            cold = self.knobs.at("keep", np.inf)[rows[here]] < self.model_idle_s(m)[rows[here]]
            out[here] = np.minimum(2 + wait + cold * self.knobs.at("cold_ms", 0.0)[rows[here]], LONGEST_WAIT_MS)
        return out

    def model_idle_s(self, model: int) -> Floats:
        """Time since anybody called a model."""
        mine = np.flatnonzero(self.table["model"] == model)
        order = mine[np.argsort(self.table["t"][mine], kind="stable")]
        out = np.zeros(len(self.table["t"]))
        out[order] = np.diff(self.table["t"][order], prepend=-np.inf)
        return out
