"""A made-up language whose best summaries are known: what the stages are tried on in seconds.

A post is a walk through one topic's words, watered down by words that say nothing. Its people summarise it by the
topic's words in the order in which they came, but more often than not let a word slip that says nothing, too: what
they meant is a reference of its own, by which an oracle judges.
"""

import numpy as np

from prefrl.text.samples import Example, Prompt

TOPICS = (
    ("ship", "wave", "sailor", "harbour", "anchor"),
    ("cow", "barn", "farmer", "field", "tractor"),
    ("pan", "oven", "cook", "pepper", "spoon"),
    ("train", "rail", "driver", "station", "signal"),
)
FILLERS = ("really", "maybe", "somehow", "well", "anyway", "perhaps", "quite", "then")
TOLD = 3
"""Words of the topic that a post has, each twice."""
SLIP, SLIPS = "really", 0.6
"""What follows a word of a summary, and how often: what preferences can mend, and learning by heart cannot."""


def posts(n: int, seed: int) -> list[Example]:
    """`n` posts; of each, the summary that was written and the one that was meant."""
    rng = np.random.default_rng([seed, n])
    return [_post(rng, f"{seed}-{i}") for i in range(n)]


def _post(rng: np.random.Generator, name: str) -> Example:
    meant = rng.permutation(TOPICS[rng.integers(len(TOPICS))])[:TOLD].tolist()
    walk = [word for told in meant for word in (told, rng.choice(FILLERS))] + rng.permutation(meant).tolist()
    written = [word for told in meant for word in (told, *[SLIP] * (rng.random() < SLIPS))]
    return Example(
        Prompt(body=" ".join(walk), head="POST: ", tail="\nTL;DR:"), (" ".join(written), " ".join(meant)), name
    )
