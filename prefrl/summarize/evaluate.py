"""The last stage: summaries of held-out posts, judged against the model that training began with, and people's."""

from collections.abc import Mapping, Sequence
from typing import Any

from prefrl.summarize.exam import Exam
from prefrl.summarize.folder import KEY, SHEET, SummaryFolder
from prefrl.summarize.settings import LIKERT
from prefrl.summarize.sft import loaded
from prefrl.text import best_of_n
from prefrl.text.best_of_n import BestOf
from prefrl.text.likert import read_sheet, summary, write_sheet

SHOWN = 10
"""Summaries that are shown as they are, and that are handed out: the first ones."""


def judge(folder: SummaryFolder) -> dict[str, Any]:
    """Summaries of the policy against the SFT model's, and against a person's that the judge has not seen.

    The judge is the oracle without its noise, or the model that answered; where people answered, nobody judges. Beside
    the policy: the best by reward of several summaries that the SFT model draws. `likert.csv` is for people to fill in.
    """
    exam = Exam.of(folder)
    _, model = loaded(folder, "policy", exam.settings)
    said = {"sft": exam.begun, "policy": exam.said(model, "policy")}
    nats = {"sft": 0.0, "policy": exam.nats(model)}
    if (n := exam.settings.best_of) > 1 and exam.reward is not None:
        name = f"best of {n}"
        said[name] = BestOf(exam.policy(exam.model, exam.settings.temperature), exam.reward, n)(
            exam.examples, exam.settings.seed
        )
        nats[name] = best_of_n.kl(n)
    _hand_out(folder, exam, said)
    policies = {name: exam.measured(texts, nats[name]) for name, texts in said.items()}
    return {"policies": policies, "samples": exam.samples(said, SHOWN)}


def likert(folder: SummaryFolder) -> dict[str, Any]:
    """What people's scores on the filled-in sheet come to, by policy and axis; `likert.json` holds it, too.

    Raises ValueError where there is no sheet, nobody has filled it in, or it cannot be read, with line numbers.
    """
    sheet = folder.path / SHEET
    if not sheet.exists():
        raise ValueError(f"{sheet} is not there: `prefrl summarize evaluate` writes it")
    ratings = read_sheet(sheet)
    if not ratings:
        raise ValueError(f"nobody has filled in {sheet} yet: give scores from 1, worst, to 7")
    found = summary(ratings)
    scores = {policy: {axis: each._asdict() for axis, each in axes.items()} for policy, axes in found.items()}
    folder.finish(LIKERT, scores)
    return folder.found(LIKERT) or {}


def _hand_out(folder: SummaryFolder, exam: Exam, said: Mapping[str, Sequence[str]]) -> None:
    """Writes the sheet for people, who judge people's own summaries too; one that is filled in is left alone."""
    if folder.filled_in:
        return
    for name in (SHEET, KEY):
        (folder.path / name).unlink(missing_ok=True)
    examples = exam.examples[:SHOWN]
    texts = {"reference": [example.references[0] for example in examples]}
    texts |= {name: list(of[:SHOWN]) for name, of in said.items()}
    write_sheet(folder.path / SHEET, examples, texts, exam.settings.seed)
