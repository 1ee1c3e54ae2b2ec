"""Serves until it is interrupted, and prints what to export so that clients ask it: `python -m mock_provider`."""

import contextlib
import threading

from mock_provider import Provider


def main():
    with Provider() as provider, contextlib.suppress(KeyboardInterrupt):
        print(f"export ANTHROPIC_BASE_URL={provider.url} ANTHROPIC_API_KEY=sk-ok")
        print(f"export OPENAI_BASE_URL={provider.url}/v1 OPENAI_API_KEY=sk-ok")
        print(f"export OLLAMA_HOST={provider.url}", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
