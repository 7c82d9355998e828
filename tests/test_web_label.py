"""`prefrl label`: from words to the options of the page."""

import pytest

from prefrl.cli import main
from prefrl.runs import RunConfig, RunFolder


@pytest.fixture
def label(tmp_path, monkeypatch):
    """The shares that people are asked of, for a run with this oracle and these flags."""
    served = []
    monkeypatch.setattr("prefrl.web.serve.serve", lambda run, options: served.append(options))

    def label(oracle, *flags):
        run = tmp_path / f"run{len(served)}"
        RunFolder.create(run, RunConfig(env="prefrl/Dot-v0", oracle=oracle))
        assert main(["label", str(run), *flags]) == 0
        return served[-1].overlap, served[-1].repeats

    return label


@pytest.mark.parametrize(
    ("oracle", "shares"),
    [
        ("human", (0, 0)),
        ("human(overlap=0.1, repeats=0.05)", (0.1, 0.05)),
        ("Human(repeats=0.05)", (0, 0.05)),
        ("synthetic", (0, 0)),
        ("gone_for_ever:people", (0, 0)),
    ],
)
def test_a_page_asks_as_the_runs_own_does(label, oracle, shares):
    assert label(oracle) == shares


def test_what_is_said_on_the_command_line_wins(label):
    assert label("human(overlap=0.1, repeats=0.05)", "--overlap", "0.5") == (0.5, 0.05)
    assert label("human(overlap=0.1, repeats=0.05)", "--repeats", "0") == (0.1, 0)


def test_what_is_no_run_has_no_page(tmp_path, capsys):
    assert main(["label", str(tmp_path)]) == 2
    assert "is no run" in capsys.readouterr().err
