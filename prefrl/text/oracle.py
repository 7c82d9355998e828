"""An oracle that knows what people wrote: ROUGE to hidden references, with answers as noisy as people's."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from zlib import crc32

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from transformers import PreTrainedTokenizerBase

from prefrl.text.judge import in_words
from prefrl.text.rouge import best, common_run, rouge, words
from prefrl.text.samples import Example
from prefrl.text.tokens import encode_prompts
from prefrl.types import Array

Quality = Callable[[Example, str], float]
"""(example with its references, continuation) -> how good it is."""


@dataclass(frozen=True)
class Rouge:
    """Mean F1 of ROUGE-1, -2 and -L to the nearest reference, less penalties for copying and for length.

    Without them, the first sentence of an abstract is as good as what people write. Raises ValueError for an example
    that has no reference.
    """

    copying: float = 0.3
    """Times the share of words in the longest copied run, above `free`: a copied sentence loses all its ROUGE."""
    free: float = 1 / 3
    """What people copy: nine of ten summaries of SciTLDR have at most this share of words in one run."""
    length: float = 0.1
    """Times |log(words / the nearest reference's)|: half or twice as long costs 0.07, a third of people's ROUGE."""

    def __call__(self, example: Example, text: str) -> float:
        alike = best(text, example.references, rouge)
        copied = max(copied_share(text, example.prompt.body) - self.free, 0.0)
        lengths = [math.log((1 + len(words(text))) / (1 + len(words(each)))) for each in example.references]
        return alike - self.copying * copied - self.length * min(map(abs, lengths))


def copied_share(text: str, source: str) -> float:
    """Words of the text in its longest run that stands so in the source, as a share of its words; 0 without words."""
    ours = words(text)
    return common_run(ours, words(source)) / len(ours) if ours else 0.0


@dataclass(frozen=True)
class Preferring:
    """A judge that prefers better quality, right with chance sigmoid(beta * |difference|) (Bradley and Terry 1952).

    Its answer belongs to the pair: sides, order and restarts change none. Equal qualities are a tie. Raises ValueError
    for a prompt that it has no example of.
    """

    quality: Quality
    examples: Mapping[str, Example]
    """By prompt, as `by_prompt` gives them."""
    beta: float = math.inf
    """inf: never wrong; `erring` finds the one for a share of wrong answers."""
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.beta >= 0:
            raise ValueError(f"beta is {self.beta}: give 0 or more, larger for fewer errors")

    def __call__(self, prompt: str, left: str, right: str) -> float:
        difference = self.difference(prompt, left, right)
        if difference == 0:
            return 0.5
        wrong = 1 / (1 + math.exp(min(self.beta * abs(difference), 700)))  # e^700 is about the largest double
        return float((difference > 0) == (_draw(self.seed, prompt, left, right) >= wrong))

    def difference(self, prompt: str, left: str, right: str) -> float:
        """How much better left is."""
        example = self.examples.get(prompt.strip())
        if example is None:
            raise ValueError(
                f"the oracle knows nothing of the prompt that ends with {prompt[-40:]!r}: give it that example, and "
                f"the length at which prompts were cut"
            )
        return self.quality(example, left) - self.quality(example, right)

    def erring(self, pairs: Iterable[tuple[str, str, str]], wrong: float = 0.25) -> "Preferring":
        """The same with the beta at which that share of its answers to (prompt, left, right) is expected wrong."""
        return replace(self, beta=calibrated([self.difference(*pair) for pair in pairs], wrong))


def calibrated(differences: ArrayLike, wrong: float = 0.25) -> float:
    """The beta at which the mean of sigmoid(-beta * |difference|) is `wrong`; ties do not count.

    A quarter is about how often two people disagree on which of two summaries is better (Stiennon et al. 2020).
    """
    sizes: Array = np.abs(np.asarray(differences, dtype=float))
    sizes = sizes[sizes > 0]
    if not len(sizes):
        raise ValueError("all pairs are ties, so no beta makes answers wrong: give pairs of different quality")
    if not 0 < wrong < 0.5:
        raise ValueError(f"a share of {wrong} wrong answers cannot be reached: give one above 0 and below 0.5")

    def surplus(beta: float) -> float:
        return float(np.mean(1 / (1 + np.exp(np.minimum(beta * sizes, 700))))) - wrong

    enough = 1 / float(np.median(sizes))
    while surplus(enough) > 0:
        enough *= 2
    return float(brentq(surplus, 0.0, enough))


def by_prompt(
    examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase | None = None, longest: int = 0
) -> dict[str, Example]:
    """Examples by their prompt, and by what is left of it where it is cut to `longest` tokens.

    References of equal prompts are put together.
    """
    prompts = [example.prompt for example in examples]
    names = [str(prompt).strip() for prompt in prompts]
    cut = (
        [in_words(tokenizer, ids.tolist()) for ids in encode_prompts(tokenizer, prompts, longest)[0]]
        if tokenizer
        else []
    )
    found: dict[str, Example] = {}
    for name, example in chain(zip(names, examples, strict=True), zip(cut, examples)):
        known = found.setdefault(name, example)
        more = tuple(reference for reference in example.references if reference not in known.references)
        found[name] = replace(known, references=known.references + more)
    return found


def _draw(seed: int, prompt: str, left: str, right: str) -> float:
    """A number in [0, 1) that belongs to the pair."""
    pair = sorted(crc32(text.encode("utf-8", "surrogatepass")) for text in (left, right))
    return float(np.random.default_rng([seed, crc32(prompt.encode("utf-8", "surrogatepass")), *pair]).random())
