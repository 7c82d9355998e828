"""Which run a request is about: another one may be served at the address where a page was opened."""

import json
from pathlib import Path
from secrets import token_hex

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from prefrl.files import whole

HEADER = "prefrl-run"
FILE = ".page.id"


def identity(run: Path) -> str:
    """A name that no other run has, made up when its page is served first."""
    file = run / FILE
    if not file.is_file():
        with whole(file) as new:
            new.write(token_hex(8).encode())
    return file.read_text()


class SameRun:
    """Middleware: names the run in every reply, and refuses what was meant for another one.

    A page that is still open, or answers that waited in a browser, would say the wrong thing about this run's queries:
    every run numbers them from 1.
    """

    def __init__(self, app: ASGIApp, run: str) -> None:
        self.app, self.run = app, run

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith("/api/"):
            return await self.app(scope, receive, send)

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[HEADER] = self.run
            await send(message)

        if Headers(scope=scope).get(HEADER, self.run) == self.run:
            return await self.app(scope, receive, sending)
        body = json.dumps({"detail": "another run is labelled at this address now: reload the page"}).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await sending({"type": "http.response.start", "status": 409, "headers": headers})
        await sending({"type": "http.response.body", "body": body})
