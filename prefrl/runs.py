"""A run: its configuration, its folder, and what is written there."""

import fcntl
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefrl.files import read_json, reading
from prefrl.names import unknown

if TYPE_CHECKING:
    from prefrl.store import Store


SHOWN = ("nobody", "people", "all")
"""Who may see the score of an Atari game."""
COMPARISONS = "comparisons"
"""The folder in a summariser's that is a run."""


def option(default: Any, help: str, alone: str | None = None, **more: Any) -> Any:
    """A field of a configuration, with the sentence that `--help` shows; `alone`: what its flag means without value."""
    metadata = {"help": help, "alone": alone, **more}
    if isinstance(default, dict):
        return field(default_factory=dict, metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides a run; a value that cannot be raises ValueError.

    Steps are those of all environments together. Components are names, looked up when training begins: built-in ones
    as in `mistaken(synthetic, chance=0.2)`, others as `module:name`.
    """

    env: str = field(metadata={"help": "Gymnasium id; module:Id-v0 imports the module first"})
    algo: str = option("ppo", "ppo, a2c, trpo, sac, or module:Class of Stable-Baselines3's kind")
    total_timesteps: int = option(1_000_000, "environment steps, those of the untrained policy included")
    labels: int = option(700, "answers to get in the whole run")
    reward: str = option("learned", "learned: from labels; true: the environment's own, the baseline")
    oracle: str = option("synthetic", "who answers: synthetic, stochastic(beta=1), mistaken, ... or module:name")
    select: str = option("disagreement", "which pairs to ask about: uniform, disagreement, ... or module:name")
    schedule: str | None = option(None, "when to ask: hyperbolic, constant, upfront, or module:name")
    net: str | None = option(None, "the reward net: mlp, cnn, or module:Class; for frames cnn, if not given")
    fit: str | None = option(None, "how rewards are fitted: fit(passes=5), or frames(rate=0.05)")
    members: int = option(3, "nets in the reward ensemble")
    turns: int = option(100, "rounds of asking and refitting in the run")
    segment_length: int | None = option(None, "steps of a segment; as the environment says, if not given")
    n_envs: int | None = option(None, "environments stepped side by side; the algorithm's preset, if not given")
    hyper: dict[str, Any] = option({}, "settings of the algorithm that differ from its preset: learning_rate=0.001")
    checkpoint_every: int = option(
        100_000, "steps between checkpoints, at which environments start anew, so that a resumed run is the same"
    )
    allow_variable_horizon: bool = option(False, "admit episodes of different lengths, which tell about the reward")
    eval_episodes: int = option(10, "episodes of the final evaluation")
    asynchronous: bool = option(False, "policy, questions and reward in a process each; with people always")
    show_score: str = option(
        "nobody", "who sees the score of an Atari game: nobody, people, or all, which is meant if none is named", "all"
    )
    store: str | None = option(None, "URL of an empty PostgreSQL database for queries and labels, in place of a file")
    question: str | None = option(None, "what people are asked about a pair, in place of the task's own question")
    device: str = option("cpu", "where nets live: cpu, cuda, auto")
    seed: int = option(0, "seed of everything random")

    def __post_init__(self) -> None:
        for name in ("total_timesteps", "labels", "members", "turns", "checkpoint_every", "eval_episodes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("segment_length", "n_envs"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.reward not in ("learned", "true"):
            raise unknown("reward", self.reward, ["learned", "true"])
        if self.show_score not in SHOWN:
            raise unknown("way to show the score:", self.show_score, SHOWN)
        if self.seed < 0:
            raise ValueError(f"seed must not be negative, got {self.seed}")

    @property
    def env_options(self) -> dict[str, Any]:
        """What the environment is made with."""
        return {} if self.show_score == SHOWN[0] else {"show_score": self.show_score}

    @property
    def task(self) -> str:
        """Short name of the environment: `Hopper`."""
        return self.env.replace(":", "/").rsplit("/", 1)[-1].removesuffix("-v0")

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "RunConfig":
        """From plain values; an unknown key, or one of the wrong type, raises ValueError in one line."""
        check_settings(cls, values)
        if "env" not in values:
            raise ValueError("say which environment to train on: --env prefrl/HalfCheetah-v0")
        return cls(**values)


def check_settings(of: type, values: Mapping[str, Any]) -> None:
    """Raises ValueError for a key that the configuration `of` has not, and a value that is not what it says."""
    known = {f.name: f for f in fields(of)}
    for name, value in values.items():
        if name not in known:
            raise unknown("setting", str(name), known)
        _check_type(name, value, str(known[name].type))


def _check_type(name: str, value: Any, expected: str) -> None:
    kinds: dict[str, tuple[type, ...]] = {
        "int": (int,),
        "float": (int, float),
        "str": (str,),
        "bool": (bool,),
        "dict[str, Any]": (dict,),
        "None": (type(None),),
    }
    expected = _annotation(expected)
    right = isinstance(value, tuple(kinds[kind] for kind in expected.split(" | ")))
    if not right or (isinstance(value, bool) and "bool" not in expected):
        raise ValueError(f"{name} must be {expected}, got {value!r}")


def _annotation(text: str) -> str:
    return text.removeprefix("<class '").removesuffix("'>").replace("typing.", "")


class RunFolder:
    """Where a run keeps what it knows: config, store, checkpoints, metrics, summary."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)

    @classmethod
    def create(cls, path: Path, config: RunConfig, objects: Iterable[str] = ()) -> "RunFolder":
        """A new folder; one that exists is never overwritten. `objects`: parts that are not what `config` names."""
        import yaml

        path = Path(path)
        try:
            settings = yaml.safe_dump(asdict(config), sort_keys=False)
        except yaml.YAMLError as error:
            raise ValueError(f"hyper must hold plain values, to be kept in config.yaml: {error}") from error
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            raise ValueError(f"{path} exists: choose another --out, or go on with `prefrl resume {path}`") from None
        run = cls(path)
        run.write("config.yaml", settings)
        run.write("command.txt", f"{shlex.join(sys.argv)}\n")
        run.write("objects.json", json.dumps(sorted(objects)) + "\n")
        run.write("system.json", json.dumps(system(), indent=2))
        return run

    @classmethod
    def open(cls, path: Path) -> "RunFolder":
        if not (Path(path) / "config.yaml").is_file():
            inner = Path(path) / COMPARISONS
            of_summariser = (inner / "config.yaml").is_file()
            instead = f"; to label, export or import a summariser's answers, give {inner}" if of_summariser else ""
            raise ValueError(f"{path} is no run: it has no config.yaml{instead}")
        return cls(path)

    def check_objects(self, given: Iterable[str]) -> None:
        """Raises ValueError where parts that the run was started with as Python objects are not `given` again."""
        file = self.path / "objects.json"
        missing = set(read_json(file) if file.is_file() else ()) - set(given)
        if missing:
            raise ValueError(f"{self.path} was started with Python objects for {', '.join(sorted(missing))}: give them")

    @property
    def config(self) -> RunConfig:
        return RunConfig.of(read_settings(self.path / "config.yaml"))

    def open_store(self) -> "Store":
        """The run's record."""
        from prefrl.store import Store  # `prefrl --help` starts without SQLAlchemy

        return Store(self.path, self.config.store)

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def summary(self) -> dict[str, Any] | None:
        """What the finished run came to; None before."""
        file = self.path / "summary.json"
        return read_json(file) if file.is_file() else None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One process at a time may work on a run."""
        with locked(self.path):
            yield

    def write(self, name: str, text: str) -> None:
        """Writes a file whole or not at all."""
        half = self.path / f".{name}.half"
        half.write_text(text)
        os.replace(half, self.path / name)

    def checkpoints(self) -> list[Path]:
        """Whole checkpoints, oldest first."""
        found = (self.path / "checkpoints").glob("step_*")
        return sorted((path for path in found if path.name[5:].isdigit()), key=step_of)

    def checkpoint(self, best: bool = False) -> Path:
        """The newest checkpoint, or the one with the best training return.

        Raises ValueError where there is none: no episode may have ended before a checkpoint.
        """
        found = self.checkpoints()
        if not found:
            raise ValueError(f"{self.path} has no checkpoint yet")
        if not best:
            return found[-1]
        with reading(file := found[-1] / "history.json"):
            step = int(read_json(file)["best_step"])
        if not step:
            raise ValueError(f"{self.path} has no best checkpoint, for no episode had ended at any: take the newest")
        return self.path / "checkpoints" / f"step_{step}"

    @contextmanager
    def new_checkpoint(self, step: int) -> Iterator[Path]:
        """A folder that becomes `checkpoints/step_N` when all of it is on disk."""
        final = self.path / "checkpoints" / f"step_{step}"
        half = final.with_suffix(".half")
        shutil.rmtree(half, ignore_errors=True)
        half.mkdir(parents=True)
        yield half
        for file in half.iterdir():
            _sync(file)
        shutil.rmtree(final, ignore_errors=True)
        half.rename(final)
        _sync(final.parent)

    def prune(self, keep: set[int], newest: int = 2) -> None:
        """Removes all checkpoints but the `newest` and those of the steps in `keep`."""
        for path in self.checkpoints()[:-newest]:
            if step_of(path) not in keep:
                shutil.rmtree(path)

    def forget_metrics_after(self, step: int) -> None:
        """Drops lines that a run wrote after its last checkpoint, and a half-written last line."""
        if self.metrics.is_file():
            with reading(self.metrics):
                kept = [line for line in self.read_metrics() if line["time/total_timesteps"] <= step]
            self.write("metrics.jsonl", "".join(json.dumps(line) + "\n" for line in kept))

    def read_metrics(self) -> list[dict[str, Any]]:
        """One dictionary per log line, oldest first."""
        if not self.metrics.is_file():
            return []
        with reading(self.metrics):
            lines = self.metrics.read_text().split("\n")
            return [json.loads(line) for line in lines[:-1]]  # what follows the last newline was cut off by a kill


@contextmanager
def locked(folder: Path, advice: str = "wait until it ends") -> Iterator[None]:
    """One process at a time may work on a folder; the lock goes with the process."""
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"another process is working on {folder}: {advice}") from None
        yield


def step_of(checkpoint: Path) -> int:
    """Steps that the policy had taken."""
    return int(checkpoint.name.removeprefix("step_"))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def read_settings(file: Path) -> dict[str, Any]:
    """The settings in a YAML file, as they are."""
    import yaml

    with reading(file):
        values = yaml.safe_load(Path(file).read_text())
    if not isinstance(values, dict):
        raise ValueError(f"{file} must hold settings as `name: value`")
    return values


def free_folder(config: RunConfig, parent: Path = Path("runs")) -> Path:
    """`runs/HalfCheetah-ppo-700-seed0`, or the first of its name with a number that is free."""
    paid = "true" if config.reward == "true" else config.labels
    algo = config.algo.rsplit(":", 1)[-1].rsplit(".", 1)[-1]
    first = parent / f"{config.task}-{algo}-{paid}-seed{config.seed}"
    numbered = (first.with_name(f"{first.name}-{i}") for i in range(2, 10_000))
    return next(path for path in (first, *numbered) if not path.exists())


def system() -> dict[str, Any]:
    """Machine and versions, for whoever repeats the run."""
    ours = [
        "prefrl",
        "torch",
        "stable_baselines3",
        "sb3_contrib",
        "gymnasium",
        "mujoco",
        "ale_py",
        "numpy",
        "sqlalchemy",
    ]
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "commit": _commit(),
        "packages": {name: _version(name) for name in ours},
    }


def _commit() -> str | None:
    """Of the clone that prefrl is imported from, `-dirty` if it was changed since; None where it is none."""
    here = Path(__file__).parent
    words = ["git", "-C", str(here), "describe", "--always", "--dirty", "--exclude", "*"]
    try:
        said = subprocess.run(words, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return said.stdout.strip() or None


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
