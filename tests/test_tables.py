"""Markdown of claims."""

import math

import pytest

from prefrl.intervals import Interval
from prefrl.reproduce.claim import Claim, Run, Verdict
from prefrl.reproduce.records import Record
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
    rows = "has a row for every run: 4 of seed 0, 2 of seed 1.\n\n"
    assert f"{rows}6 of the claim's 12 runs are not there yet: the same command goes on." in text
    assert table(RECORDS) in text and aggregate(RECORDS) in text and minutes(RECORDS) in text
    assert "](curves.png)" in text and "](shares.png)" in text
    assert text.endswith("</details>\n")
    assert "nan" not in text


def test_a_page_of_all_runs_misses_none_and_one_of_no_run_has_no_tables():
    claim = Claim("tiny", "It runs.", RUNS, seeds=1)
    every = [run for run in named(RECORDS) if run.seed == 0]
    assert "not there yet" not in page(claim, every)
    assert "1 of the claim's 4 runs is not there yet: the same command goes on." in page(claim, every[1:])
    missing = "No run is finished yet.\n\n4 of the claim's 4 runs are not there yet: the same command goes on."
    assert page(claim, []) == f"# Claim: It runs.\n\n{missing}\n"


def test_rows_are_in_the_order_of_the_claim_however_runs_ended():
    claim = Claim("mujoco", "Labels are enough.", RUNS)
    stray = record("Ant", "true reward", 0, 1)
    assert in_order(claim, [stray, *RECORDS[::-1]]) == [*RECORDS, stray]
    assert page(claim, RECORDS[::-1]) == page(claim, RECORDS)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (5440.4, "5,440"),
        (99.96, "100"),
        (24.99, "25.0"),
        (-2.1, "-2.1"),
        (0.996, "1.0"),
        (0.456, "0.46"),
        (-0.001, "0.00"),
        (math.nan, "–"),
    ],
)
def test_numbers_have_about_three_digits(value, words):
    assert number(value) == words


def test_shares_are_whole_percents():
    assert [percent(0.954), percent(-12.34), percent(-0.001), percent(math.nan)] == ["95 %", "-1,234 %", "0 %", "–"]


def test_bounds_that_nothing_tells_are_left_out():
    assert bounded(Interval(0.93, 0.89, 0.976), percent) == "93 % [89 % to 98 %]"
    assert bounded(Interval(24.99, math.nan, math.nan), number) == "25.0"
