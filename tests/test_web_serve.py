"""The server as a process: address, port, links, log, end."""

import signal
import socket
import time

import httpx
import pytest

from prefrl import live
from prefrl.web.guard import LARGEST
from prefrl.web.options import PageOptions
from prefrl.web.serve import LOCK, serve
from prefrl.web.tokens import FILE, invite, revoke
from tests.web_pages import new_run, process, until


def test_ten_megabytes_are_refused_before_they_were_sent(run, store):
    with process(run, port=0) as server:
        host, port = server.address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=5) as connection:
            head = f"POST /api/answer HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n"
            connection.sendall(f"{head}content-length: 10000000\r\n\r\n".encode())
            assert b" 413 " in connection.recv(1000)
        assert httpx.get(f"{server.address}/api/next?labeller=Ann").status_code == 200


def test_chunks_are_refused_when_they_become_too_many(run, store):
    with process(run, port=0) as server:

        def chunks():
            for _ in range(LARGEST // 1000 + 2):
                yield b" " * 1000

        headers = {"content-type": "application/json"}
        assert httpx.post(f"{server.address}/api/answer", content=chunks(), headers=headers).status_code == 413


@pytest.mark.parametrize(
    "request_",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
        b"\x00\x01\x02\r\n\r\n",
        b"GET http://attacker.example/ HTTP/1.1\r\nhost: attacker.example\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nhost: localhost\r\n\r\n",
        b"GET /api/next?labeller=\xed\xa0\x80 HTTP/1.1\r\nhost: localhost\r\n\r\n",
        b"POST /api/answer HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: x\r\n\r\n",
        b"POST /api/answer HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: -1\r\n\r\n",
        b"GET /api/next?labeller=A HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
    ],
)
def test_raw_nonsense_is_no_mistake_of_the_server(serving, request_):
    host, port = serving.address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(request_)
        assert not connection.recv(1000).startswith(b"HTTP/1.1 5")
    assert httpx.get(f"{serving.address}/api/instructions").status_code == 200


@pytest.fixture(scope="module")
def serving(tmp_path_factory):
    run = new_run(tmp_path_factory.mktemp("runs") / "run")
    with process(run, port=0) as server:
        yield server


def test_tokens_are_in_no_log(run, store):
    with process(run, port=0, host="127.0.0.1", invite=("Ann",)) as server:
        token = server.line().strip().rpartition("token=")[2]
        with httpx.Client(base_url=server.address) as http:
            assert http.get(f"/?token={token}").status_code == 303
            assert http.get(f"/?token={token}x").status_code == 401
            assert http.get("/api/next").json()["pairs"]
            http.get("/api/next", headers={"authorization": f"Bearer {token}"})
        code, out, err = server.end()
    assert code == 0
    assert token not in out and token not in err
    assert all(token not in file.read_text(errors="replace") for file in run.rglob("*") if file.is_file())


def test_an_address_for_others_needs_invitations(run, store):
    for host in ("0.0.0.0", "192.168.1.1", "example.org", "::"):
        with pytest.raises(ValueError, match="--invite NAME"):
            serve(run, PageOptions(host=host, open_browser=False))
    invite(run, "Ann")
    revoke(run, "Ann")
    with pytest.raises(ValueError, match="nobody may come in"):
        serve(run, PageOptions(open_browser=False))  # invitations were wanted once: they still are


def test_the_address_is_printed_and_kept(run, store):
    with process(run, port=0) as server:
        assert server.first == f"labelling page of run: {server.address}/\n"
        assert httpx.get(f"{server.address}/api/next?labeller=Ann").status_code == 200
        assert (run / LOCK).read_text() == f"{server.address} 127.0.0.1 open"
        until(lambda: live.read(run, "page"))
        assert live.read(run, "page")["address"] == server.address
        until(lambda: live.read(run, "page")["labellers"] == 1)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_server_in_order(run, store, how):
    with process(run, port=0) as server:
        httpx.get(f"{server.address}/api/next?labeller=Ann")
        assert server.end(how) == (0, "", "")


def test_a_second_server_says_where_the_first_is(run, store):
    with process(run, port=0) as first, pytest.raises(ValueError, match=f"served already: {first.address}"):
        serve(run, PageOptions(open_browser=False))


def test_links_can_be_made_and_revoked_while_the_page_is_served(run, store, capsys):
    invite(run, "Ann")
    with process(run, host="0.0.0.0", port=0) as server:
        serve(run, PageOptions(open_browser=False, invite=("Bob",)))
        link = capsys.readouterr().out.strip().rpartition(": ")[2]
        assert link.startswith(f"{server.address}/?token=")
        with httpx.Client() as http:
            assert http.get(link).status_code == 303
            assert http.get(f"{server.address}/api/next").status_code == 200
            serve(run, PageOptions(open_browser=False, revoke=("Bob",)))
            assert http.get(f"{server.address}/api/next").status_code == 401


def test_a_port_that_is_taken_is_an_error_only_if_it_was_asked_for(run, store):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        (run / LOCK).write_text(f"http://127.0.0.1:{port}")
        with pytest.raises(ValueError, match=f"cannot listen at 127.0.0.1:{port}"):
            serve(run, PageOptions(open_browser=False, port=port))
        with process(run) as server:
            assert httpx.get(f"{server.address}/").status_code == 200


def test_a_server_that_was_killed_comes_back_at_the_same_port_with_all_that_was_acknowledged(run, store):
    kept = []
    with process(run, port=0) as server:
        address = server.address
        for query in (1, 2):
            answer = {"id": f"{query:08}-0000-4000-8000-000000000000", "query": query, "preference": 1, "seconds": 1}
            assert httpx.post(f"{address}/api/answer", json=answer | {"labeller": "Ann"}).status_code == 200
            kept.append(query)
        server.end(signal.SIGKILL)
    began = time.monotonic()
    with process(run) as server:
        assert server.address == address
        assert httpx.get(f"{address}/api/progress?labeller=Ann").json()["done"] == len(kept)
        assert time.monotonic() - began < 10
    assert [label.query for label in store.labels()] == kept


def test_an_address_of_version_6_is_served(run, store):
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    with process(run, host="::1", port=0) as server:
        assert server.address.startswith("http://[::1]:")
        assert httpx.get(f"{server.address}/api/next?labeller=Ann").status_code == 200


def test_who_is_open_to_all_wants_no_token(run, store):
    invite(run, "Ann")
    with process(run, host="0.0.0.0", port=0, open_to_all=True) as server:
        port = server.address.rpartition(":")[2]
        assert httpx.get(f"http://127.0.0.1:{port}/api/next?labeller=Bob").status_code == 200


def test_a_browser_opens_only_where_there_is_a_screen_and_no_token_is_wanted(monkeypatch):
    opened = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    monkeypatch.setattr("sys.platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    from prefrl.web import serve as module

    module._open("http://localhost")
    assert not opened
    monkeypatch.setenv("DISPLAY", ":0")
    module._open("http://localhost")
    until(lambda: opened == ["http://localhost"])


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (
            {"host": "0.0.0.0", "invite": ("Ann", "Bob")},
            "listens at 127.0.0.1, not at 0.0.0.0: end it, and `prefrl label",
        ),
        ({"host": "0.0.0.0"}, "--host 0.0.0.0 --invite NAME`"),
        ({"host": "0.0.0.0", "open_to_all": True}, "--host 0.0.0.0 --open-to-all`"),
        (
            {"invite": ("Ann", "Bob")},
            "lets in whoever reaches http://.*: end it, and `prefrl label .* --invite Ann Bob`",
        ),
        ({"revoke": ("Ann",)}, "lets in whoever reaches .* --revoke Ann`"),
    ],
)
def test_links_that_a_running_page_could_do_nothing_with_are_refused(run, store, capsys, options, why):
    with process(run, port=0), pytest.raises(ValueError, match=why):
        serve(run, PageOptions(open_browser=False, **options))
    assert capsys.readouterr().out == ""
    assert not (run / FILE).exists()


def test_a_start_that_fails_changes_no_link_and_says_why_each_time(run, store, capsys):
    invite(run, "Ann")
    invite(run, "Bob")
    known = (run / FILE).read_text()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        options = PageOptions(open_browser=False, port=taken.getsockname()[1], invite=("Cid",), revoke=("Bob",))
        for _ in range(2):
            with pytest.raises(ValueError, match="cannot listen at"):
                serve(run, options)
    with pytest.raises(ValueError, match="Bbo has no invitation; invited are: Ann, Bob"):
        serve(run, PageOptions(open_browser=False, port=0, invite=("Cid",), revoke=("Ann", "Bbo")))
    assert (run / FILE).read_text() == known
    assert capsys.readouterr().out == ""


def test_no_torch_is_loaded_to_serve(run, store):
    with process(run, port=0) as server, open(f"/proc/{server.process.pid}/maps") as file:
        assert "libtorch" not in file.read()
