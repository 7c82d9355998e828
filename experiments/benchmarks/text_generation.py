"""Continuing prompts: tokens per second of the batch with its cache, over transformers' `generate` on the same model.

Both draw from the whole distribution at temperature 1, in turn, in one process with one torch thread; a token counts
until its sequence has ended. Of the untrained model few sequences end early; the trained one has learned sentences of
any length.
"""

import time

import torch
from torch import Tensor
from transformers import GPT2LMHeadModel, PreTrainedTokenizerBase

from experiments.benchmarks import text_task
from experiments.benchmarks.measure import Row, arguments, publish, ratios, table, workers
from prefrl.text.generate import generate
from prefrl.text.models import autocast, count_parameters
from prefrl.text.scratch import new_model
from prefrl.text.sft import SFT
from prefrl.text.tokens import encode_prompts, to_samples

Speeds = dict[str, list[float]]
MODELS = ("untrained", "trained")


def ours(model: GPT2LMHeadModel, tokenizer: PreTrainedTokenizerBase, prompts: Tensor, longest: int) -> int:
    """Tokens."""
    return int(generate(model, tokenizer, prompts, longest).lengths.sum())


def theirs(model: GPT2LMHeadModel, tokenizer: PreTrainedTokenizerBase, prompts: Tensor, longest: int) -> int:
    """Tokens."""
    ids = model.generate(
        input_ids=prompts,
        attention_mask=(prompts != tokenizer.pad_token_id).long(),
        max_new_tokens=longest,
        do_sample=True,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        pad_token_id=tokenizer.pad_token_id,
    )
    ended = (ids[:, prompts.shape[1] :] == tokenizer.eos_token_id).long()
    return int((ended.cumsum(1) - ended == 0).sum())


def speeds(trained: bool, layers: int, width: int, batch: int, prompt: int, longest: int, repeats: int) -> Speeds:
    """Tokens per second of both, in turn."""
    tokenizer = text_task.tokenizer()
    model = new_model(tokenizer, layers, width, heads=width // 64 or 1, context=prompt + longest).eval()
    given = text_task.prompts(batch, prompt, seed=1)
    if trained:
        texts = text_task.sentences(batch, 1, longest - 1, seed=2)
        SFT(epochs=30)(model, to_samples(tokenizer, given, texts, prompt, longest))
    prompts, _ = encode_prompts(tokenizer, given, prompt)
    ways = {"prefrl": ours, "transformers": theirs}
    for way in ways.values():
        way(model, tokenizer, prompts, 2)  # the first calls load what later ones find loaded
    found: Speeds = {name: [] for name in ways}
    torch.manual_seed(0)
    for _ in range(repeats):
        for name, way in ways.items():
            began = time.perf_counter()
            with autocast(model):  # the same arithmetic for both
                tokens = way(model, tokenizer, prompts, longest)
            found[name].append(tokens / (time.perf_counter() - began))
    return found


def main() -> None:
    parser = arguments(__doc__)
    for name, usual in {"layers": 4, "width": 256, "batch": 64, "prompt": 64, "longest": 48, "repeats": 7}.items():
        parser.add_argument(f"--{name}", type=int, default=usual)
    given = vars(parser.parse_args())
    out = given.pop("out")
    rows, numbers = [], {}
    for name in MODELS:
        with workers(1) as pool:
            found = pool.submit(speeds, name == "trained", **given).result()
        numbers[name] = found
        rows += [Row(f"{way}, {name} model, tokens/s", values, format=",.0f") for way, values in found.items()]
        rows.append(Row(f"prefrl / transformers, {name} model", ratios(*found.values()), "at least 0.9"))
    size = count_parameters(new_model(text_task.tokenizer(), given["layers"], given["width"]))
    title = (
        f"# Speed of generation\n\nA GPT-2 of {given['layers']} layers of {given['width']}, {size / 1e6:.1f} million "
        f"parameters; {given['batch']} prompts of {given['prompt']} tokens, at most {given['longest']} new ones.\n\n"
    )
    publish(out, "text_generation", title + table(rows), {"speeds": numbers})


if __name__ == "__main__":
    main()
