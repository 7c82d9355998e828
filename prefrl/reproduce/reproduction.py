"""From a claim to its page: makes the runs that are missing, and draws what all of them came to."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from prefrl.files import whole
from prefrl.names import UnknownName, attribute, unknown
from prefrl.reproduce import curves, tables
from prefrl.reproduce.claim import Claim, Run, shortened
from prefrl.reproduce.engine import Engine, Outcome, one_line
from prefrl.reproduce.local import Local
from prefrl.reproduce.progress import shown
from prefrl.reproduce.records import Record, read_records, record_of, write_csv, write_records
from prefrl.runs import RunConfig, RunFolder

HOME = Path("experiments")
"""Where the paper's claims are, one a file."""


def find_claim(name: str) -> Claim:
    """`mujoco`, which is `CLAIM` of experiments/mujoco.py in the current folder, or a `module:name` of the user's."""
    if ":" not in name:
        if not HOME.is_dir():
            raise UnknownName(f"there is no folder {HOME} here: run this in a clone of prefrl, or give module:name")
        known = [file.stem for file in HOME.glob("*.py") if "\nCLAIM" in file.read_text()]
        if name not in known:
            raise unknown("claim", name, known)
        name = f"{HOME}.{name}:CLAIM"
    claim = attribute(name, "claim")
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
        """Runs that neither their folder nor the records know as finished."""
        kept = {record.name for record in self.records()}
        return [run for run in self.declared if run.name not in kept and not self._finished(self.runs / run.name)]

    def records(self) -> list[Record]:
        """Kept ones of the claim, of any seed, whose settings are still what it declares; in its order."""
        kept = read_records(self.results / "records.jsonl")
        declared = self._every_seed(kept)
        order = {name: i for i, name in enumerate(declared)}
        same = [r for r in kept if r.name in order and RunConfig.of(r.settings) == declared[r.name].config]
        return sorted(same, key=lambda record: order[record.name])

    def keep(self, runs: Iterable[Run]) -> None:
        """Adds the records of finished `runs` to those that are kept."""
        fresh = {run.name: self._record(run) for run in runs if self._finished(self.runs / run.name)}
        known = [record for record in self.records() if record.name not in fresh]
        self.results.mkdir(parents=True, exist_ok=True)
        write_records([*known, *fresh.values()], self.results / "records.jsonl")

    def draw(self) -> Path | None:
        """Writes CSV, figures and the page of all records; where the page is, None if there is no record."""
        records = self.records()
        if not records:
            return None
        write_csv(records, self.results / "runs.csv")
        curves.draw(records, self.results / "curves.png", self.claim.baseline)
        if self.claim.baseline is not None:
            curves.bars(records, self.results / "shares.png", self.claim.baseline)
        page = self.results / "README.md"
        with whole(page) as file:
            file.write(tables.page(self.claim, records).encode())
        self._finish(records)
        return page

    def _finish(self, records: Sequence[Record]) -> None:
        """Only where all runs are still there: what was made of those that are gone stays as it is."""
        if self.claim.finish and all(self._finished(self.runs / record.name) for record in records):
            try:
                self.claim.finish(records, self.runs, self.results)
            except Exception as error:  # whatever a claim of the user's raises, or a machine that cannot draw
                self.troubles["the end"] = one_line(error)

    def _check(self, run: Run) -> None:
        path = self.runs / run.name
        if (path / "config.yaml").is_file() and RunFolder.open(path).config != run.config:
            raise ValueError(f"{path} was made with other settings than {run.command}: move it away, or give --runs")

    @staticmethod
    def _finished(path: Path) -> bool:
        return RunFolder(path).summary is not None

    def _record(self, run: Run) -> Record:
        path = self.runs / run.name
        measured = self.claim.measure(path) if self.claim.measure else {}
        return record_of(path, run.task, run.condition, run.command, measured)

    def _every_seed(self, kept: Sequence[Record]) -> dict[str, Run]:
        """By name; seeds that only records know are the claim's, too."""
        seeds = range(max([self.seeds, self.claim.seeds, *(record.seed + 1 for record in kept)]))
        runs = [run.with_seed(seed) for run in self.claim.runs for seed in seeds]
        return {run.name: run for run in runs}


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

    A run that fails is reported and stops no other. `quick`: 20,000 steps of one seed, to see that everything works.
    `runs`: runs/NAME, `results`: experiments/results/NAME, if not given. Raises ValueError in one line for tasks that
    the claim does not have, and for a run in the way that was made with other settings.
    """
    if quick:
        claim = replace(claim, runs=tuple(shortened(run) for run in claim.runs), seeds=1)
    runs = runs or Path("runs") / (f"{claim.name}-quick" if quick else claim.name)
    results = results or (runs / "results" if quick else HOME / "results" / claim.name)
    reproduction = Reproduction(claim, runs, results, claim.seeds if seeds is None else seeds, tasks)
    missing = reproduction.missing()
    done = len(reproduction.declared) - len(missing)
    show(f"{claim.name}: {done} of {len(reproduction.declared)} runs are there, {len(missing)} to make")
    reproduction.keep(run for run in reproduction.declared if run not in missing)
    try:
        _make(reproduction, missing, engine or Local())
    finally:
        page = reproduction.draw()
    if page:
        show(f"{tables.verdicts(claim.verdicts(reproduction.records()))}\n{page}")
    return reproduction


def _make(reproduction: Reproduction, missing: Sequence[Run], engine: Engine) -> None:
    with shown(missing, reproduction.runs) as tell, closing(engine(missing, reproduction.runs)) as outcomes:
        for outcome in outcomes:
            outcome = _kept(reproduction, outcome)
            tell(outcome)
            if outcome.trouble:
                reproduction.troubles[outcome.run.name] = outcome.trouble


def _kept(reproduction: Reproduction, outcome: Outcome) -> Outcome:
    """Keeps what a run came to as soon as it has ended."""
    if outcome.trouble:
        return outcome
    try:
        reproduction.keep([outcome.run])
    except Exception as error:  # whatever a measure of the user's raises
        return outcome._replace(trouble=one_line(error))
    return outcome
