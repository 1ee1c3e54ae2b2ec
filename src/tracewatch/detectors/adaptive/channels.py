"""What is measured of a call, and what drives each measure."""

from dataclasses import dataclass

import numpy as np

from .arrays import Floats, Rows

SIZES = 1.15  # room of prompts and answers
INDEPENDENT = 0.75  # noise of a vector search and of scores: only chance moves their windows of an hour
LOG, SHARE, SCORE = 0, 1, 2  # residuals are log ratios, differences of shares, differences of scores
CONSTANT, BY_INPUT, BY_TOKENS, BY_ALL = (0,), (0, 1), (0, 1, 2), (0, 1, 2, 3)  # of (1, uncached, output, retries)


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """One measure. `effect` and `least_ms`: the least move that is anybody's incident; engineers do not act on less."""

    name: str
    metric: str  # as alerts call it
    family: str  # one incident at a time is open per family and slice
    drivers: tuple[int, ...] = CONSTANT
    kind: int = LOG
    effect: float  # log ratio, or difference
    least_ms: float = 0.0
    good: int = -1  # direction of the residual that is good news; 0: neither is
    part: float = 0.0  # of latency: parts are named rather than the sums they are in (1 part, less for sums)
    shared: bool = False  # what calls of a session share: never judged on 15 minutes
    room: float = 1.0  # times the limit of alarm: what people ask and get changes by itself
    noise: float = 1.0  # of the variance of single calls that counts: less where calls do not sway together
    heals: bool = True  # may be odd for some minutes and heal by itself, as machines do


@dataclass(frozen=True, slots=True, kw_only=True)
class Tail:
    """A part of the usual values of a channel that may fall empty: the lowest (side 1) or the highest (-1) of them."""

    channel: int
    share: float
    side: int


CHANNELS = (
    Channel(name="ttft_ms", metric="ttft_ms", family="latency", drivers=BY_INPUT, effect=0.10, least_ms=10, part=1),
    Channel(name="inference_time_ms", metric="inference_time_ms", family="latency", drivers=BY_TOKENS, effect=0.06,
            least_ms=10, part=0.75),
    Channel(name="token_time_ms", metric="tokens_per_second", family="latency", drivers=BY_TOKENS, effect=0.06,
            least_ms=8, part=1),
    Channel(name="queue_time_ms", metric="queue_time_ms", family="latency", effect=0.25, least_ms=60, part=1),
    Channel(name="network_time_ms", metric="network_time_ms", family="network", effect=0.25, least_ms=15, part=1),
    Channel(name="retrieval_latency_ms", metric="retrieval_latency_ms", family="latency", effect=0.10, least_ms=8,
            part=1, noise=INDEPENDENT),
    Channel(name="duration_ms", metric="duration_ms", family="latency", drivers=BY_ALL, effect=0.10, least_ms=12,
            part=0.6),
    Channel(name="input_tokens", metric="input_tokens", family="tokens", effect=0.10, good=0, room=SIZES),
    Channel(name="output_tokens", metric="output_tokens", family="output", effect=0.10, good=0, room=SIZES),
    Channel(name="cost_usd", metric="cost_usd", family="cost", effect=0.05, good=0, heals=False),
    Channel(name="cache_hit_rate", metric="cache_hit_rate", family="cache", kind=SHARE, effect=0.05, good=1,
            shared=True),
    Channel(name="rag_relevance_score", metric="rag_relevance_score", family="quality", kind=SCORE, effect=0.02,
            good=1, noise=INDEPENDENT, heals=False),
    Channel(name="groundedness_score", metric="groundedness_score", family="quality", kind=SCORE, effect=0.015, good=1,
            noise=INDEPENDENT, heals=False),
    Channel(name="prompt_growth", metric="input_tokens", family="tokens", effect=0.10, good=0, room=SIZES),
)  # fmt: skip
C = len(CHANNELS)
IX = {channel.name: i for i, channel in enumerate(CHANNELS)}
KIND = np.array([channel.kind for channel in CHANNELS])
IS_LOG = KIND == LOG
EFFECT = np.array([channel.effect for channel in CHANNELS])
LEAST_MS = np.array([channel.least_ms for channel in CHANNELS])
GOOD = np.array([channel.good for channel in CHANNELS])
ROOM = np.array([channel.room for channel in CHANNELS])
NOISE = np.array([channel.noise for channel in CHANNELS])
PART = np.array([channel.part for channel in CHANNELS])
FAMILY = tuple(channel.family for channel in CHANNELS)
TTFT, INFERENCE, TOKEN_TIME, DURATION = IX["ttft_ms"], IX["inference_time_ms"], IX["token_time_ms"], IX["duration_ms"]
SINGLE = (INFERENCE, DURATION)  # in which a single call may stand out
COST, CACHE, GROWTH = IX["cost_usd"], IX["cache_hit_rate"], IX["prompt_growth"]
TAILS = (  # of a long prompt the shortest calls tell first, of cut answers the longest
    Tail(channel=IX["input_tokens"], share=0.2, side=1),
    Tail(channel=IX["input_tokens"], share=0.4, side=1),
    Tail(channel=IX["input_tokens"], share=0.7, side=1),
    Tail(channel=IX["output_tokens"], share=0.4, side=-1),  # the highest fifth falls empty by itself for days
    Tail(channel=IX["output_tokens"], share=0.7, side=-1),
)
FAR = ([TTFT, INFERENCE, IX["queue_time_ms"], IX["retrieval_latency_ms"], DURATION], [IX["network_time_ms"]])
"""Channels in which a part of the calls may be far slower while the others are not: those of a region, cold starts."""
TINY = 1e-30  # of any unit: single precision, in which calls are remembered, would make it nothing
LEAST_SHARE = 0.05  # of a time without its queue: what a clock's error may not push below


def observed(rows: Rows) -> Floats:
    """Channel values, rows x channels; nan where not reported or the call went wrong."""
    y = np.full((len(rows["t"]), C), np.nan)
    out, queue = rows["output_tokens"], np.nan_to_num(rows["queue_time_ms"])
    for i, channel in enumerate(CHANNELS):
        if channel.name in rows:
            y[:, i] = rows[channel.name]
    for i in (TTFT, DURATION):
        y[:, i] = np.maximum(y[:, i] - queue, LEAST_SHARE * y[:, i])
    with np.errstate(all="ignore"):
        y[:, TOKEN_TIME] = np.where(out > 1, out / rows["tokens_per_second"] * 1000, np.nan)
    y[:, IX["queue_time_ms"]] += 1  # a log needs more than nothing
    y[:, IX["network_time_ms"]] += 1
    y[:, CACHE] = np.minimum(rows["cache_read_input_tokens"] / np.maximum(rows["input_tokens"], 1), 1)
    y[:, GROWTH] = rows["input_tokens"] - rows["prompt_before"]
    y[~rows["good"]] = np.nan
    logs = y[:, IS_LOG]
    with np.errstate(invalid="ignore"):
        logs[~((logs > TINY) & np.isfinite(logs))] = np.nan
    y[:, IS_LOG] = logs
    return y


def drivers(rows: Rows) -> tuple[Floats, Floats]:
    """What a call's times depend on (1, uncached, output, retries), and its cost (uncached, read, written, output)."""
    inp, out = np.nan_to_num(rows["input_tokens"]), np.nan_to_num(rows["output_tokens"])
    read, made = np.nan_to_num(rows["cache_read_input_tokens"]), np.nan_to_num(rows["cache_creation_input_tokens"])
    work = [np.ones(len(inp)), np.maximum(inp - read, 0), out, np.nan_to_num(rows["retry_count"])]
    return np.stack(work, 1), np.stack([np.maximum(inp - read - made, 0), read, made, out], 1)


def reported(rows: Rows, channel: int) -> Floats:
    """A channel's metric as the caller reported it, in its own unit."""
    if channel == CACHE:
        return np.asarray(rows["y"][:, CACHE])
    return np.asarray(rows[CHANNELS[channel].metric])
