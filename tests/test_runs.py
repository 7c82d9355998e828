"""A run's configuration and folder: what is refused, what is written whole, what survives a kill."""

import json
import sys
from contextlib import suppress
from dataclasses import asdict, fields
from importlib import metadata
from pathlib import Path

import pytest

from prefrl.runs import RunConfig, RunFolder, free_folder, read_settings, system

CONFIG = RunConfig(env="prefrl/Reacher-v0", algo="sac", hyper={"learning_rate": 0.001}, segment_length=7, seed=3)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["prefrl", "train", "--oracle", "mistaken(chance=0.1)"])
    return RunFolder.create(tmp_path / "run", CONFIG, ["oracle"])


# the configuration


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"labls": 3}, "no setting 'labls': did you mean 'labels'?"),
        ({"total_timestep": 3}, "no setting 'total_timestep': did you mean 'total_timesteps'?"),
        ({3: 4}, "no setting '3': there are "),
        ({"labels": "700"}, "labels must be int, got '700'"),
        ({"labels": 1.5}, "labels must be int, got 1.5"),
        ({"labels": True}, "labels must be int, got True"),
        ({"labels": None}, "labels must be int, got None"),
        ({"oracle": 3}, "oracle must be str, got 3"),
        ({"hyper": [1]}, "hyper must be dict[str, Any], got [1]"),
        ({"segment_length": "7"}, "segment_length must be int | None, got '7'"),
        ({"allow_variable_horizon": 1}, "allow_variable_horizon must be bool, got 1"),
        ({"labels": 0}, "labels must be at least 1, got 0"),
        ({"total_timesteps": -1}, "total_timesteps must be at least 1, got -1"),
        ({"segment_length": 0}, "segment_length must be at least 1, got 0"),
        ({"reward": "tru"}, "no reward 'tru': did you mean 'true'?"),
        ({"seed": -1}, "seed must not be negative, got -1"),
    ],
)
def test_settings_that_cannot_be_are_refused_in_one_line(values, words):
    with pytest.raises(ValueError) as error:
        RunConfig.of({"env": "prefrl/Reacher-v0", **values})
    assert str(error.value).startswith(words)
    assert "\n" not in str(error.value)


def test_an_environment_must_be_named():
    with pytest.raises(ValueError, match="say which environment to train on: --env"):
        RunConfig.of({"labels": 3})


def test_a_configuration_comes_back_from_plain_values():
    assert RunConfig.of(asdict(CONFIG)) == CONFIG


def test_configurations_do_not_share_their_settings():
    RunConfig(env="x").hyper["gamma"] = 0.9
    assert RunConfig(env="x").hyper == {}


def test_every_setting_has_a_sentence_for_help():
    assert all(field.metadata["help"] for field in fields(RunConfig))


# YAML


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("labels: [1", "cannot be read"),
        ("- labels", "must hold settings as `name: value`"),
        ("", "must hold settings as `name: value`"),
        ("!!python/object/apply:os.mkdir [pwned]", "cannot be read"),
    ],
)
def test_yaml_that_holds_no_settings_is_refused_in_one_line(tmp_path, text, words, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("config.yaml").write_text(text)
    with pytest.raises(ValueError) as error:
        read_settings(Path("config.yaml"))
    assert "config.yaml" in str(error.value) and words in str(error.value) and "\n" not in str(error.value)
    assert not Path("pwned").exists()


# the folder


def test_a_folder_keeps_its_configuration(folder):
    assert RunFolder.open(folder.path).config == CONFIG


def test_a_folder_notes_command_and_machine(folder):
    assert (folder.path / "command.txt").read_text() == "prefrl train --oracle 'mistaken(chance=0.1)'\n"
    assert json.loads((folder.path / "system.json").read_text())["packages"]["torch"]


def test_parts_given_as_objects_must_be_given_again(folder):
    folder.check_objects({"oracle", "net"})
    with pytest.raises(ValueError, match="was started with Python objects for oracle: give them"):
        folder.check_objects({"net"})


def test_two_processes_cannot_work_on_one_run(folder):
    with folder.locked(), pytest.raises(ValueError, match="another process is working on"), folder.locked():
        pass


def test_a_folder_that_exists_is_never_overwritten(folder):
    before = {file: file.read_bytes() for file in folder.path.iterdir()}
    with pytest.raises(ValueError, match=r"run exists: choose another --out, or go on with `prefrl resume .*run`"):
        RunFolder.create(folder.path, RunConfig(env="other"))
    assert {file: file.read_bytes() for file in folder.path.iterdir()} == before


def test_a_file_in_the_way_is_never_overwritten(tmp_path):
    (tmp_path / "run").write_text("mine")
    with pytest.raises(ValueError, match="exists"):
        RunFolder.create(tmp_path / "run", CONFIG)
    assert (tmp_path / "run").read_text() == "mine"


def test_what_is_no_run_cannot_be_opened(tmp_path):
    with pytest.raises(ValueError, match=r"is no run: it has no config.yaml"):
        RunFolder.open(tmp_path)


def test_there_is_no_summary_before_the_end(folder):
    assert folder.summary is None


def test_a_summary_is_read_back(folder):
    folder.write("summary.json", '{"labels": 700}')
    assert folder.summary == {"labels": 700}


def test_writing_leaves_nothing_but_the_file(folder):
    before = set(folder.path.iterdir())
    folder.write("summary.json", "{}")
    assert set(folder.path.iterdir()) - before == {folder.path / "summary.json"}


def test_a_write_that_fails_leaves_the_old_file(folder):
    folder.write("summary.json", "old")
    with pytest.raises(UnicodeEncodeError):
        folder.write("summary.json", "new \ud800")
    assert (folder.path / "summary.json").read_text() == "old"


# checkpoints


def write(folder, *steps, best=0):
    for step in steps:
        with folder.new_checkpoint(step) as half:
            (half / "history.json").write_text(json.dumps({"best_step": best}))


def names(paths):
    return [path.name for path in paths]


def test_checkpoints_are_in_the_order_of_steps(folder):
    write(folder, 900, 1_000, 20_000)
    assert names(folder.checkpoints()) == ["step_900", "step_1000", "step_20000"]


def write_half(folder, step):
    """As a run does that is killed before it has written all."""
    with suppress(KeyboardInterrupt), folder.new_checkpoint(step) as half:
        (half / "policy.zip").write_bytes(b"half")
        raise KeyboardInterrupt


def test_a_half_written_checkpoint_is_ignored(folder):
    write(folder, 100)
    write_half(folder, 200)
    assert names(folder.checkpoints()) == ["step_100"]


def test_a_half_written_checkpoint_is_written_anew(folder):
    write_half(folder, 200)
    write(folder, 200)
    assert names((folder.path / "checkpoints" / "step_200").iterdir()) == ["history.json"]


def test_the_newest_checkpoint_is_gone_on_from(folder):
    write(folder, 900, 1_000)
    assert folder.checkpoint().name == "step_1000"


def test_the_best_checkpoint_is_the_one_that_the_newest_names(folder):
    write(folder, 900, 1_000, 1_100, best=1_000)
    assert folder.checkpoint(best=True).name == "step_1000"


def test_before_a_return_is_known_none_is_the_best(folder):
    write(folder, 900, 1_000)
    with pytest.raises(ValueError, match="has no best checkpoint, for no episode had ended at any: take the newest"):
        folder.checkpoint(best=True)


def test_a_run_without_checkpoints_says_so(folder):
    with pytest.raises(ValueError, match="run has no checkpoint yet"):
        folder.checkpoint()


def test_pruning_keeps_the_newest_and_the_best(folder):
    write(folder, 100, 200, 300, 400, 500)
    folder.prune(keep={200})
    assert names(folder.checkpoints()) == ["step_200", "step_400", "step_500"]


# metrics


def log(folder, *steps, torn=""):
    lines = [json.dumps({"time/total_timesteps": float(step)}) + "\n" for step in steps]
    folder.metrics.write_text("".join(lines) + torn)


def logged(folder):
    return [line["time/total_timesteps"] for line in folder.read_metrics()]


def test_without_a_log_there_are_no_metrics(folder):
    assert folder.read_metrics() == []


def test_a_torn_last_line_is_not_read(folder):
    log(folder, 100, 200, torn='{"time/total_t')
    assert logged(folder) == [100, 200]


def test_what_was_logged_after_a_checkpoint_is_forgotten(folder):
    log(folder, 100, 200, 300)
    folder.forget_metrics_after(200)
    assert logged(folder) == [100, 200]


def test_a_torn_last_line_is_dropped_so_that_the_log_can_go_on(folder):
    log(folder, 100, 200, torn='{"time/total_t')
    folder.forget_metrics_after(200)
    with folder.metrics.open("a") as file:
        file.write('{"time/total_timesteps": 300.0}\n')
    assert logged(folder) == [100, 200, 300]


def test_there_is_nothing_to_forget_before_the_first_line(folder):
    folder.forget_metrics_after(-1)
    assert not folder.metrics.exists()


# where a run lies if nothing else is said


@pytest.mark.parametrize(
    ("config", "name"),
    [
        (RunConfig(env="prefrl/HalfCheetah-v0"), "HalfCheetah-ppo-700-seed0"),
        (RunConfig(env="prefrl/Hopper-v0", reward="true", seed=2), "Hopper-ppo-true-seed2"),
        (RunConfig(env="my.envs:Mine-v3", algo="sac", labels=9), "Mine-v3-sac-9-seed0"),
        (RunConfig(env="my.envs:factory", algo="sb3_contrib:TQC"), "factory-TQC-700-seed0"),
    ],
)
def test_a_folder_is_named_after_what_is_run(tmp_path, config, name):
    assert free_folder(config, tmp_path) == tmp_path / name


def test_the_next_free_number_is_taken(tmp_path):
    for _ in range(3):
        free_folder(CONFIG, tmp_path).mkdir()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "Reacher-sac-700-seed3",
        "Reacher-sac-700-seed3-2",
        "Reacher-sac-700-seed3-3",
    ]


def test_a_package_that_is_missing_has_no_version(monkeypatch):
    def missing(package):
        raise metadata.PackageNotFoundError(package)

    monkeypatch.setattr(metadata, "version", missing)
    assert set(system()["packages"].values()) == {None}
