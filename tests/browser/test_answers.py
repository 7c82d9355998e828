"""Every key and button is an answer in the store, once."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.browser.labelling import Site, eventually, press, shown

Visit = Callable[..., Any]
KEYS = {"ArrowLeft": 1, "ArrowRight": 0, "ArrowUp": 0.5, "=": 0.5, "ArrowDown": None}
BUTTONS = {"Left is better": 1, "Right is better": 0, "Equally good": 0.5, "Cannot tell": None}


def test_each_key_is_its_answer_and_1_is_the_one_shown_left(site: Site, visit: Visit) -> None:
    site.ask_clips(len(KEYS))
    site.start()
    page = visit()
    expected = [(press(page, key), preference, "") for key, preference in KEYS.items()]
    eventually(page, lambda: site.rows() == expected)
    left, right = (page.locator(f"#{side} video") for side in ("left", "right"))
    assert left.count() == right.count()


def test_each_button_is_its_answer(site: Site, visit: Visit) -> None:
    site.ask_clips(len(BUTTONS))
    site.start()
    page = visit()
    expected = []
    for name, preference in BUTTONS.items():
        expected.append((shown(page), preference, ""))
        page.get_by_role("button", name=name).click()
    eventually(page, lambda: site.rows() == expected)


def test_what_is_left_in_the_store_is_shown_left(site: Site, visit: Visit) -> None:
    [query] = site.ask_clips(1)
    asked = site.store.queries()[0]
    site.start()
    page = visit()
    assert shown(page) == query
    colours = [page.evaluate(COLOUR, side) for side in ("left", "right")]
    expected = [site.colour(segment) for segment in (asked.left, asked.right)]
    for seen, made in zip(colours, expected, strict=True):
        assert max(abs(a - b) for a, b in zip(seen, made, strict=True)) < 12  # what the encoder changes


COLOUR = """
side => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d");
  canvas.drawImage(document.querySelector(`#${side} video:not([hidden])`), 0, 0, 1, 1, 0, 0, 1, 1);
  return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
}
"""


def test_seconds_run_from_the_pair_to_the_key(site: Site, visit: Visit) -> None:
    site.ask_clips(2)
    site.start()
    page = visit()
    press(page, "ArrowLeft")
    page.wait_for_function("() => document.body.dataset.query && performance.now() - window.since > 700")
    press(page, "ArrowLeft")
    eventually(page, lambda: len(site.rows()) == 2)
    first, second = (label.seconds for label in site.labels())
    assert 0.15 < first < 5
    assert 0.6 < second < 3


def test_a_held_key_counts_once(site: Site, visit: Visit) -> None:
    site.ask_clips(8)
    site.start()
    page = visit()
    first = shown(page)
    for _ in range(5):  # down without up: from the second on they are repeats
        page.keyboard.down("ArrowLeft")
        second = shown(page)
    page.keyboard.up("ArrowLeft")
    assert second != first
    press(page, "ArrowRight")
    eventually(page, lambda: site.rows() == [(first, 1, ""), (second, 0, "")])


def test_a_key_hit_twice_answers_one_pair(site: Site, visit: Visit) -> None:
    site.ask_clips(8)
    site.start()
    page = visit()
    first = shown(page)
    page.evaluate(
        """() => { for (const key of ["ArrowLeft", "ArrowLeft", "ArrowRight"])
          document.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true })); }"""
    )
    second = press(page, "ArrowUp")
    eventually(page, lambda: site.rows() == [(first, 1, ""), (second, 0.5, "")])


def test_a_held_enter_on_a_button_counts_once(site: Site, visit: Visit) -> None:
    site.ask_clips(8)
    site.start()
    page = visit()
    first = shown(page)
    page.get_by_role("button", name="Equally good").focus()
    for _ in range(4):
        page.keyboard.down("Enter")
        second = shown(page)
    page.keyboard.up("Enter")
    press(page, "ArrowLeft")
    eventually(page, lambda: site.rows() == [(first, 0.5, ""), (second, 1, "")])


def test_space_after_a_click_pauses_and_does_not_answer_again(site: Site, visit: Visit) -> None:
    site.ask_clips(4)
    site.start()
    page = visit()
    first = shown(page)
    page.get_by_role("button", name="Left is better").click()
    shown(page)
    page.keyboard.press(" ")
    page.get_by_role("button", name="Play both").wait_for()
    assert site.rows() == [(first, 1, "")]


def test_keys_do_nothing_while_a_name_is_typed(site: Site, visit: Visit) -> None:
    site.ask_clips(2)
    site.start()
    page = visit(labeller=None)
    box = page.get_by_label("Name")
    assert box.input_value() == "me"
    box.fill("")
    for key in ("u", "r", "1", "=", "ArrowLeft", "?"):
        page.keyboard.press(key)
    assert box.input_value() == "ur1?="
    page.keyboard.press("Enter")
    press(page, "ArrowLeft")
    eventually(page, lambda: [label.labeller for label in site.labels()] == ["ur1?="])


def test_one_enter_is_enough_to_begin_and_the_name_is_remembered(site: Site, visit: Visit) -> None:
    site.ask_clips(12)
    site.start()
    page = visit(labeller=None)
    page.get_by_label("Name").wait_for()
    page.keyboard.press("Enter")
    press(page, "ArrowLeft")
    page.reload()
    press(page, "ArrowLeft")
    eventually(page, lambda: [label.labeller for label in site.labels()] == ["me", "me"])
    page.get_by_role("button", name="change").click()
    page.get_by_label("Name").fill("berta")
    page.keyboard.press("Enter")
    press(page, "ArrowLeft")
    eventually(page, lambda: site.labels()[-1].labeller == "berta")


@pytest.mark.parametrize("reload", [False, True], ids=["at once", "after a reload"])
def test_undo_takes_back_any_number(site: Site, visit: Visit, reload: bool) -> None:
    site.ask_clips(8)
    site.start()
    page = visit()
    answered = [press(page, "ArrowLeft") for _ in range(5)]
    shown(page)
    if reload:
        eventually(page, lambda: len(site.rows()) == 5)
        page.reload()
        shown(page)
    back = []
    for query in reversed(answered):
        page.keyboard.press("u")
        back.append(shown(page, query))
    assert back == answered[::-1]
    eventually(page, lambda: site.rows()[5:] == [(query, None, "undone") for query in back])
    again = [press(page, "ArrowRight") for _ in range(5)]
    assert again == answered
    eventually(page, lambda: site.rows()[10:] == [(query, 0, "") for query in answered])
    assert site.store.counts().labelled == 5


def test_undo_with_nothing_to_undo_says_so(site: Site, visit: Visit) -> None:
    site.ask_clips(2)
    site.start()
    page = visit()
    shown(page)
    page.keyboard.press("u")
    page.get_by_text("There is no answer of yours to undo.").wait_for()
    assert site.rows() == []


def test_speed_replay_and_pause_move_both_clips(site: Site, visit: Visit) -> None:
    site.ask_clips(2, frames=60)
    site.start()
    page = visit()
    shown(page)
    for key, rate in [("2", 0.5), ("3", 2), ("1", 1)]:
        page.keyboard.press(key)
        assert page.evaluate(f"[{BOTH}].map(video => video.playbackRate)") == [rate, rate]
    page.wait_for_function(f"() => [{BOTH}].every(video => video.currentTime > 0.3)")
    page.keyboard.press("r")
    page.wait_for_function(f"() => [{BOTH}].every(video => video.currentTime < 0.3 && !video.paused)")
    page.keyboard.press(" ")
    page.wait_for_function(f"() => [{BOTH}].every(video => video.paused)")
    left, right = page.evaluate(f"[{BOTH}].map(video => video.currentTime)")
    assert left == pytest.approx(right, abs=1e-3)
    page.keyboard.press(" ")
    page.wait_for_function(f"() => [{BOTH}].every(video => !video.paused)")
    press(page, "ArrowLeft")
    shown(page)
    assert page.evaluate(f"[{BOTH}].map(video => video.playbackRate)") == [1, 1]


BOTH = '...document.querySelectorAll(".screen video:not([hidden])")'


def test_help_opens_and_closes_and_takes_the_keys(site: Site, visit: Visit) -> None:
    site.ask_clips(2)
    site.start()
    page = visit()
    shown(page)
    page.keyboard.press("?")
    page.get_by_role("dialog", name="Keys").wait_for()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Escape")
    page.get_by_role("dialog").wait_for(state="hidden")
    page.get_by_role("button", name="Help").click()
    page.get_by_role("button", name="Close").click()
    query = press(page, "ArrowDown")
    eventually(page, lambda: site.rows() == [(query, None, "")])


def test_texts_are_labelled_on_the_same_page(site: Site, visit: Visit) -> None:
    query = site.ask_texts("Summarise: the cat sat.", "A cat sat.", "A dog ran.")
    site.start()
    page = visit()
    assert shown(page) == query
    assert page.get_by_label("Prompt").inner_text() == "Summarise: the cat sat."
    assert [page.locator(f"#{side} .text").inner_text() for side in ("left", "right")] == ["A cat sat.", "A dog ran."]
    assert not page.get_by_role("button", name="Replay").is_visible()
    page.keyboard.press("ArrowRight")
    eventually(page, lambda: site.rows() == [(query, 0, "")])


def test_two_labellers_never_get_the_same_pair(site: Site, visit: Visit) -> None:
    site.ask_clips(24)  # each has some ahead
    site.start()
    anna, berta = visit("anna"), visit("berta")
    for _ in range(6):
        assert press(anna, "ArrowLeft") != press(berta, "ArrowLeft")
    eventually(anna, lambda: len(site.rows()) == 12)
    assert len({label.query for label in site.labels()}) == 12
