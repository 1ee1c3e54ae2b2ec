"""`alerts.yaml` as people write it, with its mistakes, and back from what is kept."""

import re
from pathlib import Path

import pytest

from tracewatch.alerts.checking import WRITTEN, written
from tracewatch.alerts.conditions import Budget, NoData, Threshold, condition_of
from tracewatch.alerts.file import MOST_RULES, as_text, read_file, read_text
from tracewatch.errors import BadRules, NotFound

WHOLE = """
channels:
  team: ${SLACK_WEBHOOK_URL}
  oncall: {url: "https://x.example/hook", enabled: false}
rules:
  - name: costs
    description: Money that nobody meant to spend
    metrics: [cost_usd, metadata.*]
    types: cost
    severity: high
    kinds: [spike, ramp]
    states: [open, growing]
    confidence: 0.9
    cost_effect_usd: 20
    slice: {environment: [production, null], model_name: gpt-*}
    for: 10m
    cooldown: 1h
    quiet_hours: {from: 22:00, until: 07:00, zone: Europe/Berlin, days: [mon, tue], unless: critical}
    auto_acknowledge: low
    channels: [team, "https://y.example/hook"]
    escalate: oncall
    recovery: false
    labels: {team: search}
  - name: each week
    digest: 7d
    enabled: false
  - name: budget
    condition: {budget: {usd: 500, per: month, zone: Europe/Berlin}}
  - name: failures
    condition: {threshold: {metric: error_rate, above: 0.2, window: 15m}}
  - name: silence
    condition: {no_data: {for: 30m, slice: {service_name: shop}}}
"""


def read(text):
    return read_text(text, project="shop", now=1.0, who="ada")


def mistakes(text):
    with pytest.raises(BadRules) as caught:
        read(text)
    return str(caught.value.given["why"]).splitlines()


def test_everything_that_can_be_written_is_read():
    read_of = read(WHOLE)
    costs, week, budget, failures, silence = read_of.rules
    assert [(each.name, each.url, each.enabled) for each in read_of.channels] == [
        ("team", "${SLACK_WEBHOOK_URL}", True),
        ("oncall", "https://x.example/hook", False),
    ]
    assert (costs.project, costs.sustained_s, costs.cooldown_s, costs.changed_by) == ("shop", 600.0, 3600.0, "ada")
    assert costs.slice == {"environment": ["production", None], "model_name": ["gpt-*"]}
    assert costs.quiet_hours == {
        "from": "22:00", "until": "07:00", "zone": "Europe/Berlin", "days": ["mon", "tue"], "unless": "critical",
    }  # fmt: skip
    assert (costs.types, costs.escalate, costs.recovery) == (("cost",), ("oncall",), False)
    assert (week.digest_s, week.enabled) == (7 * 86_400.0, False)
    assert condition_of(budget) == Budget(usd=500.0, zone="Europe/Berlin")
    assert condition_of(failures) == Threshold(metric="error_rate", above=0.2, window_s=900.0)
    assert condition_of(silence) == NoData(for_s=1800.0, slice={"service_name": ["shop"]})
    assert condition_of(costs) is None


def test_what_is_kept_is_written_as_it_was_read():
    read_of = read(WHOLE)
    assert read(as_text(read_of.channels, [written(each) for each in read_of.rules])) == read_of


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("severty: high", "a rule has no entry 'severty': did you mean severity?"),
        ("severity: higher", "severity: 'higher' is none of low, medium, high, critical: did you mean high?"),
        ("severity: [high]", "severity is a text: put '['high']' in quotes if that is what is meant"),
        ("metrics: [cost_us]", "metrics: nothing is called 'cost_us': did you mean cost_usd?"),
        ("types: [durations]", "types: nothing is called 'durations': did you mean duration?"),
        ("slice: {model: gpt}", "incidents are not told apart by 'model': did you mean model_name?"),
        ("slice: {app_version: 1.2}", "app_version is a text: put '1.2' in quotes if that is what is meant"),
        ("for: ten", "for is a time like 90s, 10m, 24h or 7d, and not 'ten'"),
        ("enabled: maybe", "enabled is true or false, and not 'maybe'"),
        ("confidence: 90", "confidence is a number from 0 to 1, and not '90'"),
        ("cost_effect_usd: -1", "cost_effect_usd is a number of at least 0, and not '-1'"),
        ("channels: [tea]", "there is no channel 'tea': did you mean team?"),
        ("escalate: nobody", "there is no channel 'nobody': there are team"),
        ("quiet_hours: {from: 25:00, until: 7:00}", "from is a time of day like 22:00, and not '1500'"),
        ("quiet_hours: {from: '22:00'}", "quiet_hours need until, such as until: '22:00'"),
        ("quiet_hours: {from: '22:00', until: '07:00', zone: Berlin}",
         "there is no time zone 'Berlin': write it like Europe/Berlin or UTC"),
        ("labels: search", "labels are words with a value each, such as team: search"),
        ("condition: {treshold: {}}", "a condition has no entry 'treshold': did you mean threshold?"),
        ("condition: {threshold: {above: 1}}", "a threshold needs a metric, such as metric: error_rate"),
        ("condition: {threshold: {metric: error_rate, above: 1, below: 0}}",
         "a threshold is either above or below a value, such as above: 0.2"),
        ("condition: {threshold: {metric: eror_rate, above: 1}}",
         "a threshold cannot be set for 'eror_rate': no metric is called so: did you mean error_rate?"),
        ("condition: {threshold: {metric: first_seen_model, above: 1}}",
         "a threshold cannot be set for 'first_seen_model': only detection tells of it"),
        ("condition: {no_data: {for: 5m, slice: {model_name: 'gpt-*'}}}",
         "a condition takes whole values, and not 'gpt-*': name each of them"),
        ("condition: {threshold: {metric: duration_ms, above: 2s}}",
         "above is a number without its unit, such as 0.2 or 1500, and not '2s'"),
        ("condition: {threshold: {metric: error_rate, above: 20}}",
         "error_rate is a share from 0 to 1, and not 20: write 20 % as 0.2"),
        ("condition: {budget: {usd: $500}}", "usd is a number of at least 0, and not '$500'"),
        ("condition: {budget: {per: year}}", "per: 'year' is none of day, week, month"),
        ("condition: {no_data: {}}", "no_data needs a time, such as for: 30m"),
        ("digest: 1d\n    cooldown: 1h", "a digest comes at its own time anyway: leave out the cooldown"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_sentence_with_line_and_name_and_what_to_do(line, told):
    found = mistakes(f"channels:\n  team: https://x.example\nrules:\n  - name: costs\n    {line}\n")
    assert any(each.endswith(f"rule 'costs': {told}") for each in found), found
    assert all(each.startswith(("alerts.yaml line 5", "alerts.yaml line 6")) for each in found), found


def test_all_mistakes_are_told_at_once_in_order_of_their_lines():
    found = mistakes("rule: []\nrules:\n  - severity: high\n  - name: a\n  - name: a\n    for: x\n  - 7\n")
    assert [each.partition(":")[0] for each in found] == [f"alerts.yaml line {line}" for line in (1, 3, 6, 7)]
    assert "did you mean rules?" in found[0]
    assert "there is a rule 'a' above" in mistakes("rules:\n  - name: a\n  - name: a\n")[0]


@pytest.mark.parametrize(
    "text", ["rules: [", "- 1\n- 2", "rules: {a: b}", "channels: [a]", "channels: {a: {}}", "a: !!python/object:os {}"]
)
def test_what_is_no_rules_file_is_refused_in_a_sentence(text):
    assert all(each.startswith("alerts.yaml line") for each in mistakes(text))


def test_a_file_is_bounded(tmp_path):
    many = "rules:\n" + "".join(f"  - name: r{number}\n" for number in range(MOST_RULES + 1))
    assert f"{MOST_RULES} are the most" in mistakes(many)[0]
    (tmp_path / "latin.yaml").write_bytes(b"rules: \xff")
    with pytest.raises(BadRules, match="UTF-8"):
        read_file(str(tmp_path / "latin.yaml"), project="p", now=0.0, who="")
    with pytest.raises(NotFound):
        read_file(str(tmp_path / "none.yaml"), project="p", now=0.0, who="")


def test_an_empty_file_says_that_there_are_no_rules():
    assert read("").rules == ()


def test_the_examples_of_the_docs_are_read():
    text = (Path(__file__).parents[2] / "docs" / "alerts.md").read_text(encoding="utf-8")
    examples = re.findall(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert [len(read(each).rules) for each in examples] == [3, 3]


def test_every_entry_of_a_rule_is_in_the_whole_file():
    assert {name for name in WRITTEN if f"{name}:" not in WHOLE} == set()


def test_a_value_that_stands_for_billions_by_its_anchors_is_a_mistake_like_others():
    rows = "\n".join(f"   k{each}: &a{each} [{', '.join([f'*a{each - 1}'] * 9)}]" for each in range(1, 12))
    text = f"rules:\n - name: &a0 [x, x, x, x, x, x, x, x, x]\n{rows}\n   channels: *a11\n   for: *a11\n"
    with pytest.raises(BadRules) as raised:
        read_text(text, project="default", now=0.0, who="ada")
    assert "for is a time like 90s, 10m, 24h or 7d, and not '[[[...], [...]," in str(raised.value)
    assert len(str(raised.value)) < 5_000


@pytest.mark.parametrize("value", ["2020-99-99", "9" * 5_000])
def test_a_value_that_yaml_itself_cannot_make_is_a_mistake(value):
    with pytest.raises(BadRules, match="has a value that is none"):
        read_text(f"rules:\n - name: {value}\n", project="default", now=0.0, who="ada")


LARGE = {
    "cursor": 'rules:\n  - name: "x\\e[31m"\nchannels:\n  "a\\u202e": http://x.example/\n',
    "rules": "rules:\n" + "  - {name: r}\n" * 60_000,
    "entries": "rules:\n  - name: x\n" + "".join(f"    sever{number}: high\n" for number in range(40_000)),
    "values": f"rules:\n  - name: x\n    metrics: [{', '.join(f'cost_us{number}' for number in range(60_000))}]\n",
    "columns": f"rules:\n  - name: x\n    slice: {{{', '.join(f'm{number}: a' for number in range(40_000))}}}\n",
    "labels": f"rules:\n  - name: x\n    labels: {{{', '.join(f'm{number}: a' for number in range(40_000))}}}\n",
    "channels": "channels:\n" + "".join(f"  c{number}: http://x.example/\n" for number in range(20_000)),
    "wrong": "rules:\n" + "".join(f"  - {{name: r{number}, metrics: [a, b, c], sev: x}}\n" for number in range(500)),
    "name": f"rules:\n  - name: {'x' * 900_000}\n",
    "word": f"rules:\n  - {{name: x, severity: {'x' * 900_000}}}\n",
    "depth": "[" * 100_000,
}


@pytest.mark.parametrize("text", LARGE.values(), ids=LARGE)
def test_a_file_that_nobody_meant_to_write_is_refused_in_a_few_sentences(text):
    told = mistakes(text)
    assert 0 < len(told) <= 100
    assert all(len(each) < 1_000 for each in told)


def test_as_many_rules_as_there_may_be_with_all_that_they_may_say_are_read():
    rule = "  - {{name: r{0}, metrics: [cost_usd], slice: {{model_name: [a, b]}}, description: {1}}}\n"
    text = "rules:\n" + "".join(rule.format(number, "x" * 1_500) for number in range(MOST_RULES))
    assert len(read(text).rules) == MOST_RULES
