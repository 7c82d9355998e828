"""A run in lockstep, compared with what it came to when tests/golden/lockstep.json was written.

Rows must be the same. Metrics and parameters may differ by two parts in 10,000: instruction sets (SSE4, AVX2, AVX-512)
add floats up in another order, which a run as short as this amplifies to two parts in 100,000, and no row hangs on it.
A learning rate that differs by a percent shows.

A change that is meant to change runs rewrites the file with `python -m tests.test_golden`, and says why in its commit.
"""

import json
import tempfile
from pathlib import Path

import pytest

from prefrl.train import train
from tests.tiny_runs import PPO, outcome, parameters, tiny

GOLDEN = Path(__file__).parent / "golden" / "lockstep.json"
MEANT = "if that was meant: python -m tests.test_golden"


def measured(path, **changes):
    """Rows; metrics by step, and the mean and norm of every tensor."""
    folder = train(tiny(**changes), path)
    found, numbers = outcome(folder.path), {}
    for line in found.metrics:
        numbers |= {f"{name} at {line['time/total_timesteps']:.0f}": value for name, value in line.items()}
    for name, tensor in parameters(folder).items():
        if not name.startswith("optimizer"):
            numbers |= {
                f"mean of {name}": tensor.double().mean().item(),
                f"norm of {name}": tensor.double().norm().item(),
            }
    return {"rows": [list(row) for row in found.rows], "numbers": numbers}


def close(numbers):
    return pytest.approx(numbers, rel=2e-4, abs=1e-6)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return measured(tmp_path_factory.mktemp("golden") / "run")


@pytest.fixture(scope="module")
def golden():
    return json.loads(GOLDEN.read_text())


def test_the_rows_are_the_golden_ones(found, golden):
    assert found["rows"] == golden["rows"], MEANT


def test_the_numbers_are_the_golden_ones(found, golden):
    assert found["numbers"] == close(golden["numbers"]), MEANT


@pytest.mark.parametrize(
    "change",
    [{"hyper": PPO | {"learning_rate": 3.03e-4}}, {"fit": "fit(passes=1, first_passes=2, lr=0.00101)"}],
    ids=["of the policy", "of the reward"],
)
def test_a_learning_rate_that_differs_by_a_percent_shows(change, golden, tmp_path):
    assert measured(tmp_path / "run", **change)["numbers"] != close(golden["numbers"])


def write():
    with tempfile.TemporaryDirectory() as folder:
        found = measured(Path(folder) / "run")
    rows = ",\n".join(json.dumps(row) for row in found["rows"])
    numbers = ",\n".join(f"{json.dumps(name)}: {value:.7g}" for name, value in found["numbers"].items())
    GOLDEN.write_text(f'{{"rows": [\n{rows}\n],\n"numbers": {{\n{numbers}\n}}}}\n')


if __name__ == "__main__":
    write()
