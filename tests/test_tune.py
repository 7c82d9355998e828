"""A search finds what is best, goes on where it was cut off, and leaves files that others read."""

import csv
import json
import logging
import math
import sys
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

import pytest

from prefrl.cli import parser
from prefrl.reproduce.claim import Run
from prefrl.reproduce.engine import Outcome
from prefrl.reproduce.local import Local
from prefrl.runs import RunConfig, RunFolder, read_settings
from prefrl.tune import tune
from tests.tiny_runs import tiny

optuna = pytest.importorskip("optuna")

SEARCH = ("learning_rate=1e-5..1e-1:log", "gamma=0.9,0.99,0.999", "members=1..5")


def true_return(config: RunConfig) -> float | None:
    """Best, 100, at a rate of 1e-3, a gamma of 0.99 and 3 members; another seed adds a little."""
    rate, gamma = config.hyper["learning_rate"], config.hyper["gamma"]
    return 100 - 5 * math.log10(rate / 1e-3) ** 2 - 20 * (gamma != 0.99) - abs(config.members - 3) + config.seed / 100


@dataclass
class Fake:
    """An engine whose runs are over at once; stops for good after `cut` of them, as a killed process does."""

    value: Callable[[RunConfig], float | None] = true_return
    cut: float = math.inf
    made: list[str] = field(default_factory=list)

    def __call__(self, runs: Sequence[Run], folder: Path) -> Generator[Outcome]:
        for run in reversed(runs):  # as they end, not as they were given
            if len(self.made) >= self.cut:
                raise KeyboardInterrupt
            self.made.append(run.name)
            made = RunFolder.create(folder / run.name, run.config)
            made.write("summary.json", json.dumps({"train_return_mean": self.value(run.config)}))
            yield Outcome(run, "")


def trials(out: Path) -> list[dict[str, str]]:
    with (out / "trials.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def uncut(tmp_path_factory):
    """The folder of a search of 10 trials that nothing interrupted."""
    out = tmp_path_factory.mktemp("uncut") / "search"
    tune(tiny(), SEARCH, out, Fake(), trials=10, seeds=2, batch=4)
    return out


def test_what_is_best_is_found(tmp_path):
    best = tune(tiny(), SEARCH, tmp_path, Fake(), trials=40)
    values = [float(row["value"]) for row in trials(tmp_path)]
    assert best.value == max(values) > 97
    assert 3e-4 < best.parameters["learning_rate"] < 3e-3
    assert best.parameters["gamma"] == 0.99
    assert fmean(values[20:]) > 10 + fmean(values[:10])  # the first ten are drawn at random


def test_a_trial_is_worth_the_mean_of_its_seeds(tmp_path):
    seen = Fake(lambda config: float(config.seed))
    best = tune(tiny(seed=5), SEARCH, tmp_path, seen, trials=1, seeds=3)
    assert best.value == 6.0
    assert sorted(seen.made) == [f"Dot-trial_0-{seed}" for seed in (5, 6, 7)]


@pytest.mark.parametrize("cut", [1, 8, 11])
def test_a_search_that_was_cut_off_ends_as_one_that_was_not(uncut, tmp_path, cut):
    with pytest.raises(KeyboardInterrupt):
        tune(tiny(), SEARCH, tmp_path, first := Fake(cut=cut), trials=10, seeds=2, batch=4)
    tune(tiny(), SEARCH, tmp_path, second := Fake(), trials=10, seeds=2, batch=3)  # on another machine
    assert trials(tmp_path) == trials(uncut)
    assert len(first.made) == cut
    assert len(second.made) == 20 - cut  # nothing is made twice


@pytest.mark.parametrize("at", [2, 8])
def test_a_search_that_was_cut_off_while_it_proposed_ends_as_one_that_was_not(uncut, tmp_path, monkeypatch, at):
    add, proposed = optuna.Study.add_trial, []

    def stopping(study, trial):
        if study.study_name == "tune":
            if len(proposed) == at:
                raise KeyboardInterrupt
            proposed.append(trial)
        add(study, trial)

    monkeypatch.setattr(optuna.Study, "add_trial", stopping)
    with pytest.raises(KeyboardInterrupt):
        tune(tiny(), SEARCH, tmp_path, Fake(), trials=10, seeds=2, batch=4)
    monkeypatch.undo()
    tune(tiny(), SEARCH, tmp_path, Fake(), trials=10, seeds=2, batch=4)
    assert trials(tmp_path) == trials(uncut)


def test_more_trials_may_be_asked_for_later(tmp_path):
    tune(tiny(), SEARCH, tmp_path, Fake(), trials=2)
    tune(tiny(), SEARCH, tmp_path, later := Fake(), trials=3)
    assert later.made == ["Dot-trial_2-0"]
    tune(tiny(), SEARCH, tmp_path, never := Fake(), trials=3)
    assert never.made == []
    assert len(trials(tmp_path)) == 3


@pytest.mark.parametrize(
    ("search", "changes", "seeds", "trouble"),
    [
        (("members=1..4",), {}, 2, "other parameters or ranges"),
        (SEARCH[:2], {}, 2, "other parameters or ranges"),
        (SEARCH, {"labels": 25}, 2, "labels 24, not 25"),
        (SEARCH, {"seed": 1}, 2, "seed 0, not 1"),
        (SEARCH, {}, 1, "seeds 2, not 1"),
    ],
)
def test_another_search_is_refused_in_the_same_folder(uncut, search, changes, seeds, trouble):
    with pytest.raises(ValueError, match=f"holds a search of {trouble}: choose another --out"):
        tune(tiny(**changes), search, uncut, Fake(), trials=20, seeds=seeds)


def test_a_folder_of_something_else_is_refused(tmp_path):
    RunFolder.create(tmp_path / "run", tiny())
    with pytest.raises(ValueError, match="run exists and holds no search"):
        tune(tiny(), SEARCH, tmp_path / "run", Fake())


def test_a_study_that_is_none_is_refused_in_one_line(tmp_path):
    (tmp_path / "study.db").write_text("no database at all, but long enough to be taken for the header of one" * 20)
    with pytest.raises(ValueError, match=r"study\.db cannot be read"):
        tune(tiny(), SEARCH, tmp_path, Fake())


def test_one_process_at_a_time_works_on_a_search(tmp_path):
    with RunFolder(tmp_path).locked(), pytest.raises(ValueError, match="another process is working on"):
        tune(tiny(), SEARCH, tmp_path, Fake())


def test_a_trial_that_fails_is_told_and_stops_no_other(tmp_path):
    def failing(runs: Sequence[Run], folder: Path) -> Generator[Outcome]:
        for run, _ in Fake()(runs, folder):
            yield Outcome(run, "ValueError: no" if run.name == "Dot-trial_1-0" else "")

    lines: list[str] = []
    best = tune(tiny(), SEARCH, tmp_path, failing, trials=3, report=lines.append)
    assert [row["state"] for row in trials(tmp_path)] == ["complete", "fail", "complete"]
    assert lines[1] == "trial 1 failed: ValueError: no"
    assert best.trial in (0, 2)


def test_a_trial_without_a_finite_return_fails(tmp_path):
    lines: list[str] = []
    with pytest.raises(RuntimeError, match="none of 2 trials ended well"):
        tune(tiny(), SEARCH, tmp_path, Fake(lambda config: math.nan), trials=2, report=lines.append)
    assert lines[0] == "trial 0 failed: its return is not finite"
    assert [row["state"] for row in trials(tmp_path)] == ["fail", "fail"]


def test_train_takes_what_was_best_as_it_is(uncut):
    best = tune(tiny(), SEARCH, uncut, Fake(), trials=10, seeds=2, batch=4)
    rows = [row for row in trials(uncut) if row["number"] == str(best.trial)]
    given = parser().parse_args(["train", "--config", str(best.file)])
    assert RunConfig.of(read_settings(given.config)) == best.config
    assert float(rows[0]["value"]) == best.value == max(float(row["value"]) for row in trials(uncut))
    assert best.config.members == int(rows[0]["members"])
    assert best.config.hyper["learning_rate"] == float(rows[0]["learning_rate"])
    assert best.config.hyper["n_steps"] == tiny().hyper["n_steps"]
    assert str(best).splitlines()[-1] == f"prefrl train --config {best.file} --seed 2"


def test_the_figure_is_a_picture(uncut):
    assert (uncut / "trials.png").read_bytes().startswith(b"\x89PNG")


def test_optunas_own_tools_read_the_study(uncut):
    study = optuna.load_study(study_name="tune", storage=f"sqlite:///{uncut / 'study.db'}")
    assert study.best_value == max(float(row["value"]) for row in trials(uncut))
    study._storage._backend.engine.dispose()


def test_any_folder_will_do(tmp_path):
    out = tmp_path / "a {strange}?name=100%#"
    assert tune(tiny(), SEARCH, out, Fake(), trials=1).file == out / "best.yaml"
    assert sorted(path.name for path in out.iterdir() if path.name[0] != ".") == [
        "best.yaml",
        "runs",
        "study.db",
        "trials.csv",
        "trials.png",
    ]


def test_nothing_is_printed(tmp_path, capfd, caplog):
    caplog.set_level(logging.INFO)
    tune(tiny(), SEARCH, tmp_path, Fake(), trials=2)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["trials", "seeds", "batch"])
def test_none_of_anything_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        tune(tiny(), SEARCH, tmp_path / "new", Fake(), **{name: 0})
    assert not (tmp_path / "new").exists()


def test_runs_do_not_share_a_database(tmp_path):
    with pytest.raises(ValueError, match="leave out --store"):
        tune(tiny(store="postgresql://user@host/database"), SEARCH, tmp_path, Fake())


def test_who_lacks_optuna_is_told_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ValueError, match=r'pip install "prefrl\[tune\]"'):
        tune(tiny(), SEARCH, tmp_path, Fake())


@pytest.mark.slow
def test_real_runs_are_tuned_side_by_side(tmp_path):
    best = tune(tiny(), ["learning_rate=1e-4..1e-2:log", "fit.lr=1e-4..1e-2:log"], tmp_path, Local(2), 2, batch=2)
    runs = [RunFolder(tmp_path / "runs" / f"Dot-trial_{number}-0") for number in (0, 1)]
    returns = [run.summary["train_return_mean"] for run in runs]
    assert best.value == max(returns)
    assert best.config == runs[best.trial].config
    assert [row["state"] for row in trials(tmp_path)] == ["complete", "complete"]
