"""From a claim to its page: makes the runs that are missing, and draws what all of them came to."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from prefrl.control.environments import sees_frames
from prefrl.control.tasks import algorithm, preset
from prefrl.files import read_json, whole
from prefrl.names import UnknownName, attribute, unknown
from prefrl.parts import completed
from prefrl.reproduce import curves, tables
from prefrl.reproduce.claim import Claim, Run, shortened
from prefrl.reproduce.engine import Engine, Outcome, one_line
from prefrl.reproduce.local import Local
from prefrl.reproduce.progress import shown
from prefrl.reproduce.records import Record, read_records, record_of, write_csv, write_records
from prefrl.runs import RunConfig, RunFolder, locked

HOME = Path("experiments")
"""Where the paper's claims are, one a file."""


def find_claim(name: str) -> Claim:
    """`mujoco`, which is `CLAIM` of experiments/mujoco.py in the current folder, or a `module:name` of the user's."""
    if ":" not in name:
        known = [file.stem for file in HOME.glob("*.py") if "\nCLAIM" in file.read_text()]
        if not known:
            raise UnknownName(
                f"there are no claims in {HOME}/ here: run this in a clone of prefrl, or give module:name"
            )
        if name not in known:
            raise unknown("claim", name, known)
        name = f"{HOME}.{name}:CLAIM"
    claim = attribute(name, "claim", lambda thing: isinstance(thing, Claim))
    if not isinstance(claim, Claim):
        raise UnknownName(f"{name} is a {type(claim).__name__}, not a prefrl.reproduce.claim.Claim")
    return claim


@dataclass
class Reproduction:
    """A claim that is being shown: what is to be made, and what there is."""

    claim: Claim
    runs: Path
    """Folder of the runs' folders."""
    results: Path
    """Folder of the records, tables and figures: small, to be kept."""
    seeds: int
    tasks: Sequence[str] = ()
    """All of the claim's, if empty."""
    troubles: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        known = dict.fromkeys(run.task for run in self.claim.runs)
        for task in self.tasks:
            if task not in known:
                raise unknown("task", task, known)
        if self.seeds < 1:
            raise ValueError(f"seeds must be at least 1, got {self.seeds}")
        chosen = [run for run in self.claim.runs if not self.tasks or run.task in self.tasks]
        self.declared = [run.with_seed(seed) for seed in range(self.seeds) for run in chosen]
        for run in self.declared:
            self._check(run)

    def missing(self) -> list[Run]:
        """Runs of which there is no record."""
        kept = {record.name for record in self.records()}
        return [run for run in self.declared if run.name not in kept]

    def records(self) -> list[Record]:
        """Those of the claim, of any seed, whose settings are still what it declares; in its order."""
        kept = read_records(self._file)
        declared = self._every_seed(kept)
        order = {name: i for i, name in enumerate(declared)}
        same = [record for record in kept if record.name in order and _as_declared(record, declared[record.name])]
        return sorted(same, key=lambda record: order[record.name])

    def keep(self, run: Run) -> None:
        """Adds the record of a finished run; others stay in the file, even if they are not of the claim any more."""
        path = self.runs / run.name
        measured = self.claim.measure(path) if self.claim.measure else {}
        fresh = record_of(path, run.task, run.condition, run.command, measured)
        self.results.mkdir(parents=True, exist_ok=True)
        write_records([*(r for r in read_records(self._file) if r.name != fresh.name), fresh], self._file)

    def draw(self) -> Path | None:
        """Writes CSV, figures and the page of all records; where the page is, None if there is no record."""
        records = self.records()
        if not records:
            return None
        write_csv(records, self.results / "runs.csv")
        curves.draw(records, self.results / "curves.png", self.claim.baseline)
        if self.claim.baseline is not None:
            curves.bars(records, self.results / "shares.png", self.claim.baseline)
        self._finish(records)
        pictures = [name for name in self.claim.pictures if (self.results / name).is_file()]
        page = self.results / "README.md"
        with whole(page) as file:
            file.write(tables.page(self.claim, records, pictures).encode())
        return page

    def _finish(self, records: Sequence[Record]) -> None:
        """Only where all runs are still there: what was made of those that are gone stays as it is."""
        if self.claim.finish and all(self.finished(record.name) for record in records):
            try:
                self.claim.finish(records, self.runs, self.results)
            except Exception as error:  # whatever a claim of the user's raises, or a machine that cannot draw
                self.troubles["the end"] = one_line(error)

    def _check(self, run: Run) -> None:
        path = self.runs / run.name
        if not (path / "config.yaml").is_file():
            return
        begun = path / "preset.json"
        if RunFolder.open(path).config != _config(run) or (begun.is_file() and read_json(begun) != _preset(run)):
            raise ValueError(f"{path} was made with other settings than {run.command}: move it away, or give --runs")

    def finished(self, name: str) -> bool:
        return RunFolder(self.runs / name).summary is not None

    @property
    def _file(self) -> Path:
        return self.results / "records.jsonl"

    def _every_seed(self, kept: Sequence[Record]) -> dict[str, Run]:
        """By name; seeds that only records know are the claim's, too."""
        seeds = range(max([self.seeds, self.claim.seeds, *(record.seed + 1 for record in kept)]))
        runs = [run.with_seed(seed) for run in self.claim.runs for seed in seeds]
        return {run.name: run for run in runs}


def _as_declared(record: Record, run: Run) -> bool:
    return RunConfig.of(record.settings) == _config(run) and record.preset == _preset(run)


def _config(run: Run) -> RunConfig:
    """With the names that the run will find for itself."""
    return completed(run.config, sees_frames(run.config.env, **run.config.env_options))


def _preset(run: Run) -> dict[str, Any]:
    config = run.config
    return preset(algorithm(config.algo), config.env, sees_frames(config.env, **config.env_options)).as_dict()


def reproduce(
    claim: Claim,
    *,
    engine: Engine | None = None,
    seeds: int | None = None,
    tasks: Sequence[str] = (),
    quick: bool = False,
    runs: Path | None = None,
    results: Path | None = None,
    show: Callable[..., object] = print,
) -> Reproduction:
    """Makes the runs of `claim` that are missing, goes on with those that were cut off, and draws all of them.

    A run that fails is reported and stops no other. `quick`: `shortened` runs of one seed, to see that all work.
    `runs`: runs/NAME, `results`: experiments/results/NAME, if not given. Raises ValueError in one line for tasks that
    the claim does not have, and for a run in the way that was made with other settings.
    """
    if quick:
        claim = shortened(claim)
    runs = runs or Path("runs") / (f"{claim.name}-quick" if quick else claim.name)
    results = results or (runs / "results" if quick else HOME / "results" / claim.name)
    reproduction = Reproduction(claim, runs, results, claim.seeds if seeds is None else seeds, tasks)
    with _locked(runs):
        missing = reproduction.missing()
        done = len(reproduction.declared) - len(missing)
        show(f"{claim.name}: {done} of {len(reproduction.declared)} runs are there, {len(missing)} to make")
        try:
            _make(reproduction, missing, engine or Local())
        finally:
            page = reproduction.draw()
    if page:
        show(f"{tables.verdicts(claim.verdicts(reproduction.records()))}\n{page}")
    return reproduction


@contextmanager
def _locked(runs: Path) -> Iterator[None]:
    """One process at a time works on a claim: another would take its runs for failed, and its records for gone."""
    runs.mkdir(parents=True, exist_ok=True)
    with locked(runs, "wait until it ends, or give --runs"):
        yield


def _make(reproduction: Reproduction, missing: Sequence[Run], engine: Engine) -> None:
    """Runs that are finished, but not kept, are only measured."""
    folder = reproduction.runs
    finished = [run for run in missing if reproduction.finished(run.name)]
    waiting = [run for run in missing if run not in finished]
    with shown(missing, folder) as tell, closing(engine(waiting, folder)) as outcomes:
        for outcome in chain((Outcome(run, "") for run in finished), outcomes):
            _note(reproduction, outcome, tell)


def _note(reproduction: Reproduction, outcome: Outcome, tell: Callable[[Outcome], object]) -> None:
    """Keeps what a run came to as soon as it has ended."""
    if not outcome.trouble:
        try:
            reproduction.keep(outcome.run)
        except Exception as error:  # whatever a measure of the user's raises
            outcome = outcome._replace(trouble=one_line(error))
    tell(outcome)
    if outcome.trouble:
        reproduction.troubles[outcome.run.name] = outcome.trouble
