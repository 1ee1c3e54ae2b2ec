"""What to do about each kind of cause: one table, filled with the names that were found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tracewatch import words
from tracewatch.explaining.story import Cause

MOST_ACTIONS = 4  # more is a list nobody follows
ENOUGH = 0.35  # of the best cause's weight: what explains less needs no action of its own

ACTIONS: Mapping[str, tuple[str, ...]] = {
    "version": ("See what version {app_version} changed in {calls}; go back to {was} if it cannot be mended soon.",),
    "new_model": (
        "Check whether the switch of {calls} from {was} to {model_name} was meant; pin the model if it was not.",
        "If it was meant, mark the finding as resolved: the new level becomes what is usual.",
    ),
    "alias": (
        "Ask {provider} whether another model answers under the name {model}; pin a dated snapshot.",
        "Compare answers of before and after on the example traces before you rely on them.",
    ),
    "retrieval_method": ("See why retrieval of {calls} went from {was} to {rag_retrieval_method}.",),
    "change": ("Check whether this change was meant, and undo it if it was not.",),
    "prompt": (
        "See what was added to every prompt of {calls}: instructions, tools or examples.",
        "Put what does not change in front, so that it can be cached.",
    ),
    "context": ("Limit the history and the chunks that go into the prompts of {calls}.",),
    "tokens": ("Compare the prompt of an example trace of {calls} with that of the usual one.",),
    "longer_answers": ("Cap the answers of {calls} with max_tokens, or ask for shorter ones.",),
    "cut_answers": ("Raise max_tokens of {calls}: answers are cut off where it ends them.",),
    "slower_speed": ("Ask {provider} about the speed of {model}; meanwhile route {calls} to another model or region.",),
    "first_token": ("Check {provider} for load on {model}; meanwhile route {calls} to another model or region.",),
    "queue": ("{model} is out of capacity: spread the load, add replicas, or ask {provider} for a higher limit.",),
    "network": ("Check the network between you and {provider}: proxy, DNS, connections that are not kept open.",),
    "retrieval": ("Check the index behind {calls}: its load, its size, and when it was last rebuilt.",),
    "retries": (
        "Find out why {calls} must be tried again: turn on logging of failed attempts, or record each as a span.",
        "Check {provider}'s status page and rate limits.",
    ),
    "unrecorded_time": (
        "Record ttft_ms, queue_time_ms and tokens of {calls} as well: then the part that grew is named.",
        "Meanwhile compare {provider}'s status page with the time it began.",
    ),
    "unexplained_time": ("The time is not of queue, model, retrieval or network: look at the code around {calls}.",),
    "child": ("Look at {by} inside {slow}: when it is quick again, {slow} is.",),
    "model_mix": ("Check why more of {calls} go to the dearer model, and whether they need it.",),
    "cache": (
        "Compare the start of the prompts of {calls} with earlier ones: a cached prefix must not change.",
        "Check the lifetime of the cache against the time between calls.",
    ),
    "cache_prefix": (
        "Compare the start of the prompts of {calls} with earlier ones: a cached prefix must not change by a letter.",
        "Keep dates, ids and names of users out of the start of the prompt.",
    ),
    "cache_lifetime": ("Ask {provider} for entries that live longer, or keep them warm between the calls.",),
    "price": ("Check what {provider} charges for {model}: list price, tier, region. See: tracewatch prices check",),
    "unpriced": ("Some of {calls} are priced differently from others, or not at all. See: tracewatch prices check",),
    "more_calls": ("Find what makes each user ask so often for {calls}: a loop, a retry storm or a new job.",),
    "more_users": ("More people use {calls}: check that it is welcome, and that limits and capacity will do.",),
    "failed_primary": (
        "Mend {failed}, not the fallback: read the errors of its failed attempts.",
        "Check {failed_provider}'s status page.",
    ),
    "unrecorded_primary": (
        "Mend {failed}, not the fallback: check {failed_provider}'s status page, key and limits.",
        "Record each failed attempt as a call of its own, as tracewatch.attempts does: then its error is told here.",
    ),
    "fallbacks": ("Read why {calls} fell back: the reason stands in the error message of the example traces.",),
    "rate_limit": (
        "Slow down or spread the calls to {model}, or ask {provider} for a higher limit.",
        "Honour the retry-after header and back off with jitter.",
    ),
    "auth": ("Check the API key for {provider}: expired, revoked, without permission or out of funds.",),
    "timeout": ("See whether {model} is slow or the time limit too short; open a timed-out trace.",),
    "server_error": ("Check the status page of {provider}; send {calls} elsewhere until it is back.",),
    "connection": ("Check the network path to {provider}: DNS, proxy, TLS, firewall.",),
    "too_long": ("Shorten the prompts of {calls}: they are longer than {model} takes.",),
    "content_filter": ("See which content of {calls} is refused, and whether the prompt provokes it.",),
    "bad_request": ("Read the error of a failed call of {calls}: a parameter or schema no longer fits {model}.",),
    "bad_answer": ("See why answers of {calls} cannot be parsed: a changed model, prompt or schema.",),
    "errors": ("Read the error messages of the example traces of {calls}.",),
    "user": ("Talk to user {user_id}, or limit how often they may call, until it is known why.",),
    "loop": ("Stop session {session_id}: it calls {operation} over and over. Give the agent a limit of steps.",),
    "job": ("See why the job {calls} did not run: scheduler, credentials, host. Run it by hand if it is due.",),
    "thin_job": ("See what the job {calls} left out: its input, or calls that failed on the way.",),
    "silence": ("Check whether the app still asks for {calls}, and whether that is still recorded.",),
    "fewer_calls": ("Check what comes before {calls}: fewer users, a broken page, or calls that are not recorded.",),
    "relevance": ("Check the index and the embeddings behind {calls}: when were they last rebuilt, with which model?",),
    "quality": ("Read answers of the example traces against their context, beside the usual one.",),
    "slice": ("Look at what is special about {slice}: the other calls are as they were.",),
    "point": (
        "Open the trace beside the usual one and see which part took so long.",
        "If such calls come back, give {calls} a time limit of about {upper} and try again.",
    ),
    "odd_call": ("Open the trace beside the usual one and see what is different about it.",),
    "unknown": ("Open the example traces beside the usual one: no single cause stands out in the numbers.",),
}  # fmt: skip


def actions(causes: Iterable[Cause]) -> tuple[str, ...]:
    """What to do, for the best causes first; a cause far weaker than the best one asks for nothing."""
    given = list(causes)
    best = max((each.weight for each in given), default=0.0)
    texts = [filled(text, each.names) for each in given if each.weight >= ENOUGH * best for text in ACTIONS[each.kind]]
    return tuple(dict.fromkeys(texts))[:MOST_ACTIONS]


def filled(text: str, names: Mapping[str, str]) -> str:
    """The action with the names in it; what is not known is said in general.

    >>> filled("Ask {provider} about the speed of {model}.", {"model_name": "gpt-4o"})
    'Ask the provider of gpt-4o about the speed of gpt-4o.'
    >>> filled("Cap the answers of {calls}.", {"operation_type": "chat", "model_name": "gpt-4o"})
    'Cap the answers of chat on gpt-4o.'
    """
    model, provider, operation = (names.get(name) for name in ("model_name", "model_provider", "operation_type"))
    known = _Names(names)
    known["model"] = model or (f"the models of {provider}" if provider else "the model")
    known["provider"] = provider or (f"the provider of {model}" if model else "the provider")
    called = f"the calls of {model}" if model else f"the calls to {provider}" if provider else "these calls"
    known["calls"] = words.who(operation, model) if operation else called
    return text.format_map(known)


class _Names(dict[str, str]):
    """Names by what they are names of; one that is missing is said as what it would be the name of."""

    def __missing__(self, key: str) -> str:
        return f"the {key.removesuffix('_id').removesuffix('_name').replace('_', ' ')}"
