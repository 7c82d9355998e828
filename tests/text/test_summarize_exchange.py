"""`prefrl export` and `prefrl import` of a summariser's comparisons: which words are printed, and what survives."""

import json
from dataclasses import replace

import pytest

from prefrl.cli import main
from prefrl.store import Store
from prefrl.summarize.commands import TEXTS
from prefrl.summarize.run import begin, run
from prefrl.text.data import FORMATS, Judgement, jsonl, judgements, tldr, trl
from tests.tiny_summaries import copied

POST = tldr.prompt("a", "b", "ship")
SAID = [
    Judgement(POST, "cow", "barn", 1.0, "w1", 7.0, "train", ("ours", "theirs"), "t3", ("ship",)),
    Judgement(POST, "cow", "sea", 0.0, "w1", None, "valid1", ("ours", "theirs"), "t3"),
    Judgement(POST, "cow", "oven", 0.5, "w2"),
    Judgement(POST, "cow", "train", None, "w2"),
]
KEPT = {
    "texts": ("4 judgements (1 ties, 1 cannot tell); left out: nothing", 4),
    "trl": ("2 judgements (0 ties, 0 cannot tell); left out: 2 labellers, 1 confidences, 2 splits, ", 2),
    "tldr": ("2 judgements (0 ties, 0 cannot tell); left out: 1 ties, 1 cannot tell\n", 2),
}


@pytest.fixture
def comparisons(summariser, tmp_path):
    """Where a summariser that has asked nothing yet will keep its comparisons."""
    return copied(summariser, tmp_path / "made", "compare", "reward", "ppo", "evaluate") / "comparisons"


@pytest.fixture
def said(tmp_path):
    with (tmp_path / "said.jsonl").open("wb") as file:
        jsonl.write(SAID, file)
    return tmp_path / "said.jsonl"


@pytest.fixture
def roomy(comparisons):
    """The same of a summariser whose prompts are long enough for all that stands around a Reddit post."""
    settings = comparisons.parent / "settings.yaml"
    settings.write_text(settings.read_text().replace("prompt_length: 24", "prompt_length: 64"))
    return comparisons


def printed(capsys, *command):
    assert main([*map(str, command)]) == 0
    return capsys.readouterr().out


def refused(capsys, *command):
    assert main([*map(str, command)]) == 2
    return capsys.readouterr().err


def test_the_command_line_knows_all_formats():
    assert (*FORMATS,) == TEXTS


@pytest.mark.parametrize("format", FORMATS)
def test_answers_go_out_and_come_in_and_what_is_lost_is_told(format, roomy, said, tmp_path, capsys):
    counted = "(1 ties, 1 cannot tell); 0 prompts and 0 texts cut; left out: 1 references\n"
    for of_them in ("4 new and 0 there already", "0 new and 4 there already"):
        taken = printed(capsys, "import", roomy, said, "--format", "texts")
        assert taken == f"{said}: 4 judgements, {of_them} {counted}"
    words, count = KEPT[format]
    told = printed(capsys, "export", roomy, tmp_path / "out.jsonl", "--format", format)
    assert told.startswith(f"{tmp_path / 'out.jsonl'}: {words}") and told.count("\n") == 1
    back = printed(capsys, "import", roomy, tmp_path / "out.jsonl", "--format", format)
    assert back.startswith(f"{tmp_path / 'out.jsonl'}: {count} judgements")
    with Store(roomy) as store:
        found, _ = judgements(store)
    assert {(each.left, each.right, each.preference) for each in found} == {
        (each.left, each.right, each.preference) for each in SAID
    } | ({("sea", "cow", 1.0)} if format == "trl" else set())


def test_long_texts_are_cut_and_counted(comparisons, tmp_path, capsys):
    row = {"prompt": "ship wave " * 40, "chosen": "barn " * 40, "rejected": "cow"}
    (tmp_path / "a.jsonl").write_text(json.dumps(row))
    taken = printed(capsys, "import", comparisons, tmp_path / "a.jsonl", "--format", "trl")
    assert "(0 ties, 0 cannot tell); 1 prompts and 1 texts cut" in taken


def test_what_was_imported_is_learned_from_beside_what_the_oracle_says(comparisons, said, capsys):
    said.write_text(said.read_text().replace(json.dumps(POST.head), '"POST: "'))
    printed(capsys, "import", comparisons, said, "--format", "texts")
    found = run(begin(comparisons.parent, {"comparisons": 10}), ["compare", "reward"])
    assert found["compare"]["compare/asked"] == 10 and found["compare"]["compare/skipped"] == 1
    assert found["reward"]["labels/learned"] == 9


def test_answers_that_came_after_the_reward_was_fitted_are_told_of_until_it_is_fitted_again(
    summariser, said, tmp_path, capsys
):
    folder = copied(summariser, tmp_path / "made", "ppo", "evaluate")
    again = "summarize", "reward", "--out", folder
    assert "later" not in printed(capsys, *again)
    said.write_text(said.read_text().replace(json.dumps(POST.head), '"POST: "'))
    printed(capsys, "import", folder / "comparisons", said, "--format", "texts")
    advice = "\nanswers that came later: 3; to learn from them, copy the folder without reward.json\n"
    assert advice in printed(capsys, *again)
    (folder / "reward.json").unlink()
    found = printed(capsys, *again)
    assert found.startswith("reward: 27 answers learned from") and "later" not in found


def test_a_corrected_answer_is_newer_than_the_reward_and_what_followed_is_named(summariser, tmp_path, capsys):
    folder = copied(summariser, tmp_path / "made")
    with Store(folder / "comparisons") as store:
        store.answer([replace(store.labels()[0], preference=0.5, key="corrected")])
    told = printed(capsys, "summarize", "reward", "--out", folder)
    assert "answers that came later: 1;" in told and "without reward.json, ppo.json, evaluate.json" in told


@pytest.mark.parametrize("format", FORMATS)
def test_a_broken_file_adds_nothing(format, comparisons, tmp_path, capsys):
    (tmp_path / "a.jsonl").write_text('{"prompt": "p"}\n')
    assert "a.jsonl, line 1: there is no" in refused(
        capsys, "import", comparisons, tmp_path / "a.jsonl", "--format", format
    )
    assert not comparisons.exists()


def test_where_texts_cannot_go_is_said(summariser, comparisons, said, tmp_path, capsys):
    assert "is no run" in refused(capsys, "export", comparisons, tmp_path / "a", "--format", "trl")
    assert "give DIR/comparisons" in refused(capsys, "import", comparisons.parent, said, "--format", "texts")
    (comparisons.parent / "sft.json").unlink()
    assert "`prefrl summarize sft --out" in refused(capsys, "import", comparisons, said, "--format", "texts")
    assert "exists: choose another name" in refused(
        capsys, "export", summariser / "comparisons", said, "--format", "trl"
    )


def test_a_folder_of_all_stages_is_told_where_its_answers_are(summariser, tmp_path, capsys):
    for command in (["label"], ["export", tmp_path / "a"], ["export", tmp_path / "a", "--format", "trl"]):
        said = refused(capsys, command[0], summariser, *command[1:])
        assert f"a summariser's answers, give {summariser}/comparisons\n" in said


def test_texts_that_are_read_without_their_format_are_told_of_it(summariser, comparisons, said, capsys):
    whole = copied(summariser, comparisons.parent.with_name("whole"))
    for into in (comparisons, comparisons.parent, whole, whole / "comparisons"):
        why = refused(capsys, "import", into, said)
        assert why.endswith("; texts are read with --format texts, trl or tldr\n") and why.count("\n") == 1


def test_a_path_that_is_no_summarisers_is_told_of_no_texts(said, tmp_path, capsys):
    missing = tmp_path / "hoper"
    assert refused(capsys, "import", missing, said) == f"prefrl: {missing} is no run: it has no config.yaml\n"


def test_an_oracles_answers_are_what_trl_reads(summariser, tmp_path, capsys):
    printed(capsys, "export", summariser / "comparisons", tmp_path / "a.jsonl", "--format", "trl")
    assert {pair.preference for pair in trl.read(tmp_path / "a.jsonl")} == {1.0}
