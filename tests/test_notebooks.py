"""The notebooks run, shortened, and are kept without what they showed."""

import json
import re
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


def code(notebook: Path) -> list[dict]:
    return [cell for cell in json.loads(notebook.read_text())["cells"] if cell["cell_type"] == "code"]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(notebook, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    matplotlib.use("Agg")
    script = "\n\n".join("".join(cell["source"]) for cell in code(notebook))
    shorter, changed = re.subn(r"total_timesteps=60_000\b", "total_timesteps=4_000", script)
    assert changed == 1
    exec(shorter, {})
    plt.close("all")


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_has_no_outputs(notebook):
    assert [cell["outputs"] for cell in code(notebook)] == [[] for _ in code(notebook)]
