"""What the oracle says of summaries: of policies against SFT, and against what a person wrote."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from experiments.summaries_measure import GREEDY
from experiments.summaries_runs import read_said
from prefrl.summarize import parts
from prefrl.summarize.folder import SummaryFolder
from prefrl.summarize.posts import posts
from prefrl.text.evaluation import Evaluation, evaluate, leave_out
from prefrl.text.oracle import Preferring, Quality, by_prompt
from prefrl.text.samples import Example

Record = dict[str, Any]
SFT = "sft"


@dataclass(frozen=True)
class Jury:
    """The oracle without its noise, and the held-out posts that it judges summaries of."""

    out: Path
    quality: Quality
    examples: Sequence[Example]
    blind: Sequence[Example]
    """Those with two references or more, without one of these: what the oracle does not see."""
    people: Sequence[str]
    """The references that were left out."""

    @classmethod
    def of(cls, out: Path) -> Self:
        settings = SummaryFolder(out / "seed-0" / "base").settings
        examples = posts(settings).test[: settings.judged]
        left_out = leave_out([e for e in examples if len(e.references) > 1], seed=0)
        blind, people = zip(*left_out, strict=True) if left_out else ((), ())
        return cls(out, parts.quality(settings), examples, blind, people)

    def over(self, name: str, other: str, seeds: Sequence[int], how: str = GREEDY) -> Evaluation:
        """Of each post, the seeds' preferences are averaged, so that posts are what the interval is over."""
        ours, theirs = ([text for s in seeds for text in read_said(self.out, s, each, how)] for each in (name, other))
        judge = Preferring(self.quality, by_prompt(self.examples))
        return evaluate([*self.examples] * len(seeds), ours, theirs, judge)

    def over_people(self, name: str, seeds: Sequence[int], how: str = GREEDY) -> Evaluation:
        """As `over`."""
        several = [row for row, example in enumerate(self.examples) if len(example.references) > 1]
        ours = [said[row] for said in (read_said(self.out, s, name, how) for s in seeds) for row in several]
        judge = Preferring(self.quality, by_prompt(self.blind))
        return evaluate([*self.blind] * len(seeds), ours, [*self.people] * len(seeds), judge)

    def mean_quality(self, name: str, seeds: Sequence[int]) -> float:
        """Of greedy summaries."""
        said = [read_said(self.out, seed, name) for seed in seeds]
        return float(np.mean([self.quality(e, text) for texts in said for e, text in zip(self.examples, texts)]))


def by_name(records: Sequence[Record]) -> dict[str, list[Record]]:
    """Records of each policy, by seed; the base's, which come first, are SFT's."""
    found: dict[str, list[Record]] = {}
    for record in sorted(records, key=lambda record: (record["method"] != "base", record["seed"])):
        if record.get("points"):
            found.setdefault(SFT if record["method"] == "base" else record["name"], []).append(record)
    return found


def averaged(runs: Sequence[Sequence[Mapping[str, Any]]], unit: str) -> list[dict[str, float]]:
    """Means over runs of the points that all of them have, by `unit`: episodes (none: 0), or n."""
    at = [{point.get(unit, 0): point for point in points} for points in runs]
    common = [where for where in at[0] if all(where in each for each in at)]
    return [{name: float(np.mean([each[where][name] for each in at])) for name in at[0][where]} for where in common]


def last(records: Sequence[Record], what: str) -> float:
    """Mean over seeds of the last point of each."""
    return float(np.mean([record["points"][-1][what] for record in records]))
