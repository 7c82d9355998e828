"""The last stage: summaries of held-out posts, judged against the model that training began with, and people's."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from prefrl.summarize.compare import judge_of, knows_quality
from prefrl.summarize.folder import SummaryFolder
from prefrl.summarize.posts import Posts, posts
from prefrl.summarize.settings import Settings
from prefrl.summarize.sft import loaded
from prefrl.text.evaluation import Evaluation, evaluate, leave_out
from prefrl.text.likert import read_sheet, summary, write_sheet
from prefrl.text.samples import Example
from prefrl.text.sampling import Policy

SHOWN = 10
"""Summaries that are shown as they are: the first ones."""
SHEET = "likert.csv"


def judge(folder: SummaryFolder) -> dict[str, Any]:
    """Greedy summaries of the policy against the SFT model's, and against a person's that the judge has not seen.

    The judge is the oracle without its noise, or the model that answered; where people answered, summaries alone are
    shown. `likert.csv` is for people to fill in.
    """
    settings = folder.settings
    of = posts(settings)
    examples = of.test[: settings.judged]
    said = {name: _summaries(folder, settings, name, examples) for name in ("sft", "policy")}
    found: dict[str, Any] = {"samples": _samples(examples[:SHOWN], said)}
    if knows_quality(settings):
        found |= _judged(folder, settings, of, examples, said)
    if not (folder.path / SHEET).exists():
        people = {"reference": [example.references[0] for example in examples[:SHOWN]]}
        write_sheet(
            folder.path / SHEET, examples[:SHOWN], {n: s[:SHOWN] for n, s in said.items()} | people, settings.seed
        )
    return found


def likert(folder: SummaryFolder) -> dict[str, Any]:
    """What people's scores on the filled-in sheet come to, by policy."""
    found = summary(read_sheet(folder.path / SHEET))
    return {policy: {axis: each._asdict() for axis, each in axes.items()} for policy, axes in found.items()}


def _summaries(folder: SummaryFolder, settings: Settings, name: str, examples: Sequence[Example]) -> list[str]:
    tokenizer, model = loaded(folder, name, settings)
    policy = Policy(model, tokenizer, settings.prompt_length, settings.response_length, temperature=0)
    return policy(examples, settings.seed)


def _judged(
    folder: SummaryFolder, settings: Settings, of: Posts, examples: list[Example], said: dict[str, list[str]]
) -> dict[str, Any]:
    tokenizer, _ = loaded(folder, "sft", settings)
    found = {"over_sft": _told(evaluate(examples, said["policy"], said["sft"], judge_of(settings, of, tokenizer)))}
    several = [row for row, example in enumerate(examples) if len(example.references) > 1]
    if several:
        left_out = leave_out([examples[row] for row in several], settings.seed)
        rest = [example for example, _ in left_out]
        blind = judge_of(settings, of._replace(known=rest), tokenizer)
        people = [text for _, text in left_out]
        for name in ("policy", "sft"):
            found[f"{name}_over_people"] = _told(evaluate(rest, [said[name][row] for row in several], people, blind))
    return found


def _told(found: Evaluation) -> dict[str, Any]:
    return asdict(found) | {"wins": found.wins._asdict(), "at_equal_length": found.at_equal_length._asdict()}


def _samples(examples: Sequence[Example], said: dict[str, list[str]]) -> list[dict[str, Any]]:
    return [
        {"prompt": str(example.prompt), "references": list(example.references), **{n: s[i] for n, s in said.items()}}
        for i, example in enumerate(examples)
    ]
