"""Who answers behind an address: the provider of a client whose `base_url` may be anyone's."""

from __future__ import annotations

from functools import lru_cache
from typing import Any
from weakref import WeakKeyDictionary

# By the end of the host's name; the first that fits decides.
_BY_DOMAIN: tuple[tuple[str, str], ...] = (
    ("openai.azure.com", "azure"),
    ("services.ai.azure.com", "azure"),
    ("cognitiveservices.azure.com", "azure"),
    ("models.ai.azure.com", "azure"),
    ("models.inference.ai.azure.com", "github"),
    ("models.github.ai", "github"),
    ("openai.com", "openai"),
    ("anthropic.com", "anthropic"),
    ("claude.com", "anthropic"),
    ("openrouter.ai", "openrouter"),
    ("groq.com", "groq"),
    ("deepseek.com", "deepseek"),
    ("mistral.ai", "mistral"),
    ("together.xyz", "together"),
    ("together.ai", "together"),
    ("fireworks.ai", "fireworks"),
    ("perplexity.ai", "perplexity"),
    ("x.ai", "x-ai"),
    ("cohere.com", "cohere"),
    ("cohere.ai", "cohere"),
    ("cerebras.ai", "cerebras"),
    ("sambanova.ai", "sambanova"),
    ("deepinfra.com", "deepinfra"),
    ("novita.ai", "novita"),
    ("hyperbolic.xyz", "hyperbolic"),
    ("huggingface.co", "huggingface"),
    ("huggingface.cloud", "huggingface"),
    ("nvidia.com", "nvidia"),
    ("moonshot.cn", "moonshotai"),
    ("moonshot.ai", "moonshotai"),
    ("bigmodel.cn", "zhipuai"),
    ("z.ai", "zhipuai"),
    ("dashscope.aliyuncs.com", "alibaba"),
    ("dashscope-intl.aliyuncs.com", "alibaba"),
    ("voyageai.com", "voyageai"),
    ("aiplatform.googleapis.com", "google"),
    ("generativelanguage.googleapis.com", "google"),
    ("amazonaws.com", "aws"),
    ("api.aws", "aws"),
    ("ollama.com", "ollama"),
)

# By a word of the host's name, as people name containers and machines.
_BY_WORD: tuple[tuple[str, str], ...] = (
    ("ollama", "ollama"),
    ("vllm", "vllm"),
    ("sglang", "sglang"),
    ("llamacpp", "llamacpp"),
    ("llama-cpp", "llamacpp"),
    ("lmstudio", "lmstudio"),
    ("lm-studio", "lmstudio"),
    ("localai", "localai"),
    ("litellm", "litellm"),
)

# Ports that one program alone has for its own. 8000 and 8080 are anybody's, and a proxy to a paid model taken for a
# local one would be priced at nothing; such servers are told by what they answer.
_BY_PORT: dict[int | None, str] = {11434: "ollama", 1234: "lmstudio"}


CALLED: WeakKeyDictionary[Any, str] = WeakKeyDictionary()
"""Clients whose provider the owner has named."""


def provider_of(address: Any, otherwise: str) -> tuple[str, str | None]:
    """The provider at an address, and the host when it says nothing and `otherwise` is all that is known.

    The address is a URL of an HTTP library (its text takes longer to make than all of this) or a text.

    >>> provider_of("http://localhost:11434/v1/", "openai"), provider_of("https://api.groq.com/openai/v1/", "openai")
    (('ollama', None), ('groq', None))
    >>> provider_of("https://gateway.example:8443/v1", "openai")
    ('openai', 'gateway.example:8443')
    """
    host, port = getattr(address, "host", None), getattr(address, "port", None)
    if host is None:
        from urllib.parse import urlsplit  # not at the top: a tenth of what importing us costs

        try:
            parts = urlsplit(str(address))
            host, port = parts.hostname, parts.port
        except ValueError:
            return otherwise, None
    return _provider(host or "", port, otherwise)


@lru_cache(maxsize=256)
def _provider(host: str, port: int | None, otherwise: str) -> tuple[str, str | None]:
    host = host.lower()
    for domain, provider in _BY_DOMAIN:
        if host == domain or host.endswith("." + domain):
            return provider, None
    for word, provider in _BY_WORD:
        if word in host:
            return provider, None
    if port in _BY_PORT:
        return _BY_PORT[port], None
    return otherwise, (f"{host}:{port}" if port else host) or None
