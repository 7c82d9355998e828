"""Markdown of a claim: its page, and the tables on it; from records alone."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from statistics import fmean

import numpy as np

from prefrl.intervals import Interval, interval
from prefrl.reproduce.claim import Claim, Verdict
from prefrl.reproduce.records import Record
from prefrl.reproduce.statistics import BASELINE, share, shares

NONE = "–"
"""Where there is no number."""
VERDICTS = {True: "reached", False: "missed", None: "not enough runs yet"}
CORES = 2
"""Of the machine that hours are told for."""


def page(claim: Claim, records: Sequence[Record], pictures: Sequence[str] = ()) -> str:
    """All of a claim's results; `curves.png`, `shares.png`, `runs.csv` and the `pictures` lie beside it."""
    records = in_order(claim, records)
    parts = [f"# Claim: {claim.about}", verdicts(claim.verdicts(records)), _made(claim, records)]
    if records:
        parts += [f"![{claim.about}]({name})" for name in pictures]
        parts += [*_shares(records, claim.baseline), *_each(records, claim.baseline), measured(records)]
        parts += ["## Time", minutes(records), commands(records)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _shares(records: Sequence[Record], baseline: str | None) -> list[str]:
    if baseline is None:
        return []
    return [
        "## All tasks",
        aggregate(records, baseline),
        "![Shares: a dot a seed, a bar to their mean](shares.png)",
        f"Share: 0 % is the untrained policy, 100 % the mean return from {_cell(baseline)}. IQM: the mean of the "
        "middle half of all seeds' shares, with the 95 % interval of a bootstrap over the seeds of each task; the "
        "baseline's mean counts as known.",
    ]


def _each(records: Sequence[Record], baseline: str | None) -> list[str]:
    return [
        "## Each task",
        "![Learning curves: a thin line a seed, a thick one their mean](curves.png)",
        table(records, baseline),
        "Returns are true returns of the episodes of a run's last 10 % of steps: mean over seeds, in round "
        "brackets the worst and the best seed. The interval of three seeds is about their range: it says little. "
        "Curves are means of the last 100 episodes. Pearson: of learned with true reward.",
    ]


def in_order(claim: Claim, records: Sequence[Record]) -> list[Record]:
    """As the claim declares them, then by seed; those of a run that it no longer declares come last."""
    place = {(run.task, run.condition): i for i, run in reversed([*enumerate(claim.runs)])}
    return sorted(records, key=lambda record: (place.get((record.task, record.condition), len(place)), record.seed))


def verdicts(judged: Sequence[Verdict]) -> str:
    """Empty if nothing is claimed."""
    if not judged:
        return ""
    rows = [[verdict.claim, verdict.target, verdict.found, VERDICTS[verdict.reached]] for verdict in judged]
    return _markdown(["Claim", "Target", "Found", "Verdict"], rows, words=4)


def aggregate(records: Sequence[Record], baseline: str = BASELINE) -> str:
    """A row a condition, over the tasks where it has shares of the baseline."""
    rows = [[condition, *_together(shares(records, condition, baseline))] for condition in conditions(records)]
    head = ["Condition", "Tasks", "Seeds", "IQM of shares [95 %]", "Mean [95 %]", "Worst task"]
    return _markdown(head, rows, words=1)


def _together(parts: dict[str, list[float]]) -> list[str]:
    if not parts:
        return ["0", *[NONE] * 4]
    seeds = sorted({len(values) for values in parts.values()})
    means = {task: fmean(values) for task, values in parts.items()}
    worst = min(means, key=lambda task: means[task])
    return [
        str(len(parts)),
        str(seeds[0]) if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}",
        bounded(interval([*parts.values()]), percent),
        bounded(interval([*parts.values()], np.mean), percent),
        f"{worst}: {percent(means[worst])}",
    ]


def table(records: Sequence[Record], baseline: str | None = BASELINE) -> str:
    """A row for each task and condition; without shares where there is no baseline."""
    several = len({record.algo for record in records}) > 1
    rows = []
    for (task, condition), group in groups(records).items():
        algo = [", ".join(dict.fromkeys(record.algo for record in group))] if several else []
        rows.append([task, condition, *algo, *_seeds(group, records, baseline)])
    words = ["Task", "Condition", *(["Algorithm"] if several else [])]
    parts = [] if baseline is None else ["Share"]
    numbers = ["Seeds", "Return (min to max)", "IQM [95 %]", *parts, "Pearson", "Minutes"]
    return _markdown([*words, *numbers], rows, len(words))


def _seeds(group: Sequence[Record], records: Sequence[Record], baseline: str | None) -> list[str]:
    parts = [] if baseline is None else [percent(fmean(share(record, records, baseline) for record in group))]
    results = [record.result for record in group]
    spread = f" ({number(min(results))} to {number(max(results))})" if len(results) > 1 else ""
    pearsons = [record.pearson for record in group if record.pearson is not None]
    return [
        str(len(group)),
        number(fmean(results)) + spread,
        bounded(interval([results]), number),
        *parts,
        f"{fmean(pearsons):.2f}" if pearsons else NONE,
        number(fmean(record.minutes for record in group)),
    ]


def measured(records: Sequence[Record]) -> str:
    """A row for each run of which more was measured; empty if there is none."""
    names = [*dict.fromkeys(name for record in records for name in record.measured)]
    rows = []
    for record in records:
        values = [record.measured.get(name, NONE) for name in names]
        cells = [value if isinstance(value, str) else number(value) for value in values]
        rows.append([record.task, record.condition, str(record.seed), *cells])
    heads = [name.replace("_", " ").capitalize() for name in names]
    return _markdown(["Task", "Condition", "Seed", *heads], rows, words=2) if names else ""


def minutes(records: Sequence[Record]) -> str:
    """Minutes of a run, the mean over seeds: a row a condition, a column a task; and what all runs took together."""
    tasks, cells = [*dict.fromkeys(record.task for record in records)], groups(records)
    rows = []
    for condition in conditions(records):
        found = [cells.get((task, condition)) for task in tasks]
        rows.append([condition, *(number(fmean(r.minutes for r in group)) if group else NONE for group in found)])
    total = sum(record.minutes for record in records)
    return "\n\n".join(
        [
            _markdown(["Minutes of a run", *tasks], rows, words=1),
            f"Together {number(total)} run-minutes: {number(total / 60 / CORES)} hours on two cores, a run on each.",
        ]
    )


def commands(records: Sequence[Record]) -> str:
    """Every command once, below the versions that it ran with; folded away."""
    lines = []
    for versions in dict.fromkeys(record.versions for record in records):
        made = dict.fromkeys(record.command for record in records if record.versions == versions)
        lines += [f"With {versions}:", "\n".join(["```", *made, "```"])]
    return "\n\n".join(["<details>\n<summary>Commands and versions</summary>", *lines, "</details>"])


def groups(records: Sequence[Record]) -> dict[tuple[str, str], list[Record]]:
    """(task, condition) -> its seeds; tasks, and the conditions of each, as they first occur."""
    found: dict[tuple[str, str], list[Record]] = {}
    for task in dict.fromkeys(record.task for record in records):
        for record in records:
            if record.task == task:
                found.setdefault((task, record.condition), []).append(record)
    return found


def conditions(records: Sequence[Record]) -> list[str]:
    return [*dict.fromkeys(record.condition for record in records)]


def number(value: float) -> str:
    """About three digits: 5,440, 25.0, -2.1, 0.46."""
    if math.isnan(value):
        return NONE
    decimals = 0 if abs(value) >= 99.95 else 1 if abs(value) >= 0.995 else 2
    return f"{round(value, decimals) + 0.0:,.{decimals}f}"  # + 0.0: no "-0.00"


def percent(value: float) -> str:
    """Whole ones."""
    return NONE if math.isnan(value) else f"{round(100 * value):,} %"


def bounded(found: Interval, written: Callable[[float], str]) -> str:
    """93 % [89 % to 98 %], with `percent`; the value alone where nothing tells the bounds."""
    value = written(found.value)
    return value if math.isnan(found.low) else f"{value} [{written(found.low)} to {written(found.high)}]"


def _made(claim: Claim, records: Sequence[Record]) -> str:
    """How many rows `runs.csv` has of each seed, and what is missing."""
    seeds = Counter(record.seed for record in records)
    each = ", ".join(f"{rows} of seed {seed}" for seed, rows in sorted(seeds.items()))
    rows = f"[runs.csv](runs.csv) has a row for every run: {each}." if records else "No run is finished yet."
    declared = [run.with_seed(seed).name for seed in range(claim.seeds) for run in claim.runs]
    missing = len({*declared} - {record.name for record in records})
    if not missing:
        return rows
    are = "is" if missing == 1 else "are"
    return f"{rows}\n\n{missing} of the claim's {len(declared)} runs {are} not there yet: the same command goes on."


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]], words: int) -> str:
    """The first columns are words, the others numbers, set to the right."""
    rule = [":--" if i < words else "--:" for i in range(len(head))]
    return "\n".join("| " + " | ".join(map(_cell, cells)) + " |" for cells in (head, rule, *rows))


def _cell(words: str) -> str:
    """On one line, and without what would end a cell."""
    return " ".join(words.split()).replace("|", r"\|")
