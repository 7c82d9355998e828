"""What a report shows of runs, and what it refuses."""

import json
import re
from base64 import b64decode
from dataclasses import replace

import numpy as np
import pytest

from prefrl.figures import PANELS, running_mean
from prefrl.report import learning_curve, report
from prefrl.runs import RunConfig, RunFolder

LEARNED = RunConfig(env="prefrl/Dot-v0", labels=40, total_timesteps=4000)
TRUE = replace(LEARNED, reward="true")
PNG = b"\x89PNG\r\n\x1a\n"


def turn(step):
    """A turn's log line with all that a report can show."""
    return {
        "reward/prequential_accuracy": 0.75,
        "reward/prequential_tie_distance": 0.1,
        "reward/train_loss": 0.3,
        "reward/validation_loss": 0.4,
        "reward/loss_ratio": 1.3,
        "reward/right_at_0.5_to_0.6": 0.5,
        "reward/right_at_0.9_to_1.0": 0.9,
        "reward/calibration_error": 0.04,
        "reward/l2": 1e-4,
        "reward/std": 1.0,
        "reward/q05": -1.5,
        "reward/q50": 0.0,
        "reward/q95": 1.5,
        "reward/spread": 0.2,
        "reward/pearson": 0.6,
        "labels/learned": step / 100,
        "labels/skipped": 0.0,
    } | policy(step)


def policy(step):
    return {"rollout/ep_rew_mean": step / 10, "time/fps": 800.0, "time/time_elapsed": 5.0, "time/total_timesteps": step}


def run(path, config=LEARNED, lines=None, finished=True):
    folder = RunFolder.create(path, config)
    if lines is None:
        lines = [(policy if config.reward == "true" else turn)(step) for step in (1000, 2000, 4000)]
    folder.write("metrics.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    if finished:
        folder.write("summary.json", json.dumps(summary(config)))
    return path


def summary(config):
    return {
        "env": config.env,
        "labels": 40,
        "steps": 4000,
        "train_return_mean": 1234.5,
        "eval_return_mean": -5.678,
        "eval_return_std": 0.25,
        "pearson": None if config.reward == "true" else 0.61,
        "wall_seconds": 90.0,
        "reward_seconds": 9.0,
        "steps_per_second": 44.4,
    }


def page(paths, out):
    return report(paths, out).read_text()


def cells(html, row=0):
    return re.findall("<td>(?:<span.*?</span>)?(.*?)</td>", html.split("<tbody>")[1].split("</tr>")[row])


def swatches(html):
    return re.findall("background: (#[0-9A-F]{6})", html.split("<tbody>")[1])


def images(html):
    return [b64decode(data) for data in re.findall('src="data:image/png;base64,([^"]*)"', html)]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The page on one finished run with a learned reward."""
    path = run(tmp_path_factory.mktemp("runs") / "a")
    return page([path], path / "report.html")


def test_the_report_of_a_run_lies_in_its_folder_and_may_be_written_again(tmp_path):
    path = run(tmp_path / "a", TRUE)
    assert report([path]) == report([path]) == path / "report.html"
    assert [*path.glob(".*")] == []  # no draft of the page


def test_every_part_is_there(finished):
    assert re.findall("<h[2-4]>(.*?)</h", finished) == [
        "Learning curves",
        "The reward's health",
        "Dot-v0, ppo, 40 labels (seed 0)",
        *(panel.title for panel in PANELS),
    ]
    assert "for experiments only" in finished
    assert finished.count("Healthy: ") == len(PANELS) + 1
    assert "Nothing logged" not in finished


def test_every_image_is_a_png_within_the_page(finished):
    found = images(finished)
    assert len(found) == finished.count("<img") == len(PANELS) + 1
    assert all(image.startswith(PNG) and len(image) > 5000 for image in found)


def test_nothing_is_fetched(finished):
    assert not re.search(r"https?:|<script|<link|@import|url\(", finished)
    sources = re.findall(r'(?:src|href)="([^"]*)"', finished)
    assert all(source.startswith("data:image/png;base64,") for source in sources)


def test_the_table_holds_what_the_run_came_to(finished):
    assert cells(finished) == [
        "a", "prefrl/Dot-v0", "ppo", "learned", "40", "0",
        "4,000", "1,234", "-5.68 ± 0.25", "0.61", "44.4", "1.5", "10 %",
    ]  # fmt: skip


def test_a_run_that_goes_on_shows_what_it_logged_last(tmp_path):
    lines = [policy(1000) | {"labels/learned": 20.0, "reward/pearson": 0.6}, policy(4000)]
    assert cells(page([run(tmp_path / "a", lines=lines, finished=False)], tmp_path / "a.html")) == [
        "a (not finished)", "prefrl/Dot-v0", "ppo", "learned", "20", "0",
        "4,000", "400", "–", "0.60", "800", "0.1", "–",
    ]  # fmt: skip


def test_a_run_can_be_reported_after_its_first_turn(tmp_path):
    first = {k: v for k, v in turn(500).items() if "prequential" not in k and k[:4] != "roll"}
    html = page([run(tmp_path / "a", lines=[first], finished=False)], tmp_path / "a.html")
    assert "Nothing logged for: Accuracy on new answers; Equal pairs." in html
    assert len(images(html)) == len(PANELS) - 1


def test_the_true_reward_has_no_health(tmp_path):
    html = page([run(tmp_path / "a", TRUE)], tmp_path / "a.html")
    assert "health" not in html
    assert len(images(html)) == 1
    assert cells(html)[4] == cells(html)[9] == cells(html)[12] == "–"


def test_seeds_share_a_colour_and_a_section(tmp_path):
    configs = [replace(config, seed=seed) for config in (LEARNED, TRUE) for seed in (0, 1)]
    paths = [run(tmp_path / str(i), config, [policy(100)]) for i, config in enumerate(configs)]
    html = page(paths, tmp_path / "all.html")
    learned, again, true, true_again = swatches(html)
    assert learned == again != true == true_again
    assert re.findall("<h3>(.*?)</h3>", html) == ["Dot-v0, ppo, 40 labels (seeds 0, 1)"]


def test_groups_are_told_apart_by_the_settings_that_differ(tmp_path):
    configs = [replace(LEARNED, select="uniform"), LEARNED, replace(TRUE, oracle="stochastic"), TRUE]
    paths = [run(tmp_path / str(i), config, [policy(100)]) for i, config in enumerate(configs)]
    html = page(paths, tmp_path / "all.html")
    assert re.search("<title>(.*?)</title>", html)[1].split("; ") == [
        "Dot-v0, ppo, 40 labels, select uniform",
        "Dot-v0, ppo, 40 labels, select disagreement",
        "Dot-v0, ppo, true reward",
    ]


def test_more_groups_than_colours_are_drawn(tmp_path):
    paths = [run(tmp_path / str(i), replace(TRUE, n_envs=i), [policy(100)]) for i in range(1, 10)]
    assert len(set(swatches(page(paths, tmp_path / "all.html")))) == 7


def test_hostile_names_are_only_text(tmp_path):
    names = ["<script>alert('&')</script>", '"><img src=x onerror=alert(1)>', "$\\frac{$ 100 %", "_\n{x}"]
    configs = [replace(LEARNED, env=f"a:{name}", algo=name, select=name) for name in names]
    paths = [
        run(tmp_path / f"<b>${i}", config, [{"reward/l2": 1e-4} | policy(100)]) for i, config in enumerate(configs)
    ]
    html = page(paths, tmp_path / "a.html")
    assert "<script" not in html and "<b>" not in html
    assert html.count("<img") == len(names) + 1


def test_a_learning_curve_is_a_png(tmp_path):
    curve = learning_curve([run(tmp_path / "a", TRUE), run(tmp_path / "b", TRUE)], tmp_path / "new" / "curve.png")
    assert curve == tmp_path / "new" / "curve.png"
    assert curve.read_bytes().startswith(PNG) and len(curve.read_bytes()) > 5000


def test_a_run_without_a_whole_episode_has_an_empty_curve(tmp_path):
    lines = [{"time/total_timesteps": 100}]
    assert learning_curve([run(tmp_path / "a", TRUE, lines)], tmp_path / "curve.png").is_file()


def test_a_half_written_last_line_is_left_out(tmp_path):
    path = run(tmp_path / "a", TRUE, finished=False)
    with (path / "metrics.jsonl").open("a") as file:
        file.write('{"time/total_times')
    assert cells(page([path], tmp_path / "a.html"))[6] == "4,000"


@pytest.mark.parametrize("write", [report, learning_curve])
def test_what_is_no_run_is_refused_in_one_line(tmp_path, write):
    new = RunFolder.create(tmp_path / "new", LEARNED).path
    for paths, why in [([], "at least one"), ([tmp_path / "none"], "is no run"), ([new], "no metrics yet")]:
        with pytest.raises(ValueError, match=why) as error:
            write(paths, tmp_path / "out")
        assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_file_that_is_no_report_is_not_overwritten(tmp_path):
    path, notes = run(tmp_path / "a", TRUE), tmp_path / "notes.html"
    notes.write_text("mine")
    for out in (notes, tmp_path):
        with pytest.raises(ValueError, match="is no report"):
            report([path], out)
    assert notes.read_text() == "mine"


def test_a_running_mean_reaches_back_over_the_last_answers():
    rng = np.random.default_rng(0)
    right, answers = rng.random(30), rng.integers(1, 9, 30)
    for i, mean in enumerate(running_mean(right, answers, 20)):
        first = max((j for j in range(i + 1) if answers[j : i + 1].sum() >= 20), default=0)
        assert mean == pytest.approx(np.average(right[first : i + 1], weights=answers[first : i + 1]))
