"""A summariser small enough to be made in a test, and functions that its settings name."""

import json
import shutil
from pathlib import Path

from prefrl.summarize import told
from prefrl.summarize.run import begin

TINY = {
    "posts": 40,
    "vocab": 300,
    "layers": 1,
    "width": 16,
    "heads": 2,
    "prompt_length": 24,
    "response_length": 8,
    "sft": "sft(epochs=2, lr=0.01, save_every=1)",
    "comparisons": 24,
    "wrong": 0.1,
    "members": 2,
    "episodes": 64,
    "hyper": {"n_sequences": 16, "batch_size": 16, "n_epochs": 1, "learning_rate": 1e-3},
    "judged": 8,
    "best_of": 2,
    "seed": 3,
}


def begun(path, **given):
    """The folder of a tiny summariser, or one that goes on."""
    return begin(path, given, TINY)


def copied(finished, path, *without):
    """A copy of a finished folder, without what some stages made; PPO's metrics go with it."""
    begun_again = Path(shutil.copytree(finished, path))
    names = [name for stage in without for name in (stage, f"{stage}.json", *MADE.get(stage, ()))]
    for name in names:
        shutil.rmtree(begun_again / name) if (begun_again / name).is_dir() else (begun_again / name).unlink(True)
    return begun_again


MADE = {
    "ppo": ("policy", "metrics.jsonl"),
    "compare": ("comparisons",),
    "evaluate": ("summary.json", "likert.csv", "likert.key.json"),
}


def results(path):
    """All that stages came to, but the seconds they took."""
    found = {}
    for file in sorted(path.glob("*.json")):
        if file.name != "system.json":
            found[file.name] = {k: v for k, v in json.loads(file.read_text()).items() if k != "seconds"}
    for name in ("metrics.jsonl", "likert.csv"):
        found[name] = (path / name).read_text() if (path / name).exists() else None
    return found


def same_weights(left, right):
    """Whether two folders of models hold the same numbers."""
    return all(
        (right / file.relative_to(left)).read_bytes() == file.read_bytes() for file in left.glob("*.safetensors")
    )


def short(prompts, texts):
    """Shorter is better."""
    return [-float(len(text)) for text in texts]


def broken(prompts, texts):
    raise ZeroDivisionError("no words")


def prefers_short(prompt, left, right):
    return float(len(left) < len(right))


def always_left(prompt, left, right):
    return 1.0


NO_FUNCTION = 3


def said(folder, found):
    """All that is printed of stages."""
    return "\n".join([*(told.stage(folder, name, made) for name, made in found.items()), told.ending(folder, found)])
