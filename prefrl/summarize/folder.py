"""Where the stages of one summariser keep what they made, and by which settings."""

import json
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from prefrl.files import read_json, whole
from prefrl.runs import RunConfig, RunFolder, locked, read_settings, system
from prefrl.summarize.settings import BEGUN, Settings

COMPARISONS = "comparisons"
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
FOLLOWS = {BEGUN: "sft"}
"""Stages that go on from what one that is not finished has begun."""


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

        Raises ValueError where a stage that is finished was made by another setting than the one that is given.
        """
        old = self.settings if self.has_settings else None
        if old is None and self.path.is_dir() and {path.name for path in self.path.iterdir()} - {".lock"}:
            raise ValueError(f"{self.path} holds something else: choose another --out")
        new = Settings.of({**(asdict(old) if old else preset), **given})
        for name, stage in self._changed(new) if old else ():
            if made := next((s for s in (stage, FOLLOWS.get(stage, stage)) if self.found(s) is not None), None):
                raise ValueError(
                    f"{made} of {self.path} was made with {name} {getattr(old, name)!r}: choose another --out, or "
                    f"copy the folder without {made}.json and what follows it"
                )
        return new

    def plan(self, new: Settings) -> None:
        """Keeps the settings; what a stage had begun by others is begun anew. Answers stay."""
        if self.has_settings:
            for stage in {stage for _, stage in self._changed(new)}:
                for begun in (stage, FOLLOWS.get(stage, stage)):
                    shutil.rmtree(self.unfinished(begun), ignore_errors=True)
        import yaml

        self._write("settings.yaml", yaml.safe_dump(asdict(new), sort_keys=False))
        self._write("command.txt", f"{shlex.join(sys.argv)}\n")
        self._write("system.json", json.dumps(system(), indent=2))

    def model(self, name: str) -> Path:
        """Folder of a model: pretrained, sft, reward, policy, dpo, ipo, kto."""
        return self.path / name

    def unfinished(self, name: str) -> Path:
        """Where a stage keeps what it needs to go on after it was cut off; `finish` removes it."""
        return self.path / f".{name}"

    def comparisons(self) -> RunFolder:
        """A run's folder without a policy: queries, segments and labels."""
        path = self.path / COMPARISONS
        if (path / "config.yaml").is_file():
            return RunFolder.open(path)
        shutil.rmtree(path, ignore_errors=True)  # a kill may have left a part of it
        settings = self.settings
        config = RunConfig("summaries", labels=settings.comparisons, question=QUESTION, seed=settings.seed)
        made = RunFolder.create(path, replace(config, oracle=settings.oracle) if settings.asks_people else config)
        made.write("instructions.json", json.dumps(INSTRUCTIONS, indent=2) + "\n")
        return made

    def found(self, stage: str) -> dict[str, Any] | None:
        """What a stage came to; None before it is finished."""
        file = self.path / f"{stage}.json"
        return read_json(file) if file.is_file() else None

    def finish(self, stage: str, found: Mapping[str, Any]) -> None:
        self._write(f"{stage}.json", json.dumps(found, indent=2))
        shutil.rmtree(self.unfinished(stage), ignore_errors=True)

    def summarise(self, found: Mapping[str, Any]) -> None:
        self._write("summary.json", json.dumps(found, indent=2))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One process at a time may work on a folder."""
        with locked(self.path):
            yield

    def _changed(self, new: Settings) -> list[tuple[str, str]]:
        """Names of settings that differ from the kept ones, each with its stage; those of no stage may."""
        old = self.settings
        return [
            (setting.name, str(setting.metadata["stage"]))
            for setting in fields(Settings)
            if "stage" in setting.metadata and getattr(old, setting.name) != getattr(new, setting.name)
        ]

    def _write(self, name: str, text: str) -> None:
        with whole(self.path / name) as file:
            file.write(text.encode())
