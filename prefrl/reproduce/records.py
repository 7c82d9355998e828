"""Finished runs as plain values: what tables and figures are made of, small enough to be kept for good."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from prefrl.files import read_json, reading, whole
from prefrl.runs import RunFolder

POINTS = 100
"""Of a curve: more than a printed figure shows."""

Curve = tuple[tuple[float, ...], tuple[float, ...]]


@dataclass(frozen=True)
class Record:
    """What one run came to. Returns are true returns of episodes, in the environment's units."""

    name: str
    task: str
    condition: str
    algo: str
    labels: int | str
    """A number, or "true" where the environment's own reward was paid."""
    seed: int
    steps: int
    result: float
    """Mean of the episodes that ended in the last 10 % of steps."""
    untrained: float
    evaluated: float
    """Mean of the final policy's likeliest actions."""
    pearson: float | None
    minutes: float
    reward_minutes: float
    command: str
    versions: str
    curve: Curve = ((), ())
    """Steps, and the mean of the last 100 episodes at each."""
    measured: Mapping[str, float | str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Every setting of the run."""
    preset: Mapping[str, Any] = field(default_factory=dict)
    """What the algorithm started from, where the settings say nothing else."""

    def row(self) -> dict[str, Any]:
        """Of `runs.csv`."""
        values = {COLUMNS.get(name, name): value for name, value in vars(self).items() if name not in UNLISTED}
        return {name: rounded(value) for name, value in (values | dict(self.measured)).items()}


COLUMNS = {"result": "return", "untrained": "untrained_return", "evaluated": "eval_return"}
UNLISTED = {"name", "curve", "measured", "settings", "preset"}


def rounded(value: Any) -> Any:
    """To as many digits as a table needs, if it is a float."""
    return round(value, 4) if isinstance(value, float) else value


def record_of(path: Path, task: str, condition: str, command: str, measured: Mapping[str, float | str]) -> Record:
    """Of the finished run in `path`; ValueError if it is not finished."""
    folder = RunFolder.open(path)
    summary = folder.summary
    if summary is None:
        raise ValueError(f"{path} is not finished: `prefrl resume {path}` goes on with it")
    return Record(
        name=path.name,
        task=task,
        condition=condition,
        algo=summary["algo"],
        labels="true" if summary["reward"] == "true" else folder.config.labels,
        seed=summary["seed"],
        steps=summary["steps"],
        result=final_return(folder),
        untrained=summary["untrained_return"],
        evaluated=summary["eval_return_mean"],
        pearson=summary["pearson"],
        minutes=summary["wall_seconds"] / 60,
        reward_minutes=summary["reward_seconds"] / 60,
        command=command,
        versions=_versions(path),
        curve=_curve(folder),
        measured=measured,
        settings=asdict(folder.config),
        preset=read_json(path / "preset.json"),
    )


def final_return(folder: RunFolder) -> float:
    """True return of a finished run, the mean of the episodes that ended in its last 10 % of steps.

    Of a run so short that none did: the mean of the last that ended, or else of its evaluation.
    """
    summary, (_, returns) = folder.summary, _curve(folder)
    assert summary
    if summary["train_return_mean"] is not None:
        return float(summary["train_return_mean"])
    return returns[-1] if returns else float(summary["eval_return_mean"])


def _versions(run: Path) -> str:
    system = read_json(run / "system.json")
    found = {**system["packages"], "commit": system["commit"]}
    return ", ".join(f"{name} {version}" for name, version in found.items() if version)


def _curve(folder: RunFolder) -> Curve:
    lines = [line for line in folder.read_metrics() if "rollout/ep_rew_mean" in line]
    kept = [lines[i] for i in np.unique(np.linspace(0, len(lines) - 1, min(POINTS, len(lines))).astype(int))]
    return (
        tuple(float(line["time/total_timesteps"]) for line in kept),
        tuple(round(float(line["rollout/ep_rew_mean"]), 3) for line in kept),
    )


def read_records(file: Path) -> list[Record]:
    """What `write_records` wrote; none if there is no such file."""
    if not file.is_file():
        return []
    with reading(file):
        return [_record(json.loads(line)) for line in file.read_text().splitlines()]


def _record(values: dict[str, Any]) -> Record:
    steps, returns = values["curve"]
    return Record(**values | {"curve": (tuple(steps), tuple(returns))})


def write_records(records: Sequence[Record], file: Path) -> None:
    """One JSON object a line."""
    with whole(file) as out:
        out.write("".join(json.dumps(asdict(record)) + "\n" for record in records).encode())


def write_csv(records: Sequence[Record], file: Path) -> None:
    """One row a run."""
    write_rows([record.row() for record in records], file)


def write_rows(rows: Sequence[Mapping[str, Any]], file: Path) -> None:
    """CSV with a column for every name that a row has, empty in the others."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)))
    writer.writeheader()
    writer.writerows(rows)
    with whole(file) as out:
        out.write(text.getvalue().encode())
