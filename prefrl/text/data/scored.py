"""People's scores of systems' summaries of one article, as pairs (Chaganty et al. 2018, as published by Boehm et al.).

A JSON object of articles, each a list of `{"id", "ref", "sys_name", "sys_summ", "scores": {"overall", ..}}`. The
articles themselves are not in it: in their place stands what a person wrote about them, and says so.
"""

from itertools import combinations
from pathlib import Path

from prefrl.files import read_json
from prefrl.text.data.judgement import Judgement
from prefrl.text.data.rows import Row
from prefrl.text.samples import Prompt

HEAD = "A PERSON'S SUMMARY: "
"""Before the reference that stands in the article's place."""


def read(source: str | Path, score: str = "overall") -> list[Judgement]:
    """All pairs of an article's summaries; equal scores are a tie, and the difference is the confidence.

    Sides take turns, so that neither is the better one by its place. Raises ValueError with the article for rows with
    missing fields.
    """
    found: list[Judgement] = []
    for id, entries in read_json(Path(source)).items():
        several = [Row(entry, f"{source}, article {id}, summary {i}") for i, entry in enumerate(entries, 1)]
        for pair in combinations(several, 2):
            left, right = pair if len(found) % 2 == 0 else pair[::-1]
            found.append(_judgement(id, left, right, score))
    return found


def _judgement(id: str, left: Row, right: Row, score: str) -> Judgement:
    both = [side.number("scores", score) for side in (left, right)]
    if both[0] is None or both[1] is None:
        raise (left if both[0] is None else right).error(f"there is no scores.{score}, which must be a number")
    reference = left.text("ref").strip()
    return Judgement(
        Prompt(reference, HEAD, "\n\nTL;DR:"),
        left.text("sys_summ").strip(),
        right.text("sys_summ").strip(),
        0.5 if both[0] == both[1] else float(both[0] > both[1]),
        "people",
        abs(both[0] - both[1]),
        policies=(left.text("sys_name"), right.text("sys_name")),
        id=id,
        references=(reference,),
    )
