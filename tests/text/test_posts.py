"""Which posts are learned from, watched and judged by."""

import json
import re
from itertools import combinations

import pytest

from prefrl.summarize.posts import posts
from prefrl.summarize.run import run
from prefrl.summarize.settings import Settings
from prefrl.text.data import tldr
from tests import tiny_text
from tests.tiny_summaries import begun, said

ROWS = {
    "tldr": lambda i: {
        "id": str(i),
        "subreddit": "a",
        "title": "b",
        "post": f"post {i}",
        "summary": "the cat " * (i % 50 + 1),
    },
    "scitldr": lambda i: {"source": [f"We do {i}."], "target": ["It works."], "paper_id": str(i)},
    "jsonl": lambda i: {"prompt": f"post {i}", "references": ["It works."]},
}


def write(path, kind, numbers):
    path.write_text("".join(json.dumps(ROWS[kind](i)) + "\n" for i in numbers))
    return path


def prompts(of):
    return [{str(example.prompt) for example in split} for split in of[:3]]


@pytest.mark.parametrize("kind", ROWS)
@pytest.mark.parametrize("where", ["", "posts.jsonl"], ids=["folder", "file"])
def test_what_has_no_splits_is_split_so_that_no_post_is_learned_from_and_judged_by(kind, where, tmp_path):
    write(tmp_path / "posts.jsonl", kind, range(1, 201))
    splits = prompts(posts(Settings(data=f"{kind}:{tmp_path / where}")))
    assert all(splits) and not any(one & other for one, other in combinations(splits, 2))
    assert len(set.union(*splits)) == 200 and len(splits[0]) > 130


@pytest.mark.parametrize("kind", ROWS)
def test_what_has_splits_keeps_them(kind, tmp_path):
    for number, name in enumerate(("train", "dev", "test")):
        write(tmp_path / f"{name}.jsonl", kind, range(10 * number + 1, 10 * number + 3 + number))
    assert [len(split) for split in prompts(posts(Settings(data=f"{kind}:{tmp_path}")))] == [2, 3, 4]


@pytest.mark.parametrize("kind", ROWS)
def test_a_held_out_post_that_an_earlier_split_has_is_left_out_and_counted(kind, tmp_path):
    for name, numbers in {"train": (3, 1, 3), "dev": (5, 1, 4), "test": (9, 3, 5, 8)}.items():
        write(tmp_path / f"{name}.jsonl", kind, numbers)
    found = posts(Settings(data=f"{kind}:{tmp_path}", posts=1))  # what is apart depends not on how many are learned
    names = [[re.findall(r"\d+", str(example.prompt))[0] for example in split] for split in found[:4]]
    assert names == [["3"], ["5", "4"], ["9", "8"], [*"3135149358"]] and found.left_out == 3
    write(tmp_path / "test.jsonl", kind, (1, 4))
    with pytest.raises(
        ValueError, match=r"for test \(3 were left out, .* which an earlier split has, too\): give more"
    ):
        posts(Settings(data=f"{kind}:{tmp_path}"))


def test_no_made_up_post_is_learned_from_and_judged_by():
    found = posts(Settings(posts=10_000))
    assert not any(one & other for one, other in combinations(prompts(found), 2))
    assert found.left_out == 400 - len(found.validation) - len(found.test) > 0


def test_reddit_posts_with_a_summary_of_another_length_are_left_out(tmp_path):
    tokenizer, path = tiny_text.tokenizer(), write(tmp_path / "posts.jsonl", "tldr", range(1, 301))
    settings = Settings(data=f"tldr:{path}")
    every, found = posts(settings), posts(settings, tokenizer)
    kept = [example for split in found[:3] for example in split]
    lengths = {len(tokenizer.encode(f" {text}")) for example in kept for text in example.references}
    assert min(lengths) >= tldr.SHORTEST and max(lengths) <= tldr.LONGEST
    assert every.left_out == 0 and found.left_out == 300 - len(kept) > 0
    write(path, "tldr", [1] * 50)
    with pytest.raises(ValueError, match=r"train \(50 were left out, whose reference has not 24 to 48 tokens, or "):
        posts(settings, tokenizer)


def test_how_many_were_left_out_is_told(tmp_path):
    path = write(tmp_path / "posts.jsonl", "tldr", range(1, 301))
    folder = begun(tmp_path / "out", data=f"tldr:{path}", prompt_length=64, posts=1_000, model="new")
    found = run(folder, ["sft"])
    left_out = found["sft"]["sft/posts_left_out"]
    assert 0 < left_out < 300 and found["sft"]["sft/summaries"] < 300 - left_out
    assert f"{left_out:.0f} posts left out for the length of their summary" in said(folder, found)
