"""Who is let in: hosts, origins, tokens."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from prefrl.store import Store
from prefrl.web import tokens
from prefrl.web.guard import POLICY, allows
from prefrl.web.tokens import ADMIN, FILE, Tokens, invite, revoke
from tests.web_pages import HOST, ask, browsing, new_run

ID = "11111111-1111-4111-8111-111111111111"
GOOD = {"id": ID, "query": 1, "preference": 1, "labeller": "Ann", "seconds": 2.0}


@pytest.fixture(scope="module")
def quiet(tmp_path_factory):
    """A page at which nothing is ever answered."""
    run = new_run(tmp_path_factory.mktemp("runs") / "run")
    with Store(run) as store, browsing(run, store) as page:
        ask(store, 3)
        yield page
        assert not store.labels()


@pytest.fixture
def guarded(run, store):
    """A page that wants tokens, with Ann's."""
    token = invite(run, "Ann")
    with browsing(run, store, None, Tokens(run)) as page:
        page.http.headers["authorization"] = f"Bearer {token}"
        yield page


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8000", "127.0.0.1", "127.0.0.1:8000", "[::1]", "[::1]:9000", "localhost."]
)
def test_this_machine_is_served(quiet, host):
    assert quiet.get("/api/instructions", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "attacker.example",
        "localhost.attacker.example",
        "127.0.0.1.nip.io:8000",
        "attacker.example:127.0.0.1",
        "192.168.1.1",
        "localhost@attacker.example",
        "[::1].attacker.example",
        "[::2]",
        "::1",
        "localhost:port",
        "",
        "lo calhost",
    ],
)
def test_names_that_somebody_else_may_have_pointed_here_are_refused(quiet, host):
    for path in ("/", "/api/next?labeller=Ann", "/static/page.js"):
        reply = quiet.get(path, headers={"host": host})
        assert reply.status_code == 421
        assert reply.headers["content-security-policy"] == POLICY


def test_two_hosts_are_none(quiet):
    headers = [("host", "localhost"), ("host", "attacker.example")]
    assert quiet.get("/", headers=headers).status_code == 421


def test_allowed_and_bound_hosts_are_served():
    allowed = allows("label.example", ("proxy.example", "[2001:db8::1]"))
    assert all(allowed(name) for name in ("label.example", "proxy.example", "2001:db8::1", "localhost", "::1"))
    assert not any(allowed(name) for name in ("example", "192.168.1.1", "attacker.example"))


def test_a_server_for_all_addresses_is_called_by_addresses_not_by_any_name():
    allowed = allows("0.0.0.0")
    assert allowed("192.168.1.1") and allowed("2001:db8::1")
    assert not allowed("attacker.example")


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://attacker.example"},
        {"origin": "null"},
        {"origin": "http://localhost.attacker.example"},
        {"origin": "http://localhost:9999"},
        {"origin": "file://"},
        {"origin": "http://[broken"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site", "origin": HOST},
    ],
)
def test_other_sites_cannot_answer(quiet, headers):
    assert quiet.post("/api/answer", json=GOOD, headers=headers).status_code == 403


@pytest.mark.parametrize("headers", [{"origin": HOST}, {"origin": HOST, "sec-fetch-site": "same-origin"}, {}])
def test_the_page_itself_and_programs_can_answer(page, headers):
    assert page.post("/api/answer", json=GOOD, headers=headers).status_code == 200


def test_other_sites_may_link_to_the_page_and_see_nothing(quiet):
    foreign = {"sec-fetch-site": "cross-site"}
    assert quiet.get("/", headers=foreign).status_code == 200
    for path in ("/api/next?labeller=Ann", "/api/admin", "/clips/x.webm"):
        assert quiet.get(path, headers=foreign).status_code == 403


@pytest.mark.parametrize("path", ["/", "/nothing", "/api/next", "/api/answer", "/clips/x", "/openapi.json"])
def test_every_reply_carries_the_strict_headers(quiet, path):
    headers = quiet.get(path).headers
    assert headers["content-security-policy"] == POLICY
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"


def test_a_mistake_of_the_server_is_one_line_with_strict_headers(page, monkeypatch, caplog):
    def mistaken(*_):
        raise KeyError("a secret")

    monkeypatch.setattr("prefrl.web.progress.instructions", mistaken)
    reply = page.get("/api/instructions")
    assert reply.status_code == 500 and "secret" not in reply.text
    assert reply.headers["content-security-policy"] == POLICY
    assert "a secret" in caplog.text


def test_without_a_token_only_the_shell_is_served(guarded):
    del guarded.http.headers["authorization"]
    assert guarded.get("/").status_code == guarded.get("/static/page.js").status_code == 200
    for path in ("/api/next?labeller=Ann", "/api/progress", "/api/instructions", "/api/admin", "/clips/x.webm"):
        assert guarded.get(path).status_code == 401
    assert guarded.answer(1).status_code == guarded.undo().status_code == 401


@pytest.mark.parametrize("header", ["Bearer x", "Bearer ", "Basic x", "bearer \xff", "x"])
def test_a_wrong_token_opens_nothing(guarded, header):
    headers = {"authorization": header.encode("latin-1")}
    assert guarded.get("/api/next?labeller=Ann", headers=headers).status_code == 401


def test_a_token_says_who_one_is(store, guarded):
    assert guarded.get("/api/instructions").json()["labeller"] == "Ann"
    assert [pair["query"] for pair in guarded.get("/api/next").json()["pairs"]] == [1, 2, 3]
    assert guarded.answer(1, 1, "Ann").status_code == 200
    assert guarded.answer(2, 1, "Bob").status_code == guarded.undo("Bob").status_code == 403
    assert (
        guarded.get("/api/next?labeller=Bob").status_code
        == guarded.get("/api/progress?labeller=Bob").status_code
        == 403
    )
    assert [label.labeller for label in store.labels()] == ["Ann"]


def test_without_tokens_one_says_oneself_who_one_is(quiet):
    assert quiet.get("/api/next").status_code == quiet.get("/api/progress").status_code == 422


def test_a_link_becomes_a_cookie_and_a_bare_address(run, guarded):
    token = invite(run, "Bob")
    del guarded.http.headers["authorization"]
    reply = guarded.get(f"/admin?token={token}&x=1")
    assert (reply.status_code, reply.headers["location"]) == (303, "/admin")
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(reply.headers["set-cookie"].split("; "))
    assert guarded.get("/api/instructions").json()["labeller"] == "Bob"
    revoke(run, "Bob")
    assert guarded.get("/api/instructions").status_code == 401


@pytest.mark.parametrize("token", ["", "x", "%00", "%ED%A0%80", "a%0d%0aset-cookie:b=c", "x" * 5000])
def test_a_link_with_a_wrong_token_is_refused(guarded, token):
    reply = guarded.get(f"/?token={token}")
    assert reply.status_code == 401 and "set-cookie" not in reply.headers
    assert not token or token not in reply.text


def test_a_link_to_a_page_for_all_loses_its_token_too(quiet):
    reply = quiet.get("/?token=x")
    assert (reply.status_code, reply.headers["location"]) == (303, "/")
    assert "set-cookie" not in reply.headers


@pytest.mark.parametrize("cookie", ["=", "prefrl_x", ";;;", "prefrl=\x01", "a" * 5000, '"'])
def test_broken_cookies_open_nothing(guarded, cookie):
    del guarded.http.headers["authorization"]
    headers = {"cookie": cookie.encode("latin-1")}
    assert guarded.get("/api/next", headers=headers).status_code == 401


def test_a_revoked_token_stops_at_once_and_a_new_one_replaces_the_old(run, guarded):
    assert guarded.get("/api/next").status_code == 200
    again = invite(run, "Ann")
    assert guarded.get("/api/next").status_code == 401
    guarded.http.headers["authorization"] = f"Bearer {again}"
    assert guarded.get("/api/next").status_code == 200
    revoke(run, "Ann")
    assert guarded.get("/api/next").status_code == 401


def test_tokens_are_kept_as_hashes_that_only_the_owner_reads(run):
    token = invite(run, " Ann ")
    file = run / FILE
    assert file.stat().st_mode & 0o777 == 0o600
    assert set(json.loads(file.read_text())) == {"Ann"} and token not in file.read_text()
    assert len(token) == 43  # 256 bits


def test_every_secret_is_compared_in_constant_time(run, monkeypatch):
    [token, *_] = [invite(run, name) for name in ("Ann", "Bob", "Cem")]
    compared = []
    compare = tokens.hmac.compare_digest
    monkeypatch.setattr(tokens.hmac, "compare_digest", lambda *two: compared.append(two) or compare(*two))
    known = Tokens(run)
    assert [known.labeller(token), known.labeller("x")] == ["Ann", None]
    assert len(compared) == 6


@pytest.mark.parametrize("content", ["", "[]", '{"Ann": 1}', '{"Ann": "x"}', '{"": "00"}'])
def test_nobody_comes_in_by_a_broken_file(run, content):
    (run / FILE).write_text(content)
    assert Tokens(run).labeller("x") is None
    with pytest.raises(ValueError, match=r"tokens\.json"):
        invite(run, "Ann")


def test_only_those_who_were_invited_can_be_revoked(run):
    invite(run, "Ann")
    with pytest.raises(ValueError, match="invited are: Ann"):
        revoke(run, "Bob")
    with pytest.raises(ValueError, match="1 to 64 characters"):
        invite(run, "")


def test_two_invitations_at_once_are_both_there(run):
    with ThreadPoolExecutor(8) as pool:
        found = dict(zip(range(16), pool.map(lambda i: invite(run, f"L{i}"), range(16))))
    known = Tokens(run)
    assert [known.labeller(token) for token in found.values()] == [f"L{i}" for i in found]


def test_the_figures_are_for_one_invitation_only(run, guarded):
    assert guarded.get("/api/admin").status_code == 403
    headers = {"authorization": f"Bearer {invite(run, ADMIN)}"}
    assert guarded.get("/api/admin", headers=headers).status_code == 200
