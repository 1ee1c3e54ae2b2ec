"""A provider on loopback that speaks as OpenAI, Anthropic and Ollama do, and fails on request."""

from mock_provider.server import Provider

__all__ = ["Provider"]
