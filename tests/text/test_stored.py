"""Judged pairs in the store and out of it, nothing lost that is not counted."""

import io
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from prefrl.store import Store
from prefrl.text.compare import between
from prefrl.text.data import Judgement, jsonl, judged, judgements, out, put, scored, tldr, trl
from prefrl.text.samples import Prompt
from prefrl.types import Label, Query, Segment
from tests import tiny_text
from tests.tiny_judged import POST, SAID

SHARED = Path("../shared/data")


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path / "run") as store:
        yield store


def put_in(store, said, **more):
    return put(store, said, tiny_text.tokenizer(), **{"prompt_length": 80, "response_length": 16, **more})


def test_ties_skips_and_confidences_survive_the_store(store, tmp_path):
    counts = put_in(store, SAID)
    assert counts == {
        "data/judgements": 5,
        "data/known": 0,
        "data/ties": 1,
        "data/skipped": 1,
        "data/cut_prompts": 0,
        "data/cut_texts": 0,
        "data/references_left_out": 0,
    }
    assert judgements(store) == (SAID, 0)
    written = out(store, tmp_path / "a.jsonl")
    assert (written.written, written.ties, written.skipped, written.left_out) == (5, 1, 1, {})
    assert jsonl.read_judged(tmp_path / "a.jsonl") == SAID
    with Store(tmp_path / "other") as other:
        put_in(other, jsonl.read_judged(tmp_path / "a.jsonl"))
        out(other, tmp_path / "b.jsonl")
    assert (tmp_path / "b.jsonl").read_bytes() == (tmp_path / "a.jsonl").read_bytes()


def test_what_the_core_reads_of_them(store):
    put_in(store, SAID)
    assert (store.counts().asked, store.counts().labelled, store.counts().skipped) == (4, 4, 1)
    comparisons, _ = store.comparisons()
    assert [c.preference for c in comparisons] == [0.0, 1.0, 0.5, None, 0.25]
    assert {len(c.left) for c in comparisons} == {96}
    assert between(store.queries()[0]) == ("sup2", "ref") and between(store.queries()[-1]) == ()


def test_putting_twice_is_putting_once(store):
    put_in(store, SAID[:2])
    assert [put_in(store, SAID)["data/known"] for _ in range(2)] == [2, 5]
    assert len(store.labels()) == len(SAID) and store.counts().asked == 4


def test_who_judged_a_pair_twice_is_not_overheard(store):
    again = [SAID[0], replace(SAID[0], preference=1.0), SAID[0]]
    put_in(store, again)
    assert judgements(store) == (again, 0) and [query.step for query in store.queries()] == [0, 1, 2]


def test_a_corrected_answer_is_counted_and_an_open_question_too(store, tmp_path):
    put_in(store, SAID)
    store.answer([Label(store.queries()[0].id, 1.0, "w1"), Label(store.queries()[1].id, None, "w1", note="undone")])
    written = out(store, tmp_path / "a.jsonl")
    assert written.left_out == {"labels that no longer count": 3, "queries without labels": 1}
    assert Counter(j.preference for j in jsonl.read_judged(tmp_path / "a.jsonl")) == {1.0: 1, 0.5: 1, None: 1, 0.25: 1}


def test_long_prompts_and_texts_are_cut_and_counted_and_come_back_whole(store):
    long = Judgement(replace(POST, body="\n".join(["It sat."] * 40)), "It sat " * 30, "Cats", 1.0)
    counts = put_in(store, [long])
    assert (counts["data/cut_prompts"], counts["data/cut_texts"]) == (1, 1)
    assert judgements(store)[0] == [long]


def test_trl_gets_sure_answers_and_the_rest_is_counted(store, tmp_path):
    put_in(store, SAID)
    written = out(store, tmp_path / "a.jsonl", "trl")
    assert (written.written, written.left_out) == (
        2,
        {
            "ties": 1,
            "cannot tell": 1,
            "preferences between 0, 0.5 and 1": 1,
            "labellers": 2,
            "confidences": 1,
            "splits": 2,
            "names of policies": 2,
            "ids": 2,
        },
    )
    assert trl.read(tmp_path / "a.jsonl") == [
        Judgement(POST, "Cats", "It sat", 1.0),
        Judgement(POST, "It sat", "It slept", 1.0),
    ]


@pytest.mark.parametrize("format", ["trl", "tldr"])
def test_a_text_that_begins_with_a_space_gets_no_second_one(store, tmp_path, format):
    put_in(store, [Judgement(POST, " It sat", " Cats\n", 1.0)])
    out(store, tmp_path / "a.jsonl", format)
    row = json.loads((tmp_path / "a.jsonl").read_text())
    said = [row["chosen"], row["rejected"]] if format == "trl" else [each["text"] for each in row["summaries"]]
    assert said == [" It sat", " Cats"]


def test_published_comparisons_come_back_as_they_were(store, tmp_path):
    put_in(store, [*SAID, Judgement(Prompt("no post"), "a", "b", 1.0)])
    written = out(store, tmp_path / "a.jsonl", "tldr")
    lost = {"ties": 1, "cannot tell": 1, "preferences between 0, 0.5 and 1": 1, "prompts that are no posts": 1}
    assert (written.written, written.left_out) == (2, lost)
    assert tldr.read(tmp_path / "a.jsonl", "valid1") == SAID[:2]


def test_segments_without_words_are_read_by_their_tokenizer(store):
    left, right = store.record(tiny_text.written(2).segments())
    [query] = store.ask([Query(left.id, right.id)])
    store.answer([Label(query.id, 1.0, "me")])
    with pytest.raises(ValueError, match="give the tokenizer that made them"):
        judgements(store)
    [found], _ = judgements(store, tiny_text.tokenizer())
    assert found.left == tiny_text.written(2).texts(tiny_text.tokenizer())[0]


def test_segments_of_no_text_are_refused(store, tmp_path):
    obs, acts = np.zeros((2, 3, 2), np.float32), np.zeros((3, 1), np.float32)
    left, right = store.record([Segment(obs[0], acts), Segment(obs[1] + 1, acts, media="a.webm")])
    [query] = store.ask([Query(left.id, right.id)])
    store.answer([Label(query.id, 1.0, "me")])
    with pytest.raises(ValueError, match="has no texts: give the comparisons of a summariser"):
        out(store, tmp_path / "a.jsonl", "trl", tiny_text.tokenizer())
    assert not (tmp_path / "a.jsonl").exists()


@pytest.mark.parametrize(
    "spoiled", [Judgement(Prompt(" "), "a", "b", 1.0), replace(SAID[0], prompt=Prompt("b", "h" * 400))]
)
def test_a_prompt_that_cannot_be_read_puts_nothing(store, spoiled):
    with pytest.raises(ValueError, match="prompt 5"):
        put_in(store, [*SAID, spoiled])
    assert store.counts().recorded == 0


def test_another_length_is_refused_before_anything_is_put(store):
    put_in(store, SAID[:1])
    with pytest.raises(ValueError, match="holds texts of 96 tokens, not of 97"):
        put_in(store, SAID, response_length=17)
    assert store.counts().asked == 1


def test_a_format_that_can_hold_nothing_writes_no_file(store, tmp_path):
    put_in(store, SAID[3:])
    why = "no judgement that tldr can hold, of 2: {'cannot tell': 1, 'preferences between 0, 0.5 and 1': 1}"
    with pytest.raises(ValueError, match=why):
        out(store, tmp_path / "a.jsonl", "tldr")
    assert not (tmp_path / "a.jsonl").exists()


def test_an_existing_file_is_left_and_an_unknown_format_refused(store, tmp_path):
    put_in(store, SAID)
    (tmp_path / "a").write_text("precious")
    with pytest.raises(FileExistsError, match="choose another name"):
        out(store, tmp_path / "a")
    with pytest.raises(ValueError, match="choose one of texts, trl, tldr"):
        out(store, tmp_path / "b", "csv")
    assert (tmp_path / "a").read_text() == "precious" and not (tmp_path / "b").exists()


def test_a_file_of_judgements_is_plain_text():
    file = io.BytesIO()
    assert str(jsonl.write(SAID, file)) == "5 judgements (1 ties, 1 cannot tell); left out: nothing"
    first = json.loads(file.getvalue().splitlines()[0])
    assert first["head"] == "SUBREDDIT: r/cats\n\nTITLE: My cat\n\nPOST: " and first["confidence"] == 7


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the shared data")
def test_real_pairs_survive_the_store(store, tmp_path):
    real = judged.read(SHARED / "tldr_reddit" / "oai1b_judged.csv")[:20]
    real += scored.read(SHARED / "summary_preferences" / "sorted_scores.json")[:20]
    put_in(store, real, prompt_length=400, response_length=48)
    assert judgements(store) == ([replace(each, references=()) for each in real], 0)
