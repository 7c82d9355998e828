"""Runs and their pages on a PostgreSQL server, and how they are told that it cannot be reached."""

import sys

import pytest

from prefrl.cli import main
from prefrl.runs import RunFolder
from prefrl.store import Store
from prefrl.train import train
from tests.postgres import PASSWORD
from tests.tiny_runs import DOT, outcome, tiny

NOBODY = f"postgresql://nobody:{PASSWORD}@127.0.0.1:1/none"
"""Where no server listens."""


def refusal(capsys, *words):
    """The one line in which a command failed."""
    capsys.readouterr()
    assert main([str(word) for word in words]) in (1, 2)
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("prefrl: ") and err.count("\n") == 1
    assert PASSWORD not in err
    return err


# what is told in one line


@pytest.mark.parametrize(
    ("store", "why"),
    [
        (NOBODY, "postgresql://nobody:***@127.0.0.1:1/none cannot be reached: connection failed"),
        (f"postgres://127.0.0.1:1/none?password={PASSWORD}", "postgresql://127.0.0.1:1/none cannot be reached"),
        (f"postgresql+psycopg://a:{PASSWORD}@127.0.0.1:1/b", "postgresql://a:***@127.0.0.1:1/b cannot be reached"),
        (f"postgresql://127.0.0.1:1/none?pasword={PASSWORD}", 'invalid connection option "pasword"'),
        (
            f"mysql://me:{PASSWORD}@127.0.0.1/none",
            "mysql is another kind of database",
        ),
        (f"postgresql://me:{PASSWORD}@there:port/none", "this is not such a URL"),
        (f"me:{PASSWORD}@there", "this is not such a URL"),
        (f"postgresql://me:my@{PASSWORD}@there/none", "write an @ in user or password as %40"),
        ("runs/store.db", "this is not such a URL"),
    ],
)
def test_a_store_that_cannot_be_is_told_before_anything_is_written(store, why, tmp_path, capsys):
    assert why in refusal(capsys, "train", "--env", DOT, "--store", store, "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_without_its_driver_it_is_told_how_to_install_it(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    told = refusal(capsys, "train", "--env", DOT, "--store", NOBODY, "--out", tmp_path / "run")
    assert told == 'prefrl: PostgreSQL needs psycopg: pip install "prefrl[postgres]"\n'


@pytest.mark.parametrize(
    ("part", "wrong", "why"),
    [
        (f":{PASSWORD}", f":x{PASSWORD}", 'password authentication failed for user "tester"'),
        ("tester:", "stranger:", 'password authentication failed for user "stranger"'),
        ("/test_", "/toast_", "does not exist"),
    ],
)
def test_who_may_not_come_in_is_told_why(part, wrong, why, database, tmp_path, capsys):
    store = database.replace(part, wrong)
    assert why in refusal(capsys, "train", "--env", DOT, "--store", store, "--out", tmp_path / "run")


def test_who_may_not_make_tables_is_told_why(postgres, database, tmp_path):
    postgres.say(database, "create role reader login password 'other'; grant usage on schema public to reader")
    try:
        with pytest.raises(ValueError, match=r"\*\*\*@.* cannot hold a store: permission denied for schema public$"):
            Store(tmp_path, database.replace(f"tester:{PASSWORD}", "reader:other"))
    finally:
        postgres.say(database, "drop owned by reader; drop role reader")


def test_a_database_of_somebody_else_is_no_store(postgres, database, tmp_path):
    postgres.say(database, "create table segments (id int)")
    with pytest.raises(ValueError, match=r"^postgresql://tester:\*\*\*@.* is not a prefrl store: choose another"):
        Store(tmp_path, database)


def test_a_second_run_in_the_database_of_a_first_is_refused(database, tmp_path, capsys):
    train(tiny(total_timesteps=300, store=database), tmp_path / "first")
    told = refusal(capsys, "train", "--env", DOT, "--store", database, "--out", tmp_path / "second")
    assert "holds another run: give every run a database of its own" in told
    assert not (tmp_path / "second").exists()


# runs


def test_a_run_on_a_server_is_the_run_in_a_file(database, tmp_path):
    train(tiny(), tmp_path / "file")
    train(tiny(store=database), tmp_path / "server")
    assert not (tmp_path / "server" / "store.db").exists()
    file, server = outcome(tmp_path / "file"), outcome(tmp_path / "server")
    assert file == server


def test_whatever_is_done_with_a_run_is_done_on_a_server(database, tmp_path, capsys):
    run = tmp_path / "run"
    words = ["--total-timesteps", "1000", "--labels", "24", "--n-envs", "4", "--hyper", "n_steps=32", "batch_size=64"]
    assert main(["train", "--env", DOT, "--store", database, *words, "--turns", "4", "--out", str(run)]) == 0
    assert main(["evaluate", str(run), "--episodes", "2", "--json"]) == 0
    assert main(["fit", str(run), "--fit", "fit(passes=1, first_passes=2)"]) == 0
    assert main(["export", str(run), str(tmp_path / "labels.jsonl")]) == 0
    assert main(["report", str(run), "--out", str(tmp_path / "report.html")]) == 0
    out, err = capsys.readouterr()
    assert PASSWORD not in out + err
    with RunFolder.open(run).open_store() as store:
        versions = [version.id for version in store.versions()]
        assert store.counts().labelled == 24 and versions == list(range(1, len(versions) + 1))
    assert len((tmp_path / "labels.jsonl").read_text().splitlines()) == 24
    assert PASSWORD not in (tmp_path / "report.html").read_text()
