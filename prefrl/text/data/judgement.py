"""What somebody said about two continuations of one prompt."""

from dataclasses import dataclass
from typing import NamedTuple

from prefrl.text.samples import Prompt


@dataclass(frozen=True)
class Judgement:
    """A pair of continuations, and which is better."""

    prompt: Prompt
    left: str
    right: str
    preference: float | None
    """Chance that left is better, in [0, 1]; 0.5 is a tie, None "cannot tell"."""
    labeller: str = ""
    confidence: float | None = None
    """On the source's scale."""
    split: str = ""
    policies: tuple[str, str] = ("", "")
    """Who wrote left, and right."""
    id: str = ""
    """Of what the prompt was made of."""
    references: tuple[str, ...] = ()
    """What people wrote for the prompt, other than left and right."""

    def __post_init__(self) -> None:
        if self.preference is not None and not 0 <= self.preference <= 1:
            raise ValueError(f"a preference is a chance in [0, 1] or null for cannot tell, not {self.preference}")


class Written(NamedTuple):
    """What became of judgements that were written to a file."""

    written: int
    ties: int
    """Of those, with preference 0.5."""
    skipped: int
    """Of those, "cannot tell"."""
    left_out: dict[str, int]
    """What the format cannot hold, and how much of it."""

    def __str__(self) -> str:
        missing = ", ".join(f"{count} {what}" for what, count in self.left_out.items()) or "nothing"
        return f"{self.written} judgements ({self.ties} ties, {self.skipped} cannot tell); left out: {missing}"
