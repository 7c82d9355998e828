"""Who answers, what is paid, and how a policy learns: every choice of the settings, on a tiny summariser."""

import csv
import json
from collections import Counter
from unittest.mock import patch

import pytest

from prefrl.store import Store
from prefrl.summarize import evaluate
from prefrl.summarize.compare import Waiting
from prefrl.summarize.run import begin, run
from prefrl.text.models import load_model, save_model
from prefrl.text.tokens import load_tokenizer
from prefrl.types import Label
from tests import tiny_text
from tests.tiny_summaries import TINY, copied, results, said, same_weights
from tests.web_pages import browsing


def going_on(summariser, path, *without, **given):
    """A copy of the finished summariser with other settings, some of its stages to be made again."""
    return begin(copied(summariser, path / "copy", *without), given)


# who answers


@pytest.fixture
def unasked(summariser, tmp_path):
    def folder(**given):
        return going_on(summariser, tmp_path, "compare", "reward", "ppo", "evaluate", **given)

    return folder


def test_people_are_waited_for_and_then_learned_from(unasked):
    folder = unasked(oracle="human", comparisons=6)
    for _ in range(2):  # asked again, nothing is asked again
        with pytest.raises(Waiting, match=r"6 pairs wait for people: `prefrl label .*copy/comparisons` shows them"):
            run(folder)
    path = folder.comparisons().path
    with folder.comparisons().open_store() as store:
        with browsing(path, store) as page:
            shown = page.get("/api/next", params={"labeller": "Ann"}).json()
            instructions = page.get("/api/instructions").json()
        store.answer(Label(query.id, preference, "Ann") for query, preference in zip(store.queries(), ANSWERS))
    assert "POST: " in json.dumps(shown)
    assert instructions["question"] == "Which is the better summary?"
    assert [line.split(":")[0] for line in instructions["look_for"]] == ["Overall", "Accuracy", "Coverage", "Coherence"]
    assert instructions["good"]["text"] and instructions["bad"]["text"]
    found = run(folder)
    assert found["compare"].items() >= {"compare/answered": 4, "compare/ties": 1, "compare/skipped": 2}.items()
    assert found["reward"]["labels/learned"] == 4
    assert "over_sft" not in found["evaluate"]["policies"]["policy"]
    assert results(folder.path)["summary.json"]["win_rate"] is None


ANSWERS = [1.0, 0.0, 0.5, None, 1.0, None]


def test_people_are_shown_as_many_pairs_as_are_wanted_by_now(unasked):
    folder = unasked(oracle="human", comparisons=3)
    for comparisons, wanted in (3, 3), (6, 6), (4, 6):  # what was asked is waited for
        folder = begin(folder.path, {"comparisons": comparisons})
        with pytest.raises(Waiting, match=f"{wanted} pairs wait for people"):
            run(folder, ["compare"])
        assert folder.comparisons().config.labels == wanted
    path = folder.comparisons().path
    with folder.comparisons().open_store() as store:
        store.answer(Label(query.id, 1.0, "Ann") for query in store.queries()[:3])
        with browsing(path, store) as page:
            assert "POST: " in json.dumps(page.get("/api/next", params={"labeller": "Ann"}).json())


@pytest.mark.parametrize("oracle", ["tests.tiny_summaries:prefers_short", "judge:judge"])
def test_a_function_or_a_language_model_answers(oracle, unasked, tokenizer, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_model(tiny_text.model(context=512), tokenizer, tmp_path / "judge")
    folder = unasked(oracle=oracle, comparisons=6)
    found = run(folder)
    assert found["compare"]["compare/answered"] == 6
    assert "over_sft" in found["evaluate"]["policies"]["policy"]


def test_a_judge_that_can_tell_of_no_new_pair_leaves_out_figures(summariser, tmp_path):
    folder = going_on(summariser, tmp_path, "reward", "ppo", "evaluate")
    silent = {"return_value": lambda *_: None}
    with patch("prefrl.summarize.reward.judge_of", **silent), patch("prefrl.summarize.exam.judge_of", **silent):
        found = run(folder)
    assert found["reward"]["reward/model_right"] is found["reward"]["reward/length_right"] is None
    judged = found["evaluate"]["policies"]["policy"]["over_sft"]
    assert judged["wins"] == judged["at_equal_length"] == {"value": None, "low": None, "high": None}
    assert results(folder.path)["summary.json"]["win_rate"] is None
    assert "nan" not in said(folder, found) and "right about" not in said(folder, found)


def test_answers_come_from_a_published_file(unasked, tmp_path):
    lines = [
        {"prompt": "POST: cow barn\nTL;DR:", "left": "cow", "right": "barn cow", "preference": mu}
        for mu in (1, 0.5, None, 0)
    ]
    (tmp_path / "said.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    folder = unasked(comparisons_from=f"texts:{tmp_path / 'said.jsonl'}")
    found = run(folder, ["compare", "reward"])
    assert found["compare"].items() >= {"data/judgements": 4, "data/ties": 1, "data/skipped": 1}.items()
    assert found["reward"]["labels/learned"] == 3


def test_several_summaries_of_a_post_are_compared_with_each_other(unasked):
    folder = unasked(together=4, fit="k_wise(loss=margin(0.5))", sources="sft sft@0.7 reference", comparisons=30)
    found = run(folder, ["compare", "reward"])
    assert found["compare"]["compare/asked"] == 30
    with folder.comparisons().open_store() as store:
        of = Counter(query.left for query in store.queries()) + Counter(query.right for query in store.queries())
    assert max(of.values()) >= 3
    assert found["reward"]["labels/learned"] == 30


def test_a_margin_changes_the_reward(summariser, tmp_path):
    folder = going_on(summariser, tmp_path, "reward", "ppo", "evaluate", fit="texts(loss=margin(1.0))")
    run(folder, ["reward"])
    assert not same_weights(summariser / "reward", folder.path / "reward")


# what is paid, and how it is learned from


@pytest.mark.parametrize(
    "given",
    [
        {"score": "min", "kl": "kl(target=6)", "ptx": 0.5, "chunks": 2},
        {"score": "0.5", "lora": 2, "temperature": 0.7},
        {"algo": "a2c", "hyper": {"n_sequences": 16, "learning_rate": 1e-3}},
        {"algo": "trpo", "hyper": {"n_sequences": 16, "batch_size": 16}},
    ],
    ids=["min, adaptive, ptx, chunks", "pessimism, lora", "a2c", "trpo"],
)
def test_a_policy_learns(given, summariser, tmp_path):
    folder = going_on(summariser, tmp_path, "ppo", "evaluate", **given)
    found = run(folder)
    assert found["ppo"]["ppo/episodes"] == 64
    assert not same_weights(summariser / "policy", folder.path / "policy")
    assert load_model(folder.model("policy"), load_tokenizer(folder.model("policy"))).config.n_embd == TINY["width"]
    assert found["evaluate"]["policies"]["policy"]["kl"] > 0


def test_any_function_of_texts_is_a_reward_and_needs_no_answers(summariser, tmp_path):
    without = ("compare", "reward", "ppo", "evaluate")
    folder = going_on(summariser, tmp_path, *without, reward="tests.tiny_summaries:short")
    found = run(folder)
    assert [*found] == ["sft", "ppo", "evaluate"]
    assert found["ppo"]["ppo/score_after"] < 0
    assert not (folder.path / "comparisons").exists()
    with pytest.raises(ValueError, match="dpo needs compare first"):
        run(folder, ["dpo"])


@pytest.mark.parametrize(("method", "lora"), [("dpo", 2), ("ipo", 0), ("kto", 0)])
def test_a_policy_comes_straight_from_the_answers(method, lora, summariser, tmp_path):
    folder = going_on(summariser, tmp_path, "ppo", "evaluate", lora=lora)
    found = run(folder, [method])[method]
    assert found.keys() >= {f"{method}/loss", "kl", "reward", "over_sft", "words", "seconds"}
    assert not same_weights(summariser / "sft", folder.path / method)
    with pytest.raises(ValueError, match=f"{method} of .* was made with {method}"):
        begin(folder.path, {method: f"{method}(beta=0.7)"})


# the sheet


def test_scores_of_people_are_summed_up(summariser, tmp_path):
    path = copied(summariser, tmp_path / "copy")
    with pytest.raises(ValueError, match=r"nobody has filled in .*likert.csv yet"):
        evaluate.likert(begin(path, {}))
    sheet, key = path / "likert.csv", json.loads((path / "likert.key.json").read_text())
    with sheet.open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.reader(file))
    scores = {"reference": "7", "policy": "3", "sft": "2", "best of 2": "4"}
    filled = [rows[0], *([*row[:3], *[scores[key[row[0]]["policy"]]] * 4] for row in rows[1:])]
    with sheet.open("w", newline="") as file:
        csv.writer(file).writerows(filled)
    found = evaluate.likert(begin(path, {}))
    assert json.loads((path / "likert.json").read_text()) == found
    assert {policy: f"{axes['coverage']['value']:.0f}" for policy, axes in found.items()} == scores
    filled[3][4] = "8"
    with sheet.open("w", newline="") as file:
        csv.writer(file).writerows(filled)
    with pytest.raises(ValueError, match="accuracy is '8', not a whole number from 1 to 7"):
        evaluate.likert(begin(path, {}))


def test_a_store_of_answers_is_as_any_runs(summariser):
    with Store(summariser / "comparisons") as store:
        assert store.counts().labelled == 24
