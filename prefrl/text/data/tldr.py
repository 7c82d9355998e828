"""Reddit posts with their TL;DRs, and people's comparisons of summaries (Stiennon et al. 2020, published sets)."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO

from transformers import PreTrainedTokenizerBase

from prefrl.text.data.judgement import Judgement, Written
from prefrl.text.data.rows import Row, rows
from prefrl.text.samples import Example, Prompt
from prefrl.text.tokens import plain_ids

COMPARISONS = "openai/summarize_from_feedback"
"""The comparisons on the hub."""
TAIL = "\n\nTL;DR:"
POST = re.compile(r"SUBREDDIT: r/(.*?)\n\nTITLE: (.*?)\n\nPOST: (.*)\n\nTL;DR:\s*", re.DOTALL)
SHORTEST, LONGEST = 24, 48
"""Tokens of a reference: shorter ones tell little, and with longer ones policies learn to be long (section 3.2)."""


def prompt(subreddit: str, title: str, post: str) -> Prompt:
    """What a policy is to continue: only the post may be cut (published code)."""
    return Prompt(post, f"SUBREDDIT: r/{subreddit}\n\nTITLE: {title}\n\nPOST: ", TAIL)


def parsed(query: str) -> Prompt:
    """A query as it is published, back in its parts; one of another form is all body."""
    found = POST.fullmatch(query)
    return prompt(*found.groups()) if found else Prompt(query)


def read(source: str | Path = COMPARISONS, split: str | None = "train") -> list[Judgement]:
    """The comparisons of a split; of local files, all rows that name no other split, or all of them if it is None.

    Those about news articles too, whose rows have an `article` in place of a post. Raises ValueError with the line for
    rows with missing fields.
    """
    found = rows(source, split, "comparisons")
    return [_judgement(row) for row in found if split is None or _of(split, row.maybe("split"))]


def posts(source: str | Path, split: str | None = "train") -> list[Example]:
    """Posts with their authors' summaries: rows of id, subreddit, title, post and summary."""
    return [
        Example(
            prompt(row.text("subreddit"), row.maybe("title"), row.text("post")),
            (row.text("summary").strip(),),
            row.text("id"),
        )
        for row in rows(source, split)
    ]


def of_length(
    examples: Iterable[Example],
    tokenizer: PreTrainedTokenizerBase,
    shortest: int = SHORTEST,
    longest: int = LONGEST,
) -> tuple[list[Example], int]:
    """Examples whose references all have so many tokens, with their leading space, and how many had not."""
    examples = list(examples)
    texts = [text for example in examples for text in example.references]
    encoded = plain_ids(tokenizer, [f" {text.strip()}" for text in texts])
    fits = {text for text, ids in zip(texts, encoded, strict=True) if shortest <= len(ids) <= longest}
    kept = [example for example in examples if fits.issuperset(example.references)]
    return kept, len(examples) - len(kept)


def write(judgements: Sequence[Judgement], file: IO[bytes]) -> Written:
    """A line each in the published form, which holds sure answers about posts alone."""
    left_out: Counter[str] = Counter()
    written = 0
    for each in judgements:
        found = POST.fullmatch(str(each.prompt))
        if each.preference is None:
            left_out["cannot tell"] += 1
        elif each.preference not in (0, 1):
            left_out["ties" if each.preference == 0.5 else "preferences between 0, 0.5 and 1"] += 1
        elif not found:
            left_out["prompts that are no posts"] += 1
        else:
            file.write(json.dumps(_published(each, *found.groups())).encode() + b"\n")
            left_out["references"] += len(each.references)
            written += 1
    return Written(written, 0, 0, {what: count for what, count in left_out.items() if count})


def _published(each: Judgement, subreddit: str, title: str, post: str) -> dict[str, object]:
    sides = zip((each.left, each.right), each.policies, strict=True)
    return {
        "info": {"id": each.id, "post": post, "title": title, "subreddit": subreddit},
        "summaries": [{"text": f" {text.strip()}", "policy": policy, "note": None} for text, policy in sides],
        "choice": 0 if each.preference == 1 else 1,
        "worker": each.labeller,
        "batch": "",
        "split": each.split,
        "extra": {"confidence": each.confidence},
    }


def _judgement(row: Row) -> Judgement:
    choice = row.number("choice")
    sides = [Row(each, f"{row.where}, summary {i}") for i, each in enumerate(row.several("summaries"), 1)]
    if choice not in (None, 0, 1) or len(sides) != 2 or not row.has("choice"):
        raise row.error(f"a choice is 0 or 1, of 2 summaries; not {row.find('choice')!r} of {len(sides)}")
    policies = sides[0].maybe("policy"), sides[1].maybe("policy")
    left, right = (side.text("text").strip() for side in sides)
    return Judgement(
        _prompt(row),
        left,
        right,
        None if choice is None else 1 - choice,
        row.maybe("worker"),
        row.number("extra", "confidence"),
        row.maybe("split"),
        policies,
        row.text("info", "id"),
    )


def _prompt(row: Row) -> Prompt:
    if row.find("info", "post") is None and row.find("info", "article") is not None:
        return Prompt(row.text("info", "article"), f"TITLE: {row.maybe('info', 'title')}\n\nARTICLE: ", TAIL)
    return prompt(row.text("info", "subreddit"), row.maybe("info", "title"), row.text("info", "post"))


def _of(split: str, named: str) -> bool:
    """`valid1` and `valid2` are the hub's `validation`; a row may name none."""
    return named in ("", split) or (split == "validation" and named.startswith("valid"))
