"""What the oracle thinks good, how often it errs, and language models as judges."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prefrl.testing import check_oracle
from prefrl.text.judge import TRIED, BadJudge, LanguageModelJudge, OnSegments, check_sides, read, verdict
from prefrl.text.oracle import Preferring, Rouge, by_prompt, calibrated, copied_share
from prefrl.text.samples import Example, Prompt
from prefrl.text.tokens import to_samples
from tests import tiny_text

SOURCE = "we train large models on many texts and find that they learn to sum up what they read"
EXAMPLE = Example(
    Prompt(SOURCE, "TEXT: ", "\nTL;DR:"), ("large models can learn summaries", "reading teaches summaries")
)
PAIRS = [(str(EXAMPLE.prompt), f"text {i} of models", f"summaries {i} models learn") for i in range(400)]


def by_length(example, text):
    return float(len(text))


def segments(tokenizer, prompt, texts, longest=40):
    return to_samples(tokenizer, [prompt] * len(texts), texts, longest, 24).segments()


def test_a_penalty_takes_from_a_copy_what_rouge_gives_it():
    good = Rouge()
    assert good(EXAMPLE, "large models can learn summaries") > good(EXAMPLE, "models learn") > good(EXAMPLE, "cats eat")
    alike = "we train large models on many"  # all of it copied
    assert copied_share(alike, SOURCE) == 1
    assert Rouge(copying=0)(EXAMPLE, alike) - good(EXAMPLE, alike) == pytest.approx(0.3 * 2 / 3)
    assert copied_share("models that read many texts and", SOURCE) == 0.5  # "many texts and"


def test_length_costs_by_its_ratio_to_the_nearest_reference():
    only = Rouge(copying=0.0, length=1.0)
    example = Example(Prompt("x"), ("a b c", "a b c d e f g"))
    assert only(example, "a b c") == 1
    long = "a b c " + "z " * 12  # 15 words against 7
    assert only(example, long) - Rouge(copying=0.0, length=0.0)(example, long) == pytest.approx(-math.log(16 / 8))


def test_an_example_without_references_cannot_be_judged():
    with pytest.raises(ValueError, match="give at least one to every prompt"):
        Rouge()(Example(Prompt("x")), "a")


@given(st.lists(st.floats(-5, 5), min_size=3), st.sampled_from([0.05, 0.25, 0.45]))
def test_beta_is_the_one_at_which_bradley_terry_errs_as_often_as_asked(differences, wrong):
    sizes = np.abs([d for d in differences if abs(d) > 1e-3])
    if len(sizes):
        beta = calibrated(sizes, wrong)
        assert np.mean(1 / (1 + np.exp(np.minimum(beta * sizes, 700)))) == pytest.approx(wrong, abs=1e-6)


def test_a_quarter_of_the_answers_goes_against_the_better_one():
    sure = Preferring(Rouge(), by_prompt([EXAMPLE]))
    noisy = sure.erring(PAIRS)
    wrong = np.mean([noisy(*pair) != sure(*pair) for pair in PAIRS])
    assert abs(wrong - 0.25) < 5 * (0.25 * 0.75 / len(PAIRS)) ** 0.5  # a false alarm in 2 million seeds
    assert [noisy(*pair) for pair in PAIRS] != [replace(noisy, seed=1)(*pair) for pair in PAIRS]


@pytest.mark.parametrize(
    ("differences", "wrong", "message"),
    [([0.0, 0.0], 0.25, "pairs of different quality"), ([1.0], 0.5, "above 0 and below 0.5"), ([1.0], 0, "above 0")],
)
def test_a_share_of_errors_that_no_beta_makes_is_refused(differences, wrong, message):
    with pytest.raises(ValueError, match=message):
        calibrated(differences, wrong)
    with pytest.raises(ValueError, match="give 0 or more"):
        Preferring(Rouge(), {}, beta=-1.0)


def test_equal_quality_is_a_tie_and_infinite_beta_never_errs():
    judge = Preferring(by_length, by_prompt([EXAMPLE]))
    prompt = str(EXAMPLE.prompt)
    assert [judge(prompt, "ab", "cd"), judge(prompt, "abc", "cd"), judge(prompt, "", "cd")] == [0.5, 1, 0]
    assert replace(judge, beta=0.0)(prompt, "ab", "cd") == 0.5


@pytest.mark.parametrize("beta", [0.0, 3.0, math.inf])
def test_the_oracle_keeps_the_contract_of_all_oracles(tokenizer, beta):
    shown = segments(
        tokenizer, EXAMPLE.prompt, ["models", "large models can learn", "we train", "models", "", "x " * 30]
    )
    judge = Preferring(Rouge(), by_prompt([EXAMPLE], tokenizer, 40), beta)
    check_oracle(OnSegments(judge, tokenizer), shown)


def test_segments_are_judged_as_the_texts_that_they_hold(tokenizer):
    left, right = segments(tokenizer, EXAMPLE.prompt, ["models learn", "we train"], longest=99)
    assert read(tokenizer, left) == (str(EXAMPLE.prompt), "models learn")
    heard = []
    OnSegments(lambda *said: heard.append(said), tokenizer)(left, right)
    assert heard == [(str(EXAMPLE.prompt), "models learn", "we train")]


def with_two(prompt, left):
    return 1.0


def raising(prompt, left, right):
    raise KeyError(left)


PAIR = "; on '.{0,40}' with 'models learn' and 'we train'"
USUAL = rf"{PAIR}: let it take \(prompt, left, right\) and give the chance"


@pytest.mark.parametrize(
    ("judge", "complaint"),
    [
        (with_two, "the judge with_two raised TypeError: .* takes 2 positional arguments but 3 were given"),
        (lambda *_: "left", "gave 'left'"),
        (lambda *_: 1.5, r"gave 1\.5"),
        (lambda *_: float("nan"), "gave nan"),
        (lambda *_: torch.ones(2), "gave Tensor: a Tensor with 2 elements cannot be converted to Scalar"),
    ],
    ids=["two arguments", "a word", "too much", "nan", "two numbers"],
)
def test_a_judge_that_says_nothing_usable_is_named_with_the_pair(tokenizer, judge, complaint):
    left, right = segments(tokenizer, EXAMPLE.prompt, ["models learn", "we train"], longest=99)
    with pytest.raises(BadJudge, match=complaint + USUAL):
        OnSegments(judge, tokenizer)(left, right)


def test_a_judge_that_raises_is_named_with_the_pair_and_its_own_advice_alone(tokenizer):
    left, right = segments(tokenizer, EXAMPLE.prompt, ["models learn", "we train"], longest=99)
    with pytest.raises(BadJudge, match=rf"^the judge raising raised KeyError: 'models learn'{PAIR}$"):
        OnSegments(raising, tokenizer)(left, right)
    with pytest.raises(BadJudge, match=rf"ValueError: the oracle knows nothing of .* were cut{PAIR}$"):
        OnSegments(Preferring(Rouge(), {}), tokenizer)(left, right)


def test_a_judge_may_answer_in_any_kind_of_number():
    for said in (1, True, np.float32(1), np.bool_(True), np.ones(1), torch.ones((), requires_grad=True)):
        found = verdict(lambda *_, said=said: said, *PAIRS[0])
        assert found == 1 and type(found) is float


@pytest.mark.parametrize(("said", "side"), [(1.0, "left"), (0.2, "right")])
def test_a_judge_that_looks_at_places_alone_is_refused(said, side):
    with pytest.raises(BadJudge, match=f"prefers the {side} one of 8 pairs, and again with the sides swapped"):
        check_sides(lambda *_: said, PAIRS)
    check_sides(lambda *_: said, PAIRS[: TRIED - 1])  # too few to tell it from chance


def test_a_judge_that_errs_or_cannot_tell_or_knows_ties_alone_is_let_be():
    heard = []

    def errs_at_first(prompt, left, right):
        heard.append(prompt)
        return 1.0 if len(heard) < 2 * TRIED else 0.0

    for judge in (errs_at_first, lambda *_: None, lambda *_: 0.5):
        check_sides(judge, PAIRS)
    heard.clear()
    check_sides(lambda prompt, left, right: heard.append(prompt) or float(left < right), PAIRS)
    assert len(heard) == 2  # one pair is enough, where the answer follows the texts


def test_prompts_that_were_cut_are_known_and_strangers_refused(tokenizer):
    long = Example(Prompt("\n".join(f"line {i} of many" for i in range(50)), "POST: ", "\nTL;DR:"), ("lines",))
    left, right = segments(tokenizer, long.prompt, ["lines", "cats"])
    assert OnSegments(Preferring(Rouge(), by_prompt([long], tokenizer, 40)), tokenizer)(left, right) == 1
    with pytest.raises(ValueError, match=r"knows nothing of the prompt that ends with .*: give it that example"):
        OnSegments(Preferring(Rouge(), by_prompt([long])), tokenizer)(left, right)
    [other] = segments(tokenizer, EXAMPLE.prompt, ["lines"])
    with pytest.raises(ValueError, match="different prompts cannot be compared"):
        OnSegments(lambda *_: 1.0, tokenizer)(left, other)


def test_references_of_equal_prompts_are_put_together():
    twice = [EXAMPLE, Example(EXAMPLE.prompt, ("another",)), EXAMPLE]
    [found] = by_prompt(twice).values()
    assert found.references == (*EXAMPLE.references, "another")


def test_a_language_model_as_judge_keeps_the_contract_and_ties_with_the_same(tokenizer):
    judge = LanguageModelJudge(tiny_text.model(seed=3), tokenizer)
    texts = ["the cat sees a dog", "a dog", "my sister", "the bird", "the cat sees a dog"]
    check_oracle(OnSegments(judge, tokenizer), segments(tokenizer, tiny_text.posts(1)[0], texts))
    answers = {judge("the cat sees a dog.", left, right) for left in texts[:3] for right in texts[:3] if left < right}
    assert len(answers) == 3 and all(0 < answer < 1 for answer in answers)
    assert judge("the cat", "a dog", "a dog") == 0.5


def test_a_judge_has_no_favourite_place(tokenizer):
    """One that always says A, whatever stands there, ties everything."""
    model = tiny_text.model()
    for parameter in model.transformer.parameters():
        parameter.data.zero_()  # no word matters now
    model.transformer.ln_f.bias.data.fill_(1.0)
    judge = LanguageModelJudge(model, tokenizer)
    assert judge("the cat", "a dog", "the bird") == 0.5


def test_a_judges_odds_are_those_of_the_first_tokens_in_which_its_words_differ(tokenizer):
    model = tiny_text.model(seed=5)
    judge = LanguageModelJudge(model, tokenizer, question="Which? ", words=(" cat", " cow"))
    cat, cow = tokenizer.encode(" cat"), tokenizer.encode(" cow")
    place = next(i for i, pair in enumerate(zip(cat, cow)) if pair[0] != pair[1])
    shared, both = cat[:place], (cat[place], cow[place])
    odds = []
    for first, second in (("a dog", "the bird"), ("the bird", "a dog")):
        asked = f"Which? prompt\n\nSummary cat: {first}\n\nSummary cow: {second}\n\nThe better one is summary"
        logits = model(torch.tensor([tokenizer.encode(asked) + shared])).logits[0, -1].detach().double()
        odds.append(float(logits[both[0]] - logits[both[1]]))
    expected = 1 / (1 + math.exp((odds[1] - odds[0]) / 2))
    assert judge("prompt", "a dog", "the bird") == pytest.approx(expected, abs=1e-6)


def test_a_judges_words_must_differ(model, tokenizer):
    with pytest.raises(ValueError, match="begins with the other: give other words"):
        LanguageModelJudge(model, tokenizer, words=(" one", " one more"))
