"""Pairs of continuations of the same prompt: drawn from policies and references, put into the store, answered."""

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from tqdm import tqdm
from transformers import PreTrainedTokenizerBase

from prefrl import files
from prefrl.oracles import observe
from prefrl.store import Store, checked
from prefrl.text.judge import read
from prefrl.text.samples import Example, Prompt
from prefrl.text.sampling import Kind, Pair, Sampler, sample_pairs
from prefrl.text.tokens import encode_prompts, to_samples
from prefrl.types import Array, Label, Oracle, Query

T = TypeVar("T")

AT_RISK = 0.5
"""Seconds of an oracle's work that a kill may lose."""
AT_ONCE = 256
"""Pairs whose segments are in memory at once."""
VERSUS = " | "
"""Stands between the names of the two policies in a query's `why`."""


@dataclass(frozen=True)
class Compare:
    """Asks about pairs of continuations: records them, with what people see of them, and puts the questions.

    A prompt is asked about once: run again on the same store, it goes on where it was stopped, and adds nothing where
    it had come to the end. Prompts are worked on in groups, which are asked about as a whole.
    """

    per_prompt: int = 1
    """Pairs of each prompt; for k-wise, continuations, of which all pairs are asked."""
    kind: Kind = "paired"
    prompt_length: int = 512
    """Tokens, one number per store, as the next."""
    response_length: int = 48
    step: int = 0
    """Sequences that the policy had been trained on: at another number, the same prompts are asked about again."""
    seed: int = 0
    group: int = 64
    """Prompts whose pairs are drawn and asked together: what a kill may lose."""
    wanted: int | None = None
    """Queries in the store after which no more are asked; of the last group, pairs are left out."""

    def __post_init__(self) -> None:
        least = 1 if self.kind == "paired" else 2
        if self.per_prompt < least:
            raise ValueError(f"per_prompt is {self.per_prompt}: give at least {least}")

    def __call__(
        self,
        store: Store,
        examples: Sequence[Example],
        policies: Mapping[str, Sampler],
        tokenizer: PreTrainedTokenizerBase,
        progress: bool = False,
    ) -> dict[str, float]:
        """How much was asked; prompts that were known, or of which all continuations were alike; texts cut short."""
        _check_names(policies)
        pad = int(tokenizer.pad_token_id)
        done = self._done(store, policies, pad)
        found: Counter[str] = Counter(asked=0, known=0, alike=0, unended=0)
        with tqdm(total=len(examples), desc="compare", unit="prompt", disable=None if progress else True) as bar:
            for number, start in enumerate(range(0, len(examples), self.group)):
                missing = None if self.wanted is None else self.wanted - len(store.queries())
                if missing is not None and missing <= 0:
                    break
                group = examples[start : start + self.group]
                ids, _ = encode_prompts(tokenizer, [example.prompt for example in group], self.prompt_length)
                unique: dict[bytes, Example] = {}
                for row, example in zip(ids.numpy(), group, strict=True):
                    unique.setdefault(_key(row, pad), example)
                fresh = [example for key, example in unique.items() if key not in done]
                pairs = self._pairs([*unique.values()], fresh, policies, number)
                found.update(self._ask(store, pairs[:missing], tokenizer))
                done |= unique.keys()
                found["known"] += len(group) - len(fresh)
                found["alike"] += len(fresh) - len({example for example, _, _ in pairs})
                bar.update(len(group))
        return {f"compare/{name}": float(count) for name, count in found.items()}

    def _pairs(
        self, group: list[Example], fresh: list[Example], policies: Mapping[str, Sampler], number: int
    ) -> list[Pair]:
        """Those of the fresh ones, the same whenever they are drawn: the whole group is, if only some are fresh."""
        rng = np.random.default_rng([self.seed, self.step, number])
        drawn = sample_pairs(group, policies, rng, self.per_prompt, self.kind) if fresh else []
        return [pair for pair in drawn if pair[0] in fresh]

    def _ask(self, store: Store, pairs: Sequence[Pair], tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
        """All in one transaction, after the segments: a prompt is asked about as a whole, or not at all."""
        if not pairs:
            return {}
        sides = [(example.prompt, text) for example, *both in pairs for _, text in both]
        prompts, texts = [prompt for prompt, _ in sides], [text for _, text in sides]
        samples = to_samples(tokenizer, prompts, texts, self.prompt_length, self.response_length)
        media = _shown(store, prompts, samples.texts(tokenizer))
        shown = [
            replace(segment, step=self.step, media=name)
            for segment, name in zip(samples.segments(), media, strict=True)
        ]
        recorded = store.record(shown)
        queries = store.ask(
            Query(left.id, right.id, step=self.step, why=VERSUS.join(name for name, _ in both))
            for left, right, (_, *both) in zip(recorded[::2], recorded[1::2], pairs, strict=True)
            if left.id != right.id  # they differ only where both were cut
        )
        return {"asked": len(queries), "unended": int((~samples.ended).sum())}

    def _done(self, store: Store, policies: Mapping[str, Sampler], pad: int) -> set[bytes]:
        """The prompts, in tokens, that were asked about at this step, between these policies."""
        sides = [
            query.left
            for query in store.queries()
            if query.step == self.step and between(query) and policies.keys() >= {*between(query)}
        ]
        found: set[bytes] = set()
        for ids in _chunks(sorted({*sides})):
            found |= {_key(each.obs[each.acts != 1], pad) for each in store.segments(ids).values()}
        return found


def between(query: Query) -> tuple[str, ...]:
    """The policies whose continuations a query is about, left and right; none where that is not known."""
    names = tuple(query.why.split(VERSUS))
    return names if len(names) == 2 else ()


def answer(store: Store, oracle: Oracle, labeller: str = "oracle", progress: bool = False) -> dict[str, float]:
    """Lets an oracle answer what nobody has answered; what it says is kept as it comes, "cannot tell" too.

    Raises what the oracle raises, and ValueError for an answer outside [0, 1]; what was answered before stays.
    """
    _remind(store, oracle, labeller)
    waiting = store.unanswered()
    found: Counter[str] = Counter(answered=0, ties=0, skipped=0)
    with tqdm(total=len(waiting), desc="answer", unit="pair", disable=None if progress else True) as bar:
        for queries in _chunks(waiting):
            labels: list[Label] = []
            began = time.perf_counter()
            segments = store.segments(id for query in queries for id in (query.left, query.right))
            try:
                for query in queries:
                    if time.perf_counter() - began > AT_RISK:
                        store.answer(labels)
                        labels, began = [], time.perf_counter()
                    preference = oracle(segments[query.left], segments[query.right])
                    key = f"{labeller}-{query.id}"
                    labels.append(checked(Label(query.id, preference, labeller, at=time.time(), key=key)))
                    found["answered"] += 1
                    found["ties"] += preference == 0.5
                    found["skipped"] += preference is None
                    bar.update()
            finally:
                store.answer(labels)
    return {f"compare/{name}": float(count) for name, count in found.items()}


def asked(
    store: Store, tokenizer: PreTrainedTokenizerBase, some: Sequence[Query] | None = None
) -> list[tuple[str, str, str]]:
    """All that was asked, or some of it, in words: (prompt, left, right)."""
    found = []
    for queries in _chunks(store.queries() if some is None else some):
        segments = store.segments(id for query in queries for id in (query.left, query.right))
        for query in queries:
            prompt, left = read(tokenizer, segments[query.left])
            found.append((prompt, left, read(tokenizer, segments[query.right])[1]))
    return found


def _remind(store: Store, oracle: Oracle, labeller: str) -> None:
    """An oracle that keeps a history sees again what it has answered."""
    if not hasattr(oracle, "observe"):
        return
    queries = {query.id: query for query in store.queries()}
    for labels in _chunks([label for label in store.labels() if label.labeller == labeller]):
        pairs = [(queries[label.query].left, queries[label.query].right) for label in labels]
        segments = store.segments(id for pair in pairs for id in pair)
        for left, right in pairs:
            observe(oracle, segments[left], segments[right])


def _check_names(policies: Mapping[str, Sampler]) -> None:
    if not policies:
        raise ValueError("there is no policy to compare: give at least one")
    for name in policies:
        if VERSUS in name or not name:
            raise ValueError(f"{name!r} cannot name a policy: give a name without {VERSUS!r}")


def _shown(store: Store, prompts: Sequence[Prompt], texts: Sequence[str]) -> list[str]:
    """What people see of segments: the whole prompt, and of the text what a reward sees."""
    seen = [files.text(str(prompt), text) for prompt, text in zip(prompts, texts, strict=True)]
    return files.keep_all(store.folder / files.FOLDER, seen, files.TEXT)


def _key(ids: Array, pad: int) -> bytes:
    """The same for the same prompt, however it is padded."""
    real: Array = ids[ids != pad]
    return real.astype(np.int64).tobytes()


def _chunks(items: Sequence[T]) -> Iterator[Sequence[T]]:
    return (items[start : start + AT_ONCE] for start in range(0, len(items), AT_ONCE))
