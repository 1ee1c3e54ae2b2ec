"""A service that answers questions: it finds passages, reranks them with one model and answers with another."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import anthropic
import openai
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel

import tracewatch

tracewatch.init(service="question-answering")  # where to: TRACEWATCH_URL, or tracewatch.db here
tracewatch.instrument()

PASSAGES = (
    "Paris is the capital of France, and its largest city.",
    "The capital of Italy is Rome.",
    "France is a country in western Europe.",
    "Lyon lies where the Rhône and the Saône meet.",
    "A capital is the city where a country's government sits.",
)
BEST = 3


def words(text: str) -> set[str]:
    """The words of a text, without what surrounds them."""
    return {word.strip("?.,!'").lower() for word in text.split()}


class Index:
    """Passages, found by the words that they share with a question."""

    def search(self, question: str) -> list[str]:
        """All passages, the most similar first."""
        with tracewatch.retrieval("search"):
            wanted = words(question)
            scores = {passage: len(wanted & words(passage)) / len(wanted) for passage in PASSAGES}
            found = sorted(PASSAGES, key=lambda passage: -scores[passage])
            tracewatch.rag(method="keywords", chunks=len(found), relevance=scores[found[0]])
            return found


class Reranker:
    """Asks a small model which passages help; what it cannot use, it replaces by the order of similarity."""

    def __init__(self) -> None:
        self.client = anthropic.Anthropic(max_retries=1)

    def rerank(self, question: str, passages: Sequence[str]) -> list[str]:
        """The best passages, at most BEST of them."""
        numbered = "\n".join(f"{number}: {passage}" for number, passage in enumerate(passages))
        wish = f"Which of these help to answer '{question}'? A JSON list of their numbers, the best first.\n{numbered}"
        with tracewatch.span("rerank", usage_type="chat_rerank"):
            try:
                reply = self.client.messages.create(
                    model="claude-haiku-4-5", max_tokens=100, messages=[{"role": "user", "content": wish}]
                )
                order = json.loads(reply.content[0].text)
                return [passages[number] for number in order[:BEST]]
            except (anthropic.APIError, ValueError, LookupError, TypeError) as error:
                tracewatch.fallback(error)
                return list(passages[:BEST])


class Answerer:
    """Asks a model for the answer, and reads it as it comes."""

    def __init__(self) -> None:
        self.client = openai.AsyncOpenAI(max_retries=1)

    async def answer(self, question: str, passages: Sequence[str]) -> str:
        """The answer. Raises what the client raises."""
        wish = [
            {"role": "system", "content": "Answer from these passages alone:\n" + "\n".join(passages)},
            {"role": "user", "content": question},
        ]
        async with tracewatch.span("answer", usage_type="chat_answer"):
            stream = await self.client.chat.completions.create(
                model="gpt-4o-mini", messages=wish, stream=True, stream_options={"include_usage": True}
            )
            return "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])


class Question(BaseModel):
    """What is asked, by whom and in which conversation."""

    text: str
    user_id: str | None = None
    conversation_id: str | None = None


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Uvicorn ends by the signal that stops it, and no code runs after that: what waits is brought before."""
    yield
    await asyncio.to_thread(tracewatch.flush)


app = FastAPI(lifespan=lifespan)
index, reranker, answerer = Index(), Reranker(), Answerer()  # one of each, for all requests at once


@app.post("/ask")
async def ask(question: Question) -> dict[str, str]:
    """One question is one trace, whatever it takes to answer it."""
    try:
        with tracewatch.trace("ask", user_id=question.user_id, conversation_id=question.conversation_id) as trace:
            found = index.search(question.text)
            best = await asyncio.to_thread(reranker.rerank, question.text, found)
            return {"answer": await answerer.answer(question.text, best), "trace_id": trace.trace_id}
    except openai.APIError as error:
        raise HTTPException(502, f"no answer: {error}", headers={"x-trace-id": trace.trace_id}) from error
