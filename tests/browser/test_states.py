"""What the page shows when it is not simply the next pair."""

from collections.abc import Callable
from typing import Any

import pytest

from prefrl import live
from prefrl.runs import RunFolder
from prefrl.web import tokens
from tests.browser.labelling import Site, eventually, press, shown

Visit = Callable[..., Any]
HOSTILE = "</script><img src=x onerror='window.hacked = 1'><b>bold</b>"


def test_waiting_for_clips_fills_by_itself(site: Site, visit: Visit) -> None:
    site.start()
    page = visit()
    page.get_by_role("heading", name="Waiting for clips").wait_for()
    asked = site.ask_clips(2)
    assert shown(page) in asked
    assert not page.get_by_role("heading", name="Waiting for clips").is_visible()


def test_the_last_answer_is_thanked_for_and_can_be_undone(site: Site, visit: Visit) -> None:
    site.want(2)
    site.ask_clips(4)
    site.start()
    page = visit()
    first = press(page, "ArrowLeft")
    last = press(page, "ArrowLeft")
    eventually(page, lambda: site.rows() == [(first, 1, ""), (last, 1, "")])
    page.get_by_role("heading", name="All answers are in, thank you").wait_for()
    page.get_by_text("2 of 2 answers").wait_for()
    page.get_by_role("button", name="Undo the last answer").click()
    assert shown(page, last)


def test_a_pause_of_the_run_is_said(site: Site, visit: Visit) -> None:
    site.ask_clips(2)
    with RunFolder(site.run).locked():
        live.write(site.run, "policy", paused="the disk is full")
        site.start()
        page = visit()
        page.get_by_text("Paused: the disk is full").wait_for()
        live.write(site.run, "policy", paused=None)
        shown(page)
        page.get_by_text("Paused: the disk is full").wait_for(state="hidden")


@pytest.mark.parametrize("damaged", [b"no clip at all", None], ids=["not a clip", "cut off on the disk"])
def test_a_corrupt_clip_is_reported_and_the_next_pair_comes(site: Site, visit: Visit, damaged: bytes | None) -> None:
    good, other, bad = (site.segment(damaged or site.clip(i)) for i, damaged in enumerate((None, None, damaged)))
    corrupt, sound = site.ask(good, bad), site.ask(good, other)
    if damaged is None:
        site.file(bad).write_bytes(site.file(bad).read_bytes()[:500])
    site.start()
    page = visit()
    assert press(page, "ArrowLeft") == sound
    eventually(page, lambda: sorted(site.rows()) == [(corrupt, None, "broken"), (sound, 1, "")])
    page.keyboard.press("u")  # the report is the page's, not the labeller's
    assert shown(page) == sound


def test_a_missing_clip_is_reported_and_the_next_pair_comes(site: Site, visit: Visit) -> None:
    good, other, gone = (site.segment(site.clip(i)) for i in range(3))
    missing, sound = site.ask(gone, good), site.ask(good, other)
    site.file(gone).unlink()
    site.start()
    page = visit()
    assert shown(page) == sound
    eventually(page, lambda: site.rows() == [(missing, None, "broken")])


def test_a_pair_that_comes_late_does_not_replace_the_one_on_the_screen(site: Site, visit: Visit) -> None:
    slow, first = site.segment(site.clip(7)), site.segment(site.clip(8))
    late, early = site.ask(slow, first), site.ask(first, site.segment(site.clip(9)))
    site.start()
    page = visit(labeller=None)
    held: list[Any] = []
    page.route(f"**/{site.file(slow).name}", lambda route: held.append(route))
    page.wait_for_selector("#labeller").press("Enter")  # the form comes when the server has said what it asks
    assert shown(page) == early
    held[0].continue_()
    page.wait_for_function(
        "() => [...document.querySelectorAll('.screen video')].every(video => video.readyState == 4)"
    )
    assert shown(page) == early
    press(page, "ArrowLeft")
    assert shown(page) == late


def test_a_clip_that_stops_playing_is_loaded_again_before_it_is_reported(site: Site, visit: Visit) -> None:
    site.ask_clips(2)
    site.start()
    page = visit()
    query = shown(page)
    crash = """() => document.querySelector(".screen video:not([hidden])").dispatchEvent(new Event("error"))"""
    page.evaluate(crash)
    other = shown(page)
    assert other != query
    press(page, "ArrowLeft")
    assert shown(page) == query
    page.evaluate(crash)
    eventually(page, lambda: site.rows() == [(other, 1, ""), (query, None, "broken")])


def test_an_invitation_fixes_the_name(site: Site, visit: Visit) -> None:
    site.ask_clips(2)
    link = tokens.invite(site.run, "carla")
    site.start()
    page = visit(labeller=None)
    page.get_by_text("You may not label here").wait_for()
    page.goto(f"{site.url}/?token={link}")
    press(page, "ArrowLeft")
    eventually(page, lambda: [label.labeller for label in site.labels()] == ["carla"])
    assert "token" not in page.url
    assert not page.get_by_role("button", name="change").is_visible()
    tokens.revoke(site.run, "carla")
    press(page, "ArrowLeft")
    page.get_by_text("You may not label here").wait_for()
    page.get_by_text("1 answer waiting to be sent.").wait_for()


def test_motion_starts_by_hand_where_it_is_not_welcome(site: Site, visit: Visit) -> None:
    site.ask_clips(4, frames=60)
    site.start()
    page = visit(reduced_motion="reduce")
    shown(page)
    assert page.evaluate(PAUSED) == [True, True]
    page.get_by_role("button", name="Play both").click()
    page.wait_for_function(f"() => ({PAUSED}).every(paused => !paused)")
    press(page, "ArrowLeft")
    shown(page)
    page.wait_for_function(f"() => ({PAUSED}).every(paused => !paused)")  # by hand, once


PAUSED = '[...document.querySelectorAll(".screen video:not([hidden])")].map(video => video.paused)'


def test_hidden_time_is_not_counted(site: Site, visit: Visit) -> None:
    site.ask_clips(2)
    site.start()
    page = visit()
    shown(page)
    page.evaluate(HIDE, True)
    page.wait_for_function("() => performance.now() - window.since > 1500")
    page.evaluate(HIDE, False)
    page.keyboard.press("ArrowLeft")
    eventually(page, lambda: len(site.rows()) == 1)
    assert 0.15 < site.labels()[0].seconds < 1.2


HIDE = """
hidden => {
  Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
  document.dispatchEvent(new Event("visibilitychange"));
}
"""


def test_leases_are_kept_while_somebody_looks(site: Site, visit: Visit) -> None:
    site.ask_clips(8)
    site.start()
    page = visit(clock=True)
    shown(page)
    page.wait_for_function(
        "() => [...document.querySelectorAll('.screen video')].filter(v => v.readyState == 4).length == 8"
    )
    with page.expect_request(lambda request: "holding=" in request.url) as beat:
        page.clock.fast_forward("00:21")
    assert beat.value.url.count("%2C") == 3


def test_what_others_wrote_stays_text(site: Site, visit: Visit) -> None:
    site.instruct(question=HOSTILE, look_for=[HOSTILE], good={"text": HOSTILE, "clip": None}, bad=None)
    site.ask_texts(HOSTILE, HOSTILE, HOSTILE)
    site.start()
    page = visit(labeller=HOSTILE[:64])
    query = shown(page)
    assert page.get_by_role("heading", level=1).inner_text() == HOSTILE
    assert page.locator("#left .text").inner_text() == HOSTILE
    page.route("**/api/answer", lambda route: route.fulfill(status=422, json={"detail": HOSTILE}), times=1)
    page.keyboard.press("ArrowLeft")
    page.get_by_text("An answer was refused").wait_for()
    page.unroute("**/api/answer")
    page.reload()
    assert press(page, "ArrowLeft") == query
    eventually(page, lambda: [label.labeller for label in site.labels()] == [HOSTILE[:64]])
    page.goto(f"{site.url}/admin")
    page.get_by_role("rowheader", name=HOSTILE[:64]).wait_for()
    assert page.evaluate("[window.hacked, document.querySelectorAll('img, b').length]") == [None, 0]


def test_the_instructions_are_open_at_first_and_stay_closed(site: Site, visit: Visit) -> None:
    site.ask_clips(2)
    site.instruct(question="Which one runs?", look_for=["Speed"], good={"text": "It runs.", "clip": None}, bad=None)
    site.start()
    page = visit()
    page.get_by_role("listitem").get_by_text("Speed").wait_for()
    page.get_by_text("What to look for").click()
    page.get_by_role("listitem").get_by_text("Speed").wait_for(state="hidden")
    page.reload()
    shown(page)
    assert not page.get_by_role("listitem").get_by_text("Speed").is_visible()


def test_progress_tells_what_the_reward_learned(site: Site, visit: Visit) -> None:
    metrics = {"reward/version": 3.0, "labels/learned": 120}
    live.write(site.run, "learner", right=0.83, metrics=metrics)
    site.ask_clips(2)
    site.start()
    page = visit()
    page.get_by_text("The reward learned from 120 answers").wait_for()
    page.get_by_text("it predicted 83 % of the new ones").wait_for()
    press(page, "ArrowLeft")
    page.get_by_text("1 of 700 answers").wait_for()
    assert page.get_by_role("progressbar").get_attribute("value") == "1"


def test_the_admin_page_shows_the_figures(site: Site, visit: Visit) -> None:
    site.ask_clips(6)
    site.start()
    page = visit()
    for key in ("ArrowLeft", "ArrowLeft", "ArrowUp", "ArrowDown"):
        press(page, key)
    eventually(page, lambda: len(site.rows()) == 4)
    page.goto(f"{site.url}/admin")
    row = page.get_by_role("row").filter(has=page.get_by_role("rowheader", name="anna"))
    row.wait_for()
    cells = row.get_by_role("cell").all_inner_texts()
    assert cells[:5] == ["3", "1", "1", "0", "0"]
    assert cells[6:] == ["100 %", "1.4", "–"]
