"""Markdown of claims."""

import math

import pytest

from prefrl.reproduce.claim import Claim, Run, Verdict
from prefrl.reproduce.records import Record
from prefrl.reproduce.statistics import Interval
from prefrl.reproduce.tables import (
    aggregate,
    bounded,
    commands,
    in_order,
    minutes,
    number,
    page,
    percent,
    table,
    verdicts,
)
from prefrl.runs import RunConfig
from tests.test_statistics import record

RECORDS = [
    record("HalfCheetah", "true reward", 0, 5000, untrained=-300, minutes=10),
    record("HalfCheetah", "true reward", 1, 5880, untrained=-260, minutes=12),
    record("HalfCheetah", "700 labels", 0, 4000, untrained=-280, pearson=0.8, minutes=20, command="prefrl train --a"),
    record("HalfCheetah", "700 labels", 1, 2580, untrained=-280, pearson=0.9, minutes=22, command="prefrl train --b"),
    record("Reacher", "true reward", 0, -5.24, untrained=-45.24, minutes=4),
    record("Reacher", "700 labels", 0, -9.24, untrained=-45.24, pearson=0.5, minutes=6, versions="prefrl 0.2.0"),
]
RUNS = tuple(
    Run(task, condition, RunConfig(f"prefrl/{task}-v0"))
    for task in ("HalfCheetah", "Reacher")
    for condition in ("true reward", "700 labels")
)


def named(records: list[Record]) -> list[Record]:
    """As runs of the claim are called."""
    names = {(run.task, run.condition, seed): run.with_seed(seed).name for run in RUNS for seed in range(3)}
    return [Record(**vars(r) | {"name": names[r.task, r.condition, r.seed]}) for r in records]


def test_a_table_has_a_row_for_each_task_and_condition():
    assert table(RECORDS) == (
        "| Task | Condition | Seeds | Return (min to max) | IQM [95 %] | Share | Pearson | Minutes |\n"
        "| :-- | :-- | --: | --: | --: | --: | --: | --: |\n"
        "| HalfCheetah | true reward | 2 | 5,440 (5,000 to 5,880) | 5,440 [5,000 to 5,880] | 100 % | – | 11.0 |\n"
        "| HalfCheetah | 700 labels | 2 | 3,290 (2,580 to 4,000) | 3,290 [2,580 to 4,000] | 62 % | 0.85 | 21.0 |\n"
        "| Reacher | true reward | 1 | -5.2 | -5.2 | 100 % | – | 4.0 |\n"
        "| Reacher | 700 labels | 1 | -9.2 | -9.2 | 90 % | 0.50 | 6.0 |"
    )


def test_algorithms_are_told_where_there_are_several():
    assert "Algorithm" not in table(RECORDS)
    lines = table([*RECORDS, record("Reacher", "SAC", 0, -4, untrained=-45.24, algo="sac")]).splitlines()
    assert lines[0].startswith("| Task | Condition | Algorithm | Seeds |")
    assert lines[1].startswith("| :-- | :-- | :-- | --: |")
    assert lines[-1].startswith("| Reacher | SAC | sac | 1 |")


def test_all_tasks_of_a_condition_come_together_in_one_row():
    assert aggregate(RECORDS) == (
        "| Condition | Tasks | Seeds | IQM of shares [95 %] | Mean [95 %] | Worst task |\n"
        "| :-- | --: | --: | --: | --: | --: |\n"
        "| true reward | 2 | 1 to 2 | 100 % [94 % to 106 %] | 100 % [95 % to 105 %] | HalfCheetah: 100 % |\n"
        "| 700 labels | 2 | 1 to 2 | 73 % [57 % to 77 %] | 72 % [63 % to 80 %] | HalfCheetah: 62 % |"
    )


def test_without_the_baseline_there_are_returns_but_no_shares():
    alone = [run for run in RECORDS if run.condition == "700 labels"]
    assert aggregate(alone).endswith("| 700 labels | 0 | – | – | – | – |")
    assert table(alone).endswith("| -9.2 | -9.2 | – | 0.50 | 6.0 |")


def test_minutes_are_told_by_condition_and_task_and_together():
    assert minutes(RECORDS[:5]) == (
        "| Minutes of a run | HalfCheetah | Reacher |\n"
        "| :-- | --: | --: |\n"
        "| true reward | 11.0 | 4.0 |\n"
        "| 700 labels | 21.0 | – |\n"
        "\n"
        "Together 68.0 run-minutes: 0.57 hours on two cores, a run on each."
    )


def test_every_command_is_told_once_with_its_versions():
    assert commands(RECORDS) == (
        "<details>\n<summary>Commands and versions</summary>\n\n"
        "With prefrl 0.1.0:\n\n"
        "```\nprefrl train\nprefrl train --a\nprefrl train --b\n```\n\n"
        "With prefrl 0.2.0:\n\n"
        "```\nprefrl train\n```\n\n"
        "</details>"
    )


def test_verdicts_say_what_was_reached():
    judged = [Verdict("a | b", "≥ 90 %", "95 %", True), Verdict("c", "d", "e", False), Verdict("f", "g", "", None)]
    assert verdicts(judged) == (
        "| Claim | Target | Found | Verdict |\n"
        "| :-- | :-- | :-- | :-- |\n"
        "| a \\| b | ≥ 90 % | 95 % | reached |\n"
        "| c | d | e | missed |\n"
        "| f | g |  | not enough runs yet |"
    )
    assert verdicts([]) == ""


def test_a_page_says_what_it_has_and_what_is_missing():
    claim = Claim("mujoco", "Labels are enough.", RUNS, seeds=3, verdicts=lambda known: [Verdict("a", "b", "c", None)])
    text = page(claim, named(RECORDS))
    assert text.startswith("# Claim: Labels are enough.\n\n| Claim | Target | Found | Verdict |\n")
    assert (
        "has a row for every run: 4 of seed 0, 2 of seed 1.\n\n6 of the claim's 12 runs are not there yet: the same command goes on