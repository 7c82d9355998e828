"""`prefrl summarize`: the stages as words of the command line."""

import argparse
import json
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from prefrl.flags import add_settings, settings
from prefrl.summarize.presets import PRESETS
from prefrl.summarize.settings import DIRECT, LIKERT, STAGES, Settings

ALL = "run"
TEXTS = ("texts", "trl", "tldr")
"""Formats of `prefrl export` and `prefrl import` that hold words in place of tokens."""
WORDS = (
    f"{', '.join(STAGES)}; {ALL}: all of them; {', '.join(DIRECT)}: a policy straight from the answers; "
    f"{LIKERT}: what people say on the sheet that evaluate hands out"
)


def add_summarize(command: Callable[..., argparse.ArgumentParser]) -> None:
    """`command`: makes a parser from a name, what it runs, and a sentence about it."""
    made = command("summarize", _summarize, "Teach a language model to summarise, from preferences between summaries.")
    made.add_argument("stage", metavar="STAGE", choices=(*STAGES, ALL, *DIRECT, LIKERT), help=WORDS)
    made.add_argument("--out", type=Path, required=True, help="folder of all stages, gone on with if it is there")
    made.add_argument("--preset", choices=PRESETS, help=f"settings to begin with: {', '.join(PRESETS)}")
    made.add_argument("--json", action="store_true", help="print all that the stages came to")
    add_settings(made, Settings)


def _summarize(given: argparse.Namespace) -> None:
    from prefrl.summarize import evaluate, told
    from prefrl.summarize.folder import SummaryFolder
    from prefrl.summarize.run import begin, run

    if given.stage not in (ALL, STAGES[0]) and not SummaryFolder(given.out).has_settings:
        preset = ["--preset", given.preset] if given.preset else []
        begin_by = shlex.join(["prefrl", "summarize", STAGES[0], *preset, "--out", str(given.out)])
        raise ValueError(f"{given.out} has no settings.yaml: begin with `{begin_by}`")
    if given.stage == LIKERT:
        found = evaluate.likert(SummaryFolder(given.out))
        print(json.dumps(found, indent=2) if given.json else told.likert(found))
        return
    folder = begin(given.out, settings(given, Settings), PRESETS[given.preset] if given.preset else {})
    stages = None if given.stage == ALL else (given.stage,)

    def tell(stage: str, made: Mapping[str, Any]) -> None:
        if not given.json:
            print(told.stage(folder, stage, made), flush=True)

    try:
        found = run(folder, stages, tell)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("interrupted; the same command goes on") from None
    print(json.dumps(found, indent=2) if given.json else told.ending(folder, [*found]))
