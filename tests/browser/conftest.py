"""A run folder, the server of its page, and Debian's Chromium to look at it."""

import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from prefrl.runs import RunConfig, RunFolder
from prefrl.store import Store
from tests.browser.labelling import WATCHED, Site

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
QUIET = [
    "--no-sandbox",  # as root in a container there is none
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Started by the test, once it has asked what it wants to ask."""
    media = pytest.importorskip("prefrl.media", reason='needs pip install "prefrl[web]"', exc_type=ValueError)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    run = RunFolder.create(tmp_path / "run", RunConfig(env="prefrl/HalfCheetah-v0", labels=700)).path
    with Store(run) as store:
        site = Site(run, store, port, media)
        yield site
        site.kill()


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs pip install playwright")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium: Any, site: Site) -> Iterator[Callable[..., Any]]:
    """`visit("anna")` is her browser's page. At the end nothing has left the site, and no page had an error."""
    contexts, outside, wrong = [], [], []

    def visit(labeller: str | None = "anna", init: str = "", clock: bool = False, **options: Any) -> Any:
        context = chromium.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})
        contexts.append(context)
        context.add_init_script(WATCHED + init)
        context.on("request", lambda request: outside.append(request.url) if elsewhere(request.url) else None)
        context.on("weberror", lambda error: wrong.append(str(error.error)))
        context.on("console", lambda line: wrong.append(line.text) if "Content Security" in line.text else None)
        if clock:
            context.clock.install()
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.goto(site.url + (f"/?labeller={quote(labeller)}" if labeller else ""))
        return page

    def elsewhere(url: str) -> bool:
        return not url.startswith((site.url + "/", f"blob:{site.url}/"))

    yield visit
    for context in contexts:
        context.close()
    assert not outside
    assert not wrong
