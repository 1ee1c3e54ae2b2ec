"""A product with all that happens to it for good reasons: what a case is the same with and without faults."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .calls import Story, Table, calls_of, story_of
from .machine import Weather, weather_of
from .products import Product, product_of


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What is the same with and without faults."""

    seed: int
    product: Product
    story: Story
    table: Table
    weather: Weather
    warmup: int

    def rng(self, *purpose: int) -> np.random.Generator:
        """Random numbers for one purpose."""
        return np.random.default_rng([self.seed, 77, *purpose])


def world_of(seed: int, days: int, warmup: int) -> World:
    """The world of a seed. Faults come after `warmup` days."""
    product = product_of(seed, days)
    rng = np.random.default_rng([seed, 5])
    story = story_of(product, rng)
    table = calls_of(product, story, rng)
    weather = weather_of(product, table, rng)
    return World(seed=seed, product=product, story=story, table=table, weather=weather, warmup=warmup)
