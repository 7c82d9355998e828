"""Two clips on one clock, the next pair at once, and no memory left behind."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.browser.labelling import FPS, Site, press, shown

Visit = Callable[..., Any]

PLAYED = """
loops => new Promise(resolve => {
  const videos = [...document.querySelectorAll(".screen video:not([hidden])")];
  const frames = [[], []], clocks = [];
  let restarts = 0, last = 0;
  videos.forEach((video, i) => {
    const follow = (now, { expectedDisplayTime, mediaTime }) => {
      frames[i].push([expectedDisplayTime, mediaTime]);
      video.requestVideoFrameCallback(follow);
    };
    video.requestVideoFrameCallback(follow);
  });
  const look = () => {
    const times = videos.map(video => video.currentTime);
    if (times[0] < last) restarts++;
    last = times[0];
    if (restarts > loops) return resolve({ frames, clocks });
    if (videos.every(video => !video.paused && !video.ended)) clocks.push(times[0] - times[1]);
    requestAnimationFrame(look);
  };
  look();
})
"""
"""[When, which frame] was painted, for both clips, and the difference of their clocks at each frame of the screen."""

NEXT = """
() => {
  window.painted = [];
  addEventListener("keydown", event => {
    const before = document.body.dataset.query;
    const look = () => {
      const { query } = document.body.dataset;
      if (query === undefined || query === before) return requestAnimationFrame(look);
      const videos = [...document.querySelectorAll(".screen video:not([hidden])")];
      const frames = videos.map(video => new Promise(resolve =>
        video.requestVideoFrameCallback((now, { expectedDisplayTime, mediaTime }) =>
          resolve(expectedDisplayTime - 1000 * mediaTime))));
      Promise.all(frames).then(times => painted.push(Math.max(...times) - event.timeStamp));
    };
    setTimeout(look);
  }, true);
}
"""
"""Milliseconds from a key until both clips of the next pair began: the time on the screen of the first frame that is
reported (the second or third) less its place in the clip."""


@pytest.mark.parametrize("frames", [(15, 15), (15, 10)], ids=["equally long", "one shorter"])
def test_two_clips_start_and_loop_within_a_frame(site: Site, visit: Visit, frames: tuple[int, int]) -> None:
    site.ask(*(site.segment(site.clip(i, n)) for i, n in enumerate(frames)))
    site.start()
    page = visit()
    shown(page)
    found = page.evaluate(PLAYED, 8)
    left, right = (np.array(painted).T for painted in found["frames"])
    moments = np.arange(max(left[0, 0], right[0, 0]), min(left[0, -1], right[0, -1]), 1000 / 60)
    end = min(left[1].max(), right[1].max())  # then the shorter one rests on its last frame
    drift = np.abs(np.minimum(on_screen(left, moments), end) - np.minimum(on_screen(right, moments), end))
    assert np.quantile(np.abs(found["clocks"]), 0.99) < 1 / FPS
    assert np.quantile(drift, 0.95) < 1.5 / FPS  # whole frames; where the screen skips one, both clips may not skip it


def on_screen(painted: Any, moments: Any) -> Any:
    """The time in the clip of the frame that is seen at each moment."""
    when, which = painted
    return which[np.searchsorted(when, moments, side="right") - 1]


@pytest.mark.parametrize("latency", [0, 80])
def test_the_next_pair_is_there_within_a_tenth_of_a_second(site: Site, visit: Visit, latency: int) -> None:
    rounds, n = 3, 20
    site.ask_clips(rounds * n + 1)
    site.start()
    page = visit()
    shown(page)
    cdp = page.context.new_cdp_session(page)
    cdp.send("Network.enable")
    limits = {"offline": False, "latency": latency, "downloadThroughput": -1, "uploadThroughput": -1}
    cdp.send("Network.emulateNetworkConditions", limits)
    page.evaluate(NEXT)
    worst = []
    for _ in range(rounds):  # a busy machine only makes it longer: the best round is what the page takes
        taken = [press(page, "ArrowLeft") and page.wait_for_function("() => painted.pop()") for _ in range(n)]
        worst.append(np.quantile([handle.json_value() for handle in taken], 0.95))
        if worst[-1] <= 100:
            break
    assert min(worst) <= 100


@pytest.mark.parametrize("n", [40, pytest.param(500, marks=pytest.mark.slow)])
def test_labels_leave_no_memory_behind(site: Site, visit: Visit, n: int) -> None:
    site.ask_clips(n + 10)
    site.start()
    page = visit()
    cdp = page.context.new_cdp_session(page)
    cdp.send("Performance.enable")
    for _ in range(20):
        press(page, "ArrowLeft")
    before = held(page, cdp)
    for _ in range(n - 20):
        press(page, "ArrowLeft")
    after = held(page, cdp)
    assert len(site.rows()) == n
    assert after["clips"] <= 20  # of what is shown, ahead, or shown at once by an undo
    assert after["Nodes"] < before["Nodes"] + 1000  # a video has 150, and there may be one pair more than before
    assert after["JSEventListeners"] < before["JSEventListeners"] + 50
    assert after["JSHeapUsedSize"] < before["JSHeapUsedSize"] + 300_000


def held(page: Any, cdp: Any) -> dict[str, float]:
    """What the page keeps once all answers are sent, all pairs there and all garbage collected."""
    page.wait_for_function("() => urls.size >= 14 && !Object.keys(localStorage).some(key => key.includes('outbox'))")
    cdp.send("HeapProfiler.collectGarbage")
    cdp.send("HeapProfiler.collectGarbage")
    metrics = {each["name"]: each["value"] for each in cdp.send("Performance.getMetrics")["metrics"]}
    return metrics | {"clips": page.evaluate("urls.size")}
