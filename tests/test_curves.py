"""Figures of claims: what is on them, read from the figures themselves."""

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.testing import assert_allclose
from PIL import Image

from prefrl.reproduce.curves import bars, draw, learning_curves, mean_curve, shares_reached, styles
from prefrl.reproduce.records import Record
from tests.test_statistics import record

BLACK = "#000000"


def run(task: str, condition: str, seed: int, result: float = 10.0, last: float = 1000.0) -> Record:
    return record(task, condition, seed, result, curve=((100.0, 500.0, last), (0.0, 4.0 + seed, result)))


def some(tasks: int, conditions: int, seeds: int) -> list[Record]:
    names = ["true reward", *(f"{100 * i} labels" for i in range(1, conditions))]
    return [run(f"Task{i}", name, seed) for i in range(tasks) for name in names for seed in range(seeds)]


def panels(figure: Figure) -> list[Axes]:
    return [axes for axes in figure.axes if axes.get_visible()]


def thick(axes: Axes) -> list[Line2D]:
    return [line for line in axes.lines if line.get_linewidth() == 2]


def words(figure: Figure) -> list[str]:
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def test_every_seed_is_a_thin_line_and_every_mean_a_thick_one():
    figure = learning_curves(some(tasks=2, conditions=3, seeds=4))
    for axes in panels(figure):
        assert len(axes.lines) == 3 * (4 + 1)
        assert len(thick(axes)) == 3
    assert [axes.get_title() for axes in panels(figure)] == ["Task0", "Task1"]
    assert words(figure) == ["true reward", "100 labels", "200 labels"]


def test_at_most_four_panels_are_side_by_side():
    shapes = {}
    for tasks in (1, 2, 4, 5, 6, 8, 9):
        figure = learning_curves(some(tasks, conditions=1, seeds=1))
        assert len(panels(figure)) == tasks
        grid = figure.axes[0].get_subplotspec().get_gridspec()
        shapes[tasks] = (grid.nrows, grid.ncols)
    assert shapes == {1: (1, 1), 2: (1, 2), 4: (1, 4), 5: (2, 3), 6: (2, 3), 8: (2, 4), 9: (3, 3)}


def test_a_condition_looks_the_same_in_all_panels_whatever_came_first():
    records = [run("Hopper", "700 labels", 0), run("Hopper", "true reward", 0), run("Ant", "350 labels", 0)]
    records += [run("Ant", "true reward", 0), run("Ant", "700 labels", 0)]
    hopper, ant = (
        {line.get_label(): to_hex(line.get_color()).upper() for line in thick(axes)}
        for axes in panels(learning_curves(records))
    )
    assert hopper.items() <= ant.items()
    assert hopper["true reward"] == BLACK
    assert len(set(ant.values())) == 3


def test_nine_conditions_all_look_different_and_only_the_baseline_is_black():
    looks = styles(some(tasks=1, conditions=9, seeds=1))
    assert len(set(looks.values())) == 9
    assert [condition for condition, (colour, _) in looks.items() if colour == BLACK] == ["true reward"]
    assert "true reward" not in styles([run("Hopper", "700 labels", 0)])


def test_a_mean_goes_as_far_as_all_seeds_do():
    first = record("Hopper", "700 labels", 0, 1, curve=((0.0, 100.0, 200.0), (0.0, 10.0, 20.0)))
    second = record("Hopper", "700 labels", 1, 1, curve=((50.0, 150.0), (1.0, 3.0)))
    steps, means = mean_curve([first, second])
    assert_allclose(steps, [50, 100, 150])
    assert_allclose(means, [(5 + 1) / 2, (10 + 2) / 2, (15 + 3) / 2])


def test_seeds_without_a_common_step_have_no_mean():
    early = record("Hopper", "700 labels", 0, 1, curve=((0.0, 10.0), (0.0, 10.0)))
    late = record("Hopper", "700 labels", 1, 1, curve=((20.0, 30.0), (0.0, 10.0)))
    assert [len(part) for part in mean_curve([early, late])] == [0, 0]
    assert len(mean_curve([record("Hopper", "700 labels", 0, 1)])[0]) == 0
    assert len(learning_curves([early, late]).axes[0].lines) == 3


def test_steps_are_told_in_thousands_and_millions():
    axes = learning_curves([run("Ant", "true reward", 0, last=3e6)]).axes[0]
    assert [axes.xaxis.get_major_formatter()(x) for x in (0, 250_000, 3_000_000)] == ["0", "250k", "3M"]
    assert axes.get_xlim()[0] == 0


def test_a_dollar_in_a_name_is_no_formula():
    assert words(learning_curves([run("Ant", "$5 or $6", 0)])) == [r"\$5 or \$6"]


def test_shares_are_a_dot_a_seed_and_a_bar_to_their_mean():
    records = [run("Hopper", "true reward", 0, 8), run("Hopper", "true reward", 1, 12)]
    records += [run("Hopper", "700 labels", seed, 5) for seed in (0, 1, 2)] + [run("Ant", "700 labels", 0)]
    (axes,) = panels(shares_reached(records))
    assert axes.get_title() == "Hopper"
    assert [bar.get_width() for bar in axes.patches] == pytest.approx([1, 0.5])
    dots = [line for line in axes.lines if line.get_marker() == "o"]
    assert [list(line.get_xdata()) for line in dots] == [pytest.approx([0.8, 1.2]), pytest.approx([0.5, 0.5, 0.5])]
    assert len({*dots[1].get_ydata()}) == 3  # equal seeds are beside each other
    assert [label.get_text() for label in axes.get_yticklabels()] == ["true reward", "700 labels"]
    assert axes.yaxis_inverted()


def test_a_condition_that_a_task_lacks_leaves_its_place_empty():
    records = [run("Hopper", "true reward", 0), run("Hopper", "700 labels", 0), run("Ant", "true reward", 0)]
    hopper, ant = panels(shares_reached(records))
    assert [len(hopper.patches), len(ant.patches)] == [2, 1]
    assert hopper.get_ylim() == ant.get_ylim()


def test_without_a_baseline_or_any_run_the_figure_says_so():
    for figure in (shares_reached([run("Ant", "700 labels", 0)]), shares_reached([]), learning_curves([])):
        assert panels(figure) == []
        assert [text.get_text() for text in figure.texts] == ["nothing to draw yet"]


def test_figures_become_png_files(tmp_path):
    records = some(tasks=2, conditions=9, seeds=2)
    draw(records, tmp_path / "curves.png")
    bars(records, tmp_path / "bars.png")
    for name in ("curves.png", "bars.png"):
        with Image.open(tmp_path / name) as picture:
            assert picture.format == "PNG"
            assert picture.width == 1152
            assert np.ptp(np.asarray(picture.convert("L"))) == 255
    assert len([*tmp_path.iterdir()]) == 2  # no drafts
