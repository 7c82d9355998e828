"""From texts to tokens: the tokenizers, and how prompts are cut and continuations ended."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import tokenizers
import torch
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedTokenizerFast
from transformers import PreTrainedTokenizerBase as PreTrainedTokenizerBase

from prefrl.text.samples import Prompt, Samples

EOS, PAD = "<|endoftext|>", "<|padding|>"
SENTENCE_ENDS = (". ", "! ", "? ")


def load_tokenizer(name_or_path: str | Path) -> PreTrainedTokenizerBase:
    """Any tokenizer of transformers by name or folder, with a padding token of its own: `<|padding|>` if it has none.

    Raises ValueError for one that has no end-of-text token.
    """
    return with_pad(AutoTokenizer.from_pretrained(str(name_or_path)))


def with_pad(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """The tokenizer itself, its padding token told apart from its end-of-text token (detail 2)."""
    if tokenizer.eos_token_id is None:
        raise ValueError(
            f"the tokenizer {tokenizer.name_or_path!r} has no end-of-text token: set one of its own tokens, "
            f"tokenizer.eos_token = ..., and save it with tokenizer.save_pretrained(folder)"
        )
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id == tokenizer.eos_token_id:
        tokenizer.add_special_tokens({"pad_token": PAD})
    return tokenizer


def train_tokenizer(texts: Iterable[str], vocab: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE of at most `vocab` tokens, `<|endoftext|>` and `<|padding|>` among them: it knows every text."""
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    if vocab < len(alphabet) + 2:
        raise ValueError(f"{vocab} tokens cannot hold all bytes: give at least {len(alphabet) + 2}")
    bpe = tokenizers.Tokenizer(tokenizers.models.BPE())
    bpe.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=vocab, special_tokens=[EOS, PAD], initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token=EOS, pad_token=PAD)


def encode_prompts(tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Prompt], longest: int) -> tuple[Tensor, int]:
    """Token ids, left-padded, (B, `longest` or less) int64, and how many prompts had to be cut.

    A body is cut at its last line end that lets the prompt fit; where there is none, at the last end of a sentence,
    then of a word. Head and tail stay whole (the published rule: the post field is cut, never the suffix). Where the
    tokenizer begins texts with a token of its own, as Llama's does, so do prompts.

    Raises ValueError for empty prompts, and for heads and tails that alone are longer than `longest`.
    """
    empty = next((index for index, prompt in enumerate(prompts) if not str(prompt).strip()), None)
    if empty is not None:
        raise ValueError(f"prompt {empty} is empty: leave it out")
    rows, cut = [], 0
    for index, ids in enumerate(_prompt_ids(tokenizer, [str(prompt) for prompt in prompts])):
        if len(ids) > longest:
            ids, cut = _fitting(tokenizer, prompts[index], longest, index), cut + 1
        rows.append(ids)
    return _padded(rows, max(map(len, rows), default=0), tokenizer.pad_token_id, left=True), cut


def encode_responses(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], longest: int) -> Tensor:
    """Token ids of a leading space, the text and the end-of-text token, right-padded, (B, `longest`) int64 (detail 3).

    What is too long is cut, and then has no end-of-text token, like what a policy did not end.
    """
    ends = [tokenizer.eos_token_id]
    rows = [(ids + ends)[:longest] for ids in plain_ids(tokenizer, [" " + text.strip() for text in texts])]
    return _padded(rows, longest, tokenizer.pad_token_id, left=False)


def to_samples(
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    texts: Sequence[str],
    longest_prompt: int,
    longest_response: int,
) -> Samples:
    """Prompts with given continuations, padded to exactly these lengths, as a store of segments needs them."""
    ids, _ = encode_prompts(tokenizer, prompts, longest_prompt)
    padding = ids.new_full((len(ids), longest_prompt - ids.shape[1]), tokenizer.pad_token_id)
    responses = encode_responses(tokenizer, texts, longest_response)
    return Samples(torch.cat([padding, ids], 1), responses, tokenizer.pad_token_id, tokenizer.eos_token_id)


def plain_ids(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> list[list[int]]:
    """Token ids of what is written: `<|endoftext|>` in a post of a stranger's is what it looks like, and no end."""
    if not texts:
        return []
    return [list(ids) for ids in tokenizer(texts, add_special_tokens=False, split_special_tokens=True)["input_ids"]]


def _prompt_ids(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> list[list[int]]:
    """After the token by which the model knows a beginning, if the tokenizer sets one."""
    begin = [token for token in tokenizer("a")["input_ids"][:1] if token == tokenizer.bos_token_id]
    return [begin + ids for ids in plain_ids(tokenizer, texts)]


def _fitting(tokenizer: PreTrainedTokenizerBase, prompt: Prompt, longest: int, index: int) -> list[int]:
    """Ids of the prompt with as much of its body as fits, cut at the best kind of place that leaves any of it."""

    def cut_at(end: int) -> list[int]:
        return _prompt_ids(tokenizer, [prompt.head + prompt.body[:end].rstrip() + prompt.tail])[0]

    if len(cut_at(0)) > longest:
        raise ValueError(
            f"prompt {index}: its head and tail alone have {len(cut_at(0))} tokens, more than {longest}: "
            f"allow longer prompts or shorten them"
        )
    for places in _places(prompt.body):
        end = _last_fitting(places, lambda end: len(cut_at(end)) <= longest)
        if end:
            return cut_at(end)
    return cut_at(0)


def _places(body: str) -> Iterable[list[int]]:
    """Where a body may be cut, by kind, the best kind first; each in order."""
    first = len(body) - len(body.lstrip())
    yield [i for i, char in enumerate(body) if char == "\n" and i > first]
    yield [i + 1 for i in range(len(body) - 1) if body[i : i + 2] in SENTENCE_ENDS]
    yield [i for i, char in enumerate(body) if char.isspace() and i > first]
    yield list(range(1, len(body)))


def _last_fitting(places: list[int], fits: Callable[[int], bool]) -> int:
    """The last place that fits, by bisection, 0 if none does: longer texts have more tokens."""
    low, high = 0, len(places)
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if fits(places[middle]) else (low, middle)
    return places[low - 1] if low else 0


def _padded(rows: list[list[int]], width: int, pad: int, left: bool) -> Tensor:
    ids = torch.full((len(rows), width), pad, dtype=torch.int64)
    for row, tokens in zip(ids, rows, strict=True):
        where = slice(width - len(tokens), width) if left else slice(0, len(tokens))
        row[where] = torch.tensor(tokens, dtype=torch.int64)
    return ids
