"""The HTTP interface of the labelling page."""

import asyncio
import re
import time
from asyncio import Lock
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any
from uuid import NAMESPACE_OID, uuid5
from weakref import WeakValueDictionary

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException

from prefrl.files import Unreadable
from prefrl.room import is_full
from prefrl.runs import RunFolder
from prefrl.store import Store
from prefrl.types import BROKEN, UNDONE, Label
from prefrl.web import models, progress
from prefrl.web.board import Board
from prefrl.web.feed import Feed
from prefrl.web.figures import figures
from prefrl.web.guard import LABELLER, Guard, allows
from prefrl.web.leases import Leases
from prefrl.web.models import Answer, Undo, troubles
from prefrl.web.options import PageOptions
from prefrl.web.pairs import CLIP, Pairs
from prefrl.web.same_run import SameRun, identity
from prefrl.web.tokens import ADMIN, Tokens
from prefrl.web.writer import Writer

STATIC = Path(__file__).with_name("static")
KINDS = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
FRESH = 0.25
"""Seconds that what the page is told may lag behind the store."""
SOON = 0.05
"""The same, for who would get fewer pairs than he asked for."""
NEVER = "Thu, 01 Jan 1970 00:00:00 GMT"
"""In place of when a clip was made, which tells the age of the policy."""
PATIENCE = 10.0
"""Seconds for a label to reach the disk; after them the page tries again, and finds it kept or not."""
FORGOTTEN = 10_000
"""Undos of nothing that are remembered, so that a late second try undoes nothing either."""


class Page:
    """What the routes share."""

    def __init__(self, run: Path, board: Board) -> None:
        self.run, self.board = Path(run), board
        config = RunFolder.open(self.run).config
        self.wanted, self.question = config.labels, config.question
        self.feed = Feed(self.board.refresh)
        self.write = Writer(board.store.answer, board.answered)
        self.pairs = Pairs(self.run)
        self.nothing: dict[str, None] = {}
        self.counting = Lock()
        self._locks: WeakValueDictionary[str, Lock] = WeakValueDictionary()

    def lock(self, labeller: str) -> Lock:
        """Held while a labeller's row is written: an undo that follows an answer takes that answer back."""
        return self._locks.setdefault(labeller, Lock())

    async def keep(self, label: Label) -> None:
        """Returns when the label is on the disk, or raises why it will not be."""
        try:
            async with asyncio.timeout(PATIENCE):
                await self.write(label)
        except TimeoutError:
            raise HTTPException(503, "the database is busy: try again", {"retry-after": "1"}) from None
        except ValueError:
            raise HTTPException(409, "this id belongs to another answer: give every answer an id of its own") from None

    async def next(self, labeller: str, n: int, holding: list[int]) -> list[dict[str, Any]]:
        """Up to `n` pairs for this labeller; those whose text cannot be read are withdrawn, and others given."""
        while True:
            pairs, broken = [], []
            for query, media in self.board.next(labeller, n, holding):
                try:
                    pairs.append(self.pairs(query, media))
                except Unreadable:
                    broken.append(query.id)
            if not broken:
                return pairs
            for id in broken:  # nobody's answer: the labeller "" is the run itself
                key = str(uuid5(NAMESPACE_OID, f"broken {id}"))
                await self.keep(Label(id, None, "", at=time.time(), key=key, note=BROKEN))

    async def query(self, id: int) -> None:
        """Returns if this query is in the store."""
        if id not in self.board.rows.queries:
            await self.feed.within(0)
            if id not in self.board.rows.queries:
                raise HTTPException(404, "there is no such query")

    async def undo(self, key: str, labeller: str) -> dict[str, Any] | None:
        """The pair whose answer was taken back under this key, now or before."""
        kept = self.board.rows.undos.get(key)
        if kept is not None and kept.labeller != labeller:
            raise HTTPException(409, "this id belongs to another answer: give every undo an id of its own")
        if key in self.nothing:
            return None
        query = kept.query if kept else self.board.take_back(labeller)
        if query is None:
            self.nothing[key] = None
            if len(self.nothing) > FORGOTTEN:
                del self.nothing[next(iter(self.nothing))]
            return None
        if not kept:
            try:
                await self.keep(Label(query, None, labeller, at=time.time(), key=key, note=UNDONE))
            except BaseException:
                self.board.release(query, labeller)
                raise
        try:
            return self.pairs(self.board.rows.queries[query], self.board.rows.media(query))
        except Unreadable:
            return {"query": query, "left": {}, "right": {}, "prompt": None}


def create_app(
    run: Path,
    store: Store,
    options: PageOptions | None = None,
    tokens: Tokens | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> FastAPI:
    """The page of a run. `tokens`: who may come in; None lets everybody in who reaches the server."""
    options = options or PageOptions()
    page = Page(run, Board(store, Leases(clock), options.overlap, options.repeats))
    page.board.refresh()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        page.write.start()
        try:
            yield
        finally:
            await asyncio.to_thread(page.write.stop)

    app = FastAPI(title="prefrl", lifespan=lifespan, docs_url=None, redoc_url=None, exception_handlers=HANDLERS)
    app.state.board = page.board
    app.add_middleware(SameRun, run=identity(page.run))
    app.add_middleware(Guard, allowed=allows(options.host, options.allow_hosts), tokens=tokens)
    _labelling(app, page)
    _looking(app, page, tokens)
    _files(app, page)
    return app


def _who(request: Request, given: str | None) -> str:
    """The labeller whom the token names, or else the request."""
    fixed: str | None = request.scope.get(LABELLER)
    if fixed is not None and given not in (None, fixed):
        raise HTTPException(403, "your invitation is for another name")
    if fixed is None and given is None:
        raise HTTPException(422, "labeller: say who you are")
    return fixed or given or ""


def _labelling(app: FastAPI, page: Page) -> None:
    name = Annotated[models.Name | None, Query()]

    @app.get("/api/next", response_model=models.Next, responses=troubles(401, 403, 422, 503))
    async def next(
        request: Request,
        labeller: name = None,
        n: Annotated[int, Query(ge=1, le=10)] = 3,
        holding: Annotated[str, Query(pattern=models.HOLDING)] = "",
    ) -> Response:
        who, has = _who(request, labeller), [int(id) for id in holding.split(",") if id]
        if progress.done(page.board) >= page.wanted:
            await page.feed.within(FRESH)
        if progress.done(page.board) >= page.wanted:
            pairs = []
        else:
            pairs = await page.next(who, n, has)
            if len(pairs) < n:
                await page.feed.within(SOON)
                pairs = await page.next(who, n, has)
            page.feed.hint(FRESH)
        return JSONResponse({"pairs": pairs, **progress.state(page.run, page.board, who, page.wanted)})

    @app.post("/api/answer", response_model=models.Kept, responses=troubles(401, 403, 404, 409, 413, 422, 503, 507))
    async def answer(request: Request, said: Answer) -> Response:
        who = _who(request, said.labeller)
        await page.query(said.query)
        note = BROKEN if said.broken else ""
        preference, key = said.preference, said.id.lower()
        label = Label(said.query, preference, who, said.seconds, time.time(), key, note=note)
        async with page.lock(who):
            await page.keep(label)
        return JSONResponse({"id": said.id, "query": said.query})

    @app.post("/api/undo", response_model=models.Undone, responses=troubles(401, 403, 409, 413, 422, 503, 507))
    async def undo(request: Request, said: Undo) -> Response:
        who = _who(request, said.labeller)
        async with page.lock(who):
            return JSONResponse({"undone": await page.undo(said.id.lower(), who)})


def _looking(app: FastAPI, page: Page, tokens: Tokens | None) -> None:
    name = Annotated[models.Name | None, Query()]

    @app.get("/api/progress", response_model=models.Progress, responses=troubles(401, 403, 422, 503))
    async def how_far(request: Request, labeller: name = None) -> Response:
        who = _who(request, labeller)
        await page.feed.within(FRESH)
        return JSONResponse(await asyncio.to_thread(progress.progress, page.run, page.board, who, page.wanted))

    @app.get("/api/instructions", responses=troubles(401, 403))
    async def instructions(request: Request) -> Response:
        return JSONResponse(progress.instructions(page.run, page.question) | {"labeller": request.scope.get(LABELLER)})

    @app.get("/api/admin", responses=troubles(401, 403, 503))
    async def admin(request: Request) -> Response:
        if tokens is not None and request.scope.get(LABELLER) != ADMIN:
            raise HTTPException(403, f"only the invitation of {ADMIN} may see how everybody labels")
        async with page.counting:
            await page.feed.within(FRESH)
            return JSONResponse(await asyncio.to_thread(figures, page.board, page.wanted))


def _files(app: FastAPI, page: Page) -> None:
    @app.get("/clips/{name}", response_class=Response)
    async def clip(name: str) -> Response:
        path = page.pairs.folder / name
        if not CLIP.fullmatch(name) or path.is_symlink() or not path.is_file():
            raise HTTPException(404, "there is no such clip")
        keep = {"cache-control": "private, max-age=31536000, immutable", "etag": f'"{name}"', "last-modified": NEVER}
        return FileResponse(path, media_type="video/webm", headers=keep)

    @app.get("/", include_in_schema=False)
    async def index() -> Response:
        return _static("index.html")

    @app.get("/admin", include_in_schema=False)
    async def admin() -> Response:
        return _static("admin.html")

    @app.get("/static/{name}", include_in_schema=False)
    async def static(name: str) -> Response:
        return _static(name)


def _static(name: str) -> Response:
    path = STATIC / name
    if not re.fullmatch(r"[A-Za-z0-9_-]+\.[a-z]+", name) or path.suffix not in KINDS or not path.is_file():
        raise HTTPException(404, "there is no such file")
    return FileResponse(path, media_type=KINDS[path.suffix], headers={"cache-control": "no-cache"})


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"][1:]) or "body"
    line = " ".join(f"{where}: {first['msg']}".split())[:200]
    return JSONResponse({"detail": line.encode(errors="replace").decode()}, 422)


async def _failed(request: Request, error: Exception) -> Response:
    """Trouble of the database or the disk, which the page outlives: it says so, and tries again."""
    if is_full(error):
        return JSONResponse({"detail": "the disk is full: make room; nothing is lost but what was not kept yet"}, 507)
    return JSONResponse(
        {"detail": "the run's database or folder cannot be reached: try again"}, 503, {"retry-after": "1"}
    )


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    status = 422 if error.status_code == 400 else error.status_code  # what FastAPI says of a body that is no JSON
    return JSONResponse({"detail": str(error.detail)}, status, error.headers)


HANDLERS: dict[int | type[Exception], Any] = {
    RequestValidationError: _refused,
    SQLAlchemyError: _failed,
    OSError: _failed,
    HTTPException: _http,
}
