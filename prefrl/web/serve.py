"""Serves the page of a run until it is told to stop."""

import asyncio
import fcntl
import gc
import multiprocessing
import os
import shlex
import signal
import socket
import sys
import threading
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from multiprocessing.connection import wait
from pathlib import Path
from typing import IO, NamedTuple

import uvicorn

from prefrl import live
from prefrl.files import Unreadable
from prefrl.runs import RunFolder
from prefrl.web import tokens
from prefrl.web.app import create_app
from prefrl.web.board import Board
from prefrl.web.listening import NotNow, address_of, bound, is_loopback, known_port, listening
from prefrl.web.models import named
from prefrl.web.options import PageOptions
from prefrl.web.tokens import Tokens

LOCK = ".page.lock"
OPEN, CLOSED = "open", "closed"
"""Who may come in: whoever reaches the address, or who is invited."""
LOOK = 1.0
"""Seconds between looks at how many are at work, or at what is in the way."""
KEEP_ALIVE = 75
"""Seconds that a browser's connection is kept: opening one costs a round trip."""


def serve(run: Path, options: PageOptions | None = None) -> None:
    """Prints the address and the links of those who are invited; returns after SIGINT or SIGTERM.

    Where a run has a page already, invites and revokes there; raises ValueError where there is nothing to do.

    A process begun by multiprocessing, as training begins it, waits for what is in its way instead, and returns when
    its parent dies too: people who cannot label are no reason for a run to end.
    """
    options, folder = options or PageOptions(), RunFolder.open(Path(run))
    parent, told = multiprocessing.parent_process(), ""
    while True:
        try:
            return _serve(folder, options)
        except NotNow as trouble:
            if parent is None:
                raise
            if str(trouble) != told:
                print(f"no labelling page yet, it is tried again: {trouble}", flush=True)
                told = str(trouble)
        if wait([parent.sentinel], LOOK):
            return


def check(run: Path | None, options: PageOptions) -> None:
    """Raises ValueError in one line for what can be known before a page begins; `run` None: one that is new."""
    _wants_tokens(run, options)
    last = _last(run / LOCK) if run else Last()
    own = options.port in known_port(last.address)  # an old page may still have it
    bound(options.host, 0 if own else options.port or 0).close()


def _serve(folder: RunFolder, options: PageOptions) -> None:
    run = folder.path
    with _lock(run) as (file, last):
        if file is None:
            return _change_running(run, options, last)
        again = last.driver != "" and last.driver == _driver()
        who = Tokens(run) if _wants_tokens(run, options) else None
        with listening(options.host, options.port, last.address) as bound_to, folder.open_store() as store:
            app = create_app(run, store, options, who)
            links = {} if again else _changed_links(run, options)  # nothing can go wrong any more
            address = address_of(options.host, bound_to.getsockname()[1])
            _remember(file, Last(address, options.host, OPEN if who is None else CLOSED, _driver()))
            print(f"labelling page of {run.name}: {address}/", flush=True)
            _print_links(address, links)
            if options.open_browser and who is None and not again:
                _open(address)
            with _telling(run, address, app.state.board):
                _run(uvicorn.Server(_config(app)), bound_to)


def _change_running(run: Path, options: PageOptions, last: "Last") -> None:
    """Invites and revokes where a page is running that can do with it."""
    changes = not _driver() and (options.invite or options.revoke)
    if not _driver() and not is_loopback(options.host) and options.host != last.host:
        words = f"the page of {run} listens at {last.host}, not at {options.host}"
        raise ValueError(f"{words}: {_instead(run, options, last)}")
    if changes and last.who != CLOSED:
        words = f"the page of {run} lets in whoever reaches {last.address}"
        raise ValueError(f"{words}: {_instead(run, options, last)}")
    if not changes:
        raise NotNow(f"the page of {run} is served already: {last.address}")
    _print_links(last.address, _changed_links(run, options))


def _instead(run: Path, options: PageOptions, last: "Last") -> str:
    """What to do for a page as it is wished."""
    words = ["prefrl", "resume" if last.driver else "label", str(run)]
    words += ["--host", options.host] if options.host != PageOptions.host else []
    words += ["--open-to-all"] if options.open_to_all else ["--invite", *(options.invite or ["NAME"])]
    words += ["--revoke", *options.revoke] if options.revoke else []
    return f"end {'the run' if last.driver else 'it'}, and `{shlex.join(words)}`"


def _wants_tokens(run: Path | None, options: PageOptions) -> bool:
    """Whether nobody comes in without an invitation; raises ValueError where nobody has one."""
    coming, going = {named(name) for name in options.invite}, {named(name) for name in options.revoke}
    kept = Tokens(run) if run else None
    wanted = bool(coming) or (kept is not None and kept.path.exists())
    if options.open_to_all or (is_loopback(options.host) and not wanted):
        return False
    if not coming | ((kept.names() if kept else set()) - going):
        raise NotNow(
            f"nobody may come in at {options.host}: --invite NAME makes a link for a labeller, "
            "--open-to-all lets in whoever reaches the address"
        )
    return True


class Last(NamedTuple):
    """What the last page of a run left, or the one that is running."""

    address: str = ""
    host: str = ""
    who: str = ""
    """CLOSED: only those who are invited may come in."""
    driver: str = ""
    """The program that began it: if it begins the page again, links are those that it printed before."""


def _driver() -> str:
    """A name for the program whose process this is, if multiprocessing began it; numbers of processes come again."""
    if multiprocessing.parent_process() is None:
        return ""
    return sha256(multiprocessing.current_process().authkey).hexdigest()[:16]


def _changed_links(run: Path, options: PageOptions) -> dict[str, str]:
    revoke = {named(name) for name in options.revoke}
    if _driver() and (unknown := revoke - Tokens(run).names()):
        print(f"nothing to revoke: {', '.join(sorted(unknown))}", flush=True)  # the run goes on all the same
        revoke -= unknown
    try:
        return tokens.change(run, options.invite, revoke)
    except Unreadable as error:
        raise NotNow(str(error)) from None


@contextmanager
def _lock(run: Path) -> Iterator[tuple[IO[str] | None, Last]]:
    """The locked file, None while a page is running; and what its writer said."""
    with (run / LOCK).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None, _last(run / LOCK)
        else:
            yield file, _last(run / LOCK)


def _last(file: Path) -> Last:
    try:
        return Last(*file.read_text(errors="replace")[:1000].split()[:4])
    except FileNotFoundError:
        return Last()


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
