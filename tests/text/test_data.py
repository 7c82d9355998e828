"""Posts and judged pairs: from files into the store, and out of it, nothing lost that is not counted."""

import csv
import io
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from prefrl.store import Store
from prefrl.text.compare import between
from prefrl.text.data import Judgement, jsonl, judged, judgements, out, put, scitldr, scored, tldr, trl
from prefrl.text.data.rows import CONVERTED, has_splits, rows
from prefrl.text.samples import Prompt
from prefrl.types import Label, Query, Segment
from tests import tiny_text

SHARED = Path("../shared/data")
POST = tldr.prompt("cats", "My cat", "It sat.\nIt slept.")
COMPARISON = {
    "info": {"id": "t3_1", "post": "It sat.\nIt slept.", "title": "My cat", "subreddit": "cats"},
    "summaries": [{"text": " It sat", "policy": "sup2", "note": None}, {"text": " Cats", "policy": "ref", "note": ""}],
    "choice": 1,
    "worker": "w1",
    "batch": "batch3",
    "split": "valid1",
    "extra": {"confidence": 7},
}
SAID = [
    Judgement(POST, "It sat", "Cats", 0.0, "w1", 7.0, "valid1", ("sup2", "ref"), "t3_1"),
    Judgement(POST, "It sat", "It slept", 1.0, "w1", None, "valid1", ("sup2", "sup6"), "t3_1"),
    Judgement(POST, "It sat", "Cats", 0.5, "w2", 1.5, "valid1", ("sup2", "ref"), "t3_1"),
    Judgement(Prompt("Only this", tail="\nTL;DR:"), "ä\n", "b", None, "w2", 2.0),
    Judgement(Prompt("Bare"), "yes", "no", 0.25),
]


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path / "run") as store:
        yield store


def lines(path, *values):
    path.write_text("".join(json.dumps(each) + "\n" for each in values))
    return path


def put_in(store, said, **more):
    return put(store, said, tiny_text.tokenizer(), **{"prompt_length": 80, "response_length": 16, **more})


def changed(row, *path, value=None):
    """A copy of the row without what stands under `path`, or with another value there."""
    copy = json.loads(json.dumps(row))
    inner = copy
    for name in path[:-1]:
        inner = inner[name]
    if value is None:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return copy


# TL;DR


def test_a_published_comparison_is_read_whole(tmp_path):
    assert tldr.read(lines(tmp_path / "a.jsonl", COMPARISON), "valid1") == [SAID[0]]
    assert str(POST) == "SUBREDDIT: r/cats\n\nTITLE: My cat\n\nPOST: It sat.\nIt slept.\n\nTL;DR:"


def test_comparisons_of_another_split_are_left(tmp_path):
    path = lines(tmp_path / "a.json", COMPARISON, changed(COMPARISON, "split", value="train"))
    wanted = ("valid1", "train", "valid2", "validation", None)
    assert [len(tldr.read(path, split)) for split in wanted] == [1, 1, 0, 1, 2]


def test_comparisons_about_articles_are_read_too(tmp_path):
    info = {"id": "n1", "article": "Long ago.", "title": "News", "site": "x"}
    [found] = tldr.read(lines(tmp_path / "a.json", changed(COMPARISON, "info", value=info)), "valid1")
    assert str(found.prompt) == "TITLE: News\n\nARTICLE: Long ago.\n\nTL;DR:" and found.prompt.body == "Long ago."


@pytest.mark.parametrize(
    ("spoiled", "words"),
    [
        (changed(COMPARISON, "info", "post"), r"there is no info\.post"),
        (changed(COMPARISON, "choice"), "a choice is 0 or 1"),
        (changed(COMPARISON, "choice", value=2), "a choice is 0 or 1"),
        (changed(COMPARISON, "summaries", value=[{"text": "a"}]), "of 2 summaries"),
        (changed(COMPARISON, "summaries", value=[{"text": "a"}, {}]), "summary 2: there is no text"),
        (changed(COMPARISON, "extra", "confidence", value="high"), "confidence is 'high': it must be a number"),
        (changed(COMPARISON, "extra", "confidence", value=10**400), "confidence is 1000.*: give a finite number"),
        (changed(COMPARISON, "info", "post", value="It \ud83d sat"), r"info\.post is no text: half a pair"),
        ([1], r"this is \[1\], not a row"),
    ],
)
def test_a_comparison_with_missing_fields_is_named_by_its_line(tmp_path, spoiled, words):
    with pytest.raises(ValueError, match=rf"a\.jsonl, line 2.*{words}"):
        tldr.read(lines(tmp_path / "a.jsonl", COMPARISON, spoiled), "valid1")


def test_a_line_that_is_no_json_is_named(tmp_path):
    (tmp_path / "a.jsonl").write_text(json.dumps(COMPARISON) + "\n\n{broken\n")
    with pytest.raises(ValueError, match=r"a\.jsonl, line 3: this is not JSON"):
        tldr.read(tmp_path / "a.jsonl", "valid1")


def test_posts_are_read_and_those_of_another_length_left_out_and_counted(tmp_path):
    row = {"id": "1", "subreddit": "a", "title": "b", "post": "c", "summary": " the cat sees a dog"}
    path = lines(tmp_path / "posts.jsonl", row, {**row, "summary": "x"}, {**row, "summary": "the cat " * 30})
    examples = tldr.posts(path)
    assert examples[0].references == ("the cat sees a dog",) and examples[0].prompt == tldr.prompt("a", "b", "c")
    tokens = len(tiny_text.tokenizer().encode(" the cat sees a dog"))
    kept, left_out = tldr.of_length(examples, tiny_text.tokenizer(), tokens, tokens)
    assert kept == examples[:1] and left_out == 2


def test_a_query_is_taken_apart_into_what_may_be_cut_and_what_not():
    assert tldr.parsed(str(POST)) == POST
    assert tldr.parsed("another question?") == Prompt("another question?")


# SciTLDR


def paper(**more):
    return {"source": ["We do it. ", "It works."], "target": ["It works ."], "paper_id": "p", "title": "Secret", **more}


def test_an_abstract_is_read_without_its_title(tmp_path):
    for split, target in (("train", ["a"]), ("dev", ["b", "c"])):
        lines(tmp_path / f"scitldr_{split}.jsonl", paper(target=target))
    [example] = scitldr.read(tmp_path, "dev")
    assert example.references == ("b", "c") and example.id == "p"
    assert str(example.prompt) == "We do it. It works.\n\nTL;DR:"
    assert scitldr.read(tmp_path, "validation") == [example]
    assert [e.references for e in scitldr.read(tmp_path / "scitldr_train.jsonl")] == [("a",)]


@pytest.mark.parametrize(
    ("row", "words"),
    [(paper(source="We do it."), "source is 'We do it.': it must be a list"), (paper(target=[1]), r"target\[0\]")],
)
def test_a_paper_with_wrong_fields_is_named(tmp_path, row, words):
    with pytest.raises(ValueError, match=rf"train\.jsonl, line 1.*{words}"):
        scitldr.read(lines(tmp_path / "train.jsonl", row))


# the other files


def test_ones_own_posts_are_read(tmp_path):
    path = lines(tmp_path / "a.jsonl", {"prompt": "p", "references": ["r"]}, {"body": "b", "tail": "t", "id": "2"})
    first, second = jsonl.read(path)
    assert (first.prompt, first.references) == (Prompt("p"), ("r",))
    assert (second.prompt, second.references, second.id) == (Prompt("b", "", "t"), (), "2")


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"left": "a", "right": "b", "preference": 1}, "there is no prompt"),
        ({"prompt": "p", "left": "a", "preference": 1}, "there is no right"),
        ({"prompt": "p", "left": "a", "right": "b"}, "there is no preference"),
        ({"prompt": "p", "left": "a", "right": "b", "preference": 3}, r"a preference is a chance in \[0, 1\]"),
        ({"prompt": "p", "left": "a", "right": "b", "preference": 1, "policies": ["x"]}, "policies are those of left"),
        ({"prompt": "p", "left": "a", "right": "b", "preference": 1, "confidence": float("nan")}, "a finite number"),
    ],
)
def test_a_judged_pair_with_missing_fields_is_named(tmp_path, row, words):
    with pytest.raises(ValueError, match=rf"a\.jsonl, line 1: .*{words}"):
        jsonl.read_judged(lines(tmp_path / "a.jsonl", row))


def test_trls_pairs_are_read_and_conversations_refused(tmp_path):
    row = {"prompt": str(POST), "chosen": " It sat", "rejected": " Cats"}
    assert trl.read(lines(tmp_path / "a.jsonl", row)) == [Judgement(POST, "It sat", "Cats", 1.0)]
    talk = {**row, "chosen": [{"role": "assistant", "content": "It sat"}]}
    with pytest.raises(ValueError, match=r"line 2: chosen is a conversation: apply its chat template"):
        trl.read(lines(tmp_path / "a.jsonl", row, talk))


def test_posts_that_a_model_judged_are_read(tmp_path):
    with (tmp_path / "a.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["query", "postprocessed_response", "reference_responses", "preferred"])
        table.writerows([[str(POST), " It\nsat", " Cats", said] for said in ("ours", "", "reference")])
    first, second = judged.read(tmp_path / "a.csv")
    assert (first.prompt, first.left, first.right, first.preference) == (POST, "It\nsat", "Cats", 1.0)
    assert second.preference == 0.0 and second.labeller == "language model"
    assert [example.references for example in judged.posts(tmp_path / "a.csv")] == [("Cats",)] * 3
    text = (tmp_path / "a.csv").read_text()
    (tmp_path / "a.csv").write_text(text.replace("reference\n", "neither\n").replace("reference\r\n", "neither\r\n"))
    with pytest.raises(ValueError, match=rf"a\.csv, line {2 + 2 * 9}: preferred is 'neither'"):
        judged.read(tmp_path / "a.csv")


def test_scores_become_pairs_and_equal_ones_ties(tmp_path):
    systems = [("a", 0.2), ("b", 0.6), ("c", 0.2)]
    entries = [{"ref": "r", "sys_name": n, "sys_summ": n * 2, "scores": {"overall": s}} for n, s in systems]
    (tmp_path / "a.json").write_text(json.dumps({"7": entries}))
    found = scored.read(tmp_path / "a.json")
    assert [(j.left, j.right, j.preference) for j in found] == [("aa", "bb", 0.0), ("cc", "aa", 0.5), ("bb", "cc", 1.0)]
    assert found[0].confidence == pytest.approx(0.4) and found[0].references == ("r",)
    del entries[1]["scores"]["overall"]
    (tmp_path / "a.json").write_text(json.dumps({"7": entries}))
    with pytest.raises(ValueError, match=r"article 7, summary 2: there is no scores\.overall"):
        scored.read(tmp_path / "a.json")


# files and the hub


def test_a_list_in_one_file_is_read_like_lines(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps([COMPARISON, COMPARISON], indent=1))
    assert [row.where for row in rows(tmp_path / "a.json")] == [f"{tmp_path}/a.json, row {n}" for n in (1, 2)]


def test_a_mark_before_utf_8_is_no_text(tmp_path):
    for name, text in ("a.jsonl", '{"prompt": "p"}'), ("a.json", '[{"prompt": "p"}]'), ("a.csv", "prompt\np\n"):
        (tmp_path / name).write_text(text, encoding="utf-8-sig")
        assert [row.text("prompt") for row in rows(tmp_path / name)] == ["p"]


def test_files_of_a_folder_are_told_apart_by_their_split(tmp_path):
    for name in ("train_1", "train_2", "valid"):
        lines(tmp_path / f"{name}.jsonl", {"prompt": name})

    def read(split):
        return [row.text("prompt") for row in rows(tmp_path, split)]

    assert read("train") == ["train_1", "train_2"] and read("validation") == ["valid"]
    assert read(None) == ["train_1", "train_2", "valid"] and has_splits(tmp_path)
    with pytest.raises(FileNotFoundError, match="has files of other splits and none of test: add one"):
        read("test")


def test_a_folder_without_splits_is_read_whole(tmp_path):
    lines(tmp_path / "posts.jsonl", {"prompt": "p"})
    assert len([*rows(tmp_path, "train")]) == len([*rows(tmp_path, "test")]) == 1 and not has_splits(tmp_path)


def test_a_missing_file_is_not_looked_for_on_the_hub(tmp_path):
    for source in (tmp_path / "a.jsonl", "nowhere.csv", "/no/where/at/all"):
        with pytest.raises(FileNotFoundError, match="is not a file: give one, a folder, or the name"):
            list(rows(source))
    with pytest.raises(FileNotFoundError, match="has no files that end in"):
        list(rows(tmp_path))


def test_the_hub_is_asked_for_the_split_and_for_plain_files_where_it_has_a_script(monkeypatch):
    asked = []

    def load_dataset(name, config, split, revision=None):
        asked.append((name, config, split, revision))
        if revision is None:
            raise RuntimeError("Dataset scripts are no longer supported")
        return [COMPARISON]

    monkeypatch.setattr("prefrl.text.data.rows.import_module", lambda _: SimpleNamespace(load_dataset=load_dataset))
    assert tldr.read(split="validation") == [SAID[0]]
    wanted = ("openai/summarize_from_feedback", "comparisons", "validation")
    assert asked == [(*wanted, None), (*wanted, CONVERTED)]


def test_a_hub_that_cannot_be_reached_is_one_line(monkeypatch):
    def load_dataset(*_, **__):
        raise ConnectionError("no\nnetwork")

    monkeypatch.setattr("prefrl.text.data.rows.import_module", lambda _: SimpleNamespace(load_dataset=load_dataset))
    with pytest.raises(
        ValueError, match="allenai/scitldr cannot be had from the hub: no network: or give a local file"
    ):
        scitldr.read()


# the store, and out of it


def test_ties_skips_and_confidences_survive_the_store(store, tmp_path):
    counts = put_in(store, SAID)
    assert counts == {
        "data/judgements": 5,
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
    for _ in range(2):
        put_in(store, SAID)
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


# real files


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the shared data")
def test_real_files_hold_what_they_are_known_to_hold():
    sizes = {split: len(scitldr.read(SHARED / "scitldr", split)) for split in ("train", "validation", "test")}
    assert sizes == {"train": 1992, "validation": 619, "test": 618}
    assert min(len(example.references) for example in scitldr.read(SHARED / "scitldr", "test")) >= 2
    posts = SHARED / "tldr_reddit" / "oai1b_judged.csv"
    assert len(judged.posts(posts)) == 1945 and all(example.prompt.tail for example in judged.posts(posts))
    assert Counter(j.preference for j in judged.read(posts)) == {1.0: 640, 0.0: 360}
    people = Counter(j.preference for j in scored.read(SHARED / "summary_preferences" / "sorted_scores.json"))
    assert people[1.0] + people[0.0] == 3717 and people[0.5] == 1287


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the shared data")
def test_real_pairs_survive_the_store(store, tmp_path):
    real = judged.read(SHARED / "tldr_reddit" / "oai1b_judged.csv")[:20]
    real += scored.read(SHARED / "summary_preferences" / "sorted_scores.json")[:20]
    put_in(store, real, prompt_length=400, response_length=48)
    assert judgements(store) == ([replace(each, references=()) for each in real], 0)
