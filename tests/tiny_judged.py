"""What a few labellers said of made-up texts."""

from prefrl.text.data import Judgement, tldr
from prefrl.text.samples import Prompt

POST = tldr.prompt("cats", "My cat", "It sat.\nIt slept.")
SAID = [
    Judgement(POST, "It sat", "Cats", 0.0, "w1", 7.0, "valid1", ("sup2", "ref"), "t3_1"),
    Judgement(POST, "It sat", "It slept", 1.0, "w1", None, "valid1", ("sup2", "sup6"), "t3_1"),
    Judgement(POST, "It sat", "Cats", 0.5, "w2", 1.5, "valid1", ("sup2", "ref"), "t3_1"),
    Judgement(Prompt("Only this", tail="\nTL;DR:"), "ä\n", "b", None, "w2", 2.0),
    Judgement(Prompt("Bare"), "yes", "no", 0.25),
]
