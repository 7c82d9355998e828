"""Runs and their pages on a PostgreSQL server, and how they are told that it cannot be reached."""

import sys
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import httpx
import pytest

from prefrl import live
from prefrl.cli import main
from prefrl.report import report
from prefrl.runs import RunFolder
from prefrl.store import Store
from prefrl.train import train
from tests.postgres import PASSWORD
from tests.tiny_runs import DOT, outcome, tiny
from tests.waiting import soon
from tests.web_pages import ask, browsing, process

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
    with RunFolder.open(run).open_store() as store:
        versions = [version.id for version in store.versions()]
        assert store.counts().labelled == 24 and versions == list(range(1, len(versions) + 1))
    assert len((tmp_path / "labels.jsonl").read_text().splitlines()) == 24
    assert PASSWORD not in out + err + (tmp_path / "report.html").read_text()


def test_runs_on_other_servers_are_reported_together_without_their_passwords(database, tmp_path):
    stores = {"file": None, "server": database}
    runs = [train(tiny(total_timesteps=300, store=store), tmp_path / name).path for name, store in stores.items()]
    page = report(runs, tmp_path / "report.html").read_text()
    assert PASSWORD not in page and "postgresql" not in page


def test_the_password_may_be_where_nobody_copies_it(database, tmp_path, monkeypatch):
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    Store(tmp_path, database.replace(f":{PASSWORD}", "")).close()


def test_processes_meet_on_a_server(database, tmp_path):
    run = train(tiny(store=database, asynchronous=True), tmp_path / "run")
    with run.open_store() as store:
        counts = store.counts()
    assert (counts.labelled, counts.unanswered) == (24, 0)
    assert run.summary["labels"] == 24 and run.summary["reward_version"] >= 1
    assert not (run.path / "store.db").exists()


# the labelling page


@pytest.fixture
def run(database, tmp_path):
    """A run on a server, with five pairs to show."""
    folder = RunFolder.create(tmp_path / "run", tiny(store=database, labels=100))
    (folder.path / "clips").mkdir()
    with folder.open_store() as store:
        ask(store, 5)
    return folder


def test_people_label_a_run_on_a_server(run):
    with run.open_store() as store, browsing(run.path, store) as page:
        assert page.next("Ann") == [1, 2, 3] and page.next("Bob") == [4, 5]
        assert page.answer(1, 1, "Ann").status_code == 200
        assert page.answer(4, None, "Bob", broken=True).status_code == 200
        assert page.answer(2, 0.5, "Ann").status_code == 200
        assert page.undo("Ann").json()["undone"]["query"] == 2
        assert page.progress("Ann")["yours"] == 1
        assert page.get("/api/admin").json()["counts"]["labelled"] == 1
        assert [(label.query, label.preference, label.labeller, label.note) for label in store.labels()] == [
            (1, 1.0, "Ann", ""),
            (4, None, "Bob", "broken"),
            (2, 0.5, "Ann", ""),
            (2, None, "Ann", "undone"),
        ]


def test_the_page_goes_on_when_the_server_does(run, postgres):
    said = {"id": str(uuid4()), "query": 1, "preference": 1, "labeller": "Ann", "seconds": 1.0}
    with run.open_store() as store, browsing(run.path, store) as page:
        assert page.next("Ann") == [1, 2, 3]
        postgres.stop()
        away = [page.post("/api/answer", json=said), page.get("/api/next", params={"labeller": "Ann", "n": 9})]
        postgres.start()
        assert page.post("/api/answer", json=said).status_code == 200
        assert page.next("Ann", n=9) == [2, 3, 4, 5]
        assert [label.key for label in store.labels()] == [said["id"]]
    assert [reply.status_code for reply in away] == [503, 503]
    assert PASSWORD not in "".join(reply.text for reply in away)


def test_a_page_of_its_own_finds_the_server(run):
    with process(run.path) as served, run.open_store() as store:
        said = {"id": str(uuid4()), "query": 1, "preference": 1, "labeller": "Ann", "seconds": 1.0}
        assert httpx.post(f"{served.address}/api/answer", json=said).status_code == 200
        assert store.counts().labelled == 1
        code, out, err = served.end()
    assert code == 0 and PASSWORD not in served.first + out + err
    assert not (run.path / "store.db").exists()


@pytest.mark.slow
def test_processes_wait_for_a_server_that_is_away(database, postgres, tmp_path):
    run = RunFolder(tmp_path / "run")
    with ThreadPoolExecutor(1) as pool:
        config = tiny(store=database, asynchronous=True, total_timesteps=20_000, labels=200, turns=20)
        trained = pool.submit(train, config, run.path)
        soon(lambda: live.read(run.path, "policy").get("version"), within=60)
        postgres.stop()
        soon(lambda: trained.done() or live.read(run.path, "policy").get("paused"))
        postgres.start()
        trained.result(120)
    assert run.summary["labels"] == 200
    assert not list((run.path / "live").glob("*.error"))
