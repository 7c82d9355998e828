"""What README and docs/ say is so: their examples run, shortened, and their names are the code's."""

import json
import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from types import ModuleType

import gymnasium as gym
import numpy as np
import pytest

import prefrl_envs  # noqa: F401 -- registers prefrl/*
from prefrl import oracles, queries, schedules
from prefrl.cli import DONE, MISUSED, main, parser
from prefrl.control.tasks import ALGORITHMS
from prefrl.names import resolve
from prefrl.reward import fit
from prefrl.runs import RunFolder, read_json
from prefrl.summarize.commands import LIKERT
from prefrl.summarize.settings import DIRECT, STAGES, Settings
from prefrl.testing import check_net, check_oracle, check_select
from prefrl.types import Segment
from prefrl_envs.games import GAMES, find_games

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
EXTEND = (ROOT / "docs/extend.md").read_text()
RUNS = (ROOT / "docs/runs.md").read_text()
SUMMARIES = (ROOT / "docs/summaries.md").read_text()

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHORTER = {
    "train": "--total-timesteps 4000 --labels 40 --eval-episodes 1 --checkpoint-every 16000",
    "evaluate": "--episodes 1",
    "summarize": "--posts 60 --sft sft(epochs=1) --comparisons 20 --fit texts(batch=16) --episodes 64 --judged 8",
}
"""Flags put last, where they prevail over those of a command that takes hours."""

LONG = ("demo", "label", "reproduce", "tune")
"""Commands that end when somebody ends them, or after many runs: tested elsewhere, only read here."""

MY_PACKAGE = """
import gymnasium as gym

gym.register("MyEnv-v0", lambda: gym.make("prefrl/Reacher-v0"))
"""


def blocks(text: str, language: str = "") -> list[str]:
    return [block for found, block in FENCE.findall(text) if found == language]


def commands(text: str) -> list[str]:
    """In the order of the text, those within sentences last, a command for each of the values between bars."""
    lines = [line for block in blocks(text) for line in block.splitlines() if line.startswith("prefrl ")]
    for line in re.findall(r"`(prefrl [^`]+)`", FENCE.sub("", text)):
        choices = re.search(r"\S+\|\S+", line)
        values = choices[0].split("|") if choices else [""]
        lines += [line.replace(choices[0], value) if choices else line for value in values]
    return lines


def run(command: str) -> int:
    """Runs a command, shortened, in this process; its exit status."""
    words = shlex.split(command, comments=True)[1:]
    words = ["runs/cheetah" if word == "RUN" else word for word in words]
    words = [f"labels-{words[-1]}" if word == "FILE" else word for word in words]
    if words[0] in LONG:
        parser().parse_args(words)
        return DONE
    try:
        return main([*words, *SHORTER.get(words[0], "").split()])
    except SystemExit as end:  # of --help
        return int(end.code or 0)


def write(text: str, folder: Path) -> None:
    """The blocks of `text` that begin with the name of a file, as files."""
    for block in blocks(text, "python"):
        name = re.match(r"# (\w+\.py)\n", block)
        if name:
            (folder / name[1]).write_text(block)


def scripts(text: str) -> list[str]:
    return [block for block in blocks(text, "python") if not re.match(r"# \w+\.py\n", block)]


def first_line(text: str) -> str:
    return text.splitlines()[0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the examples are followed, with the files that they are about."""
    folder: Path = tmp_path_factory.mktemp("followed")
    write(README, folder)
    write(EXTEND, folder)
    (folder / "my_package.py").write_text(MY_PACKAGE)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(folder)
        yield folder
    for file in folder.glob("*.py"):
        sys.modules.pop(file.stem, None)


@pytest.fixture(scope="module")
def followed(folder: Path) -> dict[str, int]:
    """README's commands, one after the other, with their exit statuses."""
    return {command: run(command) for command in commands(README)}


def test_the_commands_run(followed):
    refused = [command for command, status in followed.items() if status != DONE]
    assert len(followed) > 10
    assert [shlex.split(command)[:3] for command in refused] == [["prefrl", "resume", "runs/cheetah"]]  # it is finished
    assert followed[refused[0]] == MISUSED


@pytest.mark.parametrize("script", scripts(README), ids=first_line)
def test_the_python_runs(script, folder):
    shorter, changed = re.subn(r"\b50_000\b", "4_000", script)
    assert changed == 1
    exec(shorter, {})


def test_the_parts_of_mine_keep_their_contracts(folder):
    import mine

    rng = np.random.default_rng(0)
    check_oracle(mine.likes_the_right, [Segment(rng.normal(size=(15, 10)), rng.normal(size=(15, 2))) for _ in range(9)])
    check_select(mine.closest)
    check_net(mine.Linear)


def built_in(row: str) -> list[str]:
    """What the table of choices names in code as built in."""
    line = next(line for line in README.splitlines() if line.startswith(f"| {row} |"))
    return re.findall(r"`([^`]+)`", line.split("|")[3])


def test_the_table_names_every_task():
    named = re.search(r"`--env` \| (.*) as `prefrl/NAME-v0`", README)[1].split(", ")
    bare = {*find_games()} - {*GAMES}  # the games whose score nobody has hidden
    ours = {env for env in gym.registry if env.startswith("prefrl/")} - {f"prefrl/{name}-v0" for name in bare}
    assert {f"prefrl/{name}-v0" for name in named} == ours


def test_the_table_names_every_algorithm():
    assert {*built_in("the algorithm")} == {*ALGORITHMS, "module:Class"}


@pytest.mark.parametrize(
    ("row", "module"),
    [("who answers", oracles), ("which pairs to ask", queries), ("when to ask", schedules)],
)
def test_the_table_names_every_component(row: str, module: ModuleType):
    public = {thing for thing in vars(module).values() if isinstance(thing, type)}
    named = {type(resolve(name, module, row)) for name in built_in(row)}
    assert named == {thing for thing in public if thing.__module__ == module.__name__}


def test_names_with_arguments_can_be_read():
    nested = re.findall(r'`--(oracle|fit) "([^"]+)"`', README)
    made = {flag: resolve(name, {"oracle": oracles, "fit": fit}[flag], flag) for flag, name in nested}
    assert made == {"oracle": oracles.Mistaken(oracles.Stochastic(beta=5), chance=0.1), "fit": fit.Fit(passes=5)}


def test_the_flags_are_those_of_train(capsys):
    assert run("prefrl train --help") == DONE
    table = "".join(line for line in README.splitlines() if line.startswith("| "))
    named = {*re.findall(r"`(--[\w-]+)", table)}
    assert named <= {*re.findall(r"--[\w-]+", capsys.readouterr().out)}


def test_the_targets_are_those_of_make():
    targets = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1].split()
    assert {*re.findall(r"(?:^|`)make ([\w-]+)", README, re.MULTILINE)} <= {*targets}


@pytest.mark.parametrize("step", [*scripts(EXTEND), *commands(EXTEND)], ids=first_line)
def test_the_examples_of_docs_run(step, folder):
    if step.startswith("prefrl "):
        assert run(step) == DONE
    else:
        exec(step, {})


def test_docs_name_every_file_of_a_run(followed):
    run = RunFolder(Path("runs/cheetah"))
    files = {path.name for path in [*run.path.iterdir(), *run.checkpoint().iterdir()]}
    assert [name for name in sorted(files) if f"`{name}" not in RUNS] == []


def test_docs_name_every_field_of_a_summary(followed):
    fields = read_json(Path("runs/cheetah/summary.json"))
    assert re.findall(r"^\| `(\w+)` \|", RUNS, re.MULTILINE) == [*fields]


def test_docs_name_every_metric_but_those_of_the_algorithm(followed):
    lines = RunFolder(Path("runs/cheetah")).read_metrics()
    logged = {re.sub(r"\d\.\d_to_\d\.\d", "LOW_to_HIGH", name) for line in lines for name in line}
    assert [name for name in sorted(logged) if not name.startswith("train/") and f"`{name}`" not in RUNS] == []


def test_docs_name_every_file_of_a_summariser(followed):
    assert [path.name for path in sorted(Path("runs/summaries").iterdir()) if path.name not in SUMMARIES] == []


def test_docs_name_every_figure_of_a_summariser(followed):
    summary = read_json(Path("runs/summaries/summary.json"))
    lines = Path("runs/summaries/metrics.jsonl").read_text().splitlines()
    logged = {name for line in lines for name in json.loads(line) if name.startswith("rollout/")}
    assert [name for name in [*summary, *sorted(logged)] if f"`{name}`" not in SUMMARIES] == []


@pytest.mark.parametrize("command", re.findall(r"^prefrl .*$", SUMMARIES, re.MULTILINE))
def test_commands_of_summaries_can_be_read(command):
    given = vars(parser().parse_args(shlex.split(command, comments=True)[1:]))
    assert Settings.of({f.name: given[f.name] for f in fields(Settings) if given.get(f.name) is not None})


def test_docs_name_every_stage_of_summaries():
    stages = SUMMARIES.partition("## The stages")[2].partition("\n- ")[0]
    named = re.findall(r"^\| (`.*?) \|", stages, re.MULTILINE)
    assert ", ".join(named).replace("`", "").split(", ") == [*STAGES, *DIRECT, LIKERT]


def test_docs_name_the_tests_of_every_detail():
    tests = [(path.name, path.read_text()) for path in sorted((ROOT / "tests/text").glob("test_*.py"))]
    held = {n: [name for name, code in tests if f"def test_detail_{n}_" in code] for n in range(1, 18)}
    rows = re.findall(r"^\| (\d+) \| .* \| (.*) \|$", SUMMARIES, re.MULTILINE)
    assert {int(n): re.findall(r"`(.*?)`", named) for n, named in rows} == held
