"""Whatever is sent, the server answers, is not at fault, and is there for the next."""

import json
import time

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prefrl.store import Store
from tests.web_pages import ask, browsing, new_run, process

ID = "11111111-1111-4111-8111-111111111111"
PATIENCE = 5.0
"""Seconds after which a request hangs; the slowest takes a tenth of one."""

strange = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([0, 1, -1, 2**31, 2**53 + 1, 2**63 - 1, 2**63, 2**70, -(2**70), 10**400]),
    st.floats(),
    st.sampled_from([0.5, 1.0, 1e308, 5e-324, float("nan"), float("inf"), -float("inf")]),
    st.text(max_size=80),
    st.sampled_from(["", "\0", "\ud800", "\udfff\ud800", "﻿", "x" * 70_000, ID, "Ann", "1", "null", "‮"]),
)
deep = st.recursive(
    strange,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.just("\ud800"), inner, max_size=3)
    ),
    max_leaves=8,
)
fields = ["id", "query", "preference", "labeller", "seconds", "broken"]
right = {
    "id": st.uuids().map(str),
    "query": st.integers(1, 12),
    "preference": st.sampled_from([1, 0, 0.5, None]),
    "labeller": st.sampled_from(["Ann", "Bob"]),
    "seconds": st.floats(0, 86400),
}
almost = st.fixed_dictionaries({name: good | good | good | deep for name, good in right.items()}).flatmap(
    lambda said: st.dictionaries(st.sampled_from(fields) | st.text(max_size=3), deep, max_size=1).map(said.__or__)
)
bodies = st.one_of(
    almost.map(lambda said: json.dumps(said).encode()),
    almost.map(lambda said: json.dumps(said, ensure_ascii=False).encode(errors="surrogatepass")),
    deep.map(lambda said: json.dumps(said).encode()),
    st.binary(max_size=100),
    st.builds(
        lambda opening, n: opening * n, st.sampled_from([b"[", b'{"a":', b'"', b"9", b"\\u"]), st.integers(1, 9000)
    ),
)
headers = st.dictionaries(
    st.sampled_from(
        ["range", "cookie", "origin", "authorization", "sec-fetch-site", "if-range", "content-length", "x"]
    ),
    st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0"), max_size=40).map(
        lambda t: t.encode("latin-1")
    ),
    max_size=3,
)
quick = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    run = new_run(tmp_path_factory.mktemp("runs") / "run")
    with Store(run) as store, browsing(run, store) as page:
        ask(store, 12)
        yield page
        assert len(page.next("Zoë", 1)) <= 1
        for label in store.labels():
            assert label.preference in (1, 0, 0.5, None) and 0 <= label.seconds <= 86400
            assert 1 <= len(label.labeller) <= 64


def fine(page, reply, began):
    assert reply.status_code < 500
    assert time.monotonic() - began < PATIENCE
    if reply.content and reply.headers["content-type"] == "application/json" and reply.status_code >= 400:
        assert set(reply.json()) == {"detail"} and len(reply.json()["detail"]) < 500
    assert page.get("/api/progress?labeller=Ann").status_code == 200


@quick
@given(path=st.sampled_from(["/api/answer", "/api/undo"]), body=bodies)
def test_no_body_is_a_mistake_of_the_server(page, path, body):
    began = time.monotonic()
    fine(page, page.post(path, content=body, headers={"content-type": "application/json"}), began)


@quick
@given(path=st.sampled_from(["next", "progress"]), query=st.binary(max_size=60), n=strange, holding=strange)
def test_no_question_is_a_mistake_of_the_server(page, path, query, n, holding):
    raw = query.decode("latin-1").encode("unicode_escape").decode()
    escaped = "".join(f"%{byte:02x}" for byte in query)
    began = time.monotonic()
    for text in (raw.replace("#", ""), f"labeller={escaped}", f"labeller=Ann&n={n!r:.50}&holding={holding!r:.50}"):
        fine(page, page.get(f"/api/{path}?{text}"), began)


@quick
@given(
    method=st.sampled_from(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"]),
    path=st.sampled_from(
        ["/", "/admin", "/clips/", "/static/", "/api/", "/api/next", "/api/answer", "/openapi.json", ""]
    ),
    rest=st.binary(max_size=20),
    headers=headers,
)
def test_no_path_method_or_header_is_a_mistake_of_the_server(page, method, path, rest, headers):
    escaped = "".join(f"%{byte:02x}" for byte in rest)
    began = time.monotonic()
    fine(page, page.request(method, f"{path}{escaped}" or "/", headers=headers), began)


def test_nothing_that_the_description_allows_is_a_mistake_of_the_server(tmp_path):
    schemathesis = pytest.importorskip("schemathesis")
    from schemathesis.checks import not_a_server_error

    run = new_run(tmp_path / "run")
    with Store(run) as store, process(run, port=0) as server:
        ask(store, 5)
        described = schemathesis.openapi.from_url(f"{server.address}/openapi.json")
        operations = [found.ok() for found in described.get_all_operations()]
        assert len(operations) >= 7
        modes = schemathesis.GenerationMode
        cases = [one.as_strategy(generation_mode=modes.POSITIVE) for one in operations]
        takes = [one for one in operations if one.body or list(one.query)]
        assert len(takes) == 4
        cases += [one.as_strategy(generation_mode=modes.NEGATIVE) for one in takes]
        for strategy in cases:

            @settings(max_examples=15, suppress_health_check=list(HealthCheck))
            @given(case=strategy)
            def called(case):
                case.call_and_validate(checks=[not_a_server_error], timeout=PATIENCE)

            called()
        assert httpx.get(f"{server.address}/api/next?labeller=Ann").status_code == 200
        code, _, err = server.end()
        assert (code, err) == (0, "")
