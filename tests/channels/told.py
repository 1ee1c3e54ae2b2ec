"""An ordinary message, which takes the odd detail."""

from tracewatch.channels import Course, Message

MONDAY = 1772460120.0  # 2026-03-02 14:02 UTC


def a_message(**odd):
    """An ordinary message: an incident that has opened."""
    given = {
        "key": "inc-1:opened:ops",
        "event": "opened",
        "project": "shop",
        "rule": "costly",
        "severity": "critical",
        "title": "Calls of rag_answer on claude-sonnet-4-5 cost 5.9¢, usually 1.2–1.8¢",
        "since": MONDAY,
        "facts": (("Cost per call", "5.9¢, usually 1.2–1.8¢"), ("Extra so far", "$38.31")),
        "where": "rag_answer on claude-sonnet-4-5",
        "why": ("The prompt cache stopped hitting: 89 % → 1 %, 93 % of it", "Version v2.8.0 came 4 min before"),
        "next": ("Compare the start of the prompts with earlier ones", "Go back to v2.7.4"),
        "link": "https://watch.example.com/incidents/inc-1?from=slack",
        "verdict_links": {
            "useful": "https://watch.example.com/verdicts/a",
            "noise": "https://watch.example.com/verdicts/b",
        },
        "incident": {"id": "inc-1", "metric_name": "cost_usd"},
        "sent_at": MONDAY + 420,
        "course": Course(values=(1.4, 1.5, 1.3, None, 1.6, 5.8, 5.9, 5.9), lower=1.2, upper=1.8, onset=5),
    }
    return Message(**{**given, **odd})
