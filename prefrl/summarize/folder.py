"""Where the stages of one summariser keep what they made, and by which settings."""

import json
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from prefrl.files import read_json, whole
from prefrl.runs import RunConfig, RunFolder, locked, read_settings, system
from prefrl.summarize.settings import Settings

COMPARISONS = "comparisons"
QUESTION = "Which is the better summary?"


class SummaryFolder:
    """`settings.yaml`, a folder of each model, the comparisons, and a JSON file of what each finished stage came to.

    The comparisons are a run's folder: `prefrl label`, `export` and `import` work on it.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)

    @classmethod
    def begun(cls, path: Path, given: Mapping[str, Any], preset: Mapping[str, Any]) -> "SummaryFolder":
        """The folder with its settings: those it has, or `preset`, and over them what was `given`.

        Raises ValueError where a stage that is finished was made by another setting than the one that is given.
        """
        folder = cls(path)
        old = folder.settings if folder.has_settings else None
        new = Settings.of({**(asdict(old) if old else preset), **given})
        if old is not None:
            folder._check_unused(old, new)
        elif folder.path.is_dir() and any(folder.path.iterdir()):
            raise ValueError(f"{path} holds something else: choose another --out")
        folder.path.mkdir(parents=True, exist_ok=True)
        folder._write_settings(new)
        return folder

    @classmethod
    def open(cls, path: Path) -> "SummaryFolder":
        folder = cls(path)
        if not folder.has_settings:
            raise ValueError(f"{path} has no settings.yaml: begin with `prefrl summarize sft --out {path}`")
        return folder

    @property
    def has_settings(self) -> bool:
        return (self.path / "settings.yaml").is_file()

    @property
    def settings(self) -> Settings:
        return Settings.of(read_settings(self.path / "settings.yaml"))

    def model(self, name: str) -> Path:
        """Folder of a model: pretrained, sft, reward, policy."""
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
        return RunFolder.create(path, config)

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

    def _check_unused(self, old: Settings, new: Settings) -> None:
        for setting in fields(Settings):
            before, now = getattr(old, setting.name), getattr(new, setting.name)
            stage = setting.metadata["stage"]
            if before != now and self.found(stage) is not None:
                raise ValueError(
                    f"{stage} of {self.path} was made with {setting.name} {before!r}: choose another --out, or copy "
                    f"the folder without {stage}.json and what follows it"
                )

    def _write_settings(self, settings: Settings) -> None:
        import yaml

        self._write("settings.yaml", yaml.safe_dump(asdict(settings), sort_keys=False))
        self._write("command.txt", f"{shlex.join(sys.argv)}\n")
        self._write("system.json", json.dumps(system(), indent=2))

    def _write(self, name: str, text: str) -> None:
        with whole(self.path / name) as file:
            file.write(text.encode())
