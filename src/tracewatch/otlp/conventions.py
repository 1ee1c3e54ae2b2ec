"""The conventions of attributes that are understood: how each is known, how far it is believed, and its words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

TokenRule = Literal["inclusive", "exclusive"]
"""Whether input tokens include what came from a cache and went into one, or leave it out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Convention:
    """A way in which instrumentations describe calls."""

    name: str
    what: str
    scopes: tuple[str, ...] = ()
    """Beginnings of the scope names that speak it."""
    markers: tuple[str, ...] = ()
    """Beginnings of attribute names that nobody else uses."""
    trust: int = 5
    """Whose numbers are taken when two report the same call: the higher."""


# Of OpenLLMetry's packages; OpenTelemetry's own are called openai_v2, genai.* and the like.
_OPENLLMETRY = (
    *("openai.v0", "openai.v1", "anthropic", "ollama", "alephalpha", "bedrock", "chromadb", "cohere", "crewai"),
    *("google_generativeai", "groq", "haystack", "lancedb", "langchain", "llamaindex", "marqo", "mcp", "milvus"),
    *("mistralai", "openai_agents", "pinecone", "qdrant", "replicate", "sagemaker", "together", "transformers"),
    *("voyageai", "vertexai", "watsonx", "weaviate", "writer"),
)

CONVENTIONS: tuple[Convention, ...] = (
    Convention(
        name="tracewatch",
        what="our own SDK, and our own attributes in spans of others",
        scopes=("tracewatch",),
        trust=9,
    ),
    Convention(
        name="anthropic-sdk",
        what="the spans that Anthropic's client writes itself",
        scopes=("com.anthropic.sdk",),
        markers=("anthropic.request.id",),
        trust=8,
    ),
    Convention(
        name="pydantic-ai",
        what="Pydantic AI",
        scopes=("pydantic-ai",),
        markers=("pydantic_ai.",),
        trust=7,
    ),
    Convention(
        name="openlit",
        what="OpenLIT",
        scopes=("openlit",),
        markers=("openlit.", "gen_ai.sdk.version"),
        trust=1,
    ),
    Convention(
        name="litellm",
        what="LiteLLM, the library and the proxy",
        scopes=("litellm",),
        markers=("litellm.", "hidden_params"),
        trust=4,
    ),
    Convention(
        name="openinference",
        what="OpenInference (Phoenix, Arize): LangChain, LlamaIndex and clients",
        scopes=("openinference.",),
        markers=("openinference.span.kind", "llm.token_count."),
        trust=6,
    ),
    Convention(
        name="mlflow",
        what="MLflow tracing",
        scopes=("mlflow",),
        markers=("mlflow.",),
        trust=6,
    ),
    Convention(
        name="langfuse",
        what="Langfuse's SDK",
        scopes=("langfuse",),
        markers=("langfuse.",),
        trust=4,
    ),
    Convention(
        name="vercel-ai",
        what="Vercel's AI SDK",
        scopes=("ai",),
        markers=("ai.operationId", "ai.model.id"),
        trust=5,
    ),
    Convention(
        name="openllmetry",
        what="OpenLLMetry (Traceloop)",
        scopes=("traceloop", *(f"opentelemetry.instrumentation.{each}" for each in _OPENLLMETRY)),
        markers=("traceloop.", "gen_ai.is_streaming", "llm.is_streaming", "llm.request.type", "llm.usage."),
        trust=3,
    ),
    Convention(
        name="logfire",
        what="Logfire",
        scopes=("logfire",),
        markers=("gen_ai.usage.raw", "logfire."),
        trust=6,
    ),
    Convention(
        name="otel",
        what="OpenTelemetry's semantic conventions for generative AI, old and new names",
        scopes=(
            "opentelemetry.instrumentation.genai",
            "opentelemetry.util.genai",
            "opentelemetry.instrumentation.openai_v2",
        ),
        markers=("gen_ai.",),
        trust=7,
    ),
)
"""In the order in which they are tried: by scope first, then by the attributes of the span."""

BY_NAME: Mapping[str, Convention] = {each.name: each for each in CONVENTIONS}

_EXACT = frozenset(("ai", *(f"opentelemetry.instrumentation.{each}" for each in _OPENLLMETRY)))


def of_scope(scope: str) -> str | None:
    """The convention that a scope of this name speaks; None when the attributes have to tell.

    >>> of_scope("opentelemetry.instrumentation.openai.v1"), of_scope("opentelemetry.instrumentation.openai_v2")
    ('openllmetry', 'otel')
    """
    for each in CONVENTIONS:
        for begin in each.scopes:
            if scope == begin or (begin not in _EXACT and scope.startswith(begin)):
                return each.name
    return None


_MARKED: dict[str, int] = {}
_MOST_MARKED = 4096
_NONE = len(CONVENTIONS)


def marked(attribute: str) -> int:
    """The place in CONVENTIONS of the one that an attribute of this name gives away; behind all when of none."""
    found = _MARKED.get(attribute)
    if found is None:
        places = enumerate(CONVENTIONS)
        found = next((place for place, each in places if attribute.startswith(each.markers or "\0")), _NONE)
        if len(_MARKED) < _MOST_MARKED:  # names come from outside: what is remembered of them is bounded
            _MARKED[attribute] = found
    return found


def named(place: int) -> str | None:
    """The name of the convention at a place that `marked` gave."""
    return CONVENTIONS[place].name if place < _NONE else None


# What conventions call the kinds of work, in lower case -> what we call them.
OPERATIONS: Mapping[str, str] = {
    "chat": "chat",
    "generate_content": "chat",
    "llm": "chat",
    "chat_model": "chat",
    "generation": "chat",
    "responses": "chat",
    "acompletion": "chat",
    "ai.generatetext.dogenerate": "chat",
    "ai.streamtext.dostream": "chat",
    "ai.generateobject.dogenerate": "chat",
    "ai.streamobject.dostream": "chat",
    "text_completion": "completion",
    "completion": "completion",
    "embeddings": "embedding",
    "embedding": "embedding",
    "aembedding": "embedding",
    "ai.embed.doembed": "embedding",
    "ai.embedmany.doembed": "embedding",
    "rerank": "rerank",
    "reranker": "rerank",
    "arerank": "rerank",
    "retrieval": "retrieval",
    "retriever": "retrieval",
    "retrieve": "retrieval",
    "search": "retrieval",
    "execute_tool": "tool",
    "tool": "tool",
    "ai.toolcall": "tool",
    "invoke_agent": "agent",
    "create_agent": "agent",
    "agent": "agent",
    "ai.generatetext": "agent",
    "ai.streamtext": "agent",
    "ai.generateobject": "agent",
    "ai.streamobject": "agent",
    "ai.embed": "chain",
    "ai.embedmany": "chain",
    "chain": "chain",
    "workflow": "workflow",
    "invoke_workflow": "workflow",
    "task": "task",
    "prompt": "prompt",
    "parser": "parser",
    "guardrail": "guardrail",
    "evaluator": "evaluation",
    "evaluation": "evaluation",
    "memory": "memory",
    "span": "step",
    "unknown": "step",
    "event": "step",
    "image_generation": "image",
    "transcription": "transcription",
    "speech": "speech",
    "moderation": "moderation",
    "batch": "batch",
}

MODEL_CALLS = frozenset(("chat", "completion", "embedding", "rerank", "image", "transcription", "speech", "moderation"))
"""The operations that are calls of a model. All others are steps around calls: they hold no tokens of their own."""

# What conventions call providers, where it is not what OpenTelemetry calls them.
PROVIDERS: Mapping[str, str] = {
    "az.ai.openai": "azure.ai.openai",
    "azure": "azure.ai.openai",
    "azure_openai": "azure.ai.openai",
    "bedrock": "aws.bedrock",
    "aws_bedrock": "aws.bedrock",
    "mistralai": "mistral_ai",
    "google": "gcp.gen_ai",
    "gemini": "gcp.gemini",
    "vertex_ai": "gcp.vertex_ai",
}

# The beginnings of model names that one provider alone uses, for reports that name no provider.
MAKERS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"claude"), "anthropic"),
    (re.compile(r"gpt-|o\d(?:-|$)|text-embedding-|chatgpt"), "openai"),
    (re.compile(r"gemini"), "gcp.gemini"),
)


@lru_cache(maxsize=1024)
def provider_of(name: str) -> str:
    """The provider under the name that all reports share.

    >>> provider_of("Ollama"), provider_of("az.ai.openai"), provider_of("openai.responses")
    ('ollama', 'azure.ai.openai', 'openai')
    """
    lower = name.strip().lower()
    if lower.startswith(("openai.", "anthropic.")):  # Vercel names the endpoint as well
        lower = lower.partition(".")[0]
    return PROVIDERS.get(lower, lower)


@lru_cache(maxsize=1024)
def maker_of(model: str) -> str | None:
    """The provider that a model's name gives away; None when it does not."""
    return next((provider for pattern, provider in MAKERS if pattern.match(model)), None)
