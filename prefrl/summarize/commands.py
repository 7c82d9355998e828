"""`prefrl summarize`: the stages as words of the command line."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

from prefrl.flags import add_settings, settings
from prefrl.summarize.presets import PRESETS
from prefrl.summarize.settings import STAGES, Settings

ALL = "run"


def add_summarize(command: Callable[..., argparse.ArgumentParser]) -> None:
    """`command`: makes a parser from a name, what it runs, and a sentence about it."""
    made = command("summarize", _summarize, "Teach a language model to summarise, from preferences between summaries.")
    made.add_argument(
        "stage", metavar="STAGE", choices=(*STAGES, ALL), help=f"{', '.join(STAGES)}; or run: all of them"
    )
    made.add_argument("--out", type=Path, required=True, help="folder of all stages, gone on with if it is there")
    made.add_argument("--preset", choices=PRESETS, help=f"settings to begin with: {', '.join(PRESETS)}")
    add_settings(made, Settings)


def _summarize(given: argparse.Namespace) -> None:
    from prefrl.summarize.folder import SummaryFolder
    from prefrl.summarize.run import run

    folder = SummaryFolder.begun(given.out, settings(given, Settings), PRESETS[given.preset] if given.preset else {})
    stages = STAGES if given.stage == ALL else (given.stage,)
    try:
        print(json.dumps(run(folder, stages), indent=2))
    except KeyboardInterrupt:
        raise KeyboardInterrupt("interrupted; the same command goes on") from None
