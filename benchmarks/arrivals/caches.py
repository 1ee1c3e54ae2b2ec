"""Prompt caches: the published blocks of each prompt, replayed through a cache that keeps the latest used."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np

from .calls import Table
from .knobs import Knobs, Mask
from .products import Product
from .streams import BLOCK, NAMES, Floats, Ints, stream

CACHED_BLOCKS = 40_000  # of a model, the least recently used go first


def cached_tokens(product: Product, table: Table, knobs: Knobs, draws: Floats) -> Floats:
    """Tokens of each prompt that its model had cached, by replaying the blocks through a cache of the latest used.

    NaN where the model has no cache.
    """
    read = np.full(len(table["t"]), np.nan)
    broken = draws[:, 0] < knobs.at("nocache", 0.0)
    for m, model in enumerate(product.models):
        mine = np.flatnonzero((table["model"] == m) & (table["part"] > 0))
        if model.keep_s and len(mine):
            read[mine] = _replayed(product, table, mine, model.keep_s, broken)
    return read


def _replayed(product: Product, table: Table, mine: Ints, keep_s: float, broken: Mask) -> Floats:
    used: OrderedDict[object, float] = OrderedDict()
    out = np.zeros(len(mine))
    sources = [stream(name) for name in NAMES]
    names = ("t", "order", "site", "step", "stream", "request", "part", "version")
    columns = zip(*(table[name][mine].tolist() for name in names), broken[mine].tolist(), strict=True)
    for i, (t, order, s, step, which, request, part, version, cold) in enumerate(columns):
        if cold:
            continue
        now = t + 2.0 * order
        site, source = product.sites[s], sources[which]
        first, last = source.first[request], source.first[request + 1]
        blocks = source.blocks[first : first + int((last - first) * part)].tolist()
        keys = [(s, step, version), *blocks]
        hit = 0
        for key in keys:
            if used.get(key, -np.inf) < now - keep_s:
                break
            hit += 1
        for key in keys:
            used[key] = now
            used.move_to_end(key)
        while len(used) > CACHED_BLOCKS:
            used.popitem(last=False)
        if hit:
            out[i] = site.template + (hit - 1) * BLOCK * site.steps[step].scale_in
    return np.floor(np.minimum(out, table["n_in"][mine] * 0.97))
