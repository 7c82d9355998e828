"""Abstracts of papers with one-sentence summaries by their authors and reviewers (SciTLDR, Cachola et al. 2020)."""

from pathlib import Path

from prefrl.text.data.rows import rows
from prefrl.text.samples import Example, Prompt

HUB = "allenai/scitldr"


def read(source: str | Path = HUB, split: str | None = "train") -> list[Example]:
    """Abstracts with their summaries; never with the title, which often is one.

    Raises ValueError with the line for rows with missing fields.
    """
    return [
        Example(
            Prompt(" ".join(each.strip() for each in row.texts("source")), tail="\n\nTL;DR:"),
            tuple(each.strip() for each in row.texts("target")),
            row.text("paper_id"),
        )
        for row in rows(source, split, "Abstract")
    ]
