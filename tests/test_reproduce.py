"""Claims: their runs are made once, kept as records, drawn, and found again."""

import csv
import json
import os
import signal
import threading
from collections.abc import Generator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from rich.console import Console

from prefrl import cli
from prefrl.names import UnknownName
from prefrl.parts import Parts, completed
from prefrl.reproduce import engine
from prefrl.reproduce.claim import Claim, Run, Verdict, shortened
from prefrl.reproduce.engine import Outcome, make
from prefrl.reproduce.local import Local
from prefrl.reproduce.progress import Board, shown
from prefrl.reproduce.records import COLUMNS, Record, read_records, record_of, write_csv, write_records
from prefrl.reproduce.reproduction import find_claim, reproduce
from prefrl.runs import RunConfig, RunFolder
from tests.tiny_runs import outcome, tiny
from tests.waiting import soon

TRUE, FEW = "true reward", "24 labels"
DOT = Claim(
    "dot",
    "A dot moves",
    (Run("Dot", TRUE, tiny(reward="true")), Run("Dot", FEW, tiny())),
    seeds=2,
    verdicts=lambda records: [Verdict("rows", "4", str(len(records)), len(records) == 4)],
)


def here(runs: Sequence[Run], folder: Path) -> Generator[Outcome]:
    """An engine without processes."""
    for run in runs:
        try:
            make(run.config, folder / run.name)
        except Exception as error:
            yield Outcome(run, engine.one_line(error))
        else:
            yield Outcome(run, "")


def nothing(runs: Sequence[Run], folder: Path) -> Generator[Outcome]:
    """An engine that must have nothing to do."""
    assert not runs
    yield from ()


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as opened:
        return [*csv.DictReader(opened)]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folders of the runs and of the results of DOT."""
    home = tmp_path_factory.mktemp("dot")
    reproduce(DOT, engine=here, runs=home / "runs", results=home / "results")
    return home


def test_every_run_of_every_seed_has_a_row(made):
    found = rows(made / "results" / "runs.csv")
    assert [(row["task"], row["algo"], row["labels"], row["seed"]) for row in found] == [
        ("Dot", "ppo", "true", "0"),
        ("Dot", "ppo", "true", "1"),
        ("Dot", "ppo", "24", "0"),
        ("Dot", "ppo", "24", "1"),
    ]
    assert {"steps", "return", "untrained_return", "pearson", "minutes", "command", "versions"} <= found[0].keys()
    assert found[0]["pearson"] == ""


def test_a_row_says_what_its_run_came_to(made):
    row = next(record for record in read_records(made / "results" / "records.jsonl") if record.seed == 1)
    summary = RunFolder(made / "runs" / row.name).summary
    assert (row.result, row.steps, row.evaluated) == (
        summary["train_return_mean"],
        summary["steps"],
        summary["eval_return_mean"],
    )


def test_the_command_of_a_row_makes_its_run(made):
    record = read_records(made / "results" / "records.jsonl")[-1]
    words = record.command.split(" ", 1)[1]
    given = cli.parser().parse_args(cli.shlex.split(words))
    assert completed(cli.config(given), frames=False) == RunConfig.of(record.settings)


def test_the_page_and_the_figures_are_there(made):
    page = (made / "results" / "README.md").read_text()
    assert page.startswith("# Claim: A dot moves\n")
    assert "| rows | 4 | 4 | reached |" in page
    for name in ("curves.png", "shares.png"):
        assert (made / "results" / name).read_bytes().startswith(b"\x89PNG")


def test_what_is_finished_is_not_made_again(made):
    reproduce(DOT, engine=nothing, runs=made / "runs", results=made / "results")


def test_records_stand_for_runs_that_are_gone(made, tmp_path):
    reproduce(DOT, engine=nothing, runs=tmp_path / "none", results=made / "results")


def test_runs_stand_for_records_that_are_gone(made, tmp_path):
    reproduce(DOT, engine=nothing, runs=made / "runs", results=tmp_path)
    assert len(read_records(tmp_path / "records.jsonl")) == 4


def test_fewer_seeds_forget_none(made):
    again = reproduce(DOT, engine=nothing, seeds=1, runs=made / "runs", results=made / "results")
    assert len(again.records()) == 4


def test_a_record_made_with_other_settings_is_made_again(made, tmp_path):
    results = tmp_path / "results"
    records = sorted(read_records(made / "results" / "records.jsonl"), key=lambda record: record.name)[::-1]
    other = replace(records[1], settings=asdict(tiny(reward="true", turns=3)))
    results.mkdir()
    write_records([records[0], other, *records[2:]], results / "records.jsonl")
    asked = []

    def listening(runs, folder):
        asked.extend(run.name for run in runs)
        yield from ()

    reproduce(DOT, engine=listening, runs=tmp_path / "runs", results=results)
    assert asked == ["Dot-true_reward-0"]
    assert len(read_records(results / "records.jsonl")) == 4  # nothing is forgotten before there is a new one


def test_what_is_kept_is_not_measured_again(tmp_path):
    measured = []
    claim = replace(
        DOT, runs=DOT.runs[:1], seeds=1, measure=lambda run: {"times": len(measured.append(run) or measured)}
    )
    for _ in range(2):
        reproduce(claim, engine=here, runs=tmp_path / "runs", results=tmp_path / "results")
    assert len(measured) == 1


def test_two_processes_do_not_work_on_one_claim(tmp_path):
    def meanwhile(runs, folder):
        with pytest.raises(ValueError, match=r"another process is working on .*give --runs"):
            reproduce(DOT, engine=nothing, runs=folder, results=tmp_path / "results")
        yield from ()

    reproduce(DOT, engine=meanwhile, runs=tmp_path / "runs", results=tmp_path / "results")


def test_a_run_in_the_way_with_other_settings_is_refused_in_one_line(made, tmp_path):
    changed = replace(DOT, runs=(replace(DOT.runs[1], config=tiny(turns=3)),))
    with pytest.raises(ValueError, match=r"Dot-24_labels-0 was made with other settings than prefrl train .*--runs"):
        reproduce(changed, engine=nothing, runs=made / "runs", results=tmp_path)


def test_a_failed_run_is_reported_and_the_rest_goes_on(tmp_path):
    broken = Run("Dot", "no such oracle", tiny(oracle="nobody"))
    claim = replace(DOT, runs=(broken, DOT.runs[1]), seeds=1)
    again = reproduce(claim, engine=here, runs=tmp_path / "runs", results=tmp_path / "results")
    assert [record.name for record in again.records()] == ["Dot-24_labels-0"]
    assert "no oracle 'nobody'" in again.troubles["Dot-no_such_oracle-0"]


def test_what_a_measure_finds_is_a_column(tmp_path):
    claim = replace(DOT, runs=DOT.runs[:1], seeds=1, measure=lambda run: {"flips": len(run.name)})
    reproduce(claim, engine=here, runs=tmp_path / "runs", results=tmp_path / "results")
    assert [row["flips"] for row in rows(tmp_path / "results" / "runs.csv")] == [str(len("Dot-true_reward-0"))]


def test_a_measure_that_fails_is_reported(tmp_path):
    def raising(run: Path) -> dict[str, float]:
        raise RuntimeError("no camera")

    claim = replace(DOT, runs=DOT.runs[:1], seeds=1, measure=raising)
    for _ in range(2):  # the second time the run is finished, and still not kept
        again = reproduce(claim, engine=here, runs=tmp_path / "runs", results=tmp_path / "results")
        assert again.troubles == {"Dot-true_reward-0": "RuntimeError: no camera"}
    claim = replace(claim, measure=lambda run: {"flips": 1})
    assert not reproduce(claim, engine=nothing, runs=tmp_path / "runs", results=tmp_path / "results").troubles


def test_at_the_end_a_claim_is_given_its_records_and_folders(made, tmp_path):
    seen = []
    claim = replace(DOT, finish=lambda *given: seen.append(given))
    reproduce(claim, engine=nothing, runs=made / "runs", results=made / "results")
    assert [(len(records), runs, results) for records, runs, results in seen] == [(4, made / "runs", made / "results")]


def test_a_shortened_claim_says_so_and_judges_nothing():
    short = shortened(replace(DOT, runs=(replace(DOT.runs[1], config=tiny(total_timesteps=10**9, labels=700)),)))
    assert [(run.config.total_timesteps, run.config.labels) for run in short.runs] == [(20_000, 30)]
    assert "not shown here" in short.about
    assert (short.seeds, short.verdicts([]), short.baseline) == (1, [], None)


def test_an_end_that_fails_costs_no_page(made, tmp_path):
    def failing(*given):
        raise RuntimeError("no display")

    again = reproduce(replace(DOT, finish=failing), engine=nothing, runs=made / "runs", results=tmp_path)
    assert again.troubles == {"the end": "RuntimeError: no display"}
    assert (tmp_path / "README.md").is_file()


def test_an_interrupted_reproduction_has_drawn_what_there_is(tmp_path):
    def interrupted(runs, folder):
        yield from here(runs[:1], folder)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reproduce(DOT, engine=interrupted, runs=tmp_path / "runs", results=tmp_path / "results")
    assert "3 of the claim's 4 runs are not there yet" in (tmp_path / "results" / "README.md").read_text()


def test_local_processes_make_what_one_process_makes(made, tmp_path):
    [labelled] = [run for run in DOT.runs if run.condition == FEW]
    assert [said.trouble for said in Local(2)([labelled, labelled.with_seed(1)], tmp_path)] == ["", ""]
    for seed in (0, 1):
        name = labelled.with_seed(seed).name
        assert outcome(tmp_path / name) == outcome(made / "runs" / name)


def test_a_process_that_is_killed_is_reported_and_its_run_gone_on_with(tmp_path):
    run = Run("Dot", "long", tiny(total_timesteps=4_000))
    threading.Thread(target=kill_when_saved, args=(tmp_path / run.name,), daemon=True).start()
    [said] = Local(1)([run], tmp_path)
    assert said.trouble == "its process was killed by SIGKILL"
    [said] = Local(1)([run], tmp_path)
    assert said.trouble == ""
    make(run.config, tmp_path / "whole")
    assert outcome(tmp_path / run.name) == outcome(tmp_path / "whole")


def test_a_run_that_was_killed_before_it_was_configured_is_begun_anew(tmp_path):
    (out := tmp_path / "run").mkdir()
    (out / ".config.yaml.half").touch()
    make(tiny(), out)
    assert RunFolder(out).summary


def kill_when_saved(run: Path) -> None:
    soon(lambda: RunFolder(run).checkpoints())
    os.kill(holder(run / ".lock"), signal.SIGKILL)


def holder(lock: Path) -> int:
    """The process that holds a lock."""
    inode = str(lock.stat().st_ino)
    lines = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    return int(next(words[4] for words in lines if words[5].endswith(f":{inode}")))


def test_an_engine_that_is_closed_ends_its_processes(tmp_path):
    endless = Run("Dot", "endless", tiny(total_timesteps=10_000_000))
    going = Local(2)([endless, Run("Dot", "short", tiny())], tmp_path)
    assert next(going).trouble == ""
    soon(lambda: RunFolder(tmp_path / endless.name).checkpoints())
    with pytest.raises(ValueError, match="another process is working"), RunFolder(tmp_path / endless.name).locked():
        pass
    going.close()
    with RunFolder(tmp_path / endless.name).locked():
        pass


@pytest.mark.parametrize("jobs", [0, -1])
def test_no_jobs_are_refused(jobs):
    with pytest.raises(ValueError, match="jobs must be at least 1"):
        Local(jobs)


def test_records_survive_the_trip_through_their_file(made, tmp_path):
    records = read_records(made / "results" / "records.jsonl")
    write_records(records, tmp_path / "again.jsonl")
    assert read_records(tmp_path / "again.jsonl") == records
    assert all(isinstance(record, Record) and record.curve[0] for record in records)


def test_columns_that_only_some_rows_have_are_left_empty(made, tmp_path):
    records = read_records(made / "results" / "records.jsonl")[:2]
    write_csv([records[0], replace(records[1], measured={"flips": 3.0})], tmp_path / "runs.csv")
    found = rows(tmp_path / "runs.csv")
    assert [row["flips"] for row in found] == ["", "3.0"]
    assert set(COLUMNS.values()) <= found[0].keys()


def test_an_unfinished_run_has_no_record(tmp_path):
    RunFolder.create(tmp_path / "run", tiny())
    with pytest.raises(ValueError, match="is not finished: `prefrl resume"):
        record_of(tmp_path / "run", "Dot", TRUE, "", {})


def test_two_runs_of_one_name_are_refused():
    with pytest.raises(ValueError, match="two runs are called Dot-24_labels-0"):
        replace(DOT, runs=(DOT.runs[1], DOT.runs[1]))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"tasks": ["Dott"]}, "no task 'Dott': did you mean 'Dot'"),
        ({"seeds": 0}, "seeds must be at least 1"),
    ],
)
def test_what_the_claim_does_not_have_is_refused(options, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        reproduce(DOT, engine=nothing, runs=tmp_path, results=tmp_path, **options)


def test_a_claim_is_found_by_its_name_or_as_a_module_of_the_users():
    assert find_claim("mujoco").name == "mujoco"
    assert find_claim("tests.test_reproduce:DOT").about == "A dot moves"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mujocoo", "no claim 'mujocoo': did you mean 'mujoco'"),
        ("tests.test_reproduce:TRUE", "is a str, not a prefrl.reproduce.claim.Claim"),
        ("tests.nothing:CLAIM", "cannot import 'tests.nothing'"),
    ],
)
def test_a_claim_that_is_not_there_is_refused(name, words):
    with pytest.raises(UnknownName, match=words):
        find_claim(name)


@pytest.mark.parametrize("folder", ["nothing", "experiments/results"])
def test_without_the_papers_claims_it_is_said_where_they_are(folder, tmp_path, monkeypatch):
    (tmp_path / folder).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnknownName, match="run this in a clone of prefrl, or give module:name"):
        find_claim("mujoco")


CLAIMS = [file.stem for file in sorted(Path("experiments").glob("*.py")) if "\nCLAIM" in file.read_text()]


@pytest.mark.parametrize("name", CLAIMS)
def test_the_papers_claims_are_sound(name):
    """Every run of every claim has parts that exist and settings that go together."""
    claim = find_claim(name)
    assert claim.name == name
    assert claim.baseline in {None, *(run.condition for run in claim.runs)}
    assert all(verdict.reached is None for verdict in claim.verdicts([]))
    facts = {}
    for run in claim.runs:
        assert cli.config(cli.parser().parse_args(cli.shlex.split(run.command)[1:])) == run.config
        config = run.config
        task = config.env, config.segment_length, config.allow_variable_horizon
        facts[task] = Parts.of(config, facts.get(task)).facts


def test_where_nobody_watches_each_run_is_a_line(tmp_path, capsys):
    run = DOT.runs[1]
    make(run.config, tmp_path / run.name)
    with shown([run], tmp_path, Console(force_terminal=False)) as tell:
        tell(Outcome(run, ""))
        tell(Outcome(run.with_seed(1), "no disk"))
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("1 of 1  Dot-24_labels-0: ") and "after 1,0" in first
    assert "Dot-24_labels-1: failed: no disk" in second


def test_the_table_tells_run_step_return_and_time_left(tmp_path):
    now = [100.0]
    run, other = (Run("Dot", name, tiny(total_timesteps=3_000)) for name in ("going", "waiting"))
    RunFolder.create(tmp_path / other.name, other.config)
    os.utime(tmp_path / other.name / "config.yaml", (0, 0))  # cut off long ago
    board = Board([run, other], tmp_path, clock=lambda: now[0])
    folder = RunFolder.create(tmp_path / run.name, run.config)
    board.table()
    line = {"time/total_timesteps": 1_000, "rollout/ep_rew_mean": -2.5}
    folder.write("metrics.jsonl", json.dumps(line) + "\n" + '{"half')
    now[0] += 10
    table = board.table()
    assert [[*column.cells] for column in table.columns] == [[run.name], ["1,000 of 3,000"], ["-2.5"], ["0:20"]]
    assert table.title == "0 of 2 runs made, 0:50 left"


def test_a_terminal_shows_the_table(tmp_path):
    console = Console(force_terminal=True, width=100, record=True)
    run = DOT.runs[0]
    RunFolder.create(tmp_path / run.name, run.config)
    with shown([run], tmp_path, console) as tell:
        tell(Outcome(run, "no disk"))
    assert "1 of 1 runs made" in console.export_text()


BROKEN = Claim("broken", "Nothing works", (Run("Dot", "no such oracle", tiny(oracle="nobody")),), seeds=1)


def test_the_command_shows_what_came_of_a_claim(made, capsys):
    words = ["reproduce", "tests.test_reproduce:DOT", "--runs", str(made / "runs"), "--results", str(made / "results")]
    assert cli.main(words) == cli.DONE
    said = capsys.readouterr().out
    assert "4 of 4 runs are there, 0 to make" in said
    assert "| rows | 4 | 4 | reached |" in said
    assert said.rstrip().endswith("README.md")


def test_the_command_tells_which_runs_failed(tmp_path, capsys):
    words = [
        "reproduce",
        "tests.test_reproduce:BROKEN",
        "--runs",
        str(tmp_path),
        "--results",
        str(tmp_path / "results"),
    ]
    assert cli.main([*words, "--jobs", "1"]) == cli.FAILED
    assert "Dot-no_such_oracle-0 failed: no oracle 'nobody'" in capsys.readouterr().err


def test_what_is_interrupted_says_how_to_go_on(monkeypatch, capsys):
    def interrupted(*given, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("prefrl.reproduce.reproduction.reproduce", interrupted)
    assert cli.main(["reproduce", "mujoco"]) == cli.INTERRUPTED
    assert "interrupted; the same command goes on" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--engine", "rai"], "no engine 'rai': did you mean 'ray'"),
        (["--address", "10.0.0.1:6379"], "--address is of a Ray cluster: add --engine ray"),
        (["--engine", "ray", "--address", "nowhere"], "cannot read the address 'nowhere'"),
    ],
)
def test_engines_that_cannot_be_are_refused(flags, words, capsys):
    assert cli.main(["reproduce", "mujoco", *flags]) == cli.MISUSED
    assert words in capsys.readouterr().err
