"""What Ollama answers."""

from __future__ import annotations

from mock_provider.base import TEXT, WORDS, cut, lines, whole

CREATED = "2026-01-01T00:00:00Z"
ERRORS = {
    "404": (404, "model 'llama3.2' not found"),
    "500": (500, "llama runner process has terminated: exit status 2"),
}
DONE = {
    "done": True,
    "done_reason": "stop",
    "total_duration": 9_000_000,
    "load_duration": 3_000_000,
    "prompt_eval_count": 26,
    "prompt_eval_duration": 1_000_000,
    "eval_count": 7,
    "eval_duration": 4_000_000,
}


def chat(request):
    """`/api/chat`."""
    return _answer(request, lambda text: {"message": {"role": "assistant", "content": text}})


def generate(request):
    """`/api/generate`."""
    return _answer(request, lambda text: {"response": text})


def embed(request):
    """`/api/embed`."""
    if request.scenario in ERRORS:
        return _refused(request)
    counts = {"total_duration": 9_000_000, "load_duration": 1_000_000, "prompt_eval_count": 8}
    return whole({"model": request.body["model"], "embeddings": [[0.1] * 4], **counts})


def _answer(request, said):
    if request.scenario in ERRORS:
        return _refused(request)
    base = {"model": request.body["model"], "created_at": CREATED}
    if not request.body.get("stream"):
        return whole({**base, **said(TEXT), **DONE})
    pieces = [{**base, **said(word), "done": False} for word in WORDS]
    if request.scenario == "errorevent":
        return lines([*pieces[:3], {"error": "an error was encountered while running the model"}])
    return lines(cut([*pieces, {**base, **said(""), **DONE}], request.scenario, 3))


def _refused(request):
    status, message = ERRORS[request.scenario]
    return whole({"error": message}, status=status)
