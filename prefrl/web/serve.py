"""Serves the page of a run until it is told to stop."""

import asyncio
import fcntl
import gc
import multiprocessing
import os
import signal
import socket
import sys
import threading
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from ipaddress import ip_address
from pathlib import Path
from typing import IO, NamedTuple
from urllib.parse import urlsplit

import uvicorn

from prefrl import live
from prefrl.runs import RunFolder
from prefrl.web import tokens
from prefrl.web.app import create_app
from prefrl.web.board import Board
from prefrl.web.guard import EVERYWHERE
from prefrl.web.options import PageOptions
from prefrl.web.tokens import Tokens

LOCK = ".page.lock"
PORTS = range(8000, 8100)
LOOK = 1.0
"""Seconds between looks at how many are at work."""
KEEP_ALIVE = 75
"""Seconds that a browser's connection is kept: opening one costs a round trip."""


def serve(run: Path, options: PageOptions | None = None) -> None:
    """Prints the address and the links of those who are invited; returns after SIGINT or SIGTERM.

    In a process started by multiprocessing it stops too when its parent dies, so that the next run finds no old page.
    Raises ValueError where a run has a page already (links for new labellers are printed all the same).
    """
    options, folder = options or PageOptions(), RunFolder.open(Path(run))
    run = folder.path
    with _lock(run) as (file, last):
        again = last.driver != "" and last.driver == _driver()
        links = {} if again else _changed_links(run, options)
        if file is None:
            _print_links(last.address, links)
            if links or options.revoke:
                return
            raise ValueError(f"the page of {run} is served already: {last.address}")
        who = _who_may_come_in(run, options)
        with folder.open_store() as store, _listening(options, last.address) as listening:
            address = _address(options.host, listening.getsockname()[1])
            _remember(file, Last(address, _driver()))
            app = create_app(run, store, options, who)
            print(f"labelling page of {run.name}: {address}/", flush=True)
            _print_links(address, links)
            if options.open_browser and who is None and not again:
                _open(address)
            with _telling(run, address, app.state.board):
                _run(uvicorn.Server(_config(app)), listening)


def _who_may_come_in(run: Path, options: PageOptions) -> Tokens | None:
    """None: everybody who reaches the address."""
    invited = Tokens(run)
    if options.open_to_all or (_is_loopback(options.host) and not invited.path.exists()):
        return None
    if not invited.names():
        raise ValueError(
            f"nobody may come in at {options.host}: --invite NAME makes a link for a labeller, "
            "--open-to-all lets in whoever reaches the address"
        )
    return invited


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


class Last(NamedTuple):
    """What the last page of a run left, or the one that is running."""

    address: str = ""
    driver: str = ""
    """The program that began it: if it begins the page again, links are those that it printed before."""


def _driver() -> str:
    """A name for the program whose process this is, if multiprocessing began it; numbers of processes come again."""
    if multiprocessing.parent_process() is None:
        return ""
    return sha256(multiprocessing.current_process().authkey).hexdigest()[:16]


def _changed_links(run: Path, options: PageOptions) -> dict[str, str]:
    for name in options.revoke:
        tokens.revoke(run, name)
    return {name: tokens.invite(run, name) for name in options.invite}


@contextmanager
def _lock(run: Path) -> Iterator[tuple[IO[str] | None, Last]]:
    """The locked file, None while a page is running; and what its writer said."""
    with (run / LOCK).open("a+") as file:
        file.seek(0)
        last = Last(*file.read(1000).split()[:2])
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None, last
        else:
            yield file, last


def _remember(file: IO[str], last: Last) -> None:
    file.seek(0)
    file.truncate()
    file.write(" ".join(last).strip())
    file.flush()


@contextmanager
def _telling(run: Path, address: str, board: Board) -> Iterator[None]:
    """Keeps in `live/page.json` where the page is and how many are at work, so that there are clips for all."""
    over = threading.Event()

    def tell() -> None:
        told = -1
        while True:
            if (now := board.labellers()) != told:
                with suppress(OSError):  # a full disk: later
                    live.write(run, "page", address=address, labellers=now)
                    told = now
            if over.wait(LOOK):
                return

    thread = threading.Thread(target=tell, name="status", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _listening(options: PageOptions, last: str) -> socket.socket:
    """A socket at the port that was asked for; else at the last page's, so that browsers find it, or at a free one."""
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    known = [*_port(last), *(PORTS if options.port is None else ()), 0]
    ports = [options.port] if options.port else known
    for port in ports:
        # without the protocol's number asyncio leaves Nagle's algorithm on, and every reply waits 40 ms
        listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((options.host, port))
            listening.listen(1024)
        except OSError as error:
            listening.close()
            if port == ports[-1]:
                raise ValueError(f"cannot listen at {options.host}:{port}: {error.strerror}") from None
        else:
            return listening
    raise AssertionError("the last port was tried")


def _port(address: str) -> list[int]:
    try:
        port = urlsplit(address).port
    except ValueError:
        port = None
    return [port] if port else []


def _address(host: str, port: int) -> str:
    name = _reachable(host) if host in EVERYWHERE else host
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"


def _reachable(host: str) -> str:
    """This machine's address towards others; a connected UDP socket sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])


def _print_links(address: str, links: dict[str, str]) -> None:
    for name, token in links.items():
        page = "/admin" if name == tokens.ADMIN else "/"
        print(f"invitation of {name}: {address}{page}?token={token}", flush=True)


def _open(address: str) -> None:
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return  # what would open is a browser in this terminal
    threading.Thread(target=webbrowser.open, args=[address], daemon=True).start()


def _config(app: object) -> uvicorn.Config:
    return uvicorn.Config(
        app,  # type: ignore[arg-type]
        log_config=None,
        log_level="warning",
        access_log=False,  # it would hold tokens
        proxy_headers=False,
        server_header=False,
        ws="none",
        lifespan="on",
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=3,
    )


def _run(server: uvicorn.Server, listening: socket.socket) -> None:
    def stop(*_: object) -> None:
        server.should_exit = True

    async def until_stopped() -> None:
        if parent := multiprocessing.parent_process():
            asyncio.get_running_loop().add_reader(parent.sentinel, stop)
        await server.serve(sockets=[listening])

    # uvicorn stops at a signal, and then sends it again to whom it found here
    found = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        gc.freeze()  # to look through all that was imported for garbage would hold everybody up for 0.1 s
        asyncio.run(until_stopped())
    finally:
        for number, handler in found.items():
            signal.signal(number, handler)
    if not server.started:
        raise RuntimeError("the page could not be started: the lines above say why")
