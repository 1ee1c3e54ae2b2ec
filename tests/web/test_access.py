"""Who gets in, and as whom."""

import base64
import json
import time

import pytest
from web.conftest import PROTOBUF, a_body

from tracewatch import access
from tracewatch.errors import BadKey, NotFound
from tracewatch.records import ApiKey
from tracewatch.settings import Settings, is_loopback
from tracewatch.stores import open_store
from tracewatch.web import make_app
from tracewatch.web.app import ROUTERS
from tracewatch.web.gate import PUBLIC, PUBLIC_UNDER

NOW = 1_790_000_000.0


@pytest.fixture
def store(tmp_path):
    with open_store(str(tmp_path / "w.db"), create=True) as store:
        yield store


@pytest.fixture
def a_key(store):
    """Makes keys, the ordinary one by default; gives the text that opens."""

    def make(**odd):
        return access.create_key(store, **{"project": "shop", "rights": ("read", "write"), "now": NOW} | odd)[1]

    return make


def test_a_key_stands_for_its_caller(store, a_key):
    caller = access.find_caller(store, a_key(user_id="u1", rights=("write",)), NOW)
    assert (caller.project, caller.user_id, caller.rights) == ("shop", "u1", {"write"})
    assert [(each.name, each.values) for each in caller.where] == [("project", ("shop",)), ("user_id", ("u1",))]
    assert (caller.may("write"), caller.may("read"), caller.may("admin")) == (True, False, False)


def test_admin_may_everything(store, a_key):
    caller = access.find_caller(store, a_key(rights=("admin",)), NOW)
    assert all(map(caller.may, ("read", "write", "admin")))


def test_what_is_stored_opens_nothing(store, a_key):
    text = a_key()
    (kept,) = access.keys_of(store, "shop")
    assert text.rpartition("_")[2] not in repr(kept)
    assert access.find_caller(store, kept.digest, NOW) is None


@pytest.mark.parametrize(
    "given", ["", "tw", "tw_", "tw__", "tw_%_x", "sk-1234", "tw_ffffffffffff_00", "tw_\x00\ud800_1"]
)
def test_what_is_no_key_of_ours_opens_nothing(store, a_key, given):
    a_key()
    assert access.find_caller(store, given, NOW) is None


def test_a_key_with_another_secret_opens_nothing(store, a_key):
    text = a_key()
    assert access.find_caller(store, text[:-1] + ("0" if text[-1] != "0" else "1"), NOW) is None
    assert access.find_caller(store, text + "0", NOW) is None


def test_a_key_expires_and_is_taken_back(store, a_key):
    text = a_key(expires_at=NOW + 60)
    assert access.find_caller(store, text, NOW + 59) is not None
    assert access.find_caller(store, text, NOW + 60) is None
    other = a_key()
    access.revoke_key(store, other.split("_")[1], NOW)
    assert access.find_caller(store, other, NOW) is None
    with pytest.raises(NotFound):
        access.revoke_key(store, "nobody", NOW)


@pytest.mark.parametrize(
    "odd",
    [{"rights": ("all",)}, {"rights": ()}, {"rights": ("admin",), "user_id": "u"}, {"expires_at": NOW - 1}],
)
def test_keys_that_make_no_sense_are_refused(store, a_key, odd):
    with pytest.raises(BadKey):
        a_key(**odd)
    assert store.count(ApiKey) == 0


@pytest.mark.parametrize(
    ("host", "own"),
    [("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("LOCALHOST", True)]
    + [(host, False) for host in ("0.0.0.0", "::", "", "10.0.0.1", "localhost.example", "127.0.0.1.example")],
)
def test_which_addresses_are_this_machines_own(host, own):
    assert is_loopback(host) == own


# Over the wire.


def test_without_keys_this_machine_gets_in(server):
    assert server.ask("GET", "/api/v1/openapi.json")[0] == 200


@pytest.mark.parametrize(
    "host", ["tracewatch.example", "127.0.0.1.example:80", "localhost.evil.example", "[::1", "a:b:c"]
)
def test_without_keys_other_names_are_refused(server, host):
    status, _, answer = server.ask("GET", "/api/v1/openapi.json", headers={"host": host})
    assert status == 403
    assert host in json.loads(answer)["error"]


@pytest.mark.parametrize("host", ["localhost", "localhost:1", "127.0.0.1", "[::1]:4319", "[::1]"])
def test_without_keys_its_own_names_are_taken(server, host):
    assert server.ask("GET", "/api/v1/openapi.json", headers={"host": host})[0] == 200


def test_without_keys_a_foreign_page_cannot_post(server):
    own = f"http://127.0.0.1:{server.port}"
    assert server.post(a_body(), {**PROTOBUF, "origin": "https://evil.example"})[0] == 403
    assert server.post(a_body(), {**PROTOBUF, "origin": "null"})[0] == 403
    assert server.post(a_body(), {**PROTOBUF, "origin": own})[0] == 200


def test_with_a_key_nobody_comes_in_without(serve, store, a_key):
    basic = base64.b64encode(f"pk:{a_key()}".encode()).decode()
    ways = [{"authorization": f"Bearer {a_key()}"}, {"x-api-key": a_key()}, {"authorization": f"Basic {basic}"}]
    others = [
        {},
        {"authorization": "Bearer x"},
        {"x-api-key": ""},
        {"authorization": "Basic !"},
        {"authorization": "x"},
    ]
    with serve() as running:
        assert [running.ask("GET", "/api/v1/openapi.json", headers=each)[0] for each in ways] == [200] * len(ways)
        assert [running.ask("GET", "/api/v1/openapi.json", headers=each)[0] for each in others] == [401] * len(others)
        assert running.ask("GET", "/health/ready")[0] == 200


def test_a_key_that_is_revoked_opens_nothing_from_the_next_request_on(serve, store, a_key):
    text = access.create_key(store, project="shop", rights=("write",), now=time.time())[1]
    with serve() as running:
        assert running.post(a_body(), {**PROTOBUF, "x-api-key": text})[0] == 200
        access.create_key(store, project="shop", rights=("write",), now=time.time())
        access.revoke_key(store, text.split("_")[1], time.time())
        assert running.post(a_body(), {**PROTOBUF, "x-api-key": text})[0] == 401


def test_what_is_sent_with_a_key_is_that_keys(serve, store, a_key):
    of_user, of_shop = a_key(user_id="u1"), a_key()
    told = {"resource": {"tracewatch.project": "other"}, "attributes": {"user.id": "u2"}}
    with serve() as running:
        assert running.post(a_body(trace="user", **told), {**PROTOBUF, "x-api-key": of_user})[0] == 200
        assert running.post(a_body(trace="shop", **told), {**PROTOBUF, "x-api-key": of_shop})[0] == 200
        asked = {**PROTOBUF, "x-api-key": of_shop, "x-tracewatch-project": "other"}
        assert running.post(a_body(trace="other"), asked)[0] == 403
        assert set(running.rows("project, user_id")) == {("shop", "u1"), ("shop", "u2")}


def test_a_key_that_may_only_read_cannot_send(serve, a_key):
    with serve() as running:
        status, _, answer = running.post(a_body(), {**PROTOBUF, "x-api-key": a_key(rights=("read",))})
        assert (status, json.loads(answer)["error"]) == (403, "this API key has no right to write")


def _is_public(path):
    return path in PUBLIC or path.startswith(PUBLIC_UNDER)


def test_no_route_lies_beside_the_gate(serve, a_key):
    """Whoever adds a route adds it here by doing nothing: without a key, all but the health of the server is shut."""
    a_key()
    routes = [each for router in (make_app(Settings()), *ROUTERS) for each in router.routes if hasattr(each, "methods")]
    asked = [(method, each.path) for each in routes for method in each.methods if not _is_public(each.path)]
    assert ("POST", "/v1/traces") in asked
    with serve() as running:
        assert [each for each in asked if running.ask(*each)[0] != 401] == []


def test_health_tells_when_the_database_is_gone(serve):
    with serve("--no-detection") as running:
        assert json.loads(running.ask("GET", "/health/live")[2]) == {"status": "ok"}
        for each in running.db.parent.glob("w.db*"):
            each.write_bytes(b"no database" * 1000)
        status, _, answer = running.ask("GET", "/health/ready")
        assert status == 503
        assert json.loads(answer)["error"]
        assert running.ask("GET", "/health/live")[0] == 200
