"""What makes runs: the interface of engines, and the one thing that all of them do."""

import traceback
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
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
        _clear(out)
        train(config, out)
    elif RunFolder.open(out).summary is None:
        resume(out)


def _clear(out: Path) -> None:
    """Removes the folder of a run that was killed before it had a configuration; one with anything in it is left."""
    for half in out.glob(".*.half"):
        half.unlink()
    with suppress(OSError):
        out.rmdir()


def attempt(config: RunConfig, out: Path) -> str:
    """`make`; the trouble in one line, "" if all is well. The traceback is in `errors_of(out)`."""
    errors = errors_of(out)
    errors.unlink(missing_ok=True)
    try:
        make(config, out)
    except (Exception, SystemExit) as error:
        trouble = f"{one_line(error)} (more in {errors})"
        errors.write_text(f"{trouble}\n\n{traceback.format_exc()}")
        return trouble
    return ""


def errors_of(out: Path) -> Path:
    """Where it is said why a run failed."""
    return out.with_name(f"{out.name}.error")


def one_line(error: BaseException) -> str:
    """A ValueError of ours says all that there is to say."""
    words = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
    return " ".join(words.split())
