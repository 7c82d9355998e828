"""How often scores tell what people prefer: by confidence, split and length difference, beside baselines."""

import math
from pathlib import Path

import numpy as np
import pytest

from prefrl.text.accuracy import BASELINES, accuracies, by_lead, by_length, by_reward, by_rouge, table
from prefrl.text.data import Judgement, judged, scored
from prefrl.text.reward_model import RewardModel
from prefrl.text.samples import Prompt
from tests import tiny_text

SHARED = Path("../shared/data")
POST = Prompt("The cat sat on the mat. It rained.\nThen the dog came.")


def pair(left, right, preference, **more):
    return Judgement(more.pop("prompt", POST), left, right, preference, **more)


def found(pairs, scores):
    """By part, accuracy and number of pairs."""
    return {cell.part: (cell.accuracy, cell.pairs) for cell in accuracies(pairs, {"it": scores})}


def by_last_letter(pairs):
    return np.array([[ord(getattr(pair, side)[-1]) for pair in pairs] for side in ("left", "right")], float)


def test_detail_16_accuracy_is_told_by_confidence_split_and_length_difference():
    pairs = [
        pair("one two b", "one two a", 1.0, confidence=9, split="valid1"),
        pair("one two a", "one two b", 1.0, confidence=9, split="valid1"),
        pair("one a", "one two three b", 0.0, confidence=1, split="valid2"),
        pair("one a", "one b", 0.5, confidence=1),
        pair("one a", "one b", None),
    ]
    assert found(pairs, by_last_letter) == {
        "all": (pytest.approx(2 / 3), 3),
        "confidence 1": (1.0, 1),
        "confidence 9": (0.5, 2),
        "split valid1": (0.5, 2),
        "split valid2": (1.0, 1),
        "lengths differ by 0% to 11%": (0.5, 2),
        "lengths differ by 65% or more": (1.0, 1),
        "the longer is better": (1.0, 1),
    }


def test_many_confidences_are_told_in_thirds():
    pairs = [pair("b", "a", 1.0, confidence=float(i)) for i in range(30)]
    parts = found(pairs, by_last_letter)
    assert [parts[part][1] for part in parts if part.startswith("confidence")] == [10, 10, 10]


def test_equal_scores_tell_half_and_missing_ones_nothing():
    pairs = [pair("x", "y", 1.0), pair("b", "a", 0.7, references=("b",))]
    assert found(pairs, by_length)["all"] == (0.5, 2)
    assert found(pairs, by_rouge("rouge-1"))["all"] == (1.0, 1)
    [cell] = [cell for cell in accuracies(pairs[:1], {"rouge": by_rouge()}) if cell.part == "all"]
    assert cell.pairs == 0 and math.isnan(cell.accuracy)


def test_the_lead_is_the_first_sentence_of_the_prompt():
    assert by_lead([pair("the cat sat on the mat", "then the dog came", 1.0)])[:, 0].tolist() == [
        1.0,
        pytest.approx(0.2),
    ]


def test_the_interval_is_that_of_prompts_not_of_pairs():
    """A hundred pairs of one prompt say as much as one: nothing of spread. Of two, either may be drawn twice."""
    good, bad = ([pair("b", "a", right, prompt=Prompt(f"{right}"))] * 100 for right in (1.0, 0.0))
    alone, both = accuracies(good, {"it": by_last_letter})[0], accuracies(good + bad, {"it": by_last_letter})[0]
    assert math.isnan(alone.low) and alone.accuracy == 1
    assert (both.accuracy, both.low, both.high) == (0.5, 0.0, 1.0)


def test_pairs_that_nobody_prefers_either_side_of_are_refused():
    with pytest.raises(ValueError, match="nobody preferred either side"):
        accuracies([pair("a", "b", 0.5), pair("a", "b", None)], BASELINES)


def test_a_reward_model_stands_beside_the_baselines(model):
    rewards = RewardModel.of(model, tiny_text.tokenizer(), 64, 16, members=2)
    posts = tiny_text.posts(6, sentences=1)
    pairs = [pair(post.body[:5], post.body[:20], 1.0, prompt=post, references=(post.body,)) for post in posts]
    told = table(accuracies(pairs, {"reward": by_reward(rewards), **BASELINES}))
    head, _, first, *_ = told.splitlines()
    assert head == "| Pairs | Number | reward | rouge-1 | rouge-2 | rouge-l | length | lead |"
    assert first.startswith("| all | 6 | ") and "0.0% [0% to 0%]" in first
    scores = by_reward(rewards)(pairs)
    np.testing.assert_allclose(scores[0], rewards.judge(posts, [pair.left for pair in pairs]), atol=1e-6)


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the shared data")
def test_baselines_of_peoples_pairs_are_between_chance_and_certainty():
    people = scored.read(SHARED / "summary_preferences" / "sorted_scores.json")[:600]
    posts = judged.read(SHARED / "tldr_reddit" / "oai1b_judged.csv")[:200]
    for pairs, names in ((people, BASELINES), (posts, ("length", "lead"))):
        cells = [cell for cell in accuracies(pairs, {name: BASELINES[name] for name in names}) if cell.part == "all"]
        assert all(0.4 < cell.accuracy < 0.8 for cell in cells)
