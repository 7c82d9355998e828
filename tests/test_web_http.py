"""What a request gets: answers, clips, instructions, progress; and what is wrong with it in one line."""

import json
import os
from email.utils import formatdate

import pytest

from prefrl import live
from prefrl.runs import RunConfig, RunFolder
from prefrl.store import Store
from tests.web_pages import ask, browsing, clip, new_run

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


@pytest.mark.parametrize(
    "change",
    [
        {"preference": True},
        {"preference": False},
        {"preference": "1"},
        {"preference": 0.7},
        {"preference": -1},
        {"preference": [1]},
        {"preference": 2**70},
        {"seconds": -1},
        {"seconds": 86401},
        {"seconds": "2"},
        {"seconds": True},
        {"seconds": None},
        {"seconds": 10**400},
        {"query": 0},
        {"query": -1},
        {"query": 2**63},
        {"query": 2**70},
        {"query": 1.5},
        {"query": "1"},
        {"query": True},
        {"id": "1"},
        {"id": ID + "0"},
        {"id": ID + "\n"},
        {"id": None},
        {"labeller": ""},
        {"labeller": "  "},
        {"labeller": "a\0b"},
        {"labeller": "a\nb"},
        {"labeller": "\u2028"},
        {"labeller": "\x9f"},
        {"labeller": "x" * 65},
        {"labeller": 1},
        {"broken": "yes", "preference": None},
        {"broken": 1, "preference": None},
        {"broken": True, "preference": 1},
        {"other": 1},
    ],
    ids=str,
)
def test_impossible_answers_are_refused_in_one_line(quiet, change):
    reply = quiet.post("/api/answer", json=GOOD | change)
    assert reply.status_code == 422
    assert set(reply.json()) == {"detail"} and "\n" not in reply.json()["detail"]


@pytest.mark.parametrize("name", GOOD)
def test_an_answer_without_one_of_its_fields_is_refused(quiet, name):
    reply = quiet.post("/api/answer", json={key: value for key, value in GOOD.items() if key != name})
    assert reply.status_code == 422 and name in reply.json()["detail"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{",
        b"\xff\xfe",
        b'{"id": "\xff"}',
        b"[" * 60_000,
        b'{"a":' * 12_000,
        b'{"labeller": "\\ud800", "id": "\\udfff", "\\ud800": 1}',
        b'{"seconds": NaN}',
        b'{"seconds": -Infinity, "query": 1e999}',
        b'{"query": ' + b"9" * 60_000 + b"}",
        b'{"\\u0000": "\\u0000"}',
    ],
    ids=lambda body: body[:20],
)
@pytest.mark.parametrize("path", ["/api/answer", "/api/undo"])
def test_bodies_that_are_no_answer_are_refused(quiet, path, body):
    reply = quiet.post(path, content=body, headers={"content-type": "application/json"})
    assert reply.status_code == 422
    assert set(reply.json()) == {"detail"}
    assert quiet.get("/api/next?labeller=Ann").status_code == 200


@pytest.mark.parametrize("kind", [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_only_json_is_taken(quiet, kind):
    reply = quiet.post("/api/answer", content=json.dumps(GOOD), headers={"content-type": kind} if kind else {})
    assert reply.status_code == 415


@pytest.mark.parametrize(
    "query",
    [
        "",
        "labeller=",
        "labeller=%00",
        "labeller=a%0Ab",
        "labeller=" + "x" * 65,
        "labeller=A&n=0",
        "labeller=A&n=11",
        "labeller=A&n=1e3",
        "labeller=A&n=" + "9" * 5000,
        "labeller=A&holding=x",
        "labeller=A&holding=1,",
        "labeller=A&holding=" + "9" * 20,
        "labeller=A&holding=" + ",".join(["1"] * 101),
        "labeller=A&holding=\u0661".encode().decode("latin-1"),
    ],
)
def test_impossible_requests_for_pairs_are_refused(quiet, query):
    reply = quiet.get(f"/api/next?{query}")
    assert reply.status_code == 422 and set(reply.json()) == {"detail"}


@pytest.mark.parametrize("query", ["labeller=%ED%A0%80", "labeller=A&labeller=B", "labeller=A&x=%", "&;=&labeller=A"])
def test_weird_requests_for_pairs_are_no_mistake_of_the_server(quiet, query):
    assert quiet.get(f"/api/next?{query}").status_code == 200


def test_names_are_what_is_left_without_spaces_around(store, page):
    assert page.answer(1, labeller="  Ann Lee\t").status_code == 200
    assert store.labels()[0].labeller == "Ann Lee"


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/api/next"), ("GET", "/api/answer"), ("DELETE", "/api/undo"), ("PUT", "/"), ("TRACE", "/clips/x")],
)
def test_wrong_methods_are_refused(quiet, method, path):
    reply = quiet.request(method, path, headers={"content-type": "application/json"})
    assert reply.status_code == 405 and "access-control-allow-origin" not in reply.headers


def test_a_clip_is_sent_whole_in_parts_and_for_ever(run, page):
    name = clip(run, b"0123456789")
    whole = page.get(f"/clips/{name}")
    assert (whole.status_code, whole.content) == (200, b"0123456789")
    assert whole.headers["content-type"] == "video/webm"
    assert whole.headers["cache-control"] == "private, max-age=31536000, immutable"
    part = page.get(f"/clips/{name}", headers={"range": "bytes=2-4"})
    assert (part.status_code, part.content) == (206, b"234")
    for named in (whole.headers["etag"], '"another"'):
        again = page.get(f"/clips/{name}", headers={"range": "bytes=2-4", "if-range": named})
        assert again.status_code == (206 if named == whole.headers["etag"] else 200)


def test_nothing_of_a_clip_tells_when_it_was_made(run, page):
    name = clip(run, b"0123456789")
    replies = []
    for at in (1_000_000_000, 1_500_000_000):
        os.utime(run / "clips" / name, (at, at))
        guess = {"range": "bytes=0-", "if-range": formatdate(at, usegmt=True)}
        replies += [page.get(f"/clips/{name}"), page.get(f"/clips/{name}", headers=guess)]
    assert [reply.status_code for reply in replies] == [200] * 4
    assert len({tuple(reply.headers.items()) for reply in replies}) == 1


@pytest.mark.parametrize(
    "range", ["bytes=5-2", "bytes=99-", "bytes=-", "lines=1-2", "bytes=0-0,2-3", "bytes=" + "0-1," * 500, "\x00", "x"]
)
def test_bad_ranges_are_no_mistake_of_the_server(run, page, range):
    assert page.get(f"/clips/{clip(run, b'0123456789')}", headers={"range": range}).status_code < 500


@pytest.mark.parametrize(
    "path",
    [
        "/clips/../config.yaml",
        "/clips/..%2fconfig.yaml",
        "/clips/%2e%2e/config.yaml",
        "/clips/%2e%2e%2fconfig.yaml",
        "/clips//etc/passwd",
        "/clips/%2fetc%2fpasswd",
        "/clips/%00",
        "/clips/" + "0" * 64 + ".webm%00",
        "/clips/" + "0" * 64 + ".webm%0a",
        "/clips/" + "0" * 64 + ".webm",
        "/clips/" + "0" * 5000,
        "/static/../app.py",
        "/static/%2e%2e%2fapp.py",
        "/static/..%5capp.py",
        "/static/%00.js",
        "/static/page.js%00",
        "/static/.",
        "/static/",
        "/tokens.json",
    ],
)
def test_nothing_but_clips_and_the_page_is_served(quiet, path):
    assert quiet.get(path).status_code in (404, 421)


def test_links_in_the_folder_of_clips_lead_nowhere(run, page):
    name = "0" * 64 + ".webm"
    (run / "clips" / name).symlink_to(run / "config.yaml")
    assert page.get(f"/clips/{name}").status_code == 404


@pytest.mark.parametrize(
    ("path", "kind"), [("/", "text/html"), ("/admin", "text/html"), ("/static/style.css", "text/css")]
)
def test_the_page_is_served_and_asked_for_anew(quiet, path, kind):
    reply = quiet.get(path)
    assert reply.status_code == 200 and reply.headers["content-type"].startswith(kind)
    assert reply.headers["cache-control"] == "no-cache"


def test_a_run_without_instructions_has_a_question(run, page):
    assert page.get("/api/instructions").json() == {
        "question": "Which one is better?",
        "look_for": [],
        "good": None,
        "bad": None,
        "labeller": None,
    }


def test_a_run_without_instructions_asks_the_question_of_its_configuration(tmp_path):
    config = RunConfig(env="summaries", question="Which is the better summary?")
    run = RunFolder.create(tmp_path / "run", config).path
    with Store(run) as store, browsing(run, store) as page:
        assert page.get("/api/instructions").json()["question"] == "Which is the better summary?"
        (run / "instructions.json").write_text('{"question": "Which is shorter?"}')
        assert page.get("/api/instructions").json()["question"] == "Which is shorter?"


def test_instructions_are_what_the_run_says(run, page):
    name = clip(run, b"good")
    said = {
        "question": "Which one runs faster?",
        "look_for": ["speed", "grace"],
        "good": {"text": "runs", "clip": name},
        "bad": {"text": "falls", "clip": None},
    }
    (run / "instructions.json").write_text(json.dumps(said))
    assert page.get("/api/instructions").json() == said | {"labeller": None}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"\xff",
        b'{"question": "\\ud800", "good": {"clip": "../x"}}',
        b'{"look_for": 1, "bad": [], "good": 1}',
    ],
)
def test_broken_instructions_are_no_mistake_of_the_server(run, page, content):
    (run / "instructions.json").write_bytes(content)
    assert page.get("/api/instructions").status_code == 200


def test_progress_tells_what_was_done_and_learned(run, store, page):
    live.write(run, "learner", right=0.83, metrics={"reward/version": 3.0, "labels/learned": 5})
    page.answer(1, 1, "Ann", seconds=4.0)
    page.answer(2, None, "Ann", seconds=2.0)
    page.answer(3, 0, "Bob")
    found = page.progress()
    assert 0 <= found["learned"].pop("seconds_ago") < 60
    assert found == {
        "done": 2,
        "wanted": 1000,
        "yours": 1,
        "per_minute": 20.0,
        "learned": {"version": 3, "labels": 5, "accuracy": 0.83},
        "state": "waiting",
        "message": None,
    }


@pytest.mark.parametrize(
    "metrics", [None, {}, {"reward/version": 0.0}, {"reward/version": float("nan")}, {"reward/version": "x"}, [1]]
)
def test_before_a_first_reward_nothing_is_learned(run, page, metrics):
    live.write(run, "learner", metrics=metrics)
    assert page.progress()["learned"] is None


@pytest.mark.parametrize("metrics", [None, {}, {"reward/version": 0.0}])
def test_a_learner_that_has_just_begun_still_learned_before(run, store, page, metrics):
    store.publish(b"first", step=100, labels=3)
    store.publish(b"second", step=200, labels=5)
    if metrics is not None:
        live.write(run, "learner", metrics=metrics)
    assert page.progress()["learned"] == {"version": 2, "labels": 5, "accuracy": None, "seconds_ago": None}


@pytest.mark.parametrize(
    "content", ["", "[]", "{", '{"metrics": {"reward/version": 1, "labels/learned": NaN}, "at": []}']
)
def test_a_broken_status_is_no_mistake_of_the_server(run, page, content):
    (run / "live").mkdir()
    for name in ("learner", "policy"):
        (run / "live" / f"{name}.json").write_text(content)
    assert page.get("/api/progress?labeller=Ann").status_code == 200


def test_the_page_says_done_when_the_labels_are_there_and_goes_on_after_an_undo(tmp_path):
    run = new_run(tmp_path / "run", labels=2)
    with Store(run) as store, browsing(run, store) as page:
        ask(store, 4)
        assert page.progress()["state"] == "ready"
        page.answer(1)
        page.answer(2, None)  # "cannot tell" is no label
        assert page.progress()["state"] == "ready"
        page.answer(3)
        assert page.progress()["state"] == "done"
        assert page.get("/api/next?labeller=Ann").json() == {"pairs": [], "state": "done", "message": None}
        page.undo()
        assert page.next() == [3, 4]


def test_the_page_says_why_the_run_is_paused(run, page):
    with RunFolder(run).locked():
        live.write(run, "policy", paused="environment 3 hangs \ud83d")
        reply = page.get("/api/next?labeller=Ann").json()
        assert (reply["state"], reply["message"]) == ("paused", "environment 3 hangs ?")
        assert len(reply["pairs"]) == 3  # people may go on
        live.write(run, "policy", paused=None)
        assert page.progress()["state"] == "ready"


def test_a_run_that_was_killed_while_it_was_paused_is_not_paused(run, page):
    live.write(run, "policy", paused="environment 3 hangs")
    assert page.progress()["state"] == "ready"
    with RunFolder(run).locked():
        assert page.progress()["state"] == "paused"
    assert page.progress()["state"] == "ready"
    with RunFolder(run).locked():  # the page does not keep the lock
        assert page.progress()["state"] == "paused"


def test_the_page_says_when_the_disk_is_almost_full(page, monkeypatch):
    monkeypatch.setattr("prefrl.room.RESERVE", 2**62)
    found = page.progress()
    assert found["state"] == "paused"
    assert found["message"].startswith("the disk is almost full")
    assert found["message"].endswith("make room, and the run goes on by itself")


def test_the_interface_is_described_and_has_no_page_of_its_own(quiet):
    paths = quiet.get("/openapi.json").json()["paths"]
    assert {"/api/next", "/api/answer", "/api/undo", "/api/progress", "/api/instructions", "/api/admin"} <= set(paths)
    assert quiet.get("/docs").status_code == quiet.get("/redoc").status_code == 404
