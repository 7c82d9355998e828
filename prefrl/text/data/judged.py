"""Posts with a model's summary, their authors', and which of the two a language model found better.

The published CSV of "The N implementation details of RLHF with PPO" (summarize_from_feedback_details): `query`,
`postprocessed_response`, `reference_responses`, and in the rows that were judged `preferred`, `ours` or `reference`.
"""

from pathlib import Path

from prefrl.text.data import tldr
from prefrl.text.data.judgement import Judgement
from prefrl.text.data.rows import rows
from prefrl.text.samples import Example

PREFERENCES = {"ours": 1.0, "reference": 0.0, "tie": 0.5}
JUDGE = "language model"
"""Whose labels these are: no person's."""


def read(source: str | Path, split: str | None = None) -> list[Judgement]:
    """The rows that were judged; left is the model's. Raises ValueError with the line for what cannot be."""
    found = []
    for n, row in enumerate(rows(source, split)):
        if said := row.maybe("preferred"):
            if said not in PREFERENCES:
                raise row.error(f"preferred is {said!r}: it must be one of {', '.join(PREFERENCES)}")
            left, right = (row.text(name).strip() for name in ("postprocessed_response", "reference_responses"))
            post = tldr.parsed(row.text("query"))
            policies = ("model", "reference")
            found.append(Judgement(post, left, right, PREFERENCES[said], JUDGE, policies=policies, id=str(n)))
    return found


def posts(source: str | Path) -> list[Example]:
    """All posts, judged or not, with their authors' summaries."""
    return [
        Example(tldr.parsed(row.text("query")), (row.text("reference_responses").strip(),), str(n))
        for n, row in enumerate(rows(source))
    ]
