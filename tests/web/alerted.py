"""The shop with somebody who is told: rules, channels, messages that arrived and that did not, and verdicts."""

import shop

from tracewatch.alerts.ledger import Telling
from tracewatch.alerts.wording import message_of
from tracewatch.channels import as_json
from tracewatch.records import AlertChannel, AlertRule, Delivery, Incident, Verdict
from tracewatch.stores import open_store

TOKEN = "a-token-of-the-message"
SECRET = "s3cretpath"
HOOK = f"https://hooks.example.com/{SECRET}?secret={SECRET}"
RULES = (
    AlertRule(
        name="costs", description="What costs us money", metrics=("cost_usd",), severity="high", channels=("ops",),
        slice={"operation_type": ["chat", "rag_*"]}, sustained_s=600.0, changed_at=shop.NOW - 86_400, changed_by="ada",
        quiet_hours={"from": "22:00", "until": "07:00", "zone": "Europe/Berlin", "days": ["mon"], "unless": "critical"},
    ),
    AlertRule(name="everything", channels=("ops", HOOK), digest_s=86_400.0, changed_at=shop.NOW - 86_400),
    AlertRule(name="errors", types=("error_rate",), enabled=False, changed_at=shop.NOW - 86_400),
    AlertRule(
        name="budget", condition={"budget": {"usd": 500.0, "per": "month"}}, channels=("ops",), changed_at=shop.NOW - 9,
    ),
)  # fmt: skip


def make(path):
    """The store."""
    shop.make(path)
    with open_store(str(path)) as store:
        store.put(list(RULES))
        store.put([AlertChannel(project="default", name="ops", url=HOOK, changed_at=shop.NOW - 86_400)])
        store.put([AlertChannel(project="default", name="team", url="${TEAM_WEBHOOK}", changed_at=0.0, enabled=False)])
        store.add(list(deliveries(store)))
        store.put([
            Verdict(project="default", rule="everything", incident_id=f"i{number}", verdict=verdict, given_at=shop.NOW)
            for number, verdict in enumerate(("useful", "noise", "noise", "noise", "expected"))
        ])  # fmt: skip
    return str(path)


def deliveries(store):
    """One that arrived, one that was given up, one that is tried again."""
    incident = store.get(Incident, {"project": "default", "id": shop.COSTLY})
    for number, (state, answer) in enumerate(
        (("sent", "taken"), ("dead", "https://hooks.example.com/… (1f2e) does not take this message: it answered 404"),
         ("failed", "it answered 503"))
    ):  # fmt: skip
        telling = Telling(
            rule="costs", channel="ops", event=("opened", "grown", "recovered")[number], severity="critical",
            at=shop.NOW - 3000 + number * 600, incident_id=incident.id, episode="0",
        )  # fmt: skip
        message = message_of(
            telling, RULES[0], incident, key=f"key{number}", token=TOKEN, public_url="https://watch.example.com",
            before="high",
        )  # fmt: skip
        yield Delivery(
            project="default", key=f"key{number}", state=state, channel="ops", rule="costs", event=telling.event,
            incident_id=incident.id, severity="critical", title=message.title, message=as_json(message),
            created_at=telling.at, due_at=telling.at, attempts=number + 1, answer=answer, token=TOKEN,
            sent_at=telling.at + 2 if state == "sent" else None,
        )  # fmt: skip
