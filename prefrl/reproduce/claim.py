"""A claim of the paper as a value: the runs that show it, and what they must come to."""

import json
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from prefrl.reproduce.records import Record
from prefrl.runs import RunConfig


@dataclass(frozen=True)
class Run:
    """One training run of a claim."""

    task: str
    condition: str
    """What the runs of one curve share, in words: "700 labels"."""
    config: RunConfig

    def with_seed(self, seed: int) -> "Run":
        return replace(self, config=replace(self.config, seed=seed))

    @property
    def name(self) -> str:
        """Of its folder; unique in a claim."""
        return re.sub(r"[^\w.=-]+", "_", f"{self.task}-{self.condition}-{self.config.seed}")

    @property
    def command(self) -> str:
        """`prefrl train` with the flags that make this run."""
        return shlex.join(["prefrl", "train", *_flags(self.config)])


def _flags(config: RunConfig) -> list[str]:
    flags: list[str] = []
    for setting in fields(config):
        value = getattr(config, setting.name)
        flag = f"--{setting.name.replace('_', '-')}"
        if setting.name == "hyper":
            flags += [flag, *(f"{name}={json.dumps(entry)}" for name, entry in value.items())] if value else []
        elif value is True:
            flags.append(flag)
        elif value != setting.default or setting.name == "seed":
            flags += [flag, str(value)]
    return flags


@dataclass(frozen=True)
class Verdict:
    """Whether records reach what a claim says; `reached` is None while there are too few to tell."""

    claim: str
    target: str
    found: str
    reached: bool | None


Measure = Callable[[Path], Mapping[str, float | str]]
"""The folder of a finished run -> further columns of its row."""


def _no_verdicts(records: Sequence[Record]) -> list[Verdict]:
    return []


@dataclass(frozen=True)
class Claim:
    """Runs, and what they are to show. Functions get all records that there are, of every seed."""

    name: str
    about: str
    """One sentence, the headline of its page."""
    runs: tuple[Run, ...]
    """Of seed 0."""
    baseline: str | None = "true reward"
    """The condition whose return is 100 %; None where a return says nothing of the claim."""
    seeds: int = 3
    verdicts: Callable[[Sequence[Record]], list[Verdict]] = _no_verdicts
    measure: Measure | None = None
    finish: Callable[[Sequence[Record], Path, Path], None] | None = None
    """Called at the end with the records, the folder of the runs and that of the results: to make `pictures`."""
    pictures: tuple[str, ...] = ()
    """Names of the files by which the page shows what `finish` made."""

    def __post_init__(self) -> None:
        names = [run.name for run in self.runs]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"claim {self.name}: two runs are called {min(twice)}: give them different conditions")


SHORT: Mapping[str, Any] = {"total_timesteps": 20_000, "labels": 30, "turns": 10, "eval_episodes": 1}
"""Settings of runs that take seconds."""


def shortened(claim: Claim) -> Claim:
    """The same runs, of one seed, too short to show anything but that they work: nothing is judged."""
    runs = tuple(replace(run, config=replace(run.config, **SHORT)) for run in claim.runs)
    about = f"{claim.about} (not shown here: every run has 30 labels and 20,000 steps, to see that it works)"
    return replace(claim, about=about, runs=runs, seeds=1, baseline=None, verdicts=_no_verdicts)
