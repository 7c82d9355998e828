"""Sheets for people: blind, shuffled, and read back with the line of every mistake."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest

from prefrl.files import Unreadable
from prefrl.text.likert import AXES, Rating, read_sheet, summary, write_sheet
from tests import tiny_text

EXAMPLES = tiny_text.examples(12)
TEXTS = {name: [f"{start} {i}" for i in range(12)] for name, start in (("sft", "a dog\nsees"), ("ppo", "the cat"))}


@pytest.fixture
def sheet(tmp_path):
    write_sheet(tmp_path / "sheet.csv", EXAMPLES, TEXTS)
    return tmp_path / "sheet.csv"


def rows(path):
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.reader(file))


def fill(path, scores, delimiter=",", encoding="utf-8"):
    """Item -> the cells of its four columns."""
    head, *items = rows(path)
    with path.open("w", encoding=encoding, newline="") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerows([head, *([*item[:3], *scores.get(item[0], [""] * 4)] for item in items)])


def test_a_sheet_is_blind_shuffled_and_shows_every_text_with_its_prompt(sheet):
    head, *items = rows(sheet)
    assert head == ["item", "prompt", "text", *AXES]
    assert "sft" not in sheet.read_text() and "ppo" not in sheet.read_text()
    shown = [(prompt, text) for _, prompt, text, *_ in items]
    in_order = [(str(example.prompt), text) for texts in TEXTS.values() for example, text in zip(EXAMPLES, texts)]
    assert sorted(shown) == sorted(in_order) and shown != in_order
    assert len({text.startswith("the cat") for _, text in shown[:8]}) == 2  # 8 of one policy: a chance of 1 in 700


@pytest.mark.parametrize(("delimiter", "encoding"), [(",", "utf-8"), (";", "utf-8-sig"), ("\t", "utf-8")])
def test_what_is_filled_in_comes_back_with_its_policy(sheet, delimiter, encoding):
    fill(sheet, {"3": ["7", " 6", "1", "4 "], "5": ["1", "2", "3", "4"]}, delimiter, encoding)
    hidden = json.loads(sheet.with_suffix(".key.json").read_text())
    assert read_sheet(sheet) == [
        Rating(hidden["3"]["example"], hidden["3"]["policy"], dict(zip(AXES, (7, 6, 1, 4)))),
        Rating(hidden["5"]["example"], hidden["5"]["policy"], dict(zip(AXES, (1, 2, 3, 4)))),
    ]
    _, *items = csv.reader(sheet.read_text(encoding=encoding).splitlines(keepends=True), delimiter=delimiter)
    texts = {item: text for item, _, text, *_ in items}
    at = [example.id for example in EXAMPLES].index(hidden["3"]["example"])
    assert TEXTS[hidden["3"]["policy"]][at].split()[-1] == texts["3"].split()[-1]


def test_every_mistake_is_told_with_its_line(tmp_path):
    write_sheet(tmp_path / "sheet.csv", EXAMPLES, {"ppo": ["the cat"] * 12})
    fill(tmp_path / "sheet.csv", {"1": ["8", "1", "1", "1"], "3": ["1", "", "2", "3"], "4": ["5", "5", "4.5", "x"]})
    prompt_lines = 3  # of each item: two sentences and what asks for the summary
    first, third, fourth = (2 + prompt_lines * (item - 1) for item in (1, 3, 4))
    with pytest.raises(Unreadable) as told:
        read_sheet(tmp_path / "sheet.csv")
    assert str(told.value).endswith(
        f"line {first}: overall is '8', not a whole number from 1 to 7; "
        f"line {third}: accuracy is '', not a whole number from 1 to 7; "
        f"line {fourth}: coverage is '4.5', not a whole number from 1 to 7; "
        f"line {fourth}: coherence is 'x', not a whole number from 1 to 7"
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("overall", "total"), "no column overall: keep the first line"),
        (lambda text: text + "99,p,t,1,2,3,4\n", r"there is no item '99'"),
        (lambda text: text + "1,p,t,,,,\n", "item 1 is there twice"),
        (lambda text: "", "no column item, overall"),
        (lambda text: text + '"open', "cannot be read"),
    ],
)
def test_a_sheet_that_was_changed_otherwise_is_refused(sheet, change, message):
    sheet.write_text(change(sheet.read_text(encoding="utf-8-sig")))
    with pytest.raises(Unreadable, match=message):
        read_sheet(sheet)


def test_a_sheet_that_people_may_have_filled_in_is_never_written_over(sheet):
    before = sheet.read_bytes()
    with pytest.raises(FileExistsError, match="choose another name"):
        write_sheet(sheet, EXAMPLES, TEXTS)
    assert sheet.read_bytes() == before


def test_cells_that_spreadsheets_would_run_are_only_text(tmp_path):
    write_sheet(tmp_path / "sheet.csv", EXAMPLES[:1], {"sft": ["=1+1"]})
    assert rows(tmp_path / "sheet.csv")[1][2] == "'=1+1"


def test_a_sheet_whose_writing_was_cut_off_is_written_by_the_same_call(sheet):
    before = sheet.read_bytes()
    sheet.unlink()
    write_sheet(sheet, EXAMPLES, TEXTS)
    assert sheet.read_bytes() == before
    sheet.unlink()
    with pytest.raises(FileExistsError, match="choose another name"):
        write_sheet(sheet, EXAMPLES, TEXTS, seed=1)
    assert not sheet.exists()


@pytest.mark.parametrize("ids", [("a", "a"), ("1", ""), ("", "")])
def test_examples_without_ids_of_their_own_are_told_apart_by_place(ids, tmp_path):
    examples = [replace(example, id=id) for example, id in zip(EXAMPLES, ids)]
    key = json.loads(write_sheet(tmp_path / "sheet.csv", examples, {"sft": ["a", "b"]}).read_text())
    assert sorted(each["example"] for each in key.values()) == ["0", "1"]


def test_texts_must_be_as_many_as_examples(tmp_path):
    with pytest.raises(ValueError, match="'sft' has 1 texts of 12 examples"):
        write_sheet(tmp_path / "sheet.csv", EXAMPLES, {"sft": ["a"]})
    assert not list(tmp_path.iterdir())


def test_scores_are_summed_up_per_policy_over_examples():
    def rating(example, policy, score):
        return Rating(example, policy, dict.fromkeys(AXES, score))

    many = [rating(str(i), "ppo", 5 + i % 2) for i in range(20)] + [rating("0", "sft", 2), rating("0", "sft", 3)]
    found = summary(many)
    assert (
        found["ppo"]["coverage"].value == 5.5 and 5.2 < found["ppo"]["overall"].low < 5.5 < found["ppo"]["overall"].high
    )
    assert found["sft"]["accuracy"].value == 2.5 and np.isnan(
        found["sft"]["accuracy"].low
    )  # one example tells no spread
