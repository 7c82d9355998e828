"""Searching for settings: trials that Optuna proposes, made by an engine, scored by the true return."""

import csv
import io
import json
import math
import shlex
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator
from sqlalchemy.pool import NullPool

from prefrl.figures import BLUE, GREY, ORANGE
from prefrl.files import reading, whole
from prefrl.reproduce.claim import Run
from prefrl.reproduce.engine import Engine
from prefrl.reproduce.records import final_return
from prefrl.runs import RunConfig, RunFolder
from prefrl.space import Parameter, space, varied

if TYPE_CHECKING:
    import optuna

COLUMNS = 3
"""Of panels in the figure."""


@dataclass(frozen=True)
class Best:
    """The trial with the highest value."""

    trial: int
    value: float
    """Mean over seeds of the true return: of the episodes of the last 10 % of steps."""
    parameters: Mapping[str, Any]
    config: RunConfig
    file: Path
    """`config`, for `prefrl train --config`."""
    command: str
    """Trains with it, on a seed that the search has not seen."""

    def __str__(self) -> str:
        settings = "\n".join(f"  {name}: {_short(value)}" for name, value in self.parameters.items())
        return f"best: trial {self.trial}, true return {self.value:.1f}\n{settings}\n{self.command}"


def tune(
    config: RunConfig,
    search: Sequence[str],
    out: Path,
    engine: Engine,
    trials: int = 20,
    seeds: int = 1,
    batch: int = 1,
    report: Callable[[str], None] | None = None,
) -> Best:
    """Varies what `search` names around `config`, in the folder `out`, until there are `trials` trials.

    `search`: words such as `learning_rate=1e-4..1e-2:log` (see `prefrl.space`); the algorithm's default if empty.
    `seeds`: runs of a trial, from the seed of `config` on. `batch`: trials that are proposed together and made side
    by side; a search that goes on keeps the number it began with, whatever machine it goes on on.
    `report`: is told a line as each trial ends.

    **It looks at the true reward**, so it is for tasks that have one; what it finds may then be used on those that
    have none. The best of many is lucky, too: what it is worth, other seeds tell.

    Started again on its folder it finishes the trials that were cut off, and goes on; it proposes what it would have
    proposed without the cut. Raises ValueError in one line for what cannot be, and RuntimeError if no trial ends well.
    """
    for name, number in (("trials", trials), ("seeds", seeds), ("batch", batch)):
        if number < 1:
            raise ValueError(f"{name} must be at least 1, got {number}")
    if config.store:
        raise ValueError("each run of a search has a store of its own: leave out --store")
    _check_installed()
    parameters = space(config, search)
    begun = {"base": asdict(config), "search": [asdict(p) for p in parameters], "seeds": seeds}
    with _opened(Path(out), begun) as study:
        if "batch" not in study.user_attrs:
            study.set_user_attr("batch", batch)
        together = int(study.user_attrs["batch"])
        _Search(study, config, parameters, Path(out), engine, seeds, together, report or (lambda line: None)).run(
            trials
        )
        return _results(study, config, parameters, Path(out), seeds)


@dataclass
class _Search:
    study: "optuna.Study"
    config: RunConfig
    parameters: Sequence[Parameter]
    out: Path
    engine: Engine
    seeds: int
    batch: int
    report: Callable[[str], None]

    def run(self, trials: int) -> None:
        """Batch by batch, so that what is proposed does not depend on which trial ends first."""
        while True:
            known = self.study.get_trials(deepcopy=False)
            waiting = [trial.number for trial in known if not trial.state.is_finished()]
            if not waiting or len(known) % self.batch:  # none is under way, or a cut left a batch half proposed
                top = min(trials, (len(known) // self.batch + 1) * self.batch)
                waiting += self._propose(range(len(known), top))
            if not waiting:
                return
            self._make(waiting)

    def _propose(self, numbers: range) -> list[int]:
        """New trials, each written in one piece: a trial of Optuna's `ask` has no parameters for a moment."""
        import optuna

        distributions = {p.name: _distribution(p) for p in self.parameters}
        for number in numbers:
            seed = np.random.SeedSequence([self.config.seed, number]).generate_state(1)[0]
            draft = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=int(seed)))
            draft.add_trials(self.study.get_trials(deepcopy=False))
            drawn = draft.ask(distributions).params
            running = optuna.trial.TrialState.RUNNING
            self.study.add_trial(optuna.create_trial(state=running, params=drawn, distributions=distributions))
        return [*numbers]

    def _make(self, numbers: Sequence[int]) -> None:
        """Makes the trials' runs, those that are not finished yet, and tells Optuna as each trial ends."""
        runs = {number: _runs(self.study.trials[number], self.config, self.seeds) for number in numbers}
        of = {run.name: number for number, several in runs.items() for run in several}
        todo = [run for several in runs.values() for run in several if self._value(run) is None]
        left = {number: sum(of[run.name] == number for run in todo) for number in numbers}
        trouble: dict[int, str] = {}
        for number in numbers:
            if not left[number]:
                self._tell(number, runs[number], "")
        if not todo:
            return
        with closing(self.engine(todo, self.out / "runs")) as outcomes:
            for run, problem in outcomes:
                number = of[run.name]
                trouble[number] = trouble.get(number) or problem
                left[number] -= 1
                if not left[number]:
                    self._tell(number, runs[number], trouble[number])

    def _value(self, run: Run) -> float | None:
        """The true return; None if the run is not finished."""
        folder = RunFolder(self.out / "runs" / run.name)
        return None if folder.summary is None else final_return(folder)

    def _tell(self, number: int, runs: Sequence[Run], trouble: str) -> None:
        from optuna.trial import TrialState

        values = [math.nan if (value := self._value(run)) is None else value for run in runs]
        mean = float(np.mean(values))
        if math.isfinite(mean) and not trouble:
            self.study.tell(number, mean)
            best = self.study.best_trial
            self.report(f"trial {number}: {mean:.1f} (best: {best.value:.1f} of trial {best.number})")
        else:
            self.study.tell(number, state=TrialState.FAIL)
            self.report(f"trial {number} failed: {trouble or 'its return is not finite'}")


def usual_folder(config: RunConfig) -> Path:
    """`runs/tune-Hopper-ppo`; the same each time, so that the same command goes on."""
    return Path("runs", f"tune-{config.task}-{config.algo.rsplit(':', 1)[-1]}")


def _runs(trial: "optuna.trial.FrozenTrial", config: RunConfig, seeds: int) -> list[Run]:
    run = Run(config.task, f"trial {trial.number}", varied(config, trial.params))
    return [run.with_seed(config.seed + i) for i in range(seeds)]


def _distribution(p: Parameter) -> "optuna.distributions.BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if p.choices:
        return CategoricalDistribution(p.choices)
    if isinstance(p.low, int) and isinstance(p.high, int):
        return IntDistribution(p.low, p.high, log=p.log)
    return FloatDistribution(p.low, p.high, log=p.log)


def _check_installed() -> None:
    try:
        import optuna
    except ImportError:
        raise ValueError('searching needs Optuna: pip install "prefrl[tune]"') from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)


@contextmanager
def _opened(out: Path, begun: dict[str, Any]) -> Iterator["optuna.Study"]:
    """The search in `out`, a new one if there is none; held by one process. ValueError if it is another search."""
    import optuna

    file = out / "study.db"
    if out.exists() and not file.is_file() and any(path.name != ".lock" for path in out.iterdir()):
        raise ValueError(f"{out} exists and holds no search: choose another --out")
    out.mkdir(parents=True, exist_ok=True)
    with RunFolder(out).locked():
        with reading(file):  # by a creator, as a URL gives `?` and `%` in a path a meaning
            options = {"creator": partial(sqlite3.connect, file, timeout=60), "poolclass": NullPool}
            storage = optuna.storages.RDBStorage("sqlite://", engine_kwargs=options)
            study = optuna.create_study(storage=storage, study_name="tune", direction="maximize", load_if_exists=True)
            before = study.user_attrs.get("begun")
        now = json.loads(json.dumps(begun, default=str))
        if before is None:
            study.set_user_attr("begun", now)
        elif before != now:
            raise ValueError(f"{out} holds a search of {_difference(before, now)}: choose another --out")
        try:
            yield study
        finally:
            storage.remove_session()


def _difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """The first setting that differs, as it was and as it is."""
    old, new = (search["base"] | {"seeds": search["seeds"]} for search in (before, now))
    differ = (f"{key} {old.get(key)}, not {new.get(key)}" for key in old | new if old.get(key) != new.get(key))
    return next(differ, "other parameters or ranges")


def _results(study: "optuna.Study", config: RunConfig, parameters: Sequence[Parameter], out: Path, seeds: int) -> Best:
    """Writes best.yaml, trials.csv and trials.png."""
    _write_csv(study, parameters, out / "trials.csv")
    done = [trial for trial in study.trials if trial.value is not None]
    if not done:
        raise RuntimeError(f"none of {len(study.trials)} trials ended well: see {out / 'runs'}")
    with whole(out / "trials.png") as file:
        _figure(done, parameters).savefig(file, format="png", dpi=150)
    best = study.best_trial
    found, path = varied(config, best.params), out / "best.yaml"
    with whole(path) as file:
        file.write(yaml.safe_dump(asdict(found), sort_keys=False).encode())
    command = shlex.join(["prefrl", "train", "--config", str(path), "--seed", str(config.seed + seeds)])
    return Best(best.number, study.best_value, best.params, found, path, command)


def _write_csv(study: "optuna.Study", parameters: Sequence[Parameter], file: Path) -> None:
    """One row a trial: number, state (complete, fail, running), value, and each parameter."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["number", "state", "value", *(p.name for p in parameters)])
    for trial in study.trials:
        drawn = [trial.params[p.name] for p in parameters]
        writer.writerow([trial.number, trial.state.name.lower(), trial.value, *drawn])
    with whole(file) as out:
        out.write(text.getvalue().encode())


def _figure(trials: "Sequence[optuna.trial.FrozenTrial]", parameters: Sequence[Parameter]) -> Figure:
    """Values over trials with the best so far, then over each parameter."""
    rows = 1 + math.ceil(len(parameters) / COLUMNS)
    figure = Figure(figsize=(3 * COLUMNS, 2.6 * rows), layout="constrained")
    grid = figure.add_gridspec(rows, COLUMNS)
    axes = figure.add_subplot(grid[0, :])
    numbers, values = [t.number for t in trials], np.array([t.value for t in trials])
    axes.plot(numbers, values, "o", color=BLUE, label="trials")
    axes.step(numbers, np.maximum.accumulate(values), where="post", color=ORANGE, label="best so far")
    axes.set(xlabel="trial", ylabel="true return")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False)
    for i, p in enumerate(parameters):
        panel = figure.add_subplot(grid[1 + i // COLUMNS, i % COLUMNS])
        _panel(panel, p, [t.params[p.name] for t in trials], values)
    return figure


def _panel(axes: Axes, p: Parameter, drawn: Sequence[Any], values: Iterable[float]) -> None:
    axes.grid(color=GREY, alpha=0.2)
    axes.set(xlabel=p.name, ylabel="true return")
    if p.choices:
        axes.set_xticks(range(len(p.choices)), [_short(choice).replace("$", r"\$") for choice in p.choices], fontsize=8)
        axes.set_xlim(-0.5, len(p.choices) - 0.5)
        drawn = [p.choices.index(value) for value in drawn]
    elif p.log:
        axes.set_xscale("log")
        ends = np.geomspace(p.low, p.high, 3)
        axes.set_xticks(ends, [f"{end:.2g}" for end in ends])
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=isinstance(p.low, int)))
    axes.plot(drawn, [*values], "o", color=BLUE, alpha=0.7)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
