"""ROUGE by hand-computed values, laws, and the textbook's tables."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefrl.text.rouge import METRICS, best, common_run, common_subsequence, rouge, rouge_1, rouge_2, rouge_l, words

few = st.lists(st.sampled_from("abc"), max_size=12).map(tuple)
texts = st.text(st.sampled_from("ab É漢\u0301 .\ud800"), max_size=20)


def test_three_words_of_six_and_of_four_are_common():
    text, reference = "the cat sat on the mat", "the cat lay down"
    assert rouge_1(text, reference) == pytest.approx(2 * 2 / (6 + 4))
    assert rouge_2(text, reference) == pytest.approx(2 * 1 / (5 + 3))
    assert rouge_l(text, reference) == pytest.approx(2 * 2 / (6 + 4))
    assert rouge(text, reference) == pytest.approx((0.4 + 0.25 + 0.4) / 3)


def test_order_matters_to_pairs_and_to_the_subsequence_only():
    """Lin's example: "police killed the gunman" against two sentences of the same words (section 3.1)."""
    reference = "police killed the gunman"
    assert rouge_1("police kill the gunman", reference) == rouge_1("the gunman kill police", reference) == 0.75
    assert rouge_l("police kill the gunman", reference) == 0.75
    assert rouge_l("the gunman kill police", reference) == 0.5
    assert rouge_2("police kill the gunman", reference) == rouge_2("the gunman kill police", reference) == 1 / 3


def test_a_word_said_more_often_than_in_the_reference_counts_as_often_as_there():
    assert rouge_1("the the the the", "the end") == pytest.approx(2 * 1 / (4 + 2))


def test_case_punctuation_and_composition_make_no_difference():
    assert words("Caf\u00e9, (STRASSE)!") == words("cafe\u0301 straße") == ("café", "strasse")


def test_words_of_other_scripts_are_words():
    assert words("हिन्दी में") == ("हिन्दी", "में")  # vowel signs and virama do not end a word
    assert words("русский text_1") == ("русский", "text", "1")
    assert words("漢字 かな ABC") == ("漢", "字", "か", "な", "abc")
    assert rouge_1("猫が好き", "犬が好き") == 0.75


@pytest.mark.parametrize("empty", ["", " \n", "?!", "\ud800"])
def test_nothing_is_like_no_reference(empty):
    assert [metric(empty, other) for metric in METRICS.values() for other in ("a word", empty)] == [0] * 6


@given(texts, texts)
def test_rouge_is_a_share_that_is_the_same_from_both_sides(text, reference):
    for metric in (*METRICS.values(), rouge):
        assert 0 <= metric(text, reference) <= 1
        assert metric(text, reference) == metric(reference, text)
    assert rouge_1(text, text) == rouge_l(text, text) == bool(words(text))


@given(few, few)
def test_common_subsequences_and_runs_are_those_of_the_textbooks_tables(left, right):
    longest, runs = {}, {}
    for i in range(len(left) + 1):
        for j in range(len(right) + 1):
            if not i or not j:
                longest[i, j] = runs[i, j] = 0
            elif left[i - 1] == right[j - 1]:
                longest[i, j], runs[i, j] = longest[i - 1, j - 1] + 1, runs[i - 1, j - 1] + 1
            else:
                longest[i, j], runs[i, j] = max(longest[i - 1, j], longest[i, j - 1]), 0
    assert common_subsequence(left, right) == longest[len(left), len(right)]
    assert common_run(left, right) == max(runs.values())


def test_the_nearest_reference_counts():
    assert best("a b", ["c d", "a b", "a"]) == 1
    assert best("a b", ["c d", "a c"], rouge_1) == 0.5
    with pytest.raises(ValueError, match="no reference to compare with: give at least one"):
        best("a b", [])


def test_papers_score_as_others_measured_them():
    """ROUGE-1 of first sentences and titles of SciTLDR's test papers, to the nearest summary that people wrote."""
    file = Path(__file__).parents[3] / "shared" / "data" / "scitldr" / "scitldr_test.jsonl"
    if not file.exists():
        pytest.skip("needs SciTLDR")
    papers = [json.loads(line) for line in file.read_text().splitlines()]
    first = np.mean([best(paper["source"][0], paper["target"], rouge_1) for paper in papers])
    title = np.mean([best(paper["title"], paper["target"], rouge_1) for paper in papers])
    assert (first, title) == pytest.approx((0.282, 0.366), abs=5e-4)
