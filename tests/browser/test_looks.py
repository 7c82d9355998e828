"""Everybody can use the page: on a phone, with a screen reader, in the dark."""

from collections.abc import Callable, Iterator
from importlib.resources import files
from typing import Any

import pytest

from prefrl import live
from prefrl.runs import RunFolder
from tests.browser.labelling import Site, press, shown

Visit = Callable[..., Any]
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True, "device_scale_factor": 2}

FINDINGS = """
() => axe.run(document, { resultTypes: ["violations"] }).then(({ violations }) => violations
  .filter(({ impact }) => impact === "serious" || impact === "critical")
  .map(({ id, nodes }) => `${id}: ${nodes.map(node => node.html).join(" ")}`))
"""
SMALL = """
() => [...document.querySelectorAll("button, summary, input, a")]
  .filter(node => node.checkVisibility())
  .map(node => [node.id || node.textContent, node.getBoundingClientRect()])
  .filter(([, { width, height }]) => width < 44 || height < 44)
  .map(([name, { width, height }]) => `${name}: ${width} x ${height}`)
"""
TOO_WIDE = "document.documentElement.scrollWidth > document.documentElement.clientWidth"


def clips(site: Site, visit: Callable[[], Any]) -> None:
    site.ask_clips(4)
    shown(visit())


def texts(site: Site, visit: Callable[[], Any]) -> None:
    site.ask_texts("A prompt. " * 20, "A long answer. " * 60, "Short.")
    shown(visit())


def waiting(site: Site, visit: Callable[[], Any]) -> None:
    visit().get_by_role("heading", name="Waiting for clips").wait_for()


def done(site: Site, visit: Callable[[], Any]) -> None:
    site.ask_clips(1)
    page = visit()
    press(page, "ArrowLeft")
    page.get_by_role("heading", name="thank you").wait_for()


def paused(site: Site, visit: Callable[[], Any]) -> None:
    live.write(site.run, "policy", paused="the disk is full")
    site.ask_clips(4)
    page = visit()
    shown(page)
    page.get_by_text("the disk is full").wait_for()


def offline(site: Site, visit: Callable[[], Any]) -> None:
    site.ask_clips(4)
    page = visit()
    page.route("**/api/answer", lambda route: route.fulfill(status=422, json={"detail": "no"}), times=1)
    press(page, "ArrowLeft")
    page.get_by_text("was refused").wait_for()
    page.context.set_offline(True)
    press(page, "ArrowLeft")
    page.get_by_text("1 answer waiting").wait_for()


def help(site: Site, visit: Callable[[], Any]) -> None:
    site.ask_clips(4)
    page = visit()
    shown(page)
    page.keyboard.press("?")
    page.get_by_role("dialog").wait_for()


def still(site: Site, visit: Callable[[], Any]) -> None:
    site.ask_clips(4)
    page = visit()
    shown(page)
    page.keyboard.press(" ")
    page.get_by_role("button", name="Play both").wait_for()


def name(site: Site, visit: Callable[[], Any]) -> None:
    page = visit(labeller=None)
    page.get_by_label("Name").wait_for()


def admin(site: Site, visit: Callable[[], Any]) -> None:
    site.ask_clips(4)
    page = visit()
    press(page, "ArrowLeft")
    press(page, "ArrowRight")
    page.goto(f"{site.url}/admin")
    page.get_by_role("rowheader", name="anna").wait_for()


STATES = [clips, texts, waiting, done, paused, offline, help, still, name, admin]


@pytest.fixture
def instructed(site: Site) -> Iterator[Site]:
    """With all that can be on the page, of a run that goes on."""
    good = site.segment(site.clip(99))
    site.instruct(
        question="Which one runs forward faster?",
        look_for=["How far it gets", "A body that stays upright"],
        good={"text": "It runs on both feet.", "clip": site.file(good).name},
        bad={"text": "It slides on its back.", "clip": None},
    )
    metrics = {"reward/version": 3.0, "labels/learned": 120}
    live.write(site.run, "learner", right=0.83, metrics=metrics)
    with RunFolder(site.run).locked():
        yield site


@pytest.mark.parametrize("state", STATES)
def test_axe_finds_nothing_serious_and_a_phone_is_large_enough(instructed: Site, visit: Visit, state: Any) -> None:
    axe = files(pytest.importorskip("axe_playwright_python", reason="needs pip install axe-playwright-python"))
    instructed.want(1 if state is done else 700)
    instructed.start()
    pages = []
    state(instructed, lambda **options: pages.append(visit(**options)) or pages[-1])
    [page] = pages
    page.evaluate((axe / "axe.min.js").read_text())
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert page.evaluate(FINDINGS) == []
    page.set_viewport_size({"width": 390, "height": 844})
    assert not page.evaluate(TOO_WIDE)
    assert page.evaluate(SMALL) == []


def test_a_finger_answers(site: Site, visit: Visit) -> None:
    site.ask_clips(2)
    site.start()
    page = visit(**PHONE)
    query = shown(page)
    upper, lower = (page.locator(f"#{side} video:visible").bounding_box() for side in ("left", "right"))
    assert upper["y"] + upper["height"] < lower["y"]  # one above the other
    page.get_by_role("button", name="Upper is better").tap()
    shown(page)
    assert site.rows() == [(query, 1, "")]
