"""Where the stages of one summariser keep what they made, and by which settings."""

import json
import shlex
import shutil
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields, replace
from math import isfinite
from pathlib import Path
from typing import Any

from prefrl.files import read_json, whole
from prefrl.runs import COMPARISONS, RunConfig, RunFolder, locked, read_settings, system
from prefrl.summarize.order import NEEDS, after
from prefrl.summarize.settings import DIRECT, TOKENS, Settings

SUMMARY, SHEET, KEY = "summary.json", "likert.csv", "likert.key.json"
QUESTION = "Which is the better summary?"
INSTRUCTIONS = {
    "question": QUESTION,
    "look_for": [
        "Overall: which one would serve somebody better who has no time for the text?",
        "Accuracy: all that it says is in the text; what is made up or wrong counts most against it.",
        "Coverage: it holds what matters in the text, and leaves out the rest. More words alone are no gain.",
        "Coherence: it can be understood by itself, and reads well from its first word to its last.",
    ],
    "good": {"text": "It says what the text is about and what comes of it, and is understood without the text."},
    "bad": {"text": "It says what is not in the text, misses the point of it, or breaks off."},
}
"""What people are told; what they are to look for are the axes of Stiennon et al. 2020."""
MORE: Mapping[str, Sequence[str]] = {
    "evaluate": (SUMMARY, SHEET, KEY, "likert.json"),
    TOKENS: (COMPARISONS,),
}
"""What holds results of a stage beside its own JSON file."""


class SummaryFolder:
    """`settings.yaml`, a folder of each model, the comparisons, and a JSON file of what each finished stage came to.

    The comparisons are a run's folder: `prefrl label`, `export` and `import` work on it.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)

    @property
    def has_settings(self) -> bool:
        return (self.path / "settings.yaml").is_file()

    @property
    def settings(self) -> Settings:
        return Settings.of(read_settings(self.path / "settings.yaml"))

    def planned(self, given: Mapping[str, Any], preset: Mapping[str, Any]) -> Settings:
        """The settings: those it has, or `preset`, and over them what was `given`; nothing is written.

        Raises ValueError where it has other settings than `preset` and those `given` would make, and where a
        stage that is finished, or one that follows it, was made by another setting than the one that is given.
        """
        old = self.settings if self.has_settings else None
        if old is None and self.path.is_dir() and {path.name for path in self.path.iterdir()} - {".lock"}:
            raise ValueError(f"{self.path} holds something else: choose another --out")
        new = Settings.of({**(asdict(old) if old else preset), **given})
        if old and preset:
            self._check_preset(Settings.of({**preset, **given}), given)
        for name, stages in self._changed(new) if old else ():
            made_by_it = {each for stage in stages for each in (stage, *self._followers(stage, new))}
            if made := self._results(made_by_it):
                result = "evaluate" if made[0] in MORE["evaluate"] else Path(made[0]).stem
                raise ValueError(
                    f"{result} of {self.path} was made with {name} {getattr(old, name)!r}: choose another "
                    f"--out, or copy the folder without {', '.join(made)}"
                )
        return new

    def plan(self, new: Settings) -> None:
        """Keeps the settings; what a stage had begun by others is begun anew. Answers stay."""
        if self.has_settings:
            for stage in {stage for _, stages in self._changed(new) for stage in stages}:
                self._forget((stage, *after(stage, new)))
        self._write_settings("settings.yaml", new)
        self._write("command.txt", f"{shlex.join(sys.argv)}\n")
        self._write("system.json", json.dumps(system(), indent=2))

    def results_from(self, stage: str) -> list[str]:
        """Names of the files of a stage, and of those that follow it."""
        return self._results((stage, *self._followers(stage, self.settings)))

    def make_way(self, stage: str) -> None:
        """Before a stage is made: what those that follow it have begun is begun anew.

        Raises ValueError, with the names of the files, where they are finished: what these hold is of another `stage`.
        """
        followers = self._followers(stage, self.settings)
        if left := self._results(followers):
            raise ValueError(
                f"{stage} of {self.path} is to be made again, and {', '.join(left)} would still be of the one before: "
                f"copy the folder without them"
            )
        self._forget(followers)

    def model(self, name: str) -> Path:
        """Folder of a model: pretrained, sft, reward, policy, dpo, ipo, kto."""
        return self.path / name

    def unfinished(self, name: str) -> Path:
        """Where a stage keeps what it needs to go on after it was cut off; `finish` removes it."""
        return self.path / f".{name}"

    def comparisons(self) -> RunFolder:
        """A run's folder without a policy: queries, segments and labels; it has what the settings are now."""
        path, settings = self.path / COMPARISONS, self.settings
        config = RunConfig("summaries", labels=settings.comparisons, question=QUESTION, seed=settings.seed)
        if settings.asks_people:
            config = replace(config, oracle=settings.oracle)
        if (path / "config.yaml").is_file():
            made = RunFolder.open(path)
            labels = max(config.labels, made.config.labels)  # pairs that were asked about are waited for, too
            if made.config != (config := replace(config, labels=labels)):
                self._write_settings(f"{COMPARISONS}/config.yaml", config)
            return made
        shutil.rmtree(path, ignore_errors=True)  # a kill may have left a part of it
        made = RunFolder.create(path, config)
        made.write("instructions.json", json.dumps(INSTRUCTIONS, indent=2) + "\n")
        return made

    def found(self, stage: str) -> dict[str, Any] | None:
        """What a stage came to; None before it is finished."""
        file = self.path / f"{stage}.json"
        return read_json(file) if file.is_file() else None

    def finish(self, stage: str, found: Mapping[str, Any]) -> None:
        """Numbers that nothing tells, which are nan, become null."""
        self._write(f"{stage}.json", json.dumps(_plain(found), indent=2, allow_nan=False))
        self._forget([stage])

    def summarise(self, found: Mapping[str, Any]) -> None:
        self._write(SUMMARY, json.dumps(_plain(found), indent=2, allow_nan=False))

    @property
    def filled_in(self) -> bool:
        """Whether there is a sheet that somebody has begun to fill in."""
        from prefrl.text.likert import filled_in  # `prefrl export` starts without torch

        return filled_in(self.path / SHEET)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One process at a time may work on a folder."""
        with locked(self.path):
            yield

    def _check_preset(self, wanted: Settings, given: Collection[str]) -> None:
        """Raises ValueError where the folder's own settings, which go before a preset's, would silently be others."""
        if differ := [name for name, _ in self._changed(wanted) if name not in given]:
            own, preset = (getattr(each, differ[0]) for each in (self.settings, wanted))
            flag = f"--{differ[0].replace('_', '-')}"
            raise ValueError(
                f"{self.path} was begun with {differ[0]} {own!r}, not {preset!r} as --preset would make it: say "
                f"which by {flag}, leave out --preset to go on with the folder's settings, or choose another --out"
            )

    def _followers(self, stage: str, settings: Settings) -> tuple[str, ...]:
        """Those whose results change with those of `stage`: policies by `dpo` may have been measured by the reward."""
        measured = [method for method in DIRECT if stage == "reward" and "reward" in (self.found(method) or {})]
        return (*after(stage, settings), *measured)

    def _results(self, stages: Collection[str]) -> list[str]:
        """Names of the files and folders, as far as they are there, of what stages came to.

        An empty sheet is none of them where `evaluate` was cut off: it writes another.
        """
        named = [(f"{stage}.json", *MORE.get(stage, ())) for stage in (*NEEDS, TOKENS) if stage in stages]
        there = [name for names in named for name in names if (self.path / name).exists()]
        if {SHEET, KEY}.isdisjoint(there) or self.found("evaluate") is not None or self.filled_in:
            return there
        return [name for name in there if name not in (SHEET, KEY)]

    def _forget(self, stages: Collection[str]) -> None:
        """What stages have begun."""
        for stage in stages:
            shutil.rmtree(self.unfinished(stage), ignore_errors=True)

    def _changed(self, new: Settings) -> list[tuple[str, tuple[str, ...]]]:
        """Names of settings that differ from the kept ones, each with its stages; those of no stage may."""
        old = self.settings
        return [
            (setting.name, setting.metadata["stages"])
            for setting in fields(Settings)
            if "stages" in setting.metadata and getattr(old, setting.name) != getattr(new, setting.name)
        ]

    def _write_settings(self, name: str, settings: Settings | RunConfig) -> None:
        import yaml

        self._write(name, yaml.safe_dump(asdict(settings), sort_keys=False))

    def _write(self, name: str, text: str) -> None:
        with whole(self.path / name) as file:
            file.write(text.encode())


def _plain(found: Any) -> Any:
    """As JSON has it, which knows no nan and no infinity."""
    if isinstance(found, Mapping):
        return {name: _plain(each) for name, each in found.items()}
    if isinstance(found, list | tuple):
        return [_plain(each) for each in found]
    return None if isinstance(found, float) and not isfinite(found) else found
