"""A labelled run with a page server of its own, and what a test does on its page."""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from hashlib import sha256
from multiprocessing import get_context
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import numpy as np
import yaml

from prefrl import files
from prefrl.runs import RunFolder
from prefrl.store import Store
from prefrl.types import Label, Query, Segment

FPS = 30
SERVERS = get_context("forkserver")
"""A server is there in a moment: what it imports is imported once."""
SERVERS.set_forkserver_preload(["prefrl.web.serve"])
WATCHED = """
window.urls = new Set();
const { createObjectURL, revokeObjectURL } = URL;
URL.createObjectURL = (blob) => { const url = createObjectURL(blob); urls.add(url); return url; };
URL.revokeObjectURL = (url) => { urls.delete(url); revokeObjectURL(url); };
new MutationObserver(() => {
  window.since = Infinity;
  requestAnimationFrame(() => { window.since = performance.now(); });
}).observe(document, { attributes: true, subtree: true, attributeFilter: ["data-query"] });
"""
"""When the pair on the screen was painted, and which clips are held."""
ANSWERABLE = """
query => {
  const { query: now } = document.body.dataset;
  return now !== undefined && (query === null || now == query) && performance.now() - window.since > 200 && now;
}
"""
"""The page takes no answer to a pair that came a moment ago."""


@cache
def clip(media: ModuleType, number: int, frames: int = 15) -> bytes:
    """A square that moves over a ground of its own colour."""
    shades = np.random.default_rng(number).integers(60, 200, 3, dtype=np.uint8)
    pixels = np.full((frames, 96, 96, 3), shades, np.uint8)
    for i, frame in enumerate(pixels):
        x = 4 + i * 70 // frames
        frame[40:60, x : x + 20] = 255 - shades
    return media.encode(pixels, FPS)


@dataclass
class Site:
    """A run and the server of its page."""

    run: Path
    store: Store
    port: int
    media: ModuleType
    """prefrl.media, which needs a package that may be missing."""
    process: ForkServerProcess | None = None
    shown: list[int] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def segment(self, data: bytes, suffix: str = ".webm") -> int:
        """A segment that is shown as `data`."""
        name = files.keep(self.run / "clips", data, suffix)
        unique = int(sha256(name.encode()).hexdigest()[:8], 16)
        arrays = np.full((3, 1), len(self.shown), np.float32), np.full((3, 1), unique, np.float64)
        [kept] = self.store.record([Segment(*arrays, media=name)])
        self.shown.append(kept.id)
        return kept.id

    def file(self, segment: int) -> Path:
        return self.run / "clips" / str(self.store.media([segment])[segment])

    def colour(self, segment: int) -> list[int]:
        """Of the ground of a clip, as it was drawn."""
        return list(self.media.decode(self.file(segment).read_bytes())[0, 2, 2])

    def clip(self, number: int, frames: int = 15) -> bytes:
        return clip(self.media, number, frames)

    def ask(self, left: int, right: int) -> int:
        [query] = self.store.ask([Query(left, right, step=len(self.store.queries()), why="disagreement")])
        return query.id

    def ask_clips(self, n: int, frames: int = 15) -> list[int]:
        """`n` questions about clips, each about two of its own as far as `clip` makes different ones cheaply."""
        size = max(3, int((2 * n) ** 0.5) + 2)
        clips = [self.segment(self.clip(i, frames)) for i in range(size)]
        pairs = [(a, b) for a in clips for b in clips if a < b]
        return [self.ask(*pair) for pair in pairs[:n]]

    def ask_texts(self, prompt: str, left: str, right: str) -> int:
        return self.ask(*(self.segment(files.text(prompt, words), ".json") for words in (left, right)))

    def want(self, labels: int) -> None:
        """The run asks for so many."""
        folder = RunFolder(self.run)
        folder.write("config.yaml", yaml.safe_dump(asdict(replace(folder.config, labels=labels))))

    def instruct(self, **words: Any) -> None:
        (self.run / "instructions.json").write_text(json.dumps(words))

    def start(self) -> None:
        from prefrl.web.options import PageOptions
        from prefrl.web.serve import serve  # optional, as media is

        self.process = SERVERS.Process(target=serve, args=(self.run, PageOptions(port=self.port, open_browser=False)))
        self.process.start()
        deadline = time.monotonic() + 30
        while True:
            try:
                with urlopen(self.url, timeout=5):
                    return
            except (URLError, OSError):
                if not self.process.is_alive() or time.monotonic() > deadline:
                    raise RuntimeError("the page's server did not start") from None
                time.sleep(0.02)

    def kill(self) -> None:
        """As `kill -9`: nothing is tidied up."""
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.process = None

    def rows(self) -> list[tuple[int, float | None, str]]:
        """All labels, the oldest first: (query, preference, note)."""
        return [(label.query, label.preference, label.note) for label in self.store.labels()]

    def labels(self) -> list[Label]:
        return self.store.labels()


def shown(page: Any, query: int | None = None) -> int:
    """The query on the screen, as soon as the page takes an answer to it; `query`: as soon as it is that one."""
    return int(page.wait_for_function(ANSWERABLE, arg=query).json_value())


def press(page: Any, key: str) -> int:
    """Answers what is shown with a key; returns which query that was."""
    query = shown(page)
    page.keyboard.press(key)
    return query


def eventually(page: Any, condition: Callable[[], object], seconds: float = 10) -> None:
    """Waits as Playwright does: what a test does with the page's requests goes on meanwhile."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        page.wait_for_timeout(20)
