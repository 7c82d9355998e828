"""Pairs that are drawn, asked about once, shown to people, and answered; a kill in the middle loses nothing."""

from collections import Counter
from itertools import combinations

import numpy as np
import pytest

from prefrl.oracles import Mistaken
from prefrl.store import Store
from prefrl.text.compare import Compare, answer, asked, between
from prefrl.text.judge import OnSegments
from prefrl.text.oracle import Preferring, Rouge, by_prompt
from prefrl.text.samples import Example
from prefrl.text.sampling import Policy, references, sample_pairs
from prefrl.types import Label, Query
from prefrl.web.pairs import Pairs, showable
from tests import tiny_text
from tests.web_pages import browsing

EXAMPLES = tiny_text.examples(10)
COMPARE = Compare(prompt_length=48, response_length=16, group=4)


def talks(examples, seed):
    rng = np.random.default_rng(seed)
    return [tiny_text.sentence(rng)[:20].strip() for _ in examples]


def silent(examples, seed):
    return [""] * len(examples)


POLICIES = {"sft": talks, "reference": references}


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path / "run") as store:
        yield store


def rows(store):
    return store.queries(), store.labels(), store.counts()


def drawn(per_prompt=1, kind="paired", policies=POLICIES, examples=EXAMPLES, seed=0):
    return sample_pairs(examples, policies, np.random.default_rng(seed), per_prompt, kind)


def test_pairs_are_of_the_same_prompt_by_policies_at_random_and_on_sides_at_random():
    pairs = drawn(per_prompt=2, policies={"sft": talks, "ppo": talks, "reference": references}, examples=EXAMPLES * 10)
    assert drawn(per_prompt=2) == drawn(per_prompt=2) != drawn(per_prompt=2, seed=1)
    names = Counter((left, right) for _, (left, _), (right, _) in pairs)
    assert {frozenset(both) for both in names} == {
        frozenset(p) for p in [("sft", "ppo"), ("sft", "reference"), ("ppo", "reference"), ("sft",), ("ppo",)]
    }
    assert abs(names["sft", "ppo"] - names["ppo", "sft"]) < 5 * (names["sft", "ppo"] + names["ppo", "sft"]) ** 0.5
    assert all(text in example.references for example, *both in pairs for name, text in both if name == "reference")


def test_k_wise_asks_about_all_pairs_of_k_texts():
    every = drawn(4, "k-wise")
    for example in EXAMPLES:
        pairs = [pair for pair in every if pair[0] == example]
        texts = {text for _, *both in pairs for _, text in both}
        found = {frozenset(text for _, text in both) for _, *both in pairs}
        assert len(texts) == 4 and found == {frozenset(both) for both in combinations(texts, 2)} and len(pairs) == 6


def test_pairs_of_the_same_text_are_left_out():
    assert drawn(policies={"a": silent, "b": silent}) == []
    assert len(drawn(3, "k-wise", {"a": silent, "sft": talks})) < 3 * len(EXAMPLES)


def test_every_reference_takes_part_once():
    example = Example(EXAMPLES[0].prompt, ("one", "two", "three"))
    assert sorted(references([example] * 3, seed=0)) == ["one", "three", "two"]
    [pair, *more] = drawn(2, policies={"reference": references}, examples=[example])
    assert not more and pair[1][1] != pair[2][1]


def test_policies_that_do_not_answer_every_prompt_are_refused():
    with pytest.raises(ValueError, match="'sft' gives 1 continuations of 20 prompts"):
        drawn(policies={"sft": lambda examples, seed: ["one"]})
    with pytest.raises(ValueError, match="example 0 has no reference"):
        references([Example(EXAMPLES[0].prompt)], 0)


def test_what_was_asked_is_what_the_policies_said(store, tokenizer):
    found = COMPARE(store, EXAMPLES, POLICIES, tokenizer)
    assert found.keys() == {"compare/asked", "compare/known", "compare/alike", "compare/unended"}
    assert found["compare/asked"] == 10 and found["compare/known"] == found["compare/alike"] == 0
    said = asked(store, tokenizer)
    assert [prompt for prompt, _, _ in said] == [str(example.prompt).strip() for example in EXAMPLES]
    for query, (_, left, right), example in zip(store.queries(), said, EXAMPLES, strict=True):
        for name, text in zip(between(query), (left, right), strict=True):
            assert example.references[0].startswith(text) == (name == "reference") and text
    said_whole = {text for example in EXAMPLES for text in example.references}
    cut = [text for _, *both in said for text in both if not any(text == whole for whole in said_whole)]
    assert 0 < found["compare/unended"] <= len(cut)  # references of more than 16 tokens
    [shape] = {(s.obs.shape, s.acts.shape) for s in store.segments(range(1, 20)).values()}
    assert shape == ((64,), (64,))


@pytest.mark.parametrize("policies", [POLICIES, {"sft": talks, "silent": silent}])
@pytest.mark.parametrize("kind", ["paired", "k-wise"])
def test_run_again_nothing_is_added(store, tokenizer, kind, policies):
    compare = Compare(per_prompt=2, kind=kind, prompt_length=48, response_length=16, group=4)
    first = compare(store, EXAMPLES, policies, tokenizer)
    before = rows(store)
    again = compare(store, EXAMPLES + EXAMPLES[:2], policies, tokenizer)
    assert rows(store) == before and again["compare/asked"] == 0
    assert again["compare/known"] + again["compare/alike"] == 12 and first["compare/asked"] == len(before[0])


def test_more_prompts_and_a_later_step_are_asked_about(store, tokenizer):
    COMPARE(store, EXAMPLES[:6], POLICIES, tokenizer)
    found = COMPARE(store, EXAMPLES, POLICIES, tokenizer)
    assert (found["compare/asked"], found["compare/known"]) == (4, 6)
    later = Compare(prompt_length=48, response_length=16, step=100)
    assert later(store, EXAMPLES, POLICIES, tokenizer)["compare/asked"] == 10
    assert {query.step for query in store.queries()} == {0, 100}


@pytest.mark.parametrize("killed", ["record", "ask"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_in_the_middle_it_ends_as_if_it_had_not_been(store, tokenizer, tmp_path, monkeypatch, killed, when):
    method, calls = getattr(Store, killed), Counter()

    def dies(self, new):
        calls["all"] += 1
        if calls["all"] == 2 and when == "before":
            raise KeyboardInterrupt
        kept = method(self, new)
        if calls["all"] == 2:
            raise KeyboardInterrupt
        return kept

    with monkeypatch.context() as patch:
        patch.setattr(Store, killed, dies)
        with pytest.raises(KeyboardInterrupt):
            COMPARE(store, EXAMPLES, POLICIES, tokenizer)
    COMPARE(store, EXAMPLES, POLICIES, tokenizer)
    with Store(tmp_path / "other") as other:
        COMPARE(other, EXAMPLES, POLICIES, tokenizer)
        assert rows(store) == rows(other)
        assert asked(store, tokenizer) == asked(other, tokenizer)


def test_people_are_shown_prompt_and_texts_and_nothing_of_who_said_them(run, tokenizer):
    with Store(run) as store:
        COMPARE(store, EXAMPLES[:3], POLICIES, tokenizer)
        words = asked(store, tokenizer)
        for query, (_, left, right), example in zip(store.queries(), words, EXAMPLES):
            names = store.media([query.left, query.right])
            assert all(map(showable, names.values()))
            shown = Pairs(run)(query, (names[query.left], names[query.right]))
            assert shown == {
                "query": query.id,
                "left": {"text": left},
                "right": {"text": right},
                "prompt": str(example.prompt),
            }
        with browsing(run, store) as page:
            reply = page.get("/api/next?labeller=Ann&n=3")
            assert [pair["left"]["text"] for pair in reply.json()["pairs"]] == [left for _, left, _ in words]
            assert "sft" not in reply.text and "reference" not in reply.text
            assert page.answer(1, 0.5).status_code == 200
        assert [label.preference for label in store.labels()] == [0.5]


def test_an_oracle_answers_what_nobody_has_and_prefers_the_reference(store, tokenizer):
    COMPARE(store, EXAMPLES, {"silent": silent, "reference": references}, tokenizer)
    [by_hand] = store.answer([Label(2, None, "Ann")])
    oracle = OnSegments(Preferring(Rouge(), by_prompt(EXAMPLES, tokenizer, 48)), tokenizer)
    assert answer(store, oracle) == {"compare/answered": 9, "compare/ties": 0, "compare/skipped": 0}
    queries = {query.id: query for query in store.queries()}
    for label in store.labels():
        if label != by_hand:
            assert between(queries[label.query])[0 if label.preference == 1 else 1] == "reference"
    before = rows(store)
    assert answer(store, oracle)["compare/answered"] == 0 and rows(store) == before


@pytest.mark.parametrize("broken", [RuntimeError("no answer"), 2.0, KeyboardInterrupt()])
def test_an_oracle_that_fails_loses_no_earlier_answer(store, tokenizer, broken):
    COMPARE(store, EXAMPLES, POLICIES, tokenizer)
    answers = iter([1.0, None, 0.5, broken])

    def fails(left, right):
        said = next(answers)
        if isinstance(said, BaseException):
            raise said
        return said

    with pytest.raises((RuntimeError, ValueError, KeyboardInterrupt)):
        answer(store, fails)
    assert [label.preference for label in store.labels()] == [1.0, None, 0.5]
    assert answer(store, lambda left, right: 0.0)["compare/answered"] == 7


def test_an_oracle_with_a_memory_sees_again_what_it_has_answered(store, tokenizer):
    COMPARE(store, EXAMPLES, POLICIES, tokenizer)
    seen = []

    class Remembers:
        def __call__(self, left, right):
            if len(seen) == 3:
                raise KeyboardInterrupt
            self.observe(left, right)
            return 1.0

        def observe(self, left, right):
            seen.append((left.id, right.id))

    with pytest.raises(KeyboardInterrupt):
        answer(store, Mistaken(Remembers(), chance=0.0))
    before = seen.copy()
    seen.clear()
    with pytest.raises(KeyboardInterrupt):
        answer(store, Mistaken(Remembers(), chance=0.0))
    assert seen == before == [(query.left, query.right) for query in store.queries()[:3]]


def test_a_language_model_is_a_policy(store, model, tokenizer):
    policy = Policy(model, tokenizer, prompt_length=48, response_length=16, at_once=3)
    texts = policy(EXAMPLES, 0)
    assert len(texts) == len(EXAMPLES) and texts == policy(EXAMPLES, 0) != policy(EXAMPLES, 1)
    greedy = Policy(model, tokenizer, prompt_length=48, response_length=16, temperature=0.0)
    assert greedy(EXAMPLES, 0) == greedy(EXAMPLES, 1)
    found = COMPARE(store, EXAMPLES, {"sft": policy}, tokenizer)
    assert found["compare/asked"] + found["compare/alike"] == 10 and found["compare/asked"] > 5


@pytest.mark.parametrize("name", ["", "a | b"])
def test_names_that_could_not_be_told_apart_later_are_refused(store, tokenizer, name):
    with pytest.raises(ValueError, match="cannot name a policy"):
        COMPARE(store, EXAMPLES, {name: talks}, tokenizer)


def test_other_questions_about_the_same_prompt_change_nothing(store, tokenizer):
    COMPARE(store, EXAMPLES, {"other": talks}, tokenizer)
    store.ask([Query(1, 4, why="published")])
    assert COMPARE(store, EXAMPLES, POLICIES, tokenizer)["compare/asked"] == 10


def test_texts_that_differ_only_where_they_are_cut_are_not_compared(store, tokenizer):
    def endless(examples, seed):
        return ["a dog " * 20 + str(i) for i, _ in enumerate(examples)]

    found = COMPARE(store, EXAMPLES[:2], {"sft": endless}, tokenizer)
    assert (found["compare/asked"], found["compare/unended"], store.counts().asked) == (0, 4, 0)


def test_there_must_be_something_to_compare(store, tokenizer):
    with pytest.raises(ValueError, match="give at least one"):
        COMPARE(store, EXAMPLES, {}, tokenizer)
    with pytest.raises(ValueError, match="give at least 2"):
        Compare(per_prompt=1, kind="k-wise")
