"""What a model and its provider may be called: spellings, gateways, regions and snapshot dates."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Providers whose models run on the owner's own machines: nobody sends a bill for their tokens.
LOCAL = _words(
    """ollama ollamachat vllm hostedvllm lmstudio llamacpp llamacppserver llamafile localai local localhost selfhosted
    onprem sglang tgi textgenerationinference mlx mlxlm koboldcpp textgenerationwebui oobabooga xinference gpt4all jan
    transformers dockermodelrunner"""
)

# Programs that pass a call on to a provider which they do not name: the model's name has to say who it is.
GATEWAYS = _words("litellm litellmproxy portkey helicone gateway aigateway vercelaigateway kong bifrost")

# Other spellings of the providers in the price table, without punctuation: those of OpenTelemetry, LiteLLM, LangChain.
PROVIDERS = {
    "amazonbedrock": "aws",
    "awsbedrock": "aws",
    "bedrock": "aws",
    "bedrockconverse": "aws",
    "amazon": "aws",
    "azureaiinference": "azure",
    "azureaiopenai": "azure",
    "azureai": "azure",
    "azureopenai": "azure",
    "microsoft": "azure",
    "claude": "anthropic",
    "coherechat": "cohere",
    "copilot": "github-copilot",
    "fireworksai": "fireworks",
    "gcpgemini": "google",
    "gcpgenai": "google",
    "gcpvertexai": "google",
    "gemini": "google",
    "googlegemini": "google",
    "googlegenai": "google",
    "googlevertex": "google",
    "googlevertexai": "google",
    "grok": "x-ai",
    "mistralai": "mistral",
    "moonshot": "moonshotai",
    "perplexityai": "perplexity",
    "togetherai": "together",
    "vertex": "google",
    "vertexai": "google",
    "voyage": "voyageai",
    "xai": "x-ai",
    "zhipu": "zhipuai",
}

# The longest path in use has 7: projects/P/locations/L/publishers/google/models/. More is no model's name.
_MOST_PREFIXES = 8

_REGION = re.compile(r"^(?:us-gov|us|eu|apac|ap|au|jp|ca|sa|in|global)\.(?=[a-z])")
_MAKER = re.compile(
    r"^(ai21|amazon|anthropic|cohere|deepseek|google|meta|minimax|mistral|moonshot|openai|qwen|xai|zai)\."
)
_BEDROCK_VERSION = re.compile(r"(?:-v\d+)?:\d+$")
_VERTEX_LABEL = re.compile(r"@(?:default|latest)$")
_DATE = re.compile(r"[-@]20\d{2}(-?)(?:0[1-9]|1[0-2])\1(?:0[1-9]|[12]\d|3[01])$")
_DOTTED = re.compile(r"(?<=\d)\.(?=\d)")
# One digit on each side alone, so that the hyphens of dates and of sizes (8-70b) stay.
_HYPHENED = re.compile(r"(?<=-\d)-(?=\d(?:-|$))")


@dataclass(frozen=True, slots=True)
class Spelling:
    """One way to read a model's name; `prefixes` is what came off its front, `dated` whether a date was taken off."""

    name: str
    prefixes: tuple[str, ...]
    dated: bool


def squash(text: str) -> str:
    """Letters and digits alone, in lower case, so that `Azure.AI.OpenAI` and `azure_ai-openai` are one."""
    return re.sub(r"[^a-z0-9]", "", text.lower())


def is_local(provider: str | None) -> bool:
    """Whether a provider of that name runs on the owner's own machines."""
    return provider is not None and squash(provider) in LOCAL


def undated(name: str) -> str:
    """The model's name without its snapshot date.

    >>> undated("claude-sonnet-4-5-20250929"), undated("gpt-4o-mini-2024-07-18"), undated("claude-haiku-4-5@20251001")
    ('claude-sonnet-4-5', 'gpt-4o-mini', 'claude-haiku-4-5')
    """
    return _DATE.sub("", name)


def spellings(model: str) -> tuple[Spelling, ...]:
    """The ways to read a model's name, the most literal first, each once.

    >>> [each.name for each in spellings("anthropic/claude-haiku-4-5")]
    ['anthropic/claude-haiku-4-5', 'claude-haiku-4-5', 'anthropic/claude-haiku-4.5', 'claude-haiku-4.5']
    """
    unwrapped = list(_unwrapped(model.strip().lower()))
    dated = [Spelling(name, prefixes, False) for name, prefixes in unwrapped]
    bare = [Spelling(undated(name), prefixes, True) for name, prefixes in unwrapped if undated(name) != name]
    return tuple(dict.fromkeys((*dated, *_respelled(dated), *bare, *_respelled(bare))))


def _unwrapped(name: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The name, and what is left of it as wrapping after wrapping comes off its front and its end."""
    prefixes: tuple[str, ...] = ()
    yield name, prefixes
    if name.startswith("arn:"):
        name = name.rpartition("/")[2]
    while "/" in name and len(prefixes) < _MOST_PREFIXES:
        prefix, _, name = name.partition("/")
        prefixes = (*prefixes, prefix)
        yield name, prefixes
    if _REGION.match(name) or _MAKER.match(name):
        # Only Bedrock writes names in this way.
        prefixes = (*prefixes, "aws")
        yield name, prefixes
        name = _REGION.sub("", name)
        yield name, prefixes
    maker = _MAKER.match(name)
    if maker:
        name, prefixes = name[maker.end() :], (*prefixes, maker[1])
        yield name, prefixes
    for wrapping in (_BEDROCK_VERSION, _VERTEX_LABEL):
        if wrapping.search(name):
            name = wrapping.sub("", name)
            yield name, prefixes


def _respelled(given: Iterable[Spelling]) -> Iterator[Spelling]:
    """The same names with the dots of their version as hyphens, and the other way round."""
    for each in given:
        for pattern, separator in ((_DOTTED, "-"), (_HYPHENED, ".")):
            name = pattern.sub(separator, each.name)
            if name != each.name:
                yield Spelling(name, each.prefixes, each.dated)
