"""Dealing with incidents on their pages, by forms: what it would hide, what it taught, and taking it back."""

import re

import pytest
from shop import COSTLY, NEW, NOW, ONSET, an_incident, looking_at, make

from tracewatch.access import create_key
from tracewatch.records import Anomaly, Deed, Incident, Lesson
from tracewatch.stores import open_store


def words(html):
    return " ".join(re.sub(r"<(style|script|svg).*?</\1>|<[^>]+>", " ", html, flags=re.S).split())


@pytest.fixture
def own(tmp_path):
    db = make(tmp_path / "shop.db")
    with open_store(db) as store:
        usual = {"started_at": ONSET - 5 * 86_400, "detected_at": ONSET - 5 * 86_400, "observed": 0.02,
                 "expected": 0.0054, "state": "closed", "closed_at": ONSET - 5 * 86_400 + 7200}  # fmt: skip
        store.add([an_incident("ear1ier000000001", "high", **usual)])
        narrow = {"slice": {"operation_type": "chat", "model_name": "gpt-4o"}}
        store.add([an_incident("ear1ier000000002", "high", **usual | narrow)])
        store.add([an_incident("1arger0000000003", "high", **usual | {"observed": 0.2})])
        store.add([an_incident("0ther00000000004", "high", **usual | {"metric_name": "duration_ms"})])
    return db


def there(db, record, id_):
    with open_store(db) as store:
        return store.get(record, {"project": "default", "id": id_})


def every(db, record):
    with open_store(db) as store:
        return store.page(record, limit=100).records


def deal(client, id_=COSTLY, **form):
    return client.post(f"/incidents/{id_}", data=form)


def test_what_noise_would_have_hidden_stands_there_before_it_is_saved(own):
    with looking_at(own) as client:
        said = words(client.get(f"/incidents/{COSTLY}").text)
        assert "too small Would also have hidden 2 earlier incidents: ear1ier0" in said
        assert "does not matter Would also have hidden 3 earlier incidents" in said
        assert "Would have hidden nothing else" in words(client.get(f"/incidents/{NEW}").text)


def test_what_was_taught_is_listed_and_can_be_taken_back(own):
    with looking_at(own) as client:
        assert "Nothing was taught yet" in words(client.get("/incidents/taught").text)
        said = words(deal(client, verb="dismiss", reason="too_small").text)
        assert "known as noise from now on" in said
        listed = client.get("/incidents/taught").text
        assert "too small cost_usd up" in words(listed)
        assert "by this machine" in words(listed)
        (lesson,) = every(own, Lesson)
        assert f'href="/incidents/{COSTLY}"' in listed
        said = words(client.post("/incidents/taught", data={"id": lesson.id}).text)
        assert "Taken back: the like is told again. " in said
        assert "Nothing was taught yet" in said
        assert there(own, Lesson, lesson.id).forgotten_by == "this machine"
        assert "known as noise" not in words(client.get(f"/incidents/{COSTLY}").text)


def test_precision_is_counted_by_metric(own):
    with looking_at(own) as client:
        deal(client, verb="dismiss", reason="too_small")
        deal(client, "ear1ier000000001", verb="resolve", reason="fixed")
        said = words(client.get("/incidents/taught").text)
        assert re.search(r"cost_usd 1 0 1 2 0 50\W%", said), said


@pytest.mark.parametrize(
    ("form", "status"),
    [({"verb": "resolve", "reason": "fixed"}, "resolved"), ({"verb": "acknowledge"}, "acknowledged")],
)
def test_undo_puts_it_back_as_it_was(own, form, status):
    with looking_at(own) as client:
        html = deal(client, **form).text
        assert there(own, Incident, COSTLY).resolution_status == status
        assert '<form id="undo"' in html
    with looking_at(own, now=NOW + 8) as client:
        assert "Undone: it is as it was before." in words(deal(client, verb="undo").text)
        assert there(own, Incident, COSTLY).resolution_status == "pending"
        assert there(own, Anomaly, f"root-{COSTLY}").resolution_status == "pending"
        assert '<form id="undo"' not in client.get(f"/incidents/{COSTLY}?done=undo").text
        assert deal(client, verb="undo").status_code == 400


def test_undo_comes_too_late_after_a_minute(own):
    with looking_at(own) as client:
        deal(client, verb="resolve")
    with looking_at(own, now=NOW + 61) as client:
        answer = deal(client, verb="undo")
        assert answer.status_code == 400
        assert "for a minute only" in words(answer.text)
        assert there(own, Incident, COSTLY).resolution_status == "resolved"


def test_a_snoozed_incident_is_out_of_the_way_until_its_time(own):
    with looking_at(own) as client:
        said = words(deal(client, verb="snooze", until=f"{NOW + 3600}").text)
        assert "Snoozed" in said
        assert "cost 4.1× as much" in words(client.get("/incidents?tab=snoozed").text)
        for path in ("/", "/incidents", "/incidents?tab=acknowledged"):
            assert "cost 4.1× as much" not in words(client.get(path).text), path
    with looking_at(own, now=NOW + 3600) as client:
        assert "cost 4.1× as much" in words(client.get("/").text)
        assert "cost 4.1× as much" in words(client.get("/incidents").text)
        assert "No snoozed incidents." in words(client.get("/incidents?tab=snoozed").text)


def test_a_snooze_until_tomorrow_is_in_the_zone_of_the_reader(own):
    with looking_at(own) as client:
        for zone, hour in (("Asia/Kolkata", "03:30"), ("Europe/Berlin", "08:00"), ("UTC", "09:00")):
            html = client.get(f"/incidents/{COSTLY}?tz={zone}").text
            until = re.search(r'value="(\d+)"[^>]*> until tomorrow, 9:00', html)[1]
            assert deal(client, verb="snooze", until=until).status_code == 200
            kept = there(own, Incident, COSTLY).snoozed_until
            assert f"{int(kept % 86_400 // 3600):02}:{int(kept % 3600 // 60):02}" == hour
            deal(client, verb="reopen")


def test_a_snooze_until_it_gets_worse_ends_when_it_does(own):
    with looking_at(own) as client:
        said = words(deal(client, verb="snooze", until="worse").text)
        assert "until it is 1.5 times as far off" in said
        assert "cost 4.1× as much" not in words(client.get("/").text)
        with open_store(own) as store:
            store.annotate(Incident, {"project": "default", "id": COSTLY}, {"observed": 0.0054 + 0.0166 * 1.6})
        assert "Snoozed" not in words(client.get(f"/incidents/{COSTLY}").text).split("Confidence")[0]
        assert "cost" in words(client.get("/incidents").text)
        assert "No snoozed incidents." in words(client.get("/incidents?tab=snoozed").text)


def test_what_recovers_by_itself_says_since_when_and_when_it_closes(own):
    with open_store(own) as store:
        key = {"project": "default", "id": COSTLY}
        store.annotate(Incident, key, {"state": "recovering", "recovering_at": NOW - 1800})
        store.annotate(Anomaly, {"project": "default", "id": f"root-{COSTLY}"}, {"ended_at": NOW - 1800})
    with looking_at(own) as client:
        said = words(client.get(f"/incidents/{COSTLY}").text)
        assert re.search(r"Back in range since \d\d:\d\d ; closes at \d\d:\d\d", said), said
    with open_store(own) as store:
        store.annotate(Anomaly, {"project": "default", "id": f"root-{COSTLY}"}, {"ended_at": None})
    with looking_at(own) as client:
        assert "closes when all of it is" in words(client.get(f"/incidents/{COSTLY}").text)


def test_what_regressed_says_so_with_its_history(own):
    from tracewatch.dealing import come_back

    with looking_at(own) as client:
        deal(client, verb="resolve", reason="fixed")
        with open_store(own) as store:
            it = store.get(Incident, {"project": "default", "id": COSTLY})
            assert come_back(store, it, it, back=NOW + 600, worse=None)
    with looking_at(own, now=NOW + 1200) as client:
        said = words(client.get(f"/incidents/{COSTLY}").text)
        assert "Regressed" in said
        assert "settled before, back since" in said
        assert "Resolved, fixed by this machine" in said
        assert "Regressed: it is back after it was settled" in said
        assert "cost 4.1× as much" in words(client.get("/").text)


def test_only_this_time_teaches_nothing(own):
    with looking_at(own) as client:
        deal(client, verb="dismiss", reason="expected_once")
        assert every(own, Lesson) == ()
        assert [each.reason for each in every(own, Deed)] == ["expected_once"]


def test_a_key_of_one_user_sees_nothing_that_others_taught(own):
    with looking_at(own) as client:
        deal(client, verb="dismiss", reason="noise")
        (lesson,) = every(own, Lesson)
        with open_store(own) as store:
            _, key = create_key(store, project="default", rights=("read", "write"), user_id="u1", now=NOW)
        client.headers["authorization"] = f"Bearer {key}"
        said = words(client.get("/incidents/taught").text)
        assert "Nothing was taught yet" in said
        assert "cost_usd" not in said
        client.post("/incidents/taught", data={"id": lesson.id})
        assert there(own, Lesson, lesson.id).until is None
