"""Settings that go together."""

from collections.abc import Mapping
from typing import Any

CPU: Mapping[str, Any] = {
    "model": "new:llama",
    "vocab": 4_000,
    "layers": 3,
    "width": 128,
    "heads": 4,
    "prompt_length": 160,
    "response_length": 40,
    "pretrain": "pretrain(epochs=8, batch=8, lr=0.002)",  # after more, what is new is understood less
    "sft": "sft(epochs=1, batch=16)",
    "sources": "sft@1.3 sft sft@0.7 sft@0.4",  # no references: a model of few posts knows by heart which these are
    "comparisons": 19_900,  # all ten pairs of five summaries of 1,990 abstracts
    "together": 5,
    "fit": "k_wise(batch=4, lr=0.0005)",
    "episodes": 3_200,
    "kl": "kl(beta=0.03)",
    "hyper": {"learning_rate": 3e-4, "n_epochs": 2, "missing_eos": None},
    "judged": 618,
    "judged_at": 1.0,  # as in training: what is likeliest says the same again and again, before and after
}
"""Abstracts of papers on a CPU, about an hour of one core."""
PRESETS: Mapping[str, Mapping[str, Any]] = {
    # A made-up language, in less than a minute on one core: to see that everything works.
    "tiny": {
        "data": "grammar",
        "posts": 1_000,
        "vocab": 600,
        "layers": 2,
        "width": 64,
        "heads": 2,
        "prompt_length": 24,
        "response_length": 10,
        "sft": "sft(epochs=20, lr=0.003)",
        "comparisons": 1_500,
        "wrong": 0.1,
        "members": 2,
        "fit": "texts(first_passes=3, lr=0.001, batch=16)",
        "episodes": 2_048,
        "kl": "kl(beta=0.2)",  # a reward model this small is fooled where less is asked for
        "hyper": {"learning_rate": 3e-4},
        "judged": 100,
    },
    "cpu": CPU,
    # The same with some thirty million parameters, on a GPU; not tried.
    "gpu": {
        **CPU,
        "vocab": 8_000,
        "layers": 8,
        "width": 512,
        "heads": 8,
        "prompt_length": 384,
        "response_length": 48,
        "pretrain": "pretrain(epochs=8)",
        "sft": "sft",
        "fit": "k_wise",
        "episodes": 100_000,
        "hyper": {"missing_eos": None},
    },
}
