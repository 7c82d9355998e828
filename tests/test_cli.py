"""The command line: what each command does on a small task, and what is refused."""

import json
import os
import shutil
import subprocess
import sys
from contextlib import redirect_stdout
from dataclasses import fields
from io import StringIO
from pathlib import Path
from unittest import mock

import gymnasium as gym
import pytest
import torch
import yaml

from prefrl.cli import main, parser
from prefrl.runs import RunConfig, RunFolder
from prefrl.store import Store
from tests.tiny_runs import DOT, TINY, rows

ROOT = Path(__file__).parents[1]
COMMANDS = [
    "train",
    "resume",
    "demo",
    "label",
    "evaluate",
    "fit",
    "report",
    "reproduce",
    "tune",
    "summarize",
    "export",
    "import",
    "check-env",
    "doctor",
]
HYPER = ["--hyper", "n_steps=32", "batch_size=64", "policy_kwargs={net_arch: [8]}"]
SMALL = ["--env", DOT, "--n-envs", "4", "--eval-episodes", "2", "--fit", "fit(passes=1, first_passes=2)", *HYPER]
SHORT = [*SMALL, "--total-timesteps", "300", "--labels", "12", "--turns", "2", "--checkpoint-every", "100"]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Commands run in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run that the command line made, and what was printed."""
    path, file, printed = *(tmp_path_factory.mktemp("runs") / name for name in ("run", "settings.yaml")), StringIO()
    file.write_text(yaml.safe_dump(TINY | {"total_timesteps": 300, "labels": 50, "seed": 7}))
    flags = ["--labels", "12", "--oracle", "mistaken(synthetic, chance=0.2)", *HYPER, "gamma=0.9"]
    with redirect_stdout(printed):
        assert main(["train", "--config", str(file), *flags, "--out", str(path)]) == 0
    return path, printed.getvalue()


@pytest.fixture
def run(trained, here):
    """A copy of it, under `run`."""
    return Path(shutil.copytree(trained[0], here / "run"))


def said(capsys, *command):
    """What a command printed that did what it was asked for."""
    capsys.readouterr()
    assert main([str(word) for word in command]) == 0
    output = capsys.readouterr()
    assert output.err == ""
    return output.out


def refusal(capsys, *command):
    """The one line in which a command was refused, that wrote nothing."""
    before = files(Path.cwd())
    capsys.readouterr()
    code, output = main([str(word) for word in command]), capsys.readouterr()
    assert (code, output.out) == (2, "")
    assert output.err.startswith("prefrl: ") and output.err.endswith("\n") and output.err.count("\n") == 1
    assert files(Path.cwd()) == before
    return output.err


def files(folder):
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


# what is refused


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["trian"], "no command 'trian': did you mean 'train'?"),
        ([], "the following arguments are required: COMMAND; see `prefrl --help`"),
        (["train", "--lables", "7"], "no flag '--lables': did you mean '--labels'?"),
        (["train", "--lables=7"], "no flag '--lables': did you mean '--labels'?"),
        (["train", "--labels"], "argument --labels: expected one argument; see `prefrl train --help`"),
        (["train", "--labels", "many"], "argument --labels: invalid int value: 'many'; see `prefrl train --help`"),
        (["train"], "say which environment to train on: --env"),
        (["evaluate"], "the following arguments are required: RUN; see `prefrl evaluate --help`"),
        (["check-env", "CartPole-v9"], "no environment 'CartPole-v9': did you mean 'CartPole-v"),
    ],
)
def test_a_command_is_refused(words, why, capsys):
    assert why in refusal(capsys, *words)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        (["--env", "tests.tiny_envs:Dott-v0"], "did you mean 'tests.tiny_envs:Dot-v0'?"),
        (["--env", "HalfCheetha-v5"], "did you mean 'HalfCheetah-v5'?"),
        (["--env", "tests.no_such_module:Dot-v0"], "cannot import 'tests.no_such_module'"),
        (["--env", "tests.tiny_envs:VariableLength-v0"], "--allow-variable-horizon"),
        (["--env", "CartPole-v1"], "prefrl_envs.FixedHorizon"),
        (["--env", "tests.tiny_envs:DictObs-v0"], "observations must be a Box, not Dict"),
        (["--env", "tests.tiny_envs:UnboundedActions-v0"], "actions have no bounds"),
        (["--env", "tests.tiny_envs:NaNReward-v0"], "step 8 of the episode with seed 0 paid nan"),
        (["--env", "tests.tiny_envs:InfiniteObs-v0"], "step 8 of the episode with seed 0 observed nan or infinity"),
        (["--env", "tests.tiny_envs:Raises-v0"], "step 8 of the episode with seed 0 raised RuntimeError"),
        (["--algo", "pppo"], "no algorithm 'pppo': did you mean 'ppo'?"),
        (["--oracle", "sythetic"], "no oracle 'sythetic': did you mean 'synthetic'?"),
        (["--oracle", "mistaken(chance=2)"], "give a share from 0 to 1"),
        (["--select", "disagrement"], "no strategy 'disagrement': did you mean 'disagreement'?"),
        (["--schedule", "hyperbolik"], "no schedule 'hyperbolik': did you mean 'hyperbolic'?"),
        (["--net", "mpl"], "no net 'mpl': did you mean 'mlp'?"),
        (["--reward", "treu"], "no reward 'treu': did you mean 'true'?"),
        (["--labels", "0"], "labels must be at least 1, got 0"),
        (["--labels", "-5"], "labels must be at least 1, got -5"),
        (["--labels", "5000"], "5000 labels cannot be asked"),
        (["--segment-length", "21"], "a segment of 21 steps does not fit into an episode of 20"),
        (["--segment-length", "0"], "segment_length must be at least 1, got 0"),
        (["--total-timesteps", "0"], "total_timesteps must be at least 1, got 0"),
        (["--seed", "-1"], "seed must not be negative, got -1"),
        (["--hyper", "n_step=32"], "no setting of ppo 'n_step': did you mean 'n_steps'?"),
        (["--hyper", "n_steps"], "cannot read 'n_steps': write NAME=VALUE"),
        (["--hyper", "policy_kwargs={net_arch: ["], "cannot read 'policy_kwargs={net_arch: ["),
        (["--hyper", "batch_size=0"], "PPO does not take these settings"),
        (["--algo", "sac", "--env", "tests.tiny_envs:DiscreteDot-v0"], "SAC does not take these settings"),
        (["--fit", "fit(pases=5)"], "no setting of fit 'pases': did you mean 'passes'?"),
        (["--config", "none.yaml"], "none.yaml cannot be read"),
        (["--env", "ALE/Pong-v5"], "ALE/Pong-v5 is the bare game, its score in sight: train on prefrl/Pong-v0"),
        (["--env", "prefrl/Tennis-v0"], "nobody has said where Tennis shows its score"),
        (["--env", "tests.tiny_pixels:Memory-v0"], "observations of 128 bytes are a console's memory"),
        (["--env", "tests.tiny_pixels:Small-v0"], "frames of shape (4, 35, 84) are too small"),
        (["--show-score"], "it has no score to show: leave out --show-score"),
        (["--show-score", "poeple"], "no way to show the score: 'poeple': did you mean 'people'?"),
        (["--net", "cnn"], "net 'cnn' gives no rewards here: cnn looks at frames"),
    ],
)
def test_training_is_refused(changes, why, capsys):
    assert why in refusal(capsys, "train", *SHORT, *changes)


def test_a_gpu_that_is_not_there_is_refused(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    why = "PyTorch finds no GPU for --device cuda: choose cpu, or auto"
    assert why in refusal(capsys, "train", *SHORT, "--device", "cuda")
    assert why in refusal(capsys, "train", *SHORT, "--device", "cuda", "--reward", "true")
    assert "no device 'gpu': choose cpu, cuda" in refusal(capsys, "train", *SHORT, "--device", "gpu")


@pytest.mark.parametrize(
    ("words", "shown"), [([], "nobody"), (["--show-score"], "all"), (["--show-score", "people"], "people")]
)
def test_the_score_is_shown_to_all_where_nobody_is_named(words, shown):
    assert vars(parser().parse_args(["train", *words])).get("show_score", "nobody") == shown


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ("labls: 3", "no setting 'labls': did you mean 'labels'?"),
        ("labels: many", "labels must be int, got 'many'"),
        ("labels: 1e3", "labels must be int, got '1e3'"),
        ("labels: 0", "labels must be at least 1, got 0"),
        ("hyper: 3", "hyper must be dict[str, Any], got 3"),
        ("just text", "settings.yaml must hold settings as `name: value`"),
        ("a: [", "settings.yaml cannot be read"),
        ("\0", "settings.yaml cannot be read"),
    ],
)
def test_settings_are_refused(settings, why, here, capsys):
    (here / "settings.yaml").write_text(settings)
    assert why in refusal(capsys, "train", "--env", DOT, "--config", "settings.yaml")


@pytest.mark.parametrize(
    "command", [["resume"], ["evaluate"], ["fit"], ["report"], ["export", "a.jsonl"], ["import", "a.jsonl"]]
)
def test_a_run_that_is_not_there_is_refused(command, capsys):
    name, *rest = command
    assert "none is no run: it has no config.yaml" in refusal(capsys, name, "none", *rest)


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (["resume", "run"], "run is finished: see run/summary.json"),
        (["train", *SHORT, "--out", "run"], "run exists: choose another --out, or go on with `prefrl resume run`"),
        (["train", *SHORT, "--out", "run/config.yaml/new"], "Not a directory"),
        (["evaluate", "run", "--episodes", "0"], "must be a whole number from 1, got 0"),
        (["fit", "run", "--fit", "fit(pases=3)"], "no setting of fit 'pases': did you mean 'passes'?"),
        (["export", "run", "labels.csv", "--format", "csv"], "unknown format 'csv'"),
        (["export", "run", "run/config.yaml"], "run/config.yaml exists"),
        (["import", "run", "labels.jsonl"], "labels.jsonl is not a file"),
        (["import", "run", "run/config.yaml"], "run/config.yaml cannot be read"),
        (["report", "run", "--out", "run/config.yaml"], "run/config.yaml exists and is no report"),
    ],
)
@pytest.mark.usefixtures("run")
def test_a_command_on_a_run_is_refused(command, why, capsys):
    assert why in refusal(capsys, *command)


# what flags mean


def settings(*words):
    given = vars(parser().parse_args(["train", *words]))
    return {f.name: given[f.name] for f in fields(RunConfig) if f.name in given}


def test_every_setting_has_a_flag():
    for setting in fields(RunConfig):
        value = [] if setting.type in (bool, "bool") else ["1"]
        assert setting.name in settings(f"--{setting.name.replace('_', '-')}", *value)


def test_what_is_not_given_is_left_to_the_configuration():
    assert settings() == {}


@pytest.mark.parametrize(
    ("words", "meaning"),
    [
        (["-n", "500"], {"total_timesteps": 500}),
        (["--n-timesteps", "500"], {"total_timesteps": 500}),
        (["--env-id", DOT], {"env": DOT}),
        (["--num-envs", "2"], {"n_envs": 2}),
        (["-params", "n_steps=32", "gamma=0.9"], {"hyper": ["n_steps=32", "gamma=0.9"]}),
        (["--hyperparams", "n_steps=32"], {"hyper": ["n_steps=32"]}),
        (["--algo", "sac", "--env", DOT, "--seed", "3"], {"algo": "sac", "env": DOT, "seed": 3}),
    ],
)
def test_flags_of_the_zoo_and_of_cleanrl_are_understood(words, meaning):
    assert settings(*words) == meaning


@pytest.mark.parametrize("command", [["train"], ["resume", "run"]])
def test_a_progress_bar_is_asked_for_as_in_the_zoo(command):
    assert parser().parse_args([*command, "-P"]).progress


def test_tracking_is_asked_for_as_in_the_zoo():
    assert parser().parse_args(["train", "--track"]).track


def test_flags_go_before_a_file_of_settings(trained):
    config = RunFolder(trained[0]).config
    assert (config.labels, config.seed, config.turns) == (12, 7, TINY["turns"])
    assert config.hyper == TINY["hyper"] | {"gamma": 0.9}


def test_a_folder_is_made_up_where_none_is_given(here, capsys):
    (here / "runs" / "Dot-ppo-true-seed0").mkdir(parents=True)
    said(capsys, "train", *SHORT, "--reward", "true")
    assert RunFolder(here / "runs" / "Dot-ppo-true-seed0-2").summary["reward"] == "true"
    assert not list((here / "runs" / "Dot-ppo-true-seed0").iterdir())


# what commands do


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command, capsys):
    with pytest.raises(SystemExit) as end:
        main([command, "--help"])
    help = capsys.readouterr().out
    assert end.value.code == 0
    assert help.startswith(f"usage: prefrl {command} ")


def test_help_lists_every_command(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    help = capsys.readouterr().out
    assert [line.split()[0] for line in help.splitlines() if line.startswith("    ") and line[4] != " "] == COMMANDS


def test_training_tells_what_it_came_to(trained):
    path, printed = trained
    first, *rest = printed.splitlines()
    assert first.startswith(f"{DOT} from 12 labels: true return ")
    assert rest == [
        f"Learning curve: {path / 'curve.png'}",
        f"Report:         {path / 'report.html'}",
        f"Run:            {path}",
    ]
    assert (path / "curve.png").exists() and (path / "report.html").exists()


def test_an_oracle_is_named_with_what_differs(trained):
    assert RunFolder(trained[0]).config.oracle == "mistaken(synthetic, chance=0.2)"


def test_evaluation_prints_json(run, capsys):
    found = json.loads(said(capsys, "evaluate", run, "--episodes", "3", "--json"))
    assert found.keys() == {"return_mean", "return_std", "episodes", "pearson"}
    assert found["episodes"] == 3


def test_evaluation_prints_words(run, capsys):
    words = said(capsys, "evaluate", run, "--episodes", "3", "--best")
    assert " over 3 episodes, Pearson of learned with true reward " in words


def test_a_fit_publishes_a_reward_and_prints_its_metrics(run, capsys):
    metrics = json.loads(said(capsys, "fit", run, "--fit", "fit(first_passes=3)"))
    with Store(run) as store:
        assert metrics["reward/version"] == store.versions()[-1].id > RunFolder(run).summary["reward_version"]


def test_a_report_prints_where_it_lies(run, trained, capsys):
    assert said(capsys, "report", run, trained[0], "--out", "both.html") == "both.html\n"
    assert Path("both.html").read_text().startswith("<!doctype html>")


@pytest.mark.parametrize("format", ["jsonl", "imitation", "b-pref"])
def test_labels_go_to_a_file_and_into_another_run(format, run, trained, capsys):
    said(capsys, "export", run, "labels", "--format", format)
    shutil.rmtree(run / "segments")
    (run / "store.db").unlink()
    said(capsys, "import", run, "labels", "--format", format)
    answers = [preference for *_, preference, _ in rows(trained[0])]
    assert [preference for *_, preference, _ in rows(run)] == answers


def test_an_environment_is_checked(capsys):
    words = said(capsys, "check-env", DOT)
    assert {line.split()[0] for line in words.splitlines()} == {"ok"}


def test_an_environment_that_lacks_something_fails_its_check(capsys):
    assert main(["check-env", "CartPole-v1"]) == 1
    assert "refused  horizon: " in capsys.readouterr().out


def test_the_doctor_says_what_is_installed(capsys):
    assert "stable_baselines3 2" in said(capsys, "doctor")


# what ends on the way


def test_an_environment_that_fails_tells_how_to_go_on(here, monkeypatch, capsys):
    monkeypatch.setitem(gym.registry["RaisesLater-v0"].kwargs, "steps", 200)
    command = ["train", *SMALL, "--env", "tests.tiny_envs:RaisesLater-v0", "-n", "1000", "--labels", "12"]
    assert main([*command, "--out", "my run"]) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err == (
        "prefrl: tests.tiny_envs:RaisesLater-v0 raised RuntimeError('the simulator is gone') after 800 steps; "
        "go on with `prefrl resume 'my run'`\n"
    )


def prefrl(*words, **variables):
    """The command in a process of its own."""
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"} | variables
    command = [sys.executable, "-W", "error", "-m", "prefrl.cli", *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def test_ctrl_c_tells_how_to_go_on_and_the_run_can_be_resumed(capsys):
    stopped = prefrl("train", *SHORT, "--oracle", "tests.tiny_runs:presses_ctrl_c", "--out", "run", CTRL_C="6")
    assert (stopped.returncode, stopped.stdout) == (130, "")
    assert stopped.stderr == "prefrl: interrupted; go on with `prefrl resume run`\n"
    assert said(capsys, "resume", "run").startswith(f"{DOT} from 12 labels: true return ")


def test_ctrl_c_before_there_is_a_run_is_one_word(monkeypatch, capsys):
    monkeypatch.setattr("prefrl.cli.free_folder", mock.Mock(side_effect=KeyboardInterrupt))
    assert main(["train", *SHORT]) == 130
    assert capsys.readouterr().err == "prefrl: interrupted\n"
