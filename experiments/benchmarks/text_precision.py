"""Arithmetic of language models where the processor multiplies bfloat16: its speed over float32, by the width.

What is timed is what PPO does with each sequence: draw it, say how likely it is, and that with its gradient.
"""

import time
from collections.abc import Callable, Mapping
from functools import partial
from unittest.mock import patch

import torch

from experiments.benchmarks import text_task
from experiments.benchmarks.measure import Row, arguments, interleaved, publish, ratios, table
from prefrl.reward.networks import multiplies_bfloat16
from prefrl.text import models
from prefrl.text.generate import generate, log_probs
from prefrl.text.scratch import new_model
from prefrl.text.tokens import encode_prompts

WIDTHS = (64, 128, 256)
PRECISIONS = ("float32", "bfloat16")
Cost = dict[str, float]
"""Milliseconds per sequence of each task."""


def cost(precision: str, width: int, layers: int, vocabulary: int, batch: int, prompt: int, longest: int) -> Cost:
    tokenizer = text_task.tokenizer()
    model = new_model(tokenizer, layers, width, context=prompt + longest)
    model.resize_token_embeddings(vocabulary, mean_resizing=False)
    prompts, _ = encode_prompts(tokenizer, text_task.prompts(batch, prompt, seed=1), prompt)
    with (
        patch.object(models, "multiplies_bfloat16", lambda device: precision == "bfloat16"),
        patch.object(models, "WIDE", 0),
    ):
        torch.manual_seed(0)
        samples = generate(model, tokenizer, prompts, longest)

        def gradient() -> None:
            log_probs(model, samples).sum().backward()

        with torch.no_grad():
            found = {
                "drawing": _shortest(partial(generate, model, tokenizer, prompts, longest)),
                "likelihood": _shortest(partial(log_probs, model, samples)),
            }
        found["gradient"] = _shortest(gradient)
    return {name: 1_000 * seconds / batch for name, seconds in found.items()}


def _shortest(task: Callable[[], object], times: int = 3) -> float:
    """Seconds: the first call loads what others find loaded."""

    def timed() -> float:
        began = time.perf_counter()
        task()
        return time.perf_counter() - began

    return min(timed() for _ in range(times))


def rows(width: int, costs: Mapping[str, list[Cost]]) -> list[Row]:
    found = []
    for task in costs[PRECISIONS[0]][0]:
        times = {name: [cost[task] for cost in costs[name]] for name in PRECISIONS}
        found += [Row(f"width {width}, {task}, {name}, ms per sequence", times[name]) for name in PRECISIONS]
        found.append(
            Row(f"width {width}, {task}, times faster in bfloat16", ratios(times["float32"], times["bfloat16"]))
        )
    return found


def main() -> None:
    parser = arguments(__doc__)
    usual = {"layers": 3, "vocabulary": 4_000, "batch": 32, "prompt": 160, "longest": 40}
    for name, value in usual.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--repeats", type=int, default=3)
    given = vars(parser.parse_args())
    out, repeats = given.pop("out"), given.pop("repeats")
    numbers = {
        width: interleaved({name: partial(cost, name, width, **given) for name in PRECISIONS}, repeats)
        for width in WIDTHS
    }
    has = "multiplies bfloat16" if multiplies_bfloat16("cpu") else "has no instructions for bfloat16"
    title = (
        f"# Arithmetic of language models\n\nGPT-2s of {given['layers']} layers and {given['vocabulary']:,} tokens; "
        f"{given['batch']} prompts of {given['prompt']} tokens, at most {given['longest']} new ones. The processor "
        f"{has}; on one that does, models from a width of {models.WIDE} on use it.\n\n"
    )
    table_rows = [row for width, costs in numbers.items() for row in rows(width, costs)]
    publish(out, "text_precision", title + table(table_rows), {"costs": numbers})


if __name__ == "__main__":
    main()
