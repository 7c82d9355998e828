"""The notebooks run, shortened, and are kept without what they showed."""

import json
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))

SHORTER = {
    "first_run": {"total_timesteps=60_000": "total_timesteps=4_000"},
    "label_it_yourself": {"total_timesteps, labels = 600_000, 200": "total_timesteps, labels = 30_000, 12"},
    "summaries": {"grammar.posts(1_000, seed=0)": "grammar.posts(200, seed=0)", "episodes = 2_048": "episodes = 256"},
}


def code(notebook: Path) -> list[dict]:
    return [cell for cell in json.loads(notebook.read_text())["cells"] if cell["cell_type"] == "code"]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(notebook, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    matplotlib.use("Agg")
    script = "\n\n".join("".join(cell["source"]) for cell in code(notebook))
    for long, short in SHORTER[notebook.stem].items():
        assert script.count(long) == 1
        script = script.replace(long, short)
    exec(script, {})
    plt.close("all")


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_has_no_outputs(notebook):
    assert [cell["outputs"] for cell in code(notebook)] == [[] for _ in code(notebook)]
