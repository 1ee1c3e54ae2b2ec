"""A chain of providers, each tried when the one before has failed, and components that make do with less."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, Generic, TypeVar

from tracewatch.capture import noting
from tracewatch.capture.recording import amend, record
from tracewatch.capture.tracing import LiveSpan, Place, current, inherit, new_trace_id, place, use
from tracewatch.categories import failure_of

T = TypeVar("T")

SUBSTITUTE = "substitute"
"""The warning on the answer of a substitute."""


def attempts(name: str, choices: Iterable[T], **fields: Any) -> Iterator[Attempt[T]]:
    """The choices as attempts, up to the first that succeeds: a row for each, the first ones `error`.

        for attempt in tracewatch.attempts("answer", ["anthropic", "ollama"], usage_type="chat_answer"):
            with attempt:
                answer = ask(attempt.choice, question)

    An exception in the block makes the attempt fail and goes on to the next one; from the last it reaches the caller.
    What answers after a failure has the status `fallback`, and so has the span around the chain. A call that is
    recorded within the block, by a wrapped client say, is the attempt's row; without any it is recorded itself.

    A choice is whatever you need to make the call. A text is taken as the provider's name ("ollama", or
    "ollama/llama3.1" with the model); of a mapping the columns of `llm_traces` are taken.
    """
    waiting = iter(choices)
    chain = _Chain(name, fields)
    following = next(waiting, _NONE)
    while following is not _NONE and not chain.done:
        choice, following = following, next(waiting, _NONE)
        yield Attempt(chain, choice, last=following is _NONE)


def fallback(reason: BaseException | str, *, name: str | None = None, **fields: Any) -> None:
    """Says that a component made do with a substitute, and why: status `fallback`, with the reason as its error.

    It is said of the current span, and of the last call of a model below it, whose answer was of no use. With a `name`,
    or where there is no current span, it is said by a row of its own.
    """
    try:
        here = current()
        if name is None and here is not None:
            here.set(**fields).fall_back(reason)
            _of_no_use(here, reason)
            return
        found = failure_of(reason)
        told = {"error_type": found.type, "error_category": found.category, "error_message": found.message}
        record(name or "fallback", **{**told, **fields, "status": "fallback"})
    except Exception as error:
        noting.swallowed(error)


def _of_no_use(around: LiveSpan, reason: BaseException | str) -> None:
    """Marks the last call of a model below a span, though it may be stored already."""
    call = around.last
    while call is not None and not call.fields.get("model_name"):
        call = call.last
    if call is None or call.fields.get("status", "ok") != "ok":
        return
    call.fall_back(reason)
    if call.ended:
        outcome = ("status", "error_type", "error_category", "error_message")
        amend(call.trace_id, call.span_id, project=call.fields.get("project"), **{n: call.fields[n] for n in outcome})


class _Chain:
    """What the attempts of one chain share."""

    def __init__(self, name: str, fields: dict[str, Any]) -> None:
        self.name, self.fields = name, fields
        self.done = False
        self.number = 0
        self.failures: list[tuple[str, str]] = []  # who failed, and how
        self.around = place()
        self.trace_id = self.around.trace_id if self.around is not None else fields.get("trace_id") or new_trace_id()


class Attempt(Generic[T]):
    """One attempt of a chain: a `with` block in which the call is made."""

    def __init__(self, chain: _Chain, choice: T, *, last: bool) -> None:
        self.choice: T = choice
        chain.number += 1
        self.number = chain.number
        self.last = last
        self._chain = chain

    def set(self, **fields: Any) -> Attempt[T]:
        """Fields for the row of this attempt, such as `model_name`; of a call within, if it is yet to come."""
        self._own.set(**fields)
        self._place.fields.update(fields)
        return self

    def __enter__(self) -> Attempt[T]:
        chain = self._chain
        fields = {**chain.fields, "attempt": self.number}
        if chain.failures:
            who, how = chain.failures[-1]
            fields |= {"status": "fallback", "fallback_from": who, "fallback_reason": how}
            fields["warning_flags"] = (*(fields.get("warning_flags") or ()), SUBSTITUTE)
        if chain.around is not None:
            inherit(fields, chain.around)
        above = chain.around.span_id if chain.around is not None else None
        self._place = Place(chain.trace_id, above, fields, watched=True)
        self._own = LiveSpan(chain.name, None, {**fields, **_named(self.choice), "trace_id": chain.trace_id})
        self._own.parent_span_id = above
        self._use = use(self._place)
        self._use.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self._use.__exit__()
        try:
            self._tell(error)
        except Exception as mistake:
            noting.swallowed(mistake)
        if error is None:
            self._chain.done = True
            return False
        return isinstance(error, Exception) and not self.last

    async def __aenter__(self) -> Attempt[T]:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        return self.__exit__(kind, error, trace)

    def _tell(self, error: BaseException | None) -> None:
        """Records the attempt unless a call within it was, and says of the span around how it went."""
        calls = self._place.begun or []
        if error is not None:
            self._own.fail(error)
            self._chain.failures.append((_who(self.choice), failure_of(error).category))
        failed = any(each.fields.get("status") in ("error", "timeout") for each in calls)
        if not calls or (error is not None and not failed):
            self._own.end()
        around = self._chain.around
        if error is None and self._chain.failures and isinstance(around, LiveSpan) and "status" not in around.fields:
            who, how = self._chain.failures[-1]
            around.set(status="fallback", fallback_from=who, fallback_reason=how)


_NONE: Any = object()


def _named(choice: object) -> dict[str, Any]:
    """The fields that a choice says of itself."""
    if isinstance(choice, Mapping):
        return {str(name): value for name, value in choice.items()}
    if isinstance(choice, str):
        provider, _, model = choice.partition("/")
        return {"model_provider": provider, **({"model_name": model} if model else {})}
    return {}


def _who(choice: object) -> str:
    named = _named(choice)
    return str(named.get("model_provider") or named.get("model_name") or type(choice).__name__)
