"""One span of a body into the columns of ours, whichever convention it was written in."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from tracewatch.otlp import dialects, own
from tracewatch.otlp.content import KEYS, kind_of, plain, spoken
from tracewatch.otlp.conventions import (
    MODEL_CALLS,
    OPERATIONS,
    TokenRule,
    maker_of,
    marked,
    named,
    of_scope,
    provider_of,
)
from tracewatch.otlp.failures import read_failure
from tracewatch.otlp.retrieval import read_retrieval
from tracewatch.otlp.timing import read_pace, read_times
from tracewatch.otlp.usage import TOKENS, Values, settle
from tracewatch.otlp.wire import Attributes, Scope, WireSpan
from tracewatch.records import Span, column_of
from tracewatch.records.bounds import LONGEST_TEXT, TOO_LONG

_CLIENT, _SERVER = 3, 2
_SECONDS = 1e3
_LONGEST_ID = LONGEST_TEXT  # of ids and labels; what is longer is none
_LONGEST_OPERATION = 64

# The columns that a program says of all its spans, with their resource attributes in order of preference.
_PROGRAM: Mapping[str, tuple[str, ...]] = {
    "service_name": ("service.name",),
    "app_version": ("service.version",),
    "environment": ("deployment.environment.name", "deployment.environment", "langfuse.environment"),
    "project": (own.PROJECT, "openinference.project.name"),
}
_UNKNOWN_SERVICE = "unknown_service"  # what OpenTelemetry calls a program that has no name


@dataclass(frozen=True, slots=True)
class Program:
    """What all spans of one scope in one program share."""

    columns: Mapping[str, str]
    convention: str | None
    counting: TokenRule
    scope: str
    version: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where an attribute's value goes: the column, its rank among the attributes for it, and what reads it."""

    column: str
    rank: int
    read: Callable[[Any], Any]


def program_of(scope: Scope, project: str | None) -> Program:
    """What all spans of a scope share; `project` stands before the one that the program names."""
    given = scope.resource.get
    found: dict[str, str] = {}
    for column, names in _PROGRAM.items():
        text = next((text for name in names if (text := own.text_of(given(name)))), None)
        if text and not text.startswith(_UNKNOWN_SERVICE):
            found[column] = text[:_LONGEST_ID]
    if project is not None:
        found["project"] = project
    if scope.name:
        found["instrumentation"] = scope.name[:_LONGEST_ID]
    convention = of_scope(scope.name)
    return Program(found, convention, dialects.token_rule(scope.name), scope.name, scope.version)


def read_values(span: WireSpan, program: Program, *, content: bool) -> Values | None:
    """The columns that the span fills, or None for a placeholder of one that is still to come."""
    attributes = span.attributes
    if attributes.get("logfire.span_type") == "pending_span":
        return None
    values, others, convention = _placed(attributes, program)
    warnings: list[str] = []
    metadata: Attributes = {}
    if convention is not None:
        warnings += dialects.translate(convention, span, values, metadata, program)
        _read_name(span, values)
    warnings += _check_texts(values)
    operation = _operation(span, values)
    if span.links:
        values.setdefault(
            "parent_trace_id", next((each for each in span.links if each not in ("", span.trace_id)), None)
        )
    warnings += read_times(span, values)
    read_failure(span, values)
    _name_model(values, attributes, metadata)
    if operation in MODEL_CALLS:
        warnings += settle(values, program.counting)
        read_pace(values)
    else:
        _set_aside(values, metadata)
        if operation == "retrieval":
            read_retrieval(span, values)
    _read_metadata(attributes, others, metadata, values, content)
    if not content:
        values.pop("reasoning", None)
    if warnings:
        values["warning_flags"] = tuple(dict.fromkeys((*values.get("warning_flags", ()), *warnings)))
    if metadata:
        kept = {name: value for name, value in metadata.items() if value is not None}
        if kept:
            values["metadata"] = {**kept, **values.get("metadata", {})}
    values.setdefault("source", "otlp")
    values["convention"] = convention
    values.update(program.columns)
    values.setdefault("trace_id", span.trace_id)
    values.setdefault("span_id", span.span_id)
    values.setdefault("parent_span_id", span.parent_span_id or None)
    values.setdefault("span_name", span.name[:_LONGEST_ID] or None)
    return {name: value for name, value in values.items() if value is not None}


def _places() -> Iterator[tuple[str, Place]]:
    for column in column_of(Span).values():
        for rank, name in enumerate(column.otel):
            yield name, Place(column.name, rank, _reader(column.name, name))
    for name, column_name in own.ANYWHERE.items():
        yield name, Place(column_name, -1, own.READER_OF[column_name])


def _reader(column: str, name: str) -> Callable[[Any], Any]:
    if column == "ttft_ms":
        return own.real_of if name.endswith("msToFirstChunk") else _from_seconds
    if column == "cost_usd":
        return _cost
    if name.startswith("mlflow."):
        return _unquoted
    return own.READER_OF[column]


def _from_seconds(value: Any) -> float | None:
    number = own.real_of(value)
    return None if number is None else number * _SECONDS


def _cost(value: Any) -> float | None:
    """A reported cost; 0 is what instrumentations write that found no price, so it says nothing."""
    number = own.real_of(value)
    return number if number is not None and number > 0 else None


def _unquoted(value: Any) -> str | None:
    """MLflow writes every attribute as JSON, texts in quotes."""
    text = own.text_of(value)
    return text.strip('"') or None if text else None


PLACES: Mapping[str, Place] = dict(_places())
"""Attribute -> where its value goes."""


def _placed(attributes: Attributes, program: Program) -> tuple[Values, list[str], str | None]:
    """The columns that attributes fill as they are, the names of the attributes left over, and the convention."""
    values: Values = {}
    ranks: dict[str, int] = {}
    others: list[str] = []
    convention = program.convention
    told = 1000
    for name, value in attributes.items():
        place = PLACES.get(name)
        if place is None:
            others.append(name)
        else:
            column = place.column
            if place.rank < ranks.get(column, 1000):
                read = place.read(value)
                if read is not None:
                    values[column] = read
                    ranks[column] = place.rank
        if convention is None:
            told = min(told, marked(name))
    return values, others, convention or named(told)


_NAME = re.compile(r"(chat|text_completion|generate_content|embeddings) (\S{1,200})")


def _read_name(span: WireSpan, values: Values) -> None:
    """What the name says, by OpenTelemetry's rule, of a call that says it nowhere else: one that failed early."""
    if "operation_type" not in values and "model_name" not in values:
        found = _NAME.fullmatch(span.name)
        if found:
            values["operation_type"], values["model_name"] = found.groups()


@lru_cache(maxsize=1024)
def _in_our_words(said: str) -> str | None:
    lower = said.lower()
    return OPERATIONS.get(lower) or (lower[:_LONGEST_OPERATION] or None)


def _operation(span: WireSpan, values: Values) -> str | None:
    """Sets and gives back the kind of work, in our words."""
    said = values.get("operation_type")
    operation = _in_our_words(said) if said else None
    if operation is None or operation == "step":
        used = "input_tokens" in values or "output_tokens" in values
        if used or ("model_name" in values and span.kind == _CLIENT):
            operation = "chat"
    if operation is None:
        # A span that names no model is a step of the program: it counts as no call.
        operation = _plumbing(span) or (None if "model_name" in values else "step")
    values["operation_type"] = operation
    return operation


_VECTOR_STORES = re.compile(
    r"chroma|pinecone|qdrant|milvus|weaviate|marqo|lancedb|pgvector|redis_vector|opensearch_vec"
)
_LOOKUPS = ("query", "search", "retriev")


def _plumbing(span: WireSpan) -> str | None:
    """The kind of work of a span that is about no model."""
    attributes = span.attributes
    if "http.request.method" in attributes or "http.method" in attributes:
        return "request" if span.kind == _SERVER else "http"
    store = own.text_of(attributes.get("db.system.name") or attributes.get("db.system"))
    if store is None:
        return None
    verb = own.text_of(attributes.get("db.operation.name") or attributes.get("db.operation")) or span.name
    looked_up = _VECTOR_STORES.search(store.lower()) and any(word in verb.lower() for word in _LOOKUPS)
    return "retrieval" if looked_up else "database"


def _name_model(values: Values, attributes: Attributes, metadata: Attributes) -> None:
    """The provider by its one name; the model that was asked for, where another one answered."""
    model, provider = values.get("model_name"), values.get("model_provider")
    if provider:
        values["model_provider"] = provider_of(provider)
    elif model and (maker := maker_of(model)):
        values["model_provider"] = maker
    asked = attributes.get("gen_ai.request.model") or attributes.get("llm.request.model_name")
    if isinstance(asked, str) and asked and asked != model and len(asked) <= _LONGEST_ID:
        metadata["gen_ai.request.model"] = asked


_REPORTED_IN_ORDER = (*TOKENS, "cost_usd", "model_name", "model_provider", "response_id")
_REPORTED = frozenset(_REPORTED_IN_ORDER)


def _set_aside(values: Values, metadata: Attributes) -> None:
    """Tokens, cost and model of a step around calls are kept in metadata: its calls report them themselves."""
    if _REPORTED.isdisjoint(values):
        return
    for name in _REPORTED_IN_ORDER:
        value = values.pop(name, None)
        if value is not None:
            metadata[f"reported_{name}"] = value


PREFIXED = (
    *("langfuse.observation.metadata.", "langfuse.trace.metadata.", "traceloop.association.properties."),
    *("ai.telemetry.metadata.", "litellm.metadata.", "metadata."),
)
_FREE = ("metadata", "langfuse.observation.metadata", "langfuse.trace.metadata")
_TAGS = ("tag.tags", "langfuse.trace.tags", "logfire.tags", "mlflow.traceTags")
FREE_OR_TAGS = frozenset((*_FREE, *_TAGS))
_NAMED_IN_FREE = {
    "user_id": "user_id",
    "session_id": "session_id",
    "conversation_id": "conversation_id",
    "thread_id": "conversation_id",
    "message_id": "message_id",
    "usage_type": "usage_type",
    "session_tag": "session_tag",
}


def _read_metadata(
    attributes: Attributes, others: list[str], metadata: Attributes, values: Values, content: bool
) -> None:
    """What no column holds: the app's own entries first, then plain attributes under their names, KEYS in all."""
    if not FREE_OR_TAGS.isdisjoint(attributes):
        _read_whole(attributes, metadata, values)
    for name in others:
        if len(metadata) >= KEYS:
            return
        if name in FREE_OR_TAGS or name in metadata:  # None there says that it is not to be kept
            continue
        if name.startswith(PREFIXED):
            prefix = next(each for each in PREFIXED if name.startswith(each))
            _read_free({name[len(prefix) :]: attributes[name]}, metadata, values)
            continue
        kind = kind_of(name)
        if kind == "plain":
            value = plain(attributes[name])
            if value is not None:
                metadata[name] = value
        elif kind == "content" and content:
            value = spoken(attributes[name])
            if value is not None:
                metadata[name] = value


def _read_whole(attributes: Attributes, metadata: Attributes, values: Values) -> None:
    """The attributes that hold all of an app's own entries, or its tags."""
    for name in _FREE:
        if name in attributes:
            _read_free(own.object_of(attributes[name]) or {}, metadata, values)
    for name in _TAGS:
        tags = own.texts_of(attributes[name]) if name in attributes else None
        if tags:
            metadata["tags"] = [tag[:64] for tag in tags[:16]]


def _read_free(entries: Attributes, metadata: Attributes, values: Values) -> None:
    """An app's own entries; the ones that are called like a column fill it where nothing else did."""
    for name, value in entries.items():
        column = _NAMED_IN_FREE.get(name)
        if column and values.get(column) is None:
            text = own.text_of(value)
            values[column] = text if text and len(text) <= _LONGEST_ID else None
            continue
        kept = plain(value) if kind_of(name) == "plain" and len(metadata) < KEYS else None
        if kept is not None and not column:
            metadata[name] = kept


_SHORT = frozenset(
    (
        *("user_id", "session_id", "conversation_id", "message_id", "session_tag", "response_id", "model_name"),
        *("model_provider", "finish_reason", "usage_type", "operation_type", "rag_retrieval_method"),
    )
)


def _check_texts(values: Values) -> list[str]:
    """Ids and labels of a reasonable length; a longer one is left empty."""
    long = [name for name, text in values.items() if type(text) is str and len(text) > _LONGEST_ID and name in _SHORT]
    for name in long:
        del values[name]
    return [TOO_LONG] if long else []
