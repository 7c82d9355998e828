"""`prefrl export` and `prefrl import`: a run's labels in files of other programs, and back."""

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from prefrl.runs import COMPARISONS, RunFolder
from prefrl.summarize.commands import TEXTS


def add_transfer(command: Callable[..., argparse.ArgumentParser]) -> None:
    """`command`: makes a parser from a name, what it runs, and a sentence about it."""
    for name, run, about in (
        ("export", _export, "Write a run's labels for other programs."),
        ("import", _import, "Read labels, such as `prefrl export` wrote, into a run."),
    ):
        made = command(name, run, about)
        made.add_argument("run_folder", metavar="RUN", type=Path)
        made.add_argument("file", metavar="FILE", type=Path)
        formats = f"jsonl, parquet, imitation, b-pref; of summaries also {', '.join(TEXTS)}"
        made.add_argument("--format", default="jsonl", help=f"{formats} (default: jsonl)")


def _export(given: argparse.Namespace) -> None:
    if _holds_texts(given.format):
        from prefrl.summarize import exchange as texts

        print(f"{given.file}: {texts.export(given.run_folder, given.file, given.format)}")
        return
    from prefrl.exchange import export

    with RunFolder.open(given.run_folder).open_store() as store:
        print(f"{given.file}: {export(store, given.file, given.format)}")


def _import(given: argparse.Namespace) -> None:
    if _holds_texts(given.format):
        from prefrl.summarize import exchange as texts

        print(f"{given.file}: {texts.load(given.run_folder, given.file, given.format)}")
        return
    from prefrl.exchange import load

    run = given.run_folder
    with _or_texts(run):
        folder = RunFolder.open(run)
    with folder.locked(), folder.open_store() as store, _or_texts(run):
        print(f"{given.file}: {load(store, given.file, given.format)}")


@contextmanager
def _or_texts(run: Path) -> Iterator[None]:
    """Names the formats of texts in a refusal of a summariser's folder, where they may have been meant."""
    try:
        yield
    except ValueError as error:
        if run.resolve().name != COMPARISONS and not (run / "settings.yaml").is_file():
            raise
        raise ValueError(f"{error}; texts are read with --format {', '.join(TEXTS[:-1])} or {TEXTS[-1]}") from error


def _holds_texts(format: str) -> bool:
    from prefrl.exchange import FORMATS

    if format not in (*FORMATS, *TEXTS):
        raise ValueError(f"unknown format {format!r}: choose one of {', '.join((*FORMATS, *TEXTS))}")
    return format in TEXTS
