"""Every way of asking a model leaves one row with all that came over the wire, and the host gets what it always got."""

import pytest
from asking import COLOURS, LIBRARIES, WAYS, ask, closing, make

import tracewatch

ALL = [(library, way) for library in LIBRARIES for way in WAYS[library]]
STREAMS = {"stream", "uncounted", "tools", "helper", "text", "final"}
OUTPUT = {"openai": 7, "anthropic": 10, "ollama": 7}
INPUT = {"openai": 19, "anthropic": 21, "ollama": 26}


def _streams(way):
    return way in STREAMS or way.endswith((" stream", " helper", " lines"))


def _operation(way):
    kinds = {"embedding": "embedding", "embed": "embedding", "completion": "completion", "generate": "completion"}
    return kinds.get(way.partition(" ")[0], "chat")


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize(("library", "way"), ALL, ids=lambda each: each)
def test_a_row_for_every_way(provider, row, library, way, colour):
    assert ask(provider, library, way, colour) is not None
    found = row()
    operation = _operation(way)
    assert found["status"] == "ok"
    assert (found["operation_type"], found["project"], found["source"]) == (operation, "tests", "sdk")
    assert found["model_provider"] == library
    assert found["span_name"].startswith(operation)
    assert 0 < found["duration_ms"] < 60_000
    assert found["end_time"] == pytest.approx(found["start_time"] + found["duration_ms"] / 1e3)
    assert "warning_flags" not in found
    if operation != "embedding":
        assert found["streaming_enabled"] == _streams(way)
        assert found["finish_reason"] in ("stop", "end_turn", "tool_calls", "tool_use")
    _check_tokens(found, library, way)
    if _streams(way):
        _check_stream(found)
    else:
        assert not {"ttft_ms", "chunk_usage"} & found.keys()
    if library != "ollama":
        assert found["retry_count"] == 0
        assert found["metadata"]["request_id"].startswith("req_")


def _check_tokens(found, library, way):
    if way in ("uncounted", "completion stream"):  # nobody told: unknown is not nothing
        assert not {"input_tokens", "output_tokens", "total_tokens", "tokens_per_second"} & found.keys()
        return
    special = {"response": 36, "embedding": 10, "embed": 8}
    assert found["input_tokens"] == special.get(way.partition(" ")[0], INPUT[library])
    if _operation(way) != "embedding":
        assert found["output_tokens"] == OUTPUT[library]
        assert found["total_tokens"] == found["input_tokens"] + found["output_tokens"]


def _check_stream(found):
    assert 0 < found["ttft_ms"] <= found["duration_ms"]
    usage = found["chunk_usage"]
    assert usage["count"] > 1
    assert 0 <= usage["p50_gap_ms"] <= usage["p95_gap_ms"] <= usage["max_gap_ms"]
    assert 0 <= usage["mean_gap_ms"] <= usage["max_gap_ms"]
    assert usage["consumer_ms"] >= 0


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize(("library", "way"), ALL, ids=lambda each: each)
def test_the_host_gets_what_it_would_get_without_us(provider, recording, library, way, colour):
    alone = ask(provider, library, way, colour)
    tracewatch.instrument()
    watched = ask(provider, library, way, colour)
    assert type(watched) is type(alone)
    assert _shape(watched) == _shape(alone)
    assert len(recording()) == 1


def _shape(value):
    """What does not change from one call to the next."""
    if isinstance(value, list):
        return [_shape(each) for each in value]
    if hasattr(value, "model_dump"):
        dumped = value.model_dump(warnings=False)
        return {name: type(each) for name, each in dumped.items()}
    return type(value)


@pytest.mark.parametrize("way", ["create", "stream", "raw", "raw stream", "helper", "streamed lines", "beta"])
@pytest.mark.parametrize("colour", COLOURS)
def test_anthropics_input_counts_what_its_cache_read_and_wrote(provider, rows, way, colour):
    ask(provider, "anthropic", way, colour, "cache")
    ask(provider, "anthropic", way, colour, "cachewrite")
    read, wrote = rows()
    assert (read["input_tokens"], read["cache_read_input_tokens"], read["cache_creation_input_tokens"]) == (
        1045,
        1024,
        0,
    )
    assert (wrote["input_tokens"], wrote["cache_read_input_tokens"]) == (1045, 0)
    assert wrote["cache_creation_input_tokens"] == 1024
    assert wrote["metadata"]["cache_creation_5m_input_tokens"] == 724
    assert wrote["metadata"]["cache_creation_1h_input_tokens"] == 300
    assert wrote["output_tokens"] == 10  # and not the 1 of message_start on top
    assert wrote["metadata"]["service_tier"] == "standard"


@pytest.mark.parametrize("way", ["create", "stream", "raw", "raw stream", "helper", "streamed lines"])
@pytest.mark.parametrize("colour", COLOURS)
def test_openais_cached_and_reasoning_tokens(provider, rows, way, colour):
    ask(provider, "openai", way, colour, "cache")
    ask(provider, "openai", way, colour, "reason")
    cached, thought = rows()
    assert (cached["input_tokens"], cached["cache_read_input_tokens"]) == (1117, 1024)
    assert (thought["output_tokens"], thought["reasoning_tokens"]) == (71, 64)


@pytest.mark.parametrize("way", ["create", "stream", "raw", "raw stream", "response", "response stream"])
def test_who_answered_and_how_much_room_is_left(provider, row, way):
    ask(provider, "openai", way)
    found = row()
    metadata = found["metadata"]
    assert found["model_name"] == "gpt-4o-mini-2024-07-18"
    assert metadata["requested_model"] == "gpt-4o-mini"
    assert found["response_id"].startswith("resp_" if "response" in way else "chatcmpl-")
    assert metadata["service_tier"] == "default"
    assert metadata["ratelimit_remaining_tokens"] == 50_000
    assert metadata["ratelimit_headroom"] == 0.25
    assert metadata["host"] == provider.url.removeprefix("http://")


def test_anthropics_rate_limits(provider, row):
    ask(provider, "anthropic", "create")
    assert row()["metadata"]["ratelimit_remaining_input_tokens"] == 5_000
    assert row()["metadata"]["ratelimit_headroom"] == 0.1


@pytest.mark.parametrize("way", ["create", "raw", "response", "embedding", "streamed body"])
def test_openais_own_time_is_split_off(provider, row, way):
    ask(provider, "openai", way)
    found = row()
    assert (found["inference_time_ms"], found["queue_time_ms"]) == (6.0, 2.0)
    assert found["network_time_ms"] == pytest.approx(found["duration_ms"] - 8, abs=0.01)


@pytest.mark.parametrize("way", ["stream", "helper", "raw stream", "response stream"])
def test_a_streams_inference_is_what_the_provider_says_and_all_the_streaming(provider, row, way):
    ask(provider, "openai", way)
    found = row()
    parts = found["inference_time_ms"] + found["queue_time_ms"] + found["network_time_ms"]
    assert found["inference_time_ms"] > 6
    unexplained = found["duration_ms"] - found["chunk_usage"]["consumer_ms"] - parts
    assert 0 <= unexplained + 0.01 < found["inference_time_ms"]  # none, but for the end of the stream after the answer


@pytest.mark.parametrize("way", ["chat", "stream", "generate", "generate stream"])
@pytest.mark.parametrize("colour", COLOURS)
def test_ollamas_durations(provider, row, way, colour):
    ask(provider, "ollama", way, colour)
    found = row()
    assert (found["queue_time_ms"], found["inference_time_ms"]) == (3.0, 5.0)
    assert found["tokens_per_second"] == pytest.approx(1750)
    assert found["network_time_ms"] >= 0
    metadata = found["metadata"]
    assert (metadata["load_ms"], metadata["prompt_eval_ms"], metadata["eval_ms"]) == (3.0, 1.0, 4.0)


@pytest.mark.parametrize("way", ["create", "raw", "response", "stream", "response stream"])
def test_an_answer_that_was_cut_short(provider, row, way):
    ask(provider, "openai", way, scenario="length")
    assert row()["finish_reason"] == ("max_output_tokens" if "response" in way else "length")


@pytest.mark.parametrize("way", ["streamed body", "raw", "create"])
@pytest.mark.parametrize("colour", COLOURS)
def test_compressed_answers(provider, row, way, colour):
    ask(provider, "openai", way, colour, "gzip")
    assert row()["output_tokens"] == 7


def test_other_requests_leave_no_row(provider, rows):
    with closing(make("anthropic", "sync", provider)) as client:
        client.messages.count_tokens(model="claude-test", messages=[{"role": "user", "content": "x"}])
    assert rows() == []
