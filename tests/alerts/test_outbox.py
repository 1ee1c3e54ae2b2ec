"""What is put on its way arrives once: real receivers that misbehave, two processes, and processes that are killed."""

import os
import signal
import subprocess
import sys
import textwrap
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest
from hearing import HOUR, MINUTE, NOON, a_channel, a_finding, an_incident, receiver

from tracewatch.alerts import outbox
from tracewatch.alerts.gathering import MOST_SINGLY
from tracewatch.alerts.sending import Sender, sending
from tracewatch.alerts.telling import MOST_DEALT, Alerting
from tracewatch.channels import posting
from tracewatch.dealing import deal
from tracewatch.errors import NotFound
from tracewatch.records import AlertRule, Delivery, Headway, Incident
from tracewatch.stores import Filter, open_store


@pytest.fixture
def heard():
    with receiver() as there:
        yield there


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "w.db")


@pytest.fixture
def store(path, heard):
    with open_store(path, create=True) as store:
        store.add([a_channel(heard.url)])
        store.add([an_incident()])
        store.add([a_finding()])
        yield store


class Clock:
    """A clock that goes as the test says."""

    def __init__(self):
        self.now = NOON

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def put_on_its_way(store, now=NOON):
    return Alerting(store, "default").run(now)


def sent_by(store, clock):
    """What one process sends of what is due."""
    sender = Sender(store, "", clock)
    try:
        return sender.go()
    finally:
        sender.stop()


def only(store):
    (delivery,) = store.page(Delivery).records
    return delivery


def change(store, **values):
    store.annotate(Incident, {"project": "default", "id": "i1"}, values)


def test_what_is_told_is_written_down_first_and_then_sent_once(store, heard, clock):
    (delivery,) = put_on_its_way(store)
    assert (delivery.state, delivery.event, heard.messages) == ("waiting", "opened", [])
    assert put_on_its_way(store, NOON + 5) == ()
    assert [sent_by(store, clock), sent_by(store, clock)] == [1, 0]
    assert heard.keys == [delivery.key]
    assert (only(store).state, only(store).attempts, only(store).sent_at) == ("sent", 1, NOON)
    (message,) = heard.messages
    assert message["type"] == "incident.opened"
    assert message["payload"]["incident"]["id"] == "i1"


def test_a_critical_finding_reaches_two_channels_and_a_low_one_acknowledges_itself(store, heard, clock):
    with receiver() as other:
        store.add([a_channel(other.url, name="slack")])
        store.add([AlertRule(name="low ones", auto_acknowledge="low", changed_at=NOON)])
        change(store, severity="critical")
        store.add([an_incident(id="i2", severity="low")])
        put_on_its_way(store)
        sent_by(store, clock)
        assert [len(heard.keys), len(other.keys)] == [1, 1]
    low = store.get(Incident, {"project": "default", "id": "i2"})
    assert (low.resolution_status, low.acknowledged) == ("acknowledged", True)
    store.annotate(Incident, {"project": "default", "id": "i2"}, {"severity": "high"})
    assert {each.incident_id for each in put_on_its_way(store, NOON + MINUTE)} == {"i2"}
    assert store.get(Incident, {"project": "default", "id": "i2"}).resolution_status == "pending"


def test_what_somebody_opened_again_is_not_acknowledged_by_a_rule(store):
    store.add([AlertRule(name="all", auto_acknowledge="critical", changed_at=NOON)])
    assert put_on_its_way(store) == ()
    deal(store, store.get(Incident, {"project": "default", "id": "i1"}), "reopen", who="ada", now=NOON)
    assert [each.event for each in put_on_its_way(store, NOON + MINUTE)] == ["opened"]
    assert store.get(Incident, {"project": "default", "id": "i1"}).resolution_status == "pending"


def test_the_course_of_an_incident_arrives_in_order_though_the_receiver_was_down(store, heard, clock):
    heard.answers += [503]
    put_on_its_way(store)
    sent_by(store, clock)
    change(store, state="closed", closed_at=NOON, updated_at=NOON + MINUTE)
    put_on_its_way(store, NOON + MINUTE)
    clock.now = NOON + 1  # the end is due, and its beginning has not arrived
    assert sent_by(store, clock) == 0
    clock.now = NOON + 10 * MINUTE
    sent_by(store, clock)
    sent_by(store, clock)
    assert [each["type"] for each in heard.messages] == ["incident.opened", "incident.opened", "incident.recovered"]
    assert heard.keys[0] == heard.keys[1]


def test_attempts_wait_longer_and_longer_and_are_given_up(store, heard, clock):
    put_on_its_way(store)
    heard.answers += [500] * outbox.MOST_ATTEMPTS
    waits = []
    for _ in range(outbox.MOST_ATTEMPTS):
        assert sent_by(store, clock) == 1
        waits.append(only(store).due_at - clock.now)
        clock.now = only(store).due_at
    dead = only(store)
    assert (dead.state, dead.attempts) == ("dead", outbox.MOST_ATTEMPTS)
    assert "500" in dead.answer
    assert sent_by(store, clock) == 0
    assert all(later > sooner for sooner, later in pairwise(waits[:7]))
    assert max(waits) <= outbox.LAST_AGAIN_S * (1 + outbox.JITTER)
    outbox.resend(store, "default", dead.key, clock.now)
    assert sent_by(store, clock) == 1
    assert only(store).state == "sent"
    with pytest.raises(NotFound):
        outbox.resend(store, "default", dead.key, clock.now)


def test_all_that_were_given_up_are_found_however_many_others_there_are(store):
    one = put_on_its_way(store)[0]
    store.put([replace(one, key=f"d{each}", state="dead", created_at=NOON - each) for each in range(1_100)])
    assert [each.key for each in outbox.given_up(store, "default")] == [f"d{each}" for each in range(1_100)]


@pytest.mark.parametrize(("state", "why"), [("sending", "being sent at this moment"), ("sent", "It has arrived")])
def test_why_something_is_not_sent_again_is_said(store, state, why):
    one = put_on_its_way(store)[0]
    store.put([replace(one, state=state)])
    with pytest.raises(NotFound, match=why):
        outbox.resend(store, "default", one.key, NOON)


def test_what_the_receiver_refuses_is_dead_at_once(store, heard, clock):
    put_on_its_way(store)
    heard.answers += [404]
    sent_by(store, clock)
    assert (only(store).state, only(store).attempts) == ("dead", 1)


def test_a_receiver_is_left_alone_for_as_long_as_it_asks(store, heard, clock):
    put_on_its_way(store)
    heard.answers += [(429, {"Retry-After": "900"})]
    sent_by(store, clock)
    assert only(store).due_at == NOON + 900
    clock.now = NOON + 899
    assert sent_by(store, clock) == 0


@pytest.mark.parametrize("answer", ["drop", "hold"])
def test_an_attempt_whose_outcome_is_not_known_is_made_again_with_its_key(store, heard, clock, monkeypatch, answer):
    monkeypatch.setattr(posting, "WHOLE_S", 1.0)
    put_on_its_way(store)
    heard.answers += [answer]
    sent_by(store, clock)
    assert only(store).state == "failed"
    clock.now = only(store).due_at
    sent_by(store, clock)
    assert (len(heard.keys), len(set(heard.keys)), only(store).state) == (2, 1, "sent")


def test_a_receiver_that_answers_twice_is_told_once(store, heard, clock):
    put_on_its_way(store)
    heard.answers += ["twice"]
    assert [sent_by(store, clock), sent_by(store, clock)] == [1, 0]
    assert len(heard.keys) == 1


def test_a_channel_that_lacks_its_secret_is_tried_again_and_says_what_it_needs(store, heard, clock, monkeypatch):
    store.put([a_channel("${HOOK_OF_THE_TEAM}")])
    put_on_its_way(store)
    sent_by(store, clock)
    assert (only(store).state, "HOOK_OF_THE_TEAM" in only(store).answer) == ("failed", True)
    monkeypatch.setenv("HOOK_OF_THE_TEAM", heard.url)
    clock.now = only(store).due_at
    sent_by(store, clock)
    assert only(store).state == "sent"


def test_a_slow_receiver_keeps_no_other_waiting(store, heard, path):
    with receiver() as other, open_store(path) as outgoing:
        store.add([a_channel(other.url, name="other")])
        heard.answers += ["hold"]
        put_on_its_way(store)
        with sending(outgoing, ""):
            assert other.came.wait(30)
            assert heard.came.wait(30)
            assert {each.channel: each.state for each in store.page(Delivery).records}["team"] == "sending"
            heard.go_on.set()
    assert {each.state for each in store.page(Delivery).records} == {"sent"}


def test_what_is_open_at_the_end_of_an_old_file_is_no_news(store):
    change(store, updated_at=NOON - 48 * HOUR)
    assert put_on_its_way(store) == ()
    store.put([Headway(updated_at=NOON, judged_until=NOON - MINUTE)])  # calls come, and it lasts
    assert len(put_on_its_way(store)) == 1


def test_a_delivery_is_claimed_by_one(store):
    (delivery,) = put_on_its_way(store)
    assert outbox.claim(store, delivery, "a", NOON).attempts == 1
    assert outbox.claim(store, delivery, "b", NOON) is None
    (left,) = outbox.due(store, NOON + outbox.CLAIM_S)
    again = outbox.claim(store, left, "b", NOON + outbox.CLAIM_S)
    assert again.attempts == 2
    assert not outbox.sent(store, left, NOON)  # the first has it no more
    assert outbox.sent(store, again, NOON)


# What runs in a process of its own: it sends what is due at a moment, and can be told to stop in the middle.
PROCESS = textwrap.dedent(
    """
    import sys
    from tracewatch.alerts import outbox
    from tracewatch.alerts.sending import Sender
    from tracewatch.stores import Filter, open_store

    path, now, stop_after = sys.argv[1], float(sys.argv[2]), sys.argv[3]
    with open_store(path) as store:
        sender = Sender(store, "", lambda: now)
        if stop_after == "claim":
            (delivery,) = outbox.due(store, now)
            assert outbox.claim(store, delivery, sender.who, now)
            print("claimed", flush=True)
            sys.stdin.read()
        print("ready", flush=True)
        sys.stdin.readline()
        sender.go()
        sender.stop()
    """
)


def a_process(path, now=NOON, stop_after="nothing"):
    command = [sys.executable, "-c", PROCESS, path, str(now), stop_after]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ)


def end(process):
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        stream.close()


def test_two_processes_send_each_message_once(store, heard, path):
    store.add([an_incident(id=f"n{number}") for number in range(31)])
    deliveries = put_on_its_way(store)
    both = [a_process(path), a_process(path)]
    for each in both:
        assert each.stdout.readline() == "ready\n"
    for each in both:
        each.stdin.write("\n")
        each.stdin.flush()
    assert [each.wait(120) for each in both] == [0, 0]
    for each in both:
        end(each)
    assert Counter(heard.keys) == Counter(each.key for each in deliveries)
    assert Counter(each.state for each in store.page(Delivery).records) == {
        "sent": MOST_SINGLY + 1,
        "gathered": 32 - MOST_SINGLY,
    }


def test_two_processes_that_decide_write_each_message_once(store, path):
    with open_store(path) as other:
        told = [*put_on_its_way(store), *put_on_its_way(other)]
    assert len(told) == len(store.page(Delivery).records) == 1


def test_killed_between_claim_and_sending_it_is_sent_once_when_the_claim_is_over(store, heard, path, clock):
    put_on_its_way(store)
    process = a_process(path, stop_after="claim")
    assert process.stdout.readline() == "claimed\n"
    process.send_signal(signal.SIGKILL)
    end(process)
    clock.now = NOON + outbox.CLAIM_S - 1
    assert sent_by(store, clock) == 0
    clock.now = NOON + outbox.CLAIM_S
    assert [sent_by(store, clock), sent_by(store, clock)] == [1, 0]
    assert len(heard.keys) == 1


def test_killed_between_sending_and_noting_it_comes_again_with_the_key_of_the_first(store, heard, path, clock):
    put_on_its_way(store)
    heard.answers += ["hold"]
    process = a_process(path)
    assert process.stdout.readline() == "ready\n"
    process.stdin.write("\n")
    process.stdin.flush()
    assert heard.came.wait(60)  # the receiver has it, and the process does not know
    process.send_signal(signal.SIGKILL)
    end(process)
    heard.go_on.set()
    assert only(store).state == "sending"
    clock.now = NOON + outbox.CLAIM_S
    assert [sent_by(store, clock), sent_by(store, clock)] == [1, 0]
    assert (len(heard.keys), len(set(heard.keys)), only(store).state) == (2, 1, "sent")


def test_what_was_done_with_a_year_ago_is_forgotten(store, heard, clock):
    put_on_its_way(store)
    sent_by(store, clock)
    assert outbox.tidy(store, NOON + 300 * 24 * HOUR) == 0
    assert outbox.tidy(store, NOON + 401 * 24 * HOUR) == 1


def test_of_a_rush_a_channel_hears_the_worst_and_one_summary(store, heard, clock):
    store.add([an_incident(id=f"n{number}", severity="critical" if number < 3 else "high") for number in range(200)])
    put_on_its_way(store)
    while sent_by(store, clock):
        """Until nothing is due."""
    assert Counter(each["type"] for each in heard.messages) == {"incident.opened": MOST_SINGLY, "summary": 1}
    (summary,) = (each["payload"] for each in heard.messages if each["type"] == "summary")
    assert (summary["title"], summary["severity"]) == ("191 more incidents: 191 high", "high")
    assert len(summary["incident"]["incidents"]) == len(summary["facts"]) - 1 == 20
    worst = [each["payload"]["severity"] for each in heard.messages if each["type"] == "incident.opened"]
    assert worst.count("critical") == 3
    assert put_on_its_way(store, NOON + MINUTE) == ()  # what the summary stands for is told


def test_the_end_of_a_rush_is_one_summary_too_and_what_grows_after_it_is_told_singly(store, heard, clock):
    store.add([an_incident(id=f"n{number}") for number in range(30)])
    put_on_its_way(store)
    store.annotate(Incident, {"project": "default", "id": "n29"}, {"severity": "critical"})
    assert [(each.event, each.incident_id) for each in put_on_its_way(store, NOON + MINUTE)] == [("grown", "n29")]
    for each in store.page(Incident).records:
        ended = {"state": "closed", "closed_at": NOON, "updated_at": NOON + 2 * MINUTE}
        store.annotate(Incident, {"project": "default", "id": each.id}, ended)
    over = Counter(each.event for each in put_on_its_way(store, NOON + 2 * MINUTE))
    assert over == {"recovered": MOST_SINGLY, "summary": 1}
    assert put_on_its_way(store, NOON + 3 * MINUTE) == ()


def test_one_message_that_would_be_left_is_told_as_it_is(store):
    store.add([an_incident(id=f"n{number}") for number in range(MOST_SINGLY)])
    assert [each.event for each in put_on_its_way(store)] == ["opened"] * (MOST_SINGLY + 1)


def test_two_processes_that_decide_on_a_rush_write_one_summary(store, path):
    store.add([an_incident(id=f"n{number}") for number in range(50)])
    with open_store(path) as other:
        told = [*put_on_its_way(store), *put_on_its_way(other)]
    assert Counter(each.event for each in told) == {"opened": MOST_SINGLY, "summary": 1}


MANY = 2_500  # more than a page of any kind


def test_of_very_many_none_is_lost_and_none_told_twice(store, heard, clock):
    store.add([an_incident(id=f"i{number}", detected_at=NOON - number) for number in range(2, MANY + 1)])
    told = put_on_its_way(store)
    assert len(told) == MOST_SINGLY + 1
    assert told[0].title == f"{MANY - MOST_SINGLY} more incidents: {MANY - MOST_SINGLY} high"
    assert {each.state for each in store.page(Delivery, limit=MANY * 2).records} == {"waiting", "gathered"}
    assert store.count(Delivery) == MANY + 1
    assert put_on_its_way(store, NOON + MINUTE) == ()
    sent_by(store, clock)
    assert len(heard.messages) == MOST_SINGLY + 1


def test_what_rules_acknowledge_is_silent_before_they_have_got_to_it(store):
    store.add([AlertRule(name="all", auto_acknowledge="high", changed_at=NOON)])
    store.add([an_incident(id=f"i{number}") for number in range(2, 402)])
    acknowledged = [Filter("resolution_status", "=", ("acknowledged",))]
    for most in (MOST_DEALT, 2 * MOST_DEALT, 401):
        assert put_on_its_way(store) == ()
        assert store.count(Incident, acknowledged) == most


def test_what_a_rule_acknowledged_long_ago_it_opens_again_when_it_is_worse(store):
    store.add([AlertRule(name="all", auto_acknowledge="high", changed_at=NOON)])
    put_on_its_way(store)
    for number in range(250):
        deal(store, only_incident(store), "note", who="ada", now=NOON + number, text="seen")
    change(store, severity="critical")
    (told,) = put_on_its_way(store, NOON + HOUR)
    assert told.severity == "critical"


def only_incident(store):
    return store.get(Incident, {"project": "default", "id": "i1"})


YEAR = 366 * 24 * HOUR


def test_a_clock_that_was_a_year_ahead_puts_nothing_off(store, heard, clock):
    store.add([AlertRule(name="waits", cooldown_s=HOUR, changed_at=NOON), AlertRule(name="daily", digest_s=24 * HOUR,
               changed_at=NOON, channels=("team",))])  # fmt: skip
    change(store, updated_at=NOON + YEAR)
    put_on_its_way(store, NOON + YEAR)
    clock.now = NOON + YEAR
    heard.answers += [503, 503]
    sent_by(store, clock)
    clock.now = NOON
    heard.messages.clear()
    assert sent_by(store, clock) >= 1
    assert heard.messages
    store.add([an_incident(id="i2")])
    assert [each.incident_id for each in put_on_its_way(store, NOON + MINUTE)] == ["i2"]
    assert [each.event for each in put_on_its_way(store, NOON + 24 * HOUR)] == ["digest"]
