"""Reads an inbox and says of each mail what is wanted: asks Anthropic, or else Ollama, or else OpenAI."""

import json
import sys
from pathlib import Path

import anthropic
import ollama
import openai

import tracewatch

tracewatch.init(service="inbox")  # where to: TRACEWATCH_URL, or tracewatch.db here
tracewatch.instrument()

WISH = "Say in one sentence what the writer of this mail wants:\n\n"


def ask_anthropic(text: str) -> str:
    """What Anthropic says."""
    client = anthropic.Anthropic(max_retries=1)
    message = {"role": "user", "content": WISH + text}
    return client.messages.create(model="claude-haiku-4-5", max_tokens=100, messages=[message]).content[0].text


def ask_ollama(text: str) -> str:
    """What a model on this machine says."""
    message = {"role": "user", "content": WISH + text}
    return ollama.Client().chat(model="llama3.2", messages=[message]).message.content


def ask_openai(text: str) -> str:
    """What OpenAI says."""
    message = {"role": "user", "content": WISH + text}
    answer = openai.OpenAI(max_retries=1).chat.completions.create(model="gpt-4o-mini", messages=[message])
    return answer.choices[0].message.content


CHAIN = {"anthropic": ask_anthropic, "ollama": ask_ollama, "openai": ask_openai}


def wanted(mail: dict[str, str]) -> str:
    """What the writer of a mail wants, by the first that answers. Raises what the last one raises."""
    with tracewatch.trace("mail", usage_type="extraction", message_id=mail["id"], user_id=mail["to"]):
        for attempt in tracewatch.attempts("extract", CHAIN):
            with attempt:
                return CHAIN[attempt.choice](mail["text"])
    raise AssertionError("the last attempt returns or raises")


def main() -> None:
    """Prints one line for each mail; ends with 1 if one of them could not be read."""
    failed = 0
    for mail in json.loads(Path(__file__).with_name("mails.json").read_text(encoding="utf-8")):
        try:
            print(f"{mail['id']}: {wanted(mail)}")
        except Exception as error:
            failed += 1
            print(f"{mail['id']}: not read ({error})", file=sys.stderr)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
