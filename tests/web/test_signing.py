"""Signing in with a browser: a cookie for a key, for as long as the key opens anything; forms that are ours."""

import re
from contextlib import contextmanager

import pytest
from fastapi.testclient import TestClient

from tracewatch.access import create_key, revoke_key
from tracewatch.records import Incident
from tracewatch.settings import Settings
from tracewatch.stores import open_store
from tracewatch.web import make_app
from tracewatch.web.sessions import COOKIE, LASTS_S, Sessions

NOW = 1_790_000_000.0
ORIGIN = {"origin": "http://127.0.0.1"}


@pytest.fixture
def store(tmp_path):
    with open_store(str(tmp_path / "w.db"), create=True) as store:
        yield store


@pytest.fixture
def key(store):
    return create_key(store, project="default", rights=("read", "write"), now=NOW, name="the browser")


@contextmanager
def browsing(tmp_path, base_url="http://127.0.0.1"):
    app = make_app(Settings(db=str(tmp_path / "w.db")), open_without_keys=True)
    with TestClient(app, base_url=base_url, follow_redirects=False) as client:
        client.headers["accept"] = "text/html"
        yield client


def sign_in(client, text, to="/"):
    origin = {"origin": str(client.base_url).rstrip("/")}
    return client.post("/signin", data={"key": text, "to": to}, headers=origin)


def test_a_page_asks_for_a_key_and_goes_on_where_one_was_going(tmp_path, key):
    with browsing(tmp_path) as client:
        answer = client.get("/traces?status=error")
        assert (answer.status_code, answer.headers["location"]) == (303, "/signin?to=%2Ftraces%3Fstatus%3Derror")
        assert 'type="password"' in client.get(answer.headers["location"]).text
        signed = sign_in(client, key[1], to="/traces?status=error")
        assert (signed.status_code, signed.headers["location"]) == (303, "/traces?status=error")
        assert client.get("/traces?status=error").status_code == 200


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(tmp_path, key):
    with browsing(tmp_path) as client:
        said = sign_in(client, key[1]).headers["set-cookie"].lower()
        assert "httponly" in said
        assert "samesite=lax" in said
        assert "secure" not in said
        assert key[1] not in said
    with browsing(tmp_path, "https://watch.example") as client:
        answer = sign_in(client, key[1])
        assert "secure" in answer.headers["set-cookie"].lower()
        assert answer.headers["strict-transport-security"]


def test_what_is_no_key_signs_nobody_in(tmp_path, key):
    with browsing(tmp_path) as client:
        answer = sign_in(client, key[1] + "x")
        assert answer.status_code == 401
        assert "opens nothing" in answer.text
        assert "set-cookie" not in answer.headers


def test_only_a_path_of_this_server_is_gone_to(tmp_path, key):
    with browsing(tmp_path) as client:
        assert sign_in(client, key[1], to="https://evil.example/").headers["location"] == "/"


def test_a_revoked_key_ends_its_sign_ins_at_once(tmp_path, store, key):
    with browsing(tmp_path) as client:
        sign_in(client, key[1])
        assert client.get("/").status_code == 200
        revoke_key(store, key[0].id, NOW)
        create_key(store, project="default", rights=("read",), now=NOW)
        assert client.get("/").headers["location"].startswith("/signin")


def test_signing_out_ends_the_cookie_and_every_copy_of_it(tmp_path, key):
    with browsing(tmp_path) as client:
        sign_in(client, key[1])
        copy = client.cookies[COOKIE]
        token = re.search(r'name="form_token" value="(\w+)"', client.get("/").text)[1]
        answer = client.post("/signout", data={"form_token": token}, headers=ORIGIN)
        assert answer.headers["location"] == "/signin?to=%2F"
        assert COOKIE not in client.cookies
        client.cookies.set(COOKIE, copy)
        assert client.get("/").status_code == 303


def test_each_form_carries_a_token_and_is_refused_without(tmp_path, store, key):
    import shop

    store.put([shop.an_incident("1ncident00000001", "high", started_at=NOW, detected_at=NOW)])
    with browsing(tmp_path) as client:
        sign_in(client, key[1])
        page = client.get("/incidents/1ncident00000001").text
        forms = re.findall(r'<form[^>]*method="post"[^>]*>(.{0,60})', page)
        assert len(forms) > 3
        assert all(each.startswith('<input type="hidden" name="form_token"') for each in forms)
        token = re.search(r'name="form_token" value="(\w+)"', page)[1]

        def acknowledge(token, headers):
            data = {"verb": "acknowledge", "form_token": token}
            return client.post("/incidents/1ncident00000001", data=data, headers=headers).status_code

        assert acknowledge("", ORIGIN) == 403
        assert acknowledge("f" * 64, ORIGIN) == 403
        assert acknowledge(token, {"origin": "https://evil.example"}) == 403
        assert acknowledge(token, {}) == 403
        assert not store.get(Incident, {"project": "default", "id": "1ncident00000001"}).acknowledged
        assert acknowledge(token, ORIGIN) == 303
        assert store.get(Incident, {"project": "default", "id": "1ncident00000001"}).acknowledged


def test_a_foreign_page_cannot_use_the_cookie_for_the_api(tmp_path, key):
    with browsing(tmp_path) as client:
        sign_in(client, key[1])
        detect = "/api/analytics/anomalies/detect"
        assert client.post(detect, headers={"origin": "https://evil.example"}).status_code == 403
        assert client.post(detect, headers={"sec-fetch-site": "cross-site"}).status_code == 403
        assert client.post(detect, headers=ORIGIN).status_code == 200


def test_a_foreign_page_cannot_sign_anybody_in(tmp_path, key):
    with browsing(tmp_path) as client:
        data = {"key": key[1], "to": "/"}
        assert client.post("/signin", data=data, headers={"origin": "https://evil.example"}).status_code == 403


@pytest.mark.parametrize(
    "change", [lambda told: told + "0", lambda told: "x" + told, lambda _: "", lambda _: "a.b.c.d"]
)
def test_a_cookie_that_was_changed_stands_for_nothing(change):
    sessions = Sessions()
    assert sessions.key_of(change(sessions.begin("k1", NOW)), NOW) is None


def test_a_cookie_ends_by_itself_and_with_the_server():
    sessions = Sessions()
    cookie = sessions.begin("k1", NOW)
    assert sessions.key_of(cookie, NOW + LASTS_S - 1) == "k1"
    assert sessions.key_of(cookie, NOW + LASTS_S) is None
    assert Sessions().key_of(cookie, NOW) is None


def test_every_answer_has_its_headers(tmp_path, key):
    with browsing(tmp_path) as client:
        for path in ("/signin", "/health/live", "/nowhere", "/api/v1/stats", "/static/nothing.js"):
            headers = client.get(path, headers={"accept": "*/*"}).headers
            assert headers["x-content-type-options"] == "nosniff", path
            assert headers["x-frame-options"] == "DENY", path
            assert path.startswith("/static") or "frame-ancestors 'none'" in headers["content-security-policy"], path
