"""What was acknowledged counts at once, and is there whatever is killed; long versions are among the benchmarks."""

import pytest

from experiments.benchmarks.labellers import new_run
from experiments.benchmarks.leases import on_board
from experiments.benchmarks.page_kills import killed
from prefrl.runs import RunFolder
from prefrl.types import UNDONE, Label
from prefrl.web.board import Board
from prefrl.web.leases import Leases


@pytest.mark.parametrize("where", ["file", pytest.param("server", marks=pytest.mark.slow)])
def test_kills_lose_and_double_nothing(where, tmp_path, request):
    store = request.getfixturevalue("database") if where == "server" else None
    outcome = killed(new_run(tmp_path / "run", 3_000, store), kills=2, labellers=4, longest=0.5)
    assert outcome.acknowledged > 10
    assert (outcome.lost, outcome.doubled) == (0, 0)
    assert max(outcome.away) < 10  # 2 s, where nothing else runs


def test_leases_that_run_out_are_handed_on_and_held_once(tmp_path):
    seen = on_board(new_run(tmp_path / "run", 200), leases=5_000, workers=16)
    assert seen.handed_on > 0 and seen.twice == 0


def test_what_was_just_kept_counts_at_once_and_once(tmp_path):
    with RunFolder.open(new_run(tmp_path / "run", 3)).open_store() as store:
        board = Board(store, Leases())
        board.refresh()
        [first] = store.answer([Label(1, 1.0, "Ann", key="a")])
        [other] = store.answer([Label(2, 1.0, "Bob")])  # by another process
        [last] = store.answer([Label(3, 1.0, "Ann")])
        board.answered([first, last])
        assert board.rows.labelled == {"Ann": 2} and board.next("Ann", 9)[0][0].id == other.query
        board.refresh()
        assert board.rows.labelled == {"Ann": 2, "Bob": 1} and board.next("Ann", 9) == []
        board.answered(store.answer([Label(1, 1.0, "Ann", key="a")]))  # the same again
        board.answered(store.answer([Label(3, None, "Ann", note=UNDONE)]))
        board.refresh()
        assert board.rows.answers == {"Ann": 2, "Bob": 1} and board.rows.labelled == {"Ann": 1, "Bob": 1}
        assert board.rows.last("Ann") == 1
