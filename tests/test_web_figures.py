"""Agreement against published values and brute force; the admin page's figures against SQL."""

import sqlite3
from contextlib import closing
from itertools import permutations
from math import sqrt
from random import Random
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefrl.store import Store
from prefrl.types import BROKEN, STALE, UNDONE, Label, Query
from prefrl.web.agreement import category, krippendorff_alpha, repeat_agreement, side_bias
from tests.web_pages import ask, browsing, new_run


def units(*observers):
    """What each of several observers said of each unit; a point for nothing."""
    return [[value for value in unit if value != "."] for unit in zip(*observers)]


@pytest.mark.parametrize(
    ("observers", "alpha"),
    [
        (["0100000000", "1110010100"], 0.095),
        (["aabbdcccedda", "babbbccceddd"], 0.692),
        (["123321412...", "1233224125.3", ".3332342251.", "12332441251."], 0.743),
    ],
)
def test_alpha_is_that_of_krippendorff_s_own_examples(observers, alpha):
    """K. Krippendorff (2011), Computing Krippendorff's Alpha-Reliability: examples A, B and C."""
    assert krippendorff_alpha(units(*observers)) == pytest.approx(alpha, abs=5e-4)


def by_brute_force(said):
    """1 - observed / expected disagreement, over all ordered pairs of values."""
    said = [unit for unit in said if len(unit) > 1]
    values = [value for unit in said for value in unit]
    expected = [a != b for a, b in permutations(values, 2)]
    if not any(expected):
        return None
    observed = sum(sum(a != b for a, b in permutations(unit, 2)) / (len(unit) - 1) for unit in said) / len(values)
    return 1 - observed / (sum(expected) / len(expected))


@given(st.lists(st.lists(st.sampled_from(["left", "tie", "right"]), max_size=4), max_size=12))
def test_alpha_is_what_all_pairs_of_values_give(said):
    assert krippendorff_alpha(said) == pytest.approx(by_brute_force(said))


@given(st.lists(st.sampled_from(["left", "tie", "right"]), min_size=2, max_size=20))
def test_alpha_is_one_where_all_agree_and_the_order_of_people_does_not_matter(values):
    alpha = krippendorff_alpha([[value, value] for value in values])
    assert alpha == (1.0 if len(set(values)) > 1 else None)
    shuffled = list(zip(values, reversed(values)))
    assert krippendorff_alpha(shuffled) == krippendorff_alpha([pair[::-1] for pair in shuffled])


def test_alpha_of_people_who_toss_coins_is_zero():
    rng = Random(1)
    said = [[rng.choice("lr"), rng.choice("lr")] for _ in range(20_000)]
    assert abs(krippendorff_alpha(said)) < 0.035  # 5 sd


@pytest.mark.parametrize(("left", "right", "share", "z"), [(0, 0, None, None), (1, 0, 1, 1), (60, 40, 0.6, 2.0)])
def test_a_preferred_side_shows(left, right, share, z):
    assert side_bias(left, right) == (share, z)


def test_repeats_agree_when_the_other_side_is_said():
    assert repeat_agreement([(1, 0), (0, 1), (0.5, 0.5), (0.9, 0.2)]) == 1
    assert repeat_agreement([(1, 1), (1, 0.5), (1, 0), (0, 0)]) == 0.25
    assert repeat_agreement([]) is None


@given(st.floats(0, 1))
def test_a_swapped_preference_is_of_the_opposite_category(preference):
    opposite = {"left": "right", "right": "left", "tie": "tie"}
    assert category(1 - preference) == opposite[category(preference)] or 0 < abs(preference - 0.5) < 1e-16


def history(store, rng):
    """Three people label, change their minds, take back, and are asked again."""
    asked = ask(store, 30)
    asked += store.ask([Query(q.right, q.left, step=q.step, why="repeat") for q in asked[:10]])
    said = []
    for _ in range(150):
        note = rng.choice(["", "", "", "", "", UNDONE, BROKEN])
        preference = None if note else rng.choice([1, 0, 0.5, 1, None])
        who = rng.choice(["Ann", "Bob", "Zoë ‮"])
        said.append(Label(rng.choice(asked).id, preference, who, rng.random() * 9, note=note))
    store.answer([*said, Label(30, None, "", note=STALE), Label(29, None, "", note=BROKEN)])


NEWEST = """
with newest as (select * from labels where id in (select max(id) from labels group by query, labeller))
"""


@pytest.mark.parametrize("seed", range(3))
def test_the_figures_are_those_of_sql(tmp_path, seed):
    run = new_run(tmp_path / "run")
    with Store(run) as store:
        history(store, Random(seed))
        with browsing(run, store) as page:
            found = page.get("/api/admin").json()
            done = page.progress()["done"]
    with closing(sqlite3.connect(run / "store.db")) as connection:

        def sql(statement, *values):
            return connection.execute(NEWEST + statement, values).fetchall()

        assert [one["labeller"] for one in found["labellers"]] == sorted(
            name for (name,) in sql("select distinct labeller from labels where labeller != ''")
        )
        for one in found["labellers"]:
            who = one["labeller"]

            def count(condition, who=who):
                return sql(f"select count(*) from newest where labeller = ? and {condition}", who)[0][0]

            left, right = count("preference > 0.5"), count("preference < 0.5")
            seconds = [s for (s,) in sql("select seconds from newest where labeller = ? and note = ''", who)]
            repeats = sql(
                """select first.preference, again.preference from newest first join newest again on
                first.labeller = again.labeller and first.labeller = ?
                and first.preference is not null and again.preference is not null
                join queries one on one.id = first.query join queries two on two.id = again.query
                and two.why = 'repeat' and one."left" = two."right" and one."right" = two."left"
                and one.step = two.step""",
                who,
            )
            agreed = sum((a > 0.5) == (b < 0.5) and (a == 0.5) == (b == 0.5) for a, b in repeats)
            assert one == {
                "labeller": who,
                "labels": count("preference is not null"),
                "ties": count("preference = 0.5"),
                "cannot_tell": count("preference is null and note = ''"),
                "broken": count("note = 'broken'"),
                "undone": sql("select count(*) from labels where labeller = ? and note = 'undone'", who)[0][0],
                "seconds": median(seconds),
                "left_share": left / (left + right),
                "left_z": pytest.approx((left - right) / sqrt(left + right)),
                "repeats": len(repeats),
                "repeat_agreement": agreed / len(repeats) if repeats else None,
            }
        shared = sql(
            """select group_concat(case when preference > 0.5 then 'l' when preference < 0.5 then 'r' else 't' end, '')
            from newest where preference is not null group by query having count(*) > 1"""
        )
        assert found["overlapping"] == len(shared)
        assert found["alpha"] == pytest.approx(by_brute_force([list(unit) for (unit,) in shared]))
        assert found["counts"] == {
            "recorded": sql("select count(*) from segments")[0][0],
            "asked": sql("select count(*) from queries")[0][0],
            "labelled": sql("select count(preference) from newest")[0][0],
            "skipped": sql("select count(*) from newest where preference is null and note = ''")[0][0],
            "unanswered": sql(
                "select count(*) from queries where id not in (select query from newest where note != 'undone')"
            )[0][0],
            "broken": sql("select count(distinct query) from newest where note = 'broken'")[0][0],
            "stale": sql("select count(distinct query) from newest where note = 'stale'")[0][0],
        }
        assert done == found["counts"]["labelled"]


def test_before_the_first_label_the_figures_are_empty(tmp_path):
    run = new_run(tmp_path / "run")
    with Store(run) as store, browsing(run, store) as page:
        found = page.get("/api/admin").json()
    assert (found["labellers"], found["alpha"], found["overlapping"], found["wanted"]) == ([], None, 0, 1000)
