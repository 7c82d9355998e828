"""Settings that go together."""

from collections.abc import Mapping
from typing import Any

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
    # Abstracts of papers on a CPU. Settled on from small trials of single stages; not tried as a whole.
    "cpu": {
        "vocab": 4_000,
        "layers": 3,
        "width": 128,
        "heads": 4,
        "prompt_length": 160,
        "response_length": 40,
        "pretrain": "pretrain(epochs=8, batch=8, lr=0.002)",
        "sft": "sft(epochs=3, batch=16)",
        "sources": "sft sft@0.7 sft@0.4",  # of the start's own, some of which say the same again and again
        "comparisons": 12_000,
        "together": 4,
        "fit": "k_wise(first_passes=2, batch=8, lr=0.0005)",
        "episodes": 3_200,
        # at 1, what is likeliest grew too short: it is what policies are judged by, and seldom drawn from a small model
        "temperature": 0.7,
        "hyper": {"learning_rate": 3e-4, "n_epochs": 2, "missing_eos": None},
        "judged": 618,
    },
    # The same with some thirty million parameters, on a GPU; not tried.
    "gpu": {
        "vocab": 8_000,
        "layers": 8,
        "width": 512,
        "heads": 8,
        "prompt_length": 384,
        "response_length": 48,
        "pretrain": "pretrain(epochs=8)",
        "comparisons": 20_000,
        "episodes": 100_000,
    },
}
