"""Figures that are told of claims are those on the pages that `prefrl reproduce` wrote."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "experiments/results"
FIGURE = re.compile(r"\d[\d,.]*\d(?: %)?|\d(?: %)?")


def told() -> list[tuple[str, str]]:
    """(page, what is said to be found on it) of every row of the table of claims."""
    rows, page = [], ""
    for line in (RESULTS / "README.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 4 and cells[0] != "claim" and "---" not in line:
            page = next(iter(re.findall(r"\]\((\w+/README\.md)\)", cells[0])), page)
            rows.append((page, cells[2]))
    return rows


@pytest.mark.parametrize(("page", "found"), told())
def test_what_is_told_of_a_claim_is_on_its_page(page, found):
    figures = {*FIGURE.findall((RESULTS / page).read_text())} | {"0"}  # a page writes 0.0
    assert {*FIGURE.findall(found)} <= figures


def test_every_claim_that_has_a_page_is_told():
    made = {f"{file.parent.name}/README.md" for file in RESULTS.glob("*/records.jsonl")}
    assert {page for page, _ in told()} == made


def test_the_flips_that_the_front_page_tells_are_on_theirs():
    [words] = re.findall(r"two of three seeds flip, ([\d.]+) and ([\d.]+) times", (ROOT / "README.md").read_text())
    page = (RESULTS / "backflip/README.md").read_text()
    assert all(f"| {flips} |" in page for flips in words)


def test_the_games_that_the_front_page_and_the_documentation_tell_are_on_theirs():
    page = (RESULTS / "atari/README.md").read_text()
    rows = re.findall(
        r"^\| (\w+) \| [\d,]+ \| [\d.]+M \| (-?[\d.]+) \|", (ROOT / "docs/atari.md").read_text(), re.MULTILINE
    )
    assert [game for game, _ in rows] == ["Pong", "Breakout"]
    assert all(re.search(rf"^\| {game} \| \d+ labels \| 0 \| {found} \|", page, re.MULTILINE) for game, found in rows)
    assert f"won by {dict(rows)['Pong']} points" in (ROOT / "README.md").read_text()
