"""Posts and judged pairs, read from files and the hub."""

import csv
import json
import re
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest

from prefrl.text.data import FORMATS, Judgement, jsonl, judged, scitldr, scored, tldr, trl
from prefrl.text.data.rows import CONVERTED, has_splits, rows
from prefrl.text.samples import Prompt
from tests import tiny_text
from tests.tiny_judged import POST, SAID

SHARED = Path("../shared/data")
COMPARISON = {
    "info": {"id": "t3_1", "post": "It sat.\nIt slept.", "title": "My cat", "subreddit": "cats"},
    "summaries": [{"text": " It sat", "policy": "sup2", "note": None}, {"text": " Cats", "policy": "ref", "note": ""}],
    "choice": 1,
    "worker": "w1",
    "batch": "batch3",
    "split": "valid1",
    "extra": {"confidence": 7},
}


def lines(path, *values):
    path.write_text("".join(json.dumps(each) + "\n" for each in values))
    return path


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
        ({"prompt": " "}, "the prompt is empty: leave the row out"),
        ({"prompt": "p", "references": ["r", " "]}, "a reference is empty: leave it out"),
        ({"prompt": "p", "body": "b"}, "a prompt stands beside parts of one: write prompt, or body with head and tail"),
    ],
)
def test_a_post_that_cannot_be_learned_from_is_refused_with_its_line(tmp_path, row, words):
    path = lines(tmp_path / "a.jsonl", {"prompt": "p"}, row)
    with pytest.raises(ValueError, match=re.escape(f"{path}, line 2: {words}")):
        jsonl.read(path)


@pytest.mark.parametrize(
    ("format", "row"),
    [
        ("texts", {"prompt": " ", "left": "a", "right": "b", "preference": 1}),
        ("texts", {"body": "", "tail": " ", "left": "a", "right": "b", "preference": 1}),
        ("trl", {"prompt": "\n", "chosen": "a", "rejected": "b"}),
    ],
)
def test_an_answer_about_no_prompt_is_refused_with_its_line(tmp_path, format, row):
    path = lines(tmp_path / "a.jsonl", row)
    with pytest.raises(ValueError, match=re.escape(f"{path}, line 1: the prompt is empty: leave the row out")):
        FORMATS[format].read(path, None)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("reference", "no field 'reference': did you mean 'references'?"),
        ("summary", "no field 'summary': there are body, head, id, prompt, references, tail"),
    ],
)
def test_another_name_for_references_is_refused_with_its_line(tmp_path, name, words):
    path = lines(tmp_path / "a.jsonl", {"prompt": "p", "references": ["r"]}, {"prompt": "p", name: ["r"]})
    with pytest.raises(ValueError, match=re.escape(f"{path}, line 2: {words}")):
        jsonl.read(path)
    table = tmp_path / "a.csv"
    table.write_text(f"prompt,{name}\np,r\n")
    with pytest.raises(ValueError, match=re.escape(f"{table}, line 2: {words}")):
        jsonl.read(table)


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
    why = "no file or folder is 'allenai/scitldr', and the hub gives no data set 'allenai/scitldr': no network"
    with pytest.raises(ValueError, match=why):
        scitldr.read()


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
