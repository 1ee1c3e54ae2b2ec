"""`tracewatch prices`, as a user types it."""

import json

import pytest
from click.testing import CliRunner

from tracewatch import cli
from tracewatch.errors import BadPrice, NotFound
from tracewatch.pricing import REPORTED_KEY
from tracewatch.records import MESSAGES_SOURCE, PriceOverride, Span
from tracewatch.stores import open_store

NOON = 1_793_534_400.0  # 2026-11-01 12:00 UTC
DAY_S = 86_400


def a_span(number, **given):
    ordinary = {
        "trace_id": f"t{number}",
        "span_id": f"s{number}",
        "start_time": NOON + number,
        "operation_type": "chat",
        "model_provider": "anthropic",
        "model_name": "claude-haiku-4-5",
        "input_tokens": 1_000_000,
        "output_tokens": 0,
    }
    return Span(**{**ordinary, **given})


@pytest.fixture
def db(tmp_path):
    return str(tmp_path / "watch.db")


@pytest.fixture
def kept(db):
    """A database with a paid, a local, an unknown and a reported call, a tool, and the summary of a batch job."""
    spans = [
        a_span(0),
        a_span(1, model_provider="ollama", model_name="llama3"),
        a_span(2, model_provider="acme", model_name="acme-large", input_tokens=3_000_000),
        a_span(3, cost_usd=0.25, metadata={"team": "search"}),
        a_span(4, model_provider=None, model_name=None, operation_type="tool", input_tokens=None, output_tokens=None),
        a_span(5, model_provider="system", model_name="batch", operation_type="batch", input_tokens=None),
    ]
    with open_store(db, create=True) as store:
        store.add(spans)
    return db


def run(*words, db, code=0):
    done = CliRunner().invoke(cli.group, ["prices", *words, "--db", db])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == code, done.output
    return done


def costs(db):
    with open_store(db) as store:
        spans = sorted(store.page(Span, limit=100).records, key=lambda each: each.start_time)
    return [(each.cost_usd, each.cost_status) for each in spans]


def test_check_shows_what_has_no_price_first_and_how_much_is_priced(kept):
    told = json.loads(run("check", "--format", "json", db=kept).stdout)
    assert told["models"][0]["model_name"] == "acme-large"
    assert sorted((each["model_name"], each["cost_status"], each["calls"]) for each in told["models"]) == [
        ("acme-large", "unpriced", 1),
        ("batch", "unmetered", 1),
        ("claude-haiku-4-5", "exact", 1),
        ("claude-haiku-4-5", "reported", 1),
        ("llama3", "free", 1),
    ]
    assert told["models"][0]["cost_usd"] is None
    assert told["models"][0]["tokens"] == 3_000_000
    assert told["tokens"] == 6_000_000
    assert told["priced_tokens_percent"] == 50.0
    assert told["cost_usd"] == pytest.approx(1.25)
    assert told["price_table"].startswith("genai-prices ")
    assert told["price_table_stale"] == (told["price_table_age_days"] > 30)


def test_check_for_people_names_the_model_and_the_way_out(kept):
    done = run("check", db=kept)
    assert "acme-large" in done.stdout
    assert "no price" in done.stdout
    assert "50.0 % of tokens priced" in done.stderr
    assert "Without a price: acme-large. Set one with: tracewatch prices set" in done.stderr


def test_calls_that_are_not_priced_yet_are_priced_first(db):
    with open_store(db, create=True) as store:
        store.add([a_span(0)])
        store.roll_up()
    told = run("check", db=db)
    assert "Priced 1 call" in told.stderr
    assert "100.0 % of tokens priced" in told.stderr


def test_check_warns_of_a_table_that_has_had_no_news_for_a_month(kept, monkeypatch):
    from tracewatch.pricing.table import price_table

    monkeypatch.setattr(price_table(), "as_of", lambda now: now - 31 * DAY_S)
    assert "no news for 31 days" in run("check", db=kept).stderr
    monkeypatch.setattr(price_table(), "as_of", lambda now: now - 29 * DAY_S)
    assert "no news" not in run("check", db=kept).stderr


def test_check_of_one_object_a_line(kept):
    lines = run("check", "--format", "jsonl", db=kept).stdout.splitlines()
    assert json.loads(lines[0])["model_name"] == "acme-large"


def test_messages_are_not_counted_beside_the_calls_they_are_a_view_of(kept):
    with open_store(kept) as store:
        store.add([a_span(9, source=MESSAGES_SOURCE, model_name=None)])
    models = json.loads(run("check", "--format", "json", db=kept).stdout)["models"]
    assert None not in [each["model_name"] for each in models]


def test_an_empty_store_says_what_to_do(db):
    with open_store(db, create=True):
        pass
    assert "Load something with: tracewatch import" in run("check", db=db).stderr
    assert json.loads(run("check", "--format", "json", db=db).stdout)["models"] == []
    assert "There is no call in this window" in run("reprice", db=db).stderr
    assert "no prices of its own" in run("list", db=db).stderr


def test_a_price_of_ones_own_prices_what_was_stored_once_it_is_priced_anew(kept):
    run("check", db=kept)
    run("set", "acme-.*", "--input", "2", "--output", "8", "--provider", "acme", db=kept)
    rehearsed = run("reprice", "--dry-run", db=kept)
    assert (
        "1 of 6 calls would change: $1.25 (1 call unknown) before, $7.25 after. Nothing was written."
        in rehearsed.stderr
    )
    assert costs(kept)[2] == (None, "unpriced")
    done = run("reprice", "--format", "jsonl", db=kept)
    assert "Changed 1 of 6 calls: $1.25 (1 call unknown) before, $7.25 after." in done.stderr
    assert [json.loads(line) for line in done.stdout.splitlines()] == [
        {
            "model": "acme-large",
            "calls": 1,
            "changed": 1,
            "before_usd": None,
            "before_unknown_calls": 1,
            "after_usd": 6.0,
            "after_unknown_calls": 0,
        }
    ]
    assert costs(kept)[2] == (6.0, "override")
    assert "Changed 0 of 6 calls" in run("reprice", db=kept).stderr
    assert "override 'acme-.*'" in run("check", "--format", "jsonl", db=kept).stdout


def test_totals_follow_when_calls_are_priced_anew(kept):
    run("check", db=kept)
    run("set", "acme-large", "--input", "2", "--output", "8", db=kept)
    run("reprice", db=kept)
    with open_store(kept) as store:
        assert store.pending() == 0
        assert sum(store.rollup(NOON - DAY_S, NOON + DAY_S)["cost_usd_sum"].to_pylist()) == pytest.approx(7.25)


def test_a_window_and_a_model_bound_what_is_priced_anew(kept):
    run("check", db=kept)
    run("set", ".*", "--input", "2", "--output", "8", db=kept)
    assert "1 of 1 call would change" in run("reprice", "--dry-run", "--model", "acme-large", db=kept).stderr
    assert "1 of 1 call would change" in run("reprice", "--dry-run", "--until", str(NOON + 1), db=kept).stderr
    assert "There is no call of nobody" in run("reprice", "--model", "nobody", db=kept).stderr


def test_all_replaces_reported_costs_and_keeps_what_was_reported(kept):
    run("check", db=kept)
    assert "Changed 0 of 6" in run("reprice", db=kept).stderr
    told = run("reprice", "--all", db=kept).stderr
    assert "Changed 1 of 6 calls: $1.25 (1 call unknown) before, $2.00 (1 call unknown) after." in told
    assert costs(kept)[3] == (pytest.approx(1.0), "exact")
    with open_store(kept) as store:
        span = store.get(Span, {"project": "default", "trace_id": "t3", "span_id": "s3"})
    assert span.metadata == {"team": "search", REPORTED_KEY: 0.25}
    assert "Changed 0 of 6" in run("reprice", "--all", db=kept).stderr


def test_a_reported_cost_that_stays_is_not_kept_twice(db):
    with open_store(db, create=True) as store:
        odd = {"output_tokens": 1, "reasoning_tokens": 9}
        store.add([a_span(0, cost_usd=0.5, cost_status="reported", metadata={"team": "search"}, **odd)])
    run("reprice", db=db)
    with open_store(db) as store:
        (span,) = store.page(Span).records
    assert (span.cost_usd, span.warning_flags) == (0.5, ("inconsistent_usage",))
    assert span.metadata == {"team": "search"}


def test_own_prices_are_set_listed_replaced_and_removed(db):
    run("set", "acme-1", "--input", "2", "--output", "8", "--cache-read", "0.2", "--cache-write", "2.5", db=db)
    run("set", "acme-1", "--input", "3", "--output", "9", "--from", "2026-03-01", "--until", "2026-04-01", db=db)
    run("set", "acme-1", "--input", "4", "--output", "8", db=db)
    told = [json.loads(line) for line in run("list", "--format", "jsonl", db=db).stdout.splitlines()]
    assert [(each["input_per_million"], each["starts_at"][:10]) for each in told] == [
        (3.0, "2026-03-01"),
        (4.0, "1970-01-01"),
    ]
    assert "acme-1" in run("list", db=db).stdout
    assert "Removed 1 price" in run("remove", "acme-1", "--from", "2026-03-01", db=db).stderr
    assert "Removed 1 price" in run("remove", "acme-1", db=db).stderr
    with open_store(db) as store:
        assert store.count(PriceOverride) == 0
    with pytest.raises(NotFound, match="tracewatch prices list"):
        run("remove", "acme-1", db=db)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("acme-(", "--input", "1", "--output", "1"), "regular expression"),
        (("acme", "--input", "-1", "--output", "1"), "0 or more"),
        (("acme", "--input", "nan", "--output", "1"), "0 or more"),
    ],
)
def test_a_price_that_cannot_be_is_refused_and_nothing_is_made(words, why, db, tmp_path):
    with pytest.raises(BadPrice, match=why):
        run("set", *words, db=db)
    assert list(tmp_path.iterdir()) == []


def test_other_projects_keep_their_prices(kept):
    run("set", "acme-large", "--input", "2", "--output", "8", "--project", "other", db=kept)
    assert "Changed 0 of 6 calls" in run("reprice", db=kept).stderr


def test_impossible_usage_is_marked_when_it_is_priced(db):
    with open_store(db, create=True) as store:
        store.add([a_span(0, input_tokens=21, cache_read_input_tokens=1024, warning_flags=("slow",))])
    run("check", db=db)
    run("reprice", db=db)
    with open_store(db) as store:
        (span,) = store.page(Span).records
    assert span.warning_flags == ("slow", "inconsistent_usage")


def test_an_unknown_amount_is_never_shown_as_nothing(kept):
    run("check", db=kept)
    run("set", "acme-large", "--input", "2", "--output", "8", db=kept)
    row = next(line for line in run("reprice", "--dry-run", db=kept).stdout.splitlines() if "acme-large" in line)
    assert row.split() == ["acme-large", "1", "1", "unknown", "$6.00"]


def test_check_says_when_calls_without_a_price_would_have_one_by_now(kept):
    assert "Known by now" not in run("check", db=kept).stderr
    run("set", "acme-large", "--input", "2", "--output", "8", db=kept)
    told = run("check", db=kept).stderr
    assert "Known by now: the price of acme-large. Price stored calls with: tracewatch prices reprice" in told
    assert "Without a price" not in told
    run("reprice", db=kept)
    assert "Known by now" not in run("check", db=kept).stderr


def test_not_quite_all_is_not_said_to_be_all(db):
    with open_store(db, create=True) as store:
        store.add(
            [a_span(0, input_tokens=10_000_000), a_span(1, model_name="acme", model_provider="x", input_tokens=9)]
        )
    assert "99.9 % of tokens priced" in run("check", db=db).stderr


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("acme-larg",), "No call has the model 'acme-larg'; did you mean 'acme-large'?"),
        (("zzz", "--provider", "acme"), "No call has the model of acme 'zzz'; there are: acme-large."),
        (("acme.*", "--provider", "acmee"), "No call has the provider 'acmee'; did you mean 'acme'?"),
        (("ACME-.*", "--provider", "Acme"), "Price the stored ones anew"),
    ],
)
def test_a_price_for_no_stored_call_says_so(words, hint, kept):
    run("check", db=kept)
    assert hint in run("set", *words, "--input", "1", "--output", "1", db=kept).stderr
