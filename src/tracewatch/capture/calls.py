"""One call to a provider while it is under way: what is asked, what comes back and when, until its row is complete."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, Protocol

from tracewatch.capture import noting, sending, tracing
from tracewatch.capture.chunks import Chunks
from tracewatch.capture.headers import header_fields, processing_ms, read_headers
from tracewatch.capture.providers import CALLED
from tracewatch.capture.reading import document, present
from tracewatch.categories import category_of

ABANDONED = "abandoned"
"""The warning on a call whose stream was left before its end."""

TRUNCATED = "truncated"
"""The warning on a call whose stream ended without the provider having said that it was complete."""

_FAILED = ("error", "timeout")


@dataclass(slots=True, kw_only=True)  # frozen it would take three times as long to make
class Asked:
    """What a client is about to ask of a model."""

    kind: str
    """Which of its client's calls it is, as the client's module names it."""

    fields: dict[str, Any]
    """Fields of the row that are known before the answer; `model_name` is the model that was asked for."""

    prompt: Any = None
    """Messages, prompt or input: kept only where the owner has allowed content."""

    told: bool = False
    """Whether the owner has said who the provider is: no answer says it better."""


@dataclass(slots=True)
class Refusal:
    """An error that comes as part of an answer."""

    message: str
    code: str | None = None


class Reader(Protocol):
    """Takes in a streamed answer piece by piece, and says what it came to."""

    complete: bool
    refusal: Refusal | None

    def read(self, piece: Any) -> bool:
        """Takes in one piece (the client's object, or the same as a dictionary); whether it was part of the answer."""

    def fields(self) -> dict[str, Any]:
        """The fields of the row, as far as the answer came."""


class Dialect(Protocol):
    """A client library, translated: what a module such as `openai.py` of this folder offers."""

    PACKAGE: str

    def asked(self, client: Any, address: str, body: Any) -> Asked | None:
        """What a request asks of a model; None when it asks none."""

    def answered(self, asked: Asked, answer: Any, *, content: bool) -> dict[str, Any]:
        """The fields of the row from a whole answer."""

    def reader(self, asked: Asked, *, content: bool) -> Reader:
        """What takes in the pieces of a streamed answer."""


@dataclass(slots=True)
class _Retries:
    """The client's own further attempts."""

    reasons: list[str] = field(default_factory=list)
    lost_ms: float = 0.0


class Call:
    """A call under way. Every method may be called at any time and any number of times, and none of them raises."""

    __slots__ = (
        *("__weakref__", "_asked", "_attempt", "_chunks", "_dialect", "counted"),
        *("_headers", "_reader", "_response", "_retries", "_span"),
    )

    def __init__(self, dialect: Dialect, asked: Asked) -> None:
        self._dialect = dialect
        self._asked = asked
        self.counted = False  # whether the count of its tokens was asked for by us, so that the host must not see it
        self._attempt = perf_counter()
        self._chunks: Chunks | None = None
        self._reader: Reader | None = None
        self._retries: _Retries | None = None
        self._headers: Mapping[str, str] | None = None
        self._response: Any = None
        self._span = tracing.start(_name(asked.fields), **asked.fields)

    @property
    def ended(self) -> bool:
        """Whether its row is complete."""
        return self._span.ended

    def ask_for_count(self, body: Any) -> Any:
        """The same body, or one that also asks for the tokens of a streamed answer where that is sure to do no harm."""
        counting = getattr(self._dialect, "counting", None)
        found = counting(self._asked, body) if counting is not None else None
        self.counted = found is not None
        return body if found is None else found

    def retrying(self, status: int | None, error: BaseException | None) -> None:
        """An attempt failed, by an HTTP status or an error, and the client will wait and try again."""
        try:
            if self._retries is None:
                self._retries = _Retries()
            self._retries.reasons.append(_reason(status, error))
        except Exception as mistake:
            noting.swallowed(mistake)

    def attempting(self) -> None:
        """The wait is over and the next attempt begins."""
        now = perf_counter()
        if self._retries is not None:
            self._retries.lost_ms += (now - self._attempt) * 1e3
        self._attempt = now

    def responded(self, response: Any, retries: int | None) -> None:
        """The provider's response is here, after so many further attempts."""
        try:
            self._response = response
            self._headers = read_headers(response.headers)
            if retries and self._retries is None:
                self._span.set(retry_count=retries)
        except Exception as mistake:
            noting.swallowed(mistake)

    def let_go(self) -> Any:
        """The response as the client got it. It is not kept: a stream that nobody reads must be free to go."""
        response, self._response = self._response, None
        return response

    def streaming(self, *, readable: bool = True) -> None:
        """The answer comes in pieces: `pulling` before each of them, `arrived` with it.

        Of pieces that are not `readable` no more is kept than when they came.
        """
        try:
            self._chunks = Chunks()
            _OPEN.add(self)
            sending.will_flush()
            self._span.set(streaming_enabled=True)
            if readable:
                self._reader = self._dialect.reader(self._asked, content=sending.keeps_content())
        except Exception as mistake:
            noting.swallowed(mistake)

    def pulling(self) -> None:
        """The host waits for the next piece."""
        if self._chunks is not None:
            self._chunks.pull()

    def arrived(self, piece: Any) -> None:
        """A piece is here."""
        reader, chunks = self._reader, self._chunks
        try:
            if chunks is not None:
                chunks.arrive(reader is None or reader.read(piece))
        except Exception as mistake:
            self._reader = None  # what it has read is lost, the row and its times are not
            noting.swallowed(mistake)

    def finished(self) -> None:
        """The stream came to its end."""
        if not self.ended:
            reader = self._reader
            if reader is not None and not reader.complete and reader.refusal is None:
                self._span.warn(TRUNCATED)
            self._end()

    def closed(self) -> None:
        """The stream was closed, by the host or because nobody needs it any more."""
        if not self.ended and not (self._chunks is not None and self._chunks.pulled):
            self.left()

    def left(self) -> None:
        """The stream will not be read on. It ends with what came last, whenever that is noticed."""
        if self.ended:
            return
        chunks, reader = self._chunks, self._reader
        if reader is None or not reader.complete:
            self._span.warn(ABANDONED)
        self._end(chunks.last if chunks is not None else None)

    def answered(self, answer: Any) -> None:
        """The whole answer is here."""
        if not self.ended:
            self._end(answer=answer)

    def failed(self, error: BaseException) -> None:
        """It ended with an error, which the host will see. An answer that the client could not use still counts."""
        if self.ended:
            return
        answer = self.let_go()
        try:
            response = getattr(error, "response", None)
            if self._headers is None and response is not None:
                self._headers = read_headers(response.headers)
        except Exception:
            self._headers = None  # not a response of a kind that we know: there is no more to tell
        self._span.fail(error)
        self._end(answer=None if answer is None else document(answer))

    def __del__(self) -> None:
        # A stream that was dropped before it was ever read.
        try:
            self.left()
        except Exception as mistake:
            noting.swallowed(mistake)

    def _end(self, moment: float | None = None, *, answer: Any = None) -> None:
        """Completes the row; `moment` is when it ended by `perf_counter`, if not now."""
        now = perf_counter() if moment is None else moment
        self._span.set(duration_ms=(now - self._began()) * 1e3)  # without the time that we take ourselves
        try:
            self._fill(now, answer)
        except Exception as mistake:
            noting.swallowed(mistake)
        self._span.end()
        if self._chunks is not None:
            _OPEN.discard(self)

    def _began(self) -> float:
        """When it began by `perf_counter`."""
        lost_ms = self._retries.lost_ms if self._retries is not None else 0.0
        return self._attempt - lost_ms / 1e3

    def _fill(self, now: float, answer: Any) -> None:
        """Sets what is known on the row, the certain before what could go wrong."""
        if self._retries is not None:
            reasons = self._retries.reasons
            self._span.set(retry_count=len(reasons), retry_reason=reasons[-1], retry_reasons=tuple(reasons))
            self._span.set(retry_time_ms=round(self._retries.lost_ms, 3))
        consumer_ms = 0.0
        if self._chunks is not None:
            self._span.set(**self._chunks.fields(self._began()))
            consumer_ms = self._chunks.consumer_ms
        if self._headers is not None:
            self._span.set(**header_fields(self._headers))
        fields = present(self._said(answer))
        if self._asked.told:
            fields.pop("model_provider", None)
        model = fields.get("model_name")
        asked = self._asked.fields.get("model_name")
        if model and asked and model != asked:
            fields["requested_model"] = asked
        if sending.keeps_content() and self._asked.prompt is not None:
            fields["prompt_text"] = self._asked.prompt
        self._share(fields, (now - self._attempt) * 1e3 - consumer_ms)
        self._span.set(**fields)

    def _said(self, answer: Any) -> dict[str, Any]:
        """What the answer says, whole or in pieces."""
        reader = self._reader
        if reader is not None:
            refusal = reader.refusal
            if refusal is not None and "error_type" not in self._span.fields:
                self._refused(refusal)
            return reader.fields()
        if answer is None:
            return {}
        fields = self._dialect.answered(self._asked, answer, content=sending.keeps_content())
        refused = fields.pop("refusal", None)
        if isinstance(refused, Refusal):
            self._refused(refused)
        return fields

    def _refused(self, refusal: Refusal) -> None:
        category = category_of(refusal.message, code=refusal.code)
        self._span.fail(refusal.message, "timeout" if category == "timeout" else "error")
        self._span.set(error_category=category, error_type=refusal.code or "error")

    def _share(self, fields: dict[str, Any], waited_ms: float) -> None:
        """Divides the last attempt into queue, inference and network, where the provider tells its part of it."""
        if "inference_time_ms" not in fields and self._headers is not None:
            working_ms, queued_ms = processing_ms(self._headers)
            if working_ms is None:
                return
            if self._chunks is not None:  # its word is of the time until the stream began
                working_ms += self._chunks.streamed_ms
            fields["inference_time_ms"] = working_ms
            if queued_ms is not None:
                fields.setdefault("queue_time_ms", queued_ms)
        if "inference_time_ms" in fields and self._span.fields.get("status") not in _FAILED:
            rest_ms = waited_ms - fields["inference_time_ms"] - (fields.get("queue_time_ms") or 0.0)
            fields["network_time_ms"] = max(rest_ms, 0.0)


_OPEN: weakref.WeakSet[Call] = weakref.WeakSet()


def begin(dialect: Dialect, client: Any, address: str, body: Any) -> Call | None:
    """Begins to watch a request; None when it is none to a model, or when nothing is recorded. Never raises."""
    try:
        if not sending.recording():
            return None
        try:
            asked = dialect.asked(client, address, body)
        except Exception as mistake:
            noting.swallowed(mistake)
            asked = Asked(kind="", fields={"model_provider": dialect.PACKAGE})
        if asked is None:
            return None
        if CALLED and (provider := CALLED.get(client)) is not None:
            asked.fields["model_provider"], asked.told = provider, True
        return Call(dialect, asked)
    except Exception as mistake:
        noting.swallowed(mistake)
        return None


def leave_all() -> None:
    """Completes the rows of all streams that nobody has read to their end: the program ends."""
    for call in list(_OPEN):
        call.left()


def _name(fields: Mapping[str, Any]) -> str:
    operation, model = fields.get("operation_type") or "call", fields.get("model_name")
    return f"{operation} {model}" if model else str(operation)


def _reason(status: int | None, error: BaseException | None) -> str:
    """Why an attempt failed: a category."""
    if status is None and error is None:
        return "connection"
    return category_of(error if error is not None else "", status=status)


sending.before_exit(leave_all)
