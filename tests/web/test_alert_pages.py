"""The pages and the API of alerts, as people and programs use them."""

import doctest
import json
import re

import alerted
import pytest
import shop
from test_pages import words

from tracewatch.access import create_key
from tracewatch.alerts.kept import rules_of
from tracewatch.records import AlertChannel, AlertRule, Delivery, Incident, Verdict
from tracewatch.stores import open_store
from tracewatch.web import saying
from tracewatch.web.saying import rule_in_words

PAGES = ("/alerts", "/alerts/rule", "/alerts/rule?name=costs", "/alerts/rule?name=budget", "/alerts/rule?name=default")


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """A client that only looks."""
    with shop.looking_at(alerted.make(tmp_path_factory.mktemp("alerted") / "w.db")) as client:
        yield client


@pytest.fixture
def own(tmp_path):
    """A client of one's own, of a shop in which nobody is told yet."""
    with shop.looking_at(shop.make(tmp_path / "w.db"), public_url="https://watch.example.com") as client:
        client.headers["origin"] = "http://127.0.0.1"
        yield client


def store_of(client):
    return client.app.state.serving.store


@pytest.mark.parametrize("path", PAGES)
def test_no_page_shows_what_is_secret(pages, path):
    html = pages.get(path).text
    assert alerted.SECRET not in html
    assert alerted.TOKEN not in html
    assert "hooks.example.com" in html


def test_the_list_says_what_stands_how(pages):
    said = words(pages.get("/alerts").text)
    assert "1 message did not arrive. 4 rules in force, 3 channels." in said
    assert "Tells ops of incidents of high severity or worse that touch cost_usd in operation chat or rag_*" in said
    assert "Tells ops, when more than $500.00 is spent in a month." in said or "when more than $500.00" in said
    assert "noisy 1 of 5 useful" in said
    assert "it answered 404" in said
    assert "paused" in said
    assert "Calls of chat cost 4.1× as much" in said


def test_of_many_rules_that_fire_the_headline_counts_the_rest(own):
    store = store_of(own)
    for number in range(6):
        way = f"c{number}"
        store.put([AlertChannel(project="default", name=way, url=alerted.HOOK, changed_at=0.0)])
        store.put([AlertRule(name=f"r{number}", severity="high", channels=(way,), changed_at=shop.NOW - 86_400)])
        store.add([
            Delivery(
                project="default", key=way, state="sent", channel=way, rule=f"r{number}", event="opened",
                incident_id=shop.COSTLY, severity="critical", title="t", message={}, created_at=shop.NOW - 60,
                due_at=shop.NOW - 60, episode="0",
            )
        ])  # fmt: skip
    said = words(own.get("/alerts").text)
    assert "r0, r1, r2 and 3 more are firing." in said


def test_the_incident_says_who_was_told(pages):
    said = words(pages.get(f"/incidents/{shop.COSTLY}").text)
    assert "Who was told" in said
    assert "ops: opened arrived, by rule costs" in said
    assert "ops: grown given up, by rule costs" in said


def test_a_message_that_did_not_arrive_stands_on_the_first_screen(pages):
    assert "ops did not take a message: https://hooks.example.com/… (1f2e)" in words(pages.get("/").text)


def test_settings_do_not_show_addresses(tmp_path):
    db = shop.make(tmp_path / "w.db")
    with shop.looking_at(db, alert_channels=f"{alerted.HOOK} ${{SLACK}}") as client:
        for path in ("/settings", "/alerts"):
            html = client.get(path).text
            assert alerted.SECRET not in html
            assert "https://hooks.example.com/… (" in html
            assert "${SLACK}" in html


def test_from_nobody_is_told_to_a_test_that_arrives(own, receiver):
    assert "To be told: paste a Slack webhook." in words(own.get("/alerts").text)
    kept = own.post("/alerts", data={"verb": "add_channel", "name": "team", "url": receiver.url + "/in"})
    assert "The channel is kept." in words(kept.text)
    assert "took a test message" in words(own.post("/alerts", data={"verb": "test_channel", "name": "team"}).text)
    assert json.loads(receiver.got[0][2])["type"] == "test"
    receiver.answers.append((404, {}, b"no such hook"))
    refused = own.post("/alerts", data={"verb": "test_channel", "name": "team"})
    assert refused.status_code == 400
    assert "it answered 404 (no such hook)" in words(refused.text)
    own.post("/alerts", data={"verb": "switch_channel", "name": "team", "to": "off"})
    assert "switched off" in words(own.get("/alerts").text)
    own.post("/alerts", data={"verb": "remove_channel", "name": "team"})
    assert not store_of(own).page(AlertChannel, []).records


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"name": "x", "url": "nosuch://secretword"}, "its scheme is not known"),
        ({"name": "a://b", "url": "https://h.example.com"}, "a channel has a name"),
        ({"name": "x", "url": "${TRACEWATCH_CHANNEL_NONE}"}, "TRACEWATCH_CHANNEL_NONE"),
        ({"name": "x", "url": "${DATABASE_URL}"}, "and DATABASE_URL is neither"),
        ({"name": "x", "url": "https://h.example.com/" + "x" * 3_000}, "at most 2,000 characters"),
        ({"name": "x", "url": "https://h.example.com/${PATH}"}, "variable of the server's environment as a whole"),
    ],
)
def test_a_channel_that_cannot_be_is_said_to_be_none(own, given, why):
    answer = own.post("/alerts", data={"verb": "add_channel", **given})
    assert answer.status_code == 400
    assert why in words(answer.text)
    assert "secretword" not in answer.text


def test_no_rule_sends_the_servers_environment_away(own):
    for each in ("channels", "escalate"):
        answer = own.put("/api/v1/alerts/rules/odd", json={each: ["https://h.example.com/${PATH}"]})
        assert answer.status_code == 400
        assert "as a whole" in answer.text
    assert not rules_of(store_of(own), "default")


RULE = {
    "verb": "save", "was": "", "name": "costs", "description": "", "severity": "high",
    "metrics": "cost_usd, error_rate",
    "types": "", "slice": "operation_type: chat, rag_*", "for": "10m", "cooldown": "", "digest": "", "recovery": "yes",
    "enabled": "yes", "more": "quiet_hours: {from: '22:00', until: '07:00', zone: Europe/Berlin}\nlabels: {team: shop}",
}  # fmt: skip


def test_a_rule_is_tried_put_in_force_changed_and_deleted(own):
    tried = words(own.post("/alerts/rule", data=RULE | {"verb": "try"}).text)
    assert "It would have fired once in 30 days: 1 message, 0.2 a week." in tried
    assert "Calls of chat cost 4.1× as much" in tried
    assert not rules_of(store_of(own), "default")
    assert "The rule is in force." in words(own.post("/alerts/rule", data=RULE).text)
    (rule,) = rules_of(store_of(own), "default")
    assert rule.metrics == ("cost_usd", "error_rate")
    assert rule.slice == {"operation_type": ["chat", "rag_*"]}
    assert rule.sustained_s == 600.0
    assert rule.quiet_hours["zone"] == "Europe/Berlin"
    assert rule.labels == {"team": "shop"}
    form = own.get("/alerts/rule?name=costs").text
    assert "quiet_hours:" in form
    assert "operation_type: chat, rag_*" in form
    own.post("/alerts/rule", data=RULE | {"was": "costs", "name": "money", "enabled": ""})
    assert [(each.name, each.enabled) for each in rules_of(store_of(own), "default")] == [("money", False)]
    own.post("/alerts", data={"verb": "resume", "name": "money"})
    assert rules_of(store_of(own), "default")[0].enabled
    own.post("/alerts/rule", data={"verb": "delete", "was": "money"})
    assert not rules_of(store_of(own), "default")


@pytest.mark.parametrize(
    ("odd", "why"),
    [
        ({"metrics": "costs_usd"}, "nothing is called 'costs_usd'"),
        ({"for": "soon"}, "is a time like 90s"),
        ({"slice": "chat"}, "under Which calls"),
        ({"slice": "modell_name: x"}, "model_name"),
        ({"more": "a: [b"}, "this is no YAML"),
        ({"more": "- a"}, "write each entry as name: value"),
        ({"more": "nonsense: 1"}, "no entry 'nonsense'"),
        ({"name": ""}, "a rule needs a name"),
        ({"channels": "nowhere"}, "there is no channel 'nowhere'"),
    ],
)
def test_mistakes_in_a_rule_are_said_and_what_was_written_stays(own, odd, why):
    answer = own.post("/alerts/rule", data=RULE | odd)
    assert answer.status_code == 400
    assert why in words(answer.text)
    assert "labels" in answer.text or "more" in odd
    assert not rules_of(store_of(own), "default")


def test_an_address_in_a_rule_stays_when_its_masked_form_is_sent_back(pages, tmp_path):
    with shop.looking_at(alerted.make(tmp_path / "w.db")) as client:
        client.headers["origin"] = "http://127.0.0.1"
        html = client.get("/alerts/rule?name=everything").text
        chosen = re.findall(r'name="channels" value="([^"]+)" checked', html)
        assert len(chosen) == 2
        client.post(
            "/alerts/rule",
            data={"verb": "save", "was": "everything", "name": "everything", "channels": chosen, "enabled": "yes"},
        )
        (rule,) = (each for each in rules_of(store_of(client), "default") if each.name == "everything")
        assert rule.channels == ("ops", alerted.HOOK)
        refused = client.post("/alerts", data={"verb": "remove_channel", "name": "ops"})
        assert "is named by budget, costs, everything" in words(refused.text)


def test_what_was_given_up_is_sent_again(tmp_path):
    with shop.looking_at(alerted.make(tmp_path / "w.db")) as client:
        client.headers["origin"] = "http://127.0.0.1"
        client.post("/alerts", data={"verb": "resend", "key": "key1"})
        again = store_of(client).get(Delivery, {"project": "default", "key": "key1"})
        assert (again.state, again.attempts, again.due_at) == ("waiting", 0, shop.NOW)
        assert client.post("/alerts", data={"verb": "resend", "key": "key0"}).status_code == 400


def test_a_verdict_by_link_needs_no_key_and_no_more_than_the_link(tmp_path):
    db = alerted.make(tmp_path / "w.db")
    with open_store(db) as store:
        create_key(store, project="default", rights=("admin",), now=shop.NOW)
    link = f"/alerts/verdict/key0?token={alerted.TOKEN}&verdict=noise"
    with shop.looking_at(db) as client:
        store = store_of(client)
        before = len(store.page(Verdict, []).records)
        assert client.get("/alerts", headers={"accept": "*/*"}).status_code == 401
        asked = client.get(link)
        assert "Calls of chat cost 4.1× as much" in words(asked.text)
        assert len(store.page(Verdict, []).records) == before  # a look is no verdict: mail programs look, too
        said = client.post("/alerts/verdict/key0", data={"token": alerted.TOKEN, "verdict": "noise"})
        assert "Kept: noise." in words(said.text)
        kept = store.get(Verdict, {"project": "default", "rule": "costs", "incident_id": shop.COSTLY})
        assert (kept.verdict, kept.given_by) == ("noise", "link")
        for path, data in (
            ("/alerts/verdict/key0", {"token": "another", "verdict": "noise"}),
            ("/alerts/verdict/key9", {"token": alerted.TOKEN, "verdict": "noise"}),
            ("/alerts/verdict/key0", {"verdict": "noise"}),
        ):
            refused = client.post(path, data=data)
            assert refused.status_code == 404
            assert "Calls of chat" not in refused.text
        assert client.post("/alerts/verdict/key0", data={"token": alerted.TOKEN, "verdict": "great"}).status_code == 400


@pytest.mark.parametrize("rights", [("read",), ("read", "write")])
def test_only_admins_change_who_is_told(tmp_path, rights):
    db = alerted.make(tmp_path / "w.db")
    with open_store(db) as store:
        key = create_key(store, project="default", rights=rights, now=shop.NOW)[1]
        mine = create_key(store, project="default", rights=("read", "write"), user_id="u1", now=shop.NOW)[1]
    with shop.looking_at(db) as client:
        client.headers["authorization"] = f"Bearer {key}"
        html = client.get("/alerts").text
        assert "Changes need a key with the right admin" in words(html)
        assert 'method="post"' not in html
        assert client.post("/alerts", data={"verb": "pause", "name": "costs"}).status_code == 403
        assert client.post("/alerts/rule", data=RULE).status_code == 403
        assert client.put("/api/v1/alerts/rules/x", json={}).status_code == 403
        assert client.post("/api/v1/alerts/test", json={"channel": "ops"}).status_code == 403
        client.headers["authorization"] = f"Bearer {mine}"
        assert "Alerts are about the calls of all users" in words(client.get("/alerts").text)
        assert "Who was told" not in client.get(f"/incidents/{shop.COSTLY}").text
        for path in ("rules", "channels", "deliveries", "verdicts"):
            assert client.get(f"/api/v1/alerts/{path}", headers={"accept": "*/*"}).status_code == 403


def test_programs_do_all_of_it_by_the_api(own, receiver):
    own.headers["accept"] = "application/json"
    at = "/api/v1/alerts"
    channel = own.put(f"{at}/channels/ops", json={"url": receiver.url + "/in?secret=s3cretword"}).json()
    assert channel["address"].startswith("http://127.0.0.1")
    assert "s3cretword" not in own.get(f"{at}/channels").text
    assert own.post(f"{at}/test", json={"channel": "ops"}).json() == {"taken": True}
    assert "Webhook-Signature" in receiver.got[0][1]
    receiver.answers.append((410, {}, b""))
    assert own.post(f"{at}/test", json={"channel": "ops"}).status_code == 424
    assert own.post(f"{at}/test", json={"channel": "nowhere"}).status_code == 404
    rule = own.put(f"{at}/rules/costs", json={"metrics": ["cost_usd"], "channels": ["ops"]}).json()
    assert rule["rule"] == {"name": "costs", "metrics": ["cost_usd"], "channels": ["ops"]}
    assert [each["name"] for each in own.get(f"{at}/rules").json()] == ["costs", "default"]
    assert own.put(f"{at}/rules/costs", json={"nonsense": 1}).status_code == 400
    planned = own.post(f"{at}/plan", json={"since": "30d"}).json()
    fired = {each["rule"]: each["fired"] for each in planned["rules"]}
    assert fired["costs"] == 1
    silent = own.post(f"{at}/plan", json={"rules": [{"name": "slow", "metrics": ["queue_time_ms"]}]}).json()
    assert silent["silent"] == ["slow"]
    assert own.delete(f"{at}/channels/ops").status_code == 400  # a rule names it
    assert own.delete(f"{at}/rules/costs").json() == {"removed": 1}
    assert own.delete(f"{at}/rules/costs").status_code == 404
    assert own.delete(f"{at}/channels/ops").json() == {"removed": 1}


def test_messages_and_verdicts_by_the_api(tmp_path):
    with shop.looking_at(alerted.make(tmp_path / "w.db")) as client:
        client.headers.update({"accept": "application/json", "origin": "http://127.0.0.1"})
        at = "/api/v1/alerts"
        told = client.get(f"{at}/deliveries?state=dead").json()
        assert [each["key"] for each in told] == ["key1"]
        assert not {"message", "token"} & set(told[0])
        assert client.post(f"{at}/deliveries/key1/resend").json()["state"] == "waiting"
        said = client.post(f"{at}/verdicts", json={"key": "key0", "verdict": "useful"})
        assert said.status_code == 201
        assert client.get(f"{at}/verdicts").json()[0]["rule"] in ("costs", "everything")
        assert client.post(f"{at}/verdicts", json={"key": "nokey", "verdict": "useful"}).status_code == 404


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ({}, "Tells ops of incidents of every severity."),
        ({"severity": "critical", "recovery": False}, "critical severity, and not when they are over."),
        ({"digest_s": 86_400.0}, "in one message each 1d."),
        ({"condition": {"no_data": {"for_s": 1800.0}}}, "Tells ops when no call comes for 30m."),
        (
            {"condition": {"threshold": {"metric": "error_rate", "above": 0.2}}},
            "when 'Error rate' is above 20 % over 15m.",
        ),
        ({"auto_acknowledge": "low"}, "up to low they are acknowledged by themselves."),
        ({"types": ("a", "b", "c", "d")}, "that touch a, b or 2 more."),
    ],
)
def test_a_rule_in_words(rule, said):
    assert rule_in_words(AlertRule(name="r", changed_at=0.0, **rule), ["ops"]).endswith(said)


def test_the_examples_of_rules_in_words_hold():
    assert doctest.testmod(saying).failed == 0
    assert doctest.testmod(saying).attempted > 0


def test_the_incident_of_the_shop_is_there(pages):
    """What the other tests stand on."""
    assert store_of(pages).get(Incident, {"project": "default", "id": shop.COSTLY}).severity == "critical"
