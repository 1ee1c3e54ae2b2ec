"""`tracewatch serve` and `tracewatch keys` as typed."""

import json
import socket
import time

import pytest
from click.testing import CliRunner
from web.conftest import _serving

from tracewatch.cli import group
from tracewatch.errors import AddressNeedsKeys, AddressTaken, BadKey


@pytest.fixture
def run(tmp_path):
    """Runs a command on a database of one's own."""

    def run(*words, code=0):
        done = CliRunner().invoke(group, [*words, "--db", str(tmp_path / "w.db")])
        assert done.exit_code == code, done.output
        return done

    return run


def _refused(run, *words):
    return run(*words, code=1).exception


def test_a_key_is_shown_once_and_listed_without_its_secret(run):
    key = run("keys", "create", "--name", "the shop", "--rights", "write,admin", "--expires", "90d").stdout.strip()
    (listed,) = json.loads(run("keys", "list", "--format", "json").stdout)
    assert (listed["name"], listed["rights"], listed["state"]) == ("the shop", ["write", "admin"], "valid")
    assert key.startswith(f"tw_{listed['id']}_")
    assert key not in run("keys", "list").output
    assert "last one" in run("keys", "revoke", listed["id"]).output
    (listed,) = json.loads(run("keys", "list", "--format", "json").stdout)
    assert listed["state"] == "revoked"


def test_the_first_key_says_what_changes(run):
    assert "nobody in without a key" in run("keys", "create").output
    assert "nobody in without a key" not in run("keys", "create").output


def test_the_first_key_may_do_everything_and_no_other_is_taken_before_it(run):
    error = _refused(run, "keys", "create", "--rights", "read,write")
    assert isinstance(error, BadKey)
    assert "it is the first one" in str(error)
    assert json.loads(run("keys", "list", "--format", "json").stdout) == []
    run("keys", "create")
    run("keys", "create", "--rights", "read")
    run("keys", "create")
    listed = json.loads(run("keys", "list", "--format", "json").stdout)
    assert [each["rights"] for each in listed] == [["read", "write"], ["read"], ["read", "write", "admin"]]


def test_without_keys_the_list_says_what_to_do(run):
    run("keys", "create", "--project", "other")
    assert "tracewatch keys create" in run("keys", "list").output


def test_rights_that_do_not_exist_are_named(run):
    assert isinstance(_refused(run, "keys", "create", "--rights", "fly"), BadKey)


def test_other_machines_are_let_near_it_only_with_keys(run):
    error = _refused(run, "serve", "--host", "0.0.0.0", "--port", "0")
    assert isinstance(error, AddressNeedsKeys)
    assert "tracewatch keys create" in str(error)


def test_a_port_that_is_taken_is_told(run):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        error = _refused(run, "serve", "--port", str(taken.getsockname()[1]), "--otlp-port", "0")
    assert isinstance(error, AddressTaken)


def test_the_port_for_otlp_may_be_taken(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with _serving(tmp_path, "--otlp-port", str(taken.getsockname()[1])) as running:
            assert running.ask("GET", "/health/live")[0] == 200
            said, code = running.stop()
    assert code == 0
    assert "main port alone" in said


def test_otlp_comes_to_both_ports(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with _serving(tmp_path, "--otlp-port", str(port)) as running:
        running.port = port
        assert running.post(b"")[0] == 200


def test_it_serves_soon(tmp_path):
    started = time.monotonic()
    with _serving(tmp_path) as running:
        assert running.ask("GET", "/health/ready")[0] == 200
    assert time.monotonic() - started < 20  # 2 s on a machine that has nothing else to do
