"""Answers that came after what was learned from those before them."""

from prefrl.summarize.folder import SummaryFolder

SEEN = "labels/seen"
"""Number of the newest answer that a stage has learned from."""


def newer_answers(folder: SummaryFolder, stage: str) -> int:
    """Answers that have come, or were changed, since a stage was made that learns from them; 0 of any other stage."""
    seen = (folder.found(stage) or {}).get(SEEN)
    if seen is None:
        return 0
    with folder.comparisons().open_store() as store:
        return sum(comparison.preference is not None for comparison in store.comparisons(int(seen))[0])
