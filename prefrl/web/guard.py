"""What every request must pass before anything looks at what it asks for."""

import asyncio
import json
import logging
import re
from collections.abc import Callable, Iterable
from hashlib import sha256
from http.cookies import CookieError, SimpleCookie
from ipaddress import ip_address
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from prefrl.web.tokens import Tokens

LARGEST = 64 * 1024
"""Bytes of a request."""
PATIENCE = 30.0
"""Seconds for a request to arrive."""
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
EVERYWHERE = ("0.0.0.0", "::")
"""Addresses at which a server listens to whoever reaches the machine."""
LABELLER = "prefrl.labeller"
"""Where the request's scope says who sent it, if a token does."""
CLOSED = ("/api/", "/clips/")
"""What a token opens. Pages are for all: they hold no secret, and a cookie that is SameSite=Strict does not come with
the request of a link in somebody's mail."""
READING = ("GET", "HEAD", "OPTIONS")


class Refused(Exception):
    """A request that goes no further."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


class Guard:
    """Middleware: the host, the sender's origin, the token, type and size of a body; headers on every reply."""

    def __init__(self, app: ASGIApp, allowed: Callable[[str], bool], tokens: Tokens | None = None) -> None:
        self.app, self.allowed, self.tokens = app, allowed, tokens
        name = sha256(str(tokens.path.resolve()).encode()).hexdigest()[:8] if tokens else ""
        self.cookie = f"prefrl_{name}"  # cookies of one host are shared by all its ports

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        began = False

        async def sending(message: Message) -> None:
            nonlocal began
            began = True
            await send(_with_headers(message))

        headers = Headers(scope=scope)
        try:
            self._check_host(headers)
            _check_origin(scope, headers)
            if (token := _in_address(scope)) is not None:
                return await self._let_in(scope, token, sending)
            if scope["path"].startswith(CLOSED):
                scope[LABELLER] = self._who(headers)
            if scope["method"] == "POST":
                receive = await _body(headers, receive)
            await self.app(scope, receive, sending)
        except Refused as refusal:
            await _reply(sending, refusal.status, str(refusal))
        except Exception:
            logging.getLogger(__name__).exception("a request failed")
            if began:
                raise
            await _reply(sending, 500, "this server has a mistake: its log says more")

    def _check_host(self, headers: Headers) -> None:
        given = headers.getlist("host")
        name = _host(given[0]) if len(given) == 1 else None
        if name is None or not self.allowed(name):
            raise Refused(421, "this server has another name: open the address that it printed, or --allow-host")

    def _who(self, headers: Headers) -> str | None:
        if self.tokens is None:
            return None
        given = headers.get("authorization", "")
        token = given[7:] if given[:7].lower() == "bearer " else _cookie(headers, self.cookie)
        if token is None or (labeller := self.tokens.labeller(token)) is None:
            raise Refused(401, "open the page by the link of your invitation, or ask for a new one")
        return labeller

    async def _let_in(self, scope: Scope, token: str, send: Send) -> None:
        """Moves the token from the address, where others might see it, into a cookie."""
        headers = [(b"location", scope["path"].encode("latin-1", "replace"))]
        if self.tokens is not None:
            if self.tokens.labeller(token) is None:
                raise Refused(401, "this invitation is not valid any more: ask for a new one")
            cookie = f"{self.cookie}={token}; Path=/; Max-Age=31536000; HttpOnly; SameSite=Strict"
            headers.append((b"set-cookie", cookie.encode()))
        await send({"type": "http.response.start", "status": 303, "headers": headers})
        await send({"type": "http.response.body"})


def _check_origin(scope: Scope, headers: Headers) -> None:
    """Other sites may link to the pages, and do nothing else."""
    site = headers.get("sec-fetch-site", "none")
    safe = scope["method"] in READING
    if site not in ("same-origin", "none") and not (safe and not scope["path"].startswith(CLOSED)):
        raise Refused(403, "another site may not call this server")
    origin = headers.get("origin")
    if origin is not None and not safe and not _same(origin, headers.get("host", "")):
        raise Refused(403, "another site may not call this server")


def _same(origin: str, host: str) -> bool:
    try:
        found = urlsplit(origin)
    except ValueError:
        return False
    return found.scheme in ("http", "https") and found.netloc.lower() == host.lower()


def _host(header: str) -> str | None:
    """The name in a Host header, without port and brackets."""
    found = re.fullmatch(r"(?:\[([0-9a-fA-F:.]+)\]|([A-Za-z0-9._-]+))(?::\d{1,5})?", header, re.ASCII)
    return (found[1] or found[2]).lower().rstrip(".") if found else None


def allows(bound: str, names: Iterable[str] = ()) -> Callable[[str], bool]:
    """Which hosts a server bound to this address answers for: a name that an attacker chose is none of them."""
    known = {"localhost", "127.0.0.1", "::1", bound.lower(), *(_host(name) or name.lower() for name in names)}
    everywhere = bound in EVERYWHERE
    return lambda name: name in known or (everywhere and _is_address(name))


def _is_address(name: str) -> bool:
    """Of an address, unlike a name, nobody can change where it leads."""
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _in_address(scope: Scope) -> str | None:
    if scope["method"] != "GET" or scope["path"] not in ("/", "/admin"):
        return None
    found = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True).get("token")
    return found[0] if found else None


def _cookie(headers: Headers, name: str) -> str | None:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(name)
    except CookieError:
        return None
    return found.value if found else None


async def _body(headers: Headers, receive: Receive) -> Receive:
    """Reads a body that is JSON and not too long, and hands it on."""
    if headers.get("content-type", "").split(";")[0].strip().lower() != "application/json":
        raise Refused(415, "send application/json")
    declared = headers.get("content-length", "0")
    if not declared.isdecimal() or int(declared[:20]) > LARGEST:
        raise Refused(413, f"a request has at most {LARGEST} bytes")
    body = b""
    try:
        async with asyncio.timeout(PATIENCE):
            more = True
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Refused(400, "the request was cut off")
                body += message.get("body", b"")
                more = message.get("more_body", False)
                if len(body) > LARGEST:
                    raise Refused(413, f"a request has at most {LARGEST} bytes")
    except TimeoutError:
        raise Refused(408, "the request took too long to arrive") from None
    whole: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return whole.pop() if whole else await receive()

    return again


def _with_headers(message: Message) -> Message:
    if message["type"] == "http.response.start":
        headers = MutableHeaders(scope=message)
        for name, value in HEADERS.items():
            headers.setdefault(name, value)
    return message


async def _reply(send: Send, status: int, detail: str) -> None:
    body = json.dumps({"detail": detail}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
