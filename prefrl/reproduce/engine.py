"""What makes runs: the interface of engines, and the one thing that all of them do."""

from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import NamedTuple

from prefrl.reproduce.claim import Run
from prefrl.runs import RunConfig, RunFolder


class Outcome(NamedTuple):
    """How a run ended."""

    run: Run
    trouble: str
    """One line; empty if it ended well."""


Engine = Callable[[Sequence[Run], Path], Generator[Outcome]]
"""(runs, folder) -> an outcome for each, as it ends; run R lives in folder / R.name.

A failed run stops no other; closing the generator ends what is going."""


def make(config: RunConfig, out: Path) -> None:
    """Begins a run in `out`, or goes on with the one that is there; does nothing if that is finished."""
    from prefrl.train import resume, train

    if not (out / "config.yaml").is_file():
        train(config, out)
    elif RunFolder.open(out).summary is None:
        resume(out)


def one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
