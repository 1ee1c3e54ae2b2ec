"""A nightly batch: sums up the day's conversations, and tells what became of the run as a whole."""

import json
from pathlib import Path

import openai

import tracewatch

tracewatch.init(service="nightly")  # where to: TRACEWATCH_URL, or tracewatch.db here
tracewatch.instrument()

JOB = "summaries_batch"
SHORTEST = 20  # characters; there is nothing to sum up in less


def summary(client: openai.OpenAI, text: str) -> str:
    """A conversation in one sentence. Raises what the client raises."""
    wish = {"role": "user", "content": f"Sum up this conversation in one sentence:\n\n{text}"}
    answer = client.chat.completions.create(model="gpt-4o-mini", messages=[wish])
    return answer.choices[0].message.content


def main() -> None:
    """Sums up all conversations; one that fails does not stop the others."""
    conversations = json.loads(Path(__file__).with_name("conversations.json").read_text(encoding="utf-8"))
    client = openai.OpenAI(max_retries=0)
    with tracewatch.batch(JOB) as run:
        for each in conversations:
            if len(each["text"]) < SHORTEST:
                run.skipped()
                continue
            try:
                with tracewatch.span("summary", usage_type="summary", conversation_id=each["id"]):
                    print(f"{each['id']}: {summary(client, each['text'])}")
                run.extracted()
            except openai.APIError as error:
                run.failed()
                print(f"{each['id']}: {error}")


if __name__ == "__main__":
    main()
