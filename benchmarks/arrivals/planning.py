"""Which faults a case has: of what kind, where, when and how hard."""

from __future__ import annotations

import numpy as np

from .calls import run_starts
from .faults import KINDS, Fault, dearest, placed
from .products import Product, Site
from .world import World

DAY_S = 86_400.0
MOST_FAULTS = 17
APART_S = 7200.0  # between two incidents: an alarm may come ninety minutes after the end
LEAST_CALLS = (40, 45, 60)  # affected rows, by level
LEAST_DAILY = 200  # rows of what a fault may strike


def planned(world: World) -> list[Fault]:
    """Faults of as many kinds as the product can have, one after the other in time."""
    rng = world.rng(5)
    faults: list[Fault] = []
    kinds = [str(kind) for kind in rng.permutation(sorted(KINDS))]
    for i, kind in enumerate(kinds):
        if len(faults) == MOST_FAULTS:
            break
        targets = _targets(world, kind)
        if not targets:
            continue
        fault = Fault(id=f"f{len(faults):02d}", kind=kind, level=i % 3, since=0.0, until=0.0)
        for name, value in targets[int(rng.integers(len(targets)))].items():
            setattr(fault, name, value)
        if _find_time(world, fault, faults, rng):
            fault.slice = slice_of(world.product, fault)
            faults.append(fault)
    return sorted(faults, key=lambda fault: fault.since)


def _targets(world: World, kind: str) -> list[dict[str, int]]:
    """Where a kind may strike."""
    product, place = world.product, KINDS[kind].place
    sites = [(s, site) for s, site in enumerate(product.sites) if site.cron is None]
    busy = lambda m: (world.table["model"] == m).sum() >= LEAST_DAILY * product.days  # noqa: E731
    match place:
        case "model" | "local":
            models = range(len(product.models))
            wanted = [m for m in models if product.models[m].local == (place == "local") and busy(m)]
            return [{"model": m} for m in wanted if place == "local" or product.models[m].speed < 1e5]
        case "region":
            return [{}]
        case "cron":
            ops = [site.steps[0].op for site in product.sites]
            crons = [
                (s, site) for s, site in enumerate(product.sites) if site.cron and ops.count(site.steps[0].op) == 1
            ]
            return [{"site": s, "step": 0} for s, _ in crons]
        case "tenant":
            ranks = range(2, min(10, len(product.tenants)))
            return [
                {"site": s, "step": main(site), "tenant": r}
                for s, site in sites
                for r in ranks
                if "user_id" not in site.lacks
            ]
        case _:
            return [{"site": s, "step": i} for s, site in sites for i in _steps_of(product, site, place, kind)]


def main(site: Site) -> int:
    """The step that the site is for: the one with the longest answers."""
    return max(
        range(len(site.steps)),
        key=lambda i: (bool(site.steps[i].models), site.steps[i].most_out, site.steps[i].scale_in),
    )


def _steps_of(product: Product, site: Site, place: str, kind: str) -> list[int]:
    """The steps of a site where such a fault can be."""
    own = main(site)
    step = site.steps[own]
    model = product.models[step.models[0]]
    able = {
        "site": step.scale_in >= 0.1,
        "cached": model.keep_s > 0 and "cache_read_input_tokens" not in site.lacks,
        "talking": site.streams >= 0.5 and "ttft_ms" not in site.lacks,
        "grounded": step.grounded,
        "agent": step.repeats > 1 and all(each.repeats > 1 for each in site.steps),
    }
    if place in able:
        fits = able[place] and not (kind == "wrong_routing" and ("cost_usd" in site.lacks or model.local))
        return [own] if fits else []
    by_step = {
        "search": lambda each: each.searches,
        "embed": lambda each: bool(each.models) and each.most_out == 0,
        "tool": lambda each: not each.models and not each.searches,
    }
    return [i for i, each in enumerate(site.steps) if by_step[place](each)]


def _find_time(world: World, fault: Fault, others: list[Fault], rng: np.random.Generator) -> bool:
    """Give a fault a time of its own in which enough goes on; whether there is one."""
    product, story = world.product, world.story
    last = product.days * DAY_S - 3 * 3600
    hours = KINDS[fault.kind].hours[fault.level] * rng.uniform(0.85, 1.15)
    quiet = [(story.holiday[1] * DAY_S - 43_200, (story.holiday[1] + 1) * DAY_S + 43_200)]
    quiet += [
        (story.spike[1] * 60.0 - 7200, story.spike[2] * 60.0 + 7200),
        (story.deploy[1] * 60.0 - 7200, story.deploy[1] * 60.0 + 21_600),
    ]
    taken = quiet + [(other.since, other.until) for other in others]
    for _ in range(400):
        cron = product.sites[fault.site].cron
        if fault.site >= 0 and cron:
            begin = 60.0 * float(rng.choice(run_starts(product, cron))) - 120
            length = 60 * (1.1 * cron.minutes + 7)
        else:
            begin, length = float(rng.uniform(world.warmup * DAY_S + 7200, last)), hours * 3600
        fault.since, fault.until = begin, begin + length
        if begin < world.warmup * DAY_S or fault.until > last:
            continue
        if any(begin < end + APART_S and fault.until > start - APART_S for start, end in taken):
            continue
        if _in_use(world, fault):
            return True
    return False


def _in_use(world: World, fault: Fault) -> bool:
    """Whether the fault meets enough calls, and some of them soon."""
    if fault.kind == "tenant_loop":
        return 7 <= fault.since / 3600 % 24 <= 20
    times = world.table["t"][placed(world.product, world.table, fault)]
    usual = len(times) / max(1.0, (fault.until - fault.since) / 3600)
    soon = (times < fault.since + 3600).sum()
    if fault.kind == "scaled_to_zero":  # comes with quiet hours
        return len(times) >= LEAST_CALLS[fault.level]
    return bool(len(times) >= LEAST_CALLS[fault.level] and soon >= 0.5 * min(usual, 40) and usual >= 4)


def slice_of(product: Product, fault: Fault) -> dict[str, str]:
    """The columns that say best which rows a fault strikes."""
    if fault.tenant >= 0:
        return {"user_id": product.tenants[fault.tenant].name}
    if fault.model >= 0:
        model = product.models[fault.model]
        alone = sum(each.provider == model.provider for each in product.models) == 1
        return {"model_provider": model.provider} if alone else {"model_name": model.name}
    if fault.site < 0:
        return {}
    site = product.sites[fault.site]
    own = {"operation_type": site.steps[fault.step].op}
    if fault.kind == "wrong_routing":
        return own | {"model_name": product.models[dearest(product, fault)].name}
    return own
