"""Memory of a long preference run: what `prefrl train` holds while it trains, and whether it keeps growing.

Needs Linux: resident memory is read in /proc.
"""

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from matplotlib.figure import Figure

from experiments.benchmarks.measure import arguments, markdown, publish, scratch
from prefrl.runs import RunFolder

ENV = "prefrl/HalfCheetah-v0"
EVERY = 0.25
"""Seconds between samples."""
Sample = tuple[int, float]
"""Steps that the run had logged, and MiB that it held."""


def run(folder: Path, steps: int) -> list[Sample]:
    settings = ["--env", ENV, "--total-timesteps", str(steps), "--labels", "700", "--out", str(folder)]
    command = [sys.executable, "-m", "prefrl.cli", "train", *settings]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        samples = list(_watch(process, RunFolder(folder)))
    if process.returncode:
        raise SystemExit("the run failed")
    return samples


def _watch(process: "subprocess.Popen[bytes]", folder: RunFolder) -> Iterator[Sample]:
    """Until training and evaluation are over; the report that follows is drawn by other libraries."""
    while process.poll() is None and folder.summary is None:
        logged = folder.read_metrics()
        if logged:
            yield int(logged[-1]["time/total_timesteps"]), _resident(process.pid)
        time.sleep(EVERY)


def _resident(pid: int) -> float:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


def tenths(samples: list[Sample], steps: int) -> list[list[float]]:
    """What was held in each tenth of the run."""
    parts: list[list[float]] = [[] for _ in range(10)]
    for at, held in samples:
        parts[min(10 * at // steps, 9)].append(held)
    return parts


def draw(samples: list[Sample], out: Path) -> None:
    figure = Figure((6, 3.5), layout="constrained")
    axes = figure.subplots()
    axes.plot([at for at, _ in samples], [held for _, held in samples])
    axes.set(xlabel="steps", ylabel="resident memory, MiB", title=f"{ENV}, 700 labels", ylim=(0, None))
    figure.savefig(out, dpi=150)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--steps", type=int, default=1_000_000, help="at least 200000: a tenth lasts some seconds")
    given = parser.parse_args()
    with scratch() as folder:
        samples = run(Path(folder) / "run", given.steps)
    parts = tenths(samples, given.steps)
    lines = [
        [f"{10 * i} to {10 * i + 10} %", f"{median(held):.0f}", f"{max(held):.0f}"] for i, held in enumerate(parts)
    ]
    growth = median(parts[9]) - median(parts[1])
    text = (
        f"# Memory of a run\n\n`prefrl train` on {ENV}, {given.steps:,} steps, 700 labels; resident memory, MiB.\n\n"
        f"{markdown(['of the steps', 'median', 'highest'], lines)}\n\n"
        f"Growth from the second tenth to the last: {growth:+.1f} MiB.\n\n![](memory.png)"
    )
    publish(given.out, "memory", text, {"steps": given.steps, "growth": growth, "samples": samples})
    draw(samples, given.out / "memory.png")


if __name__ == "__main__":
    main()
