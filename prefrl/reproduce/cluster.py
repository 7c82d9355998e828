"""Runs on the machines of a Ray cluster, or side by side on this one."""

import logging
import os
import signal
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Generator, Iterator, MutableMapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from prefrl.processes import to_stderr
from prefrl.reproduce.claim import Run
from prefrl.reproduce.engine import Outcome, attempt, one_line
from prefrl.runs import RunConfig, RunFolder

RETRIES = 5
"""Workers of one run that may die: machines come and go, but a run that kills each of them is given up."""
PATIENCE = 120.0
"""Seconds that a run waits for a worker that was given up and still works: Ray's own ends within about 60."""
LOOK = 1.0
"""Seconds between looks whether it still does."""
KNOCK = 5.0
"""Seconds that a cluster gets to answer at all."""
STORE = 100 * 2**20
"""Bytes of shared memory of a Ray of our own: runs hand over nothing but a line, and Ray wants at least 75 MiB."""
LOOPBACK = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""If "0", no other machine can reach a Ray; on all others, whoever reaches its ports can run code."""
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
"""No statistics to Ray's makers, and no hint of theirs about GPUs."""


@dataclass(frozen=True)
class OnRay:
    """An Engine: each run is a Ray task in a process of its own; one whose process or machine dies goes on elsewhere.

    Machines need the same Python, Ray and prefrl, and see `folder` under the same path: put it on a shared disk.
    Components of yours, `module:name`, are found where this process finds them: in the current folder and along its
    `sys.path`, as far as workers see those too, and else where they are installed. Nothing is uploaded: a current
    folder may hold gigabytes of runs. A run whose `device` is not cpu gets a GPU to itself, if there is one.

    Raises ValueError, when the first outcome is asked for, if Ray is missing or nobody answers.
    """

    address: str | None = None
    """`auto`, host:port or ray://host:port of a cluster that goes on afterwards; None begins one here and ends it."""
    jobs: int | None = None
    """Runs at once; as many as there are CPUs, if not given."""
    cpus: float = 1.0
    """That Ray sets aside for a run."""

    def __post_init__(self) -> None:
        if self.jobs is not None and self.jobs < 1:
            raise ValueError(f"jobs must be at least 1, got {self.jobs}")
        if not self.cpus > 0 or (self.cpus > 1 and self.cpus % 1):
            raise ValueError(f"cpus must be a whole number, or a part of one, got {self.cpus:g}")
        if self.address not in (None, "auto"):
            _place(str(self.address))

    def __call__(self, runs: Sequence[Run], folder: Path) -> Generator[Outcome]:
        if not runs:
            return
        ray = _ray()
        with self._connected(ray):
            self._check_size(ray)
            folder.mkdir(parents=True, exist_ok=True)
            with _token(folder.resolve()) as token:
                yield from self._outcomes(ray, deque(runs), folder.resolve(), token)

    def _outcomes(self, ray: Any, waiting: deque[Run], folder: Path, token: Path) -> Generator[Outcome]:
        task = ray.remote(max_calls=1, max_retries=RETRIES, num_cpus=self.cpus, scheduling_strategy="SPREAD")(work)
        gpus = ray.cluster_resources().get("GPU", 0)
        running: dict[Any, Run] = {}
        try:
            while waiting or running:
                while waiting and len(running) < (self.jobs or len(waiting) + len(running)):
                    run = waiting.popleft()
                    here = task.options(num_gpus=1) if gpus and run.config.device != "cpu" else task
                    running[here.remote(run.config, folder / run.name, token, os.getcwd(), sys.path)] = run
                done, _ = ray.wait(list(running), num_returns=1)
                yield Outcome(running.pop(done[0]), _trouble(ray, done[0]))
        finally:
            for going in running if ray.is_initialized() else ():
                ray.cancel(going, force=True)

    @contextmanager
    def _connected(self, ray: Any) -> Iterator[None]:
        """Who is connected already stays so."""
        if ray.is_initialized():
            yield
            return
        from ray._private import ray_constants, worker

        local = self.address is None
        with ExitStack() as at_end:
            at_end.enter_context(_own_sigterm())
            # prints each worker's death to stdout, whatever log_to_driver says
            at_end.enter_context(_replaced(vars(worker), "print_to_stdstream", _say_nothing))
            at_end.callback(ray.shutdown)
            with ExitStack() as meanwhile:
                for name, value in (QUIET | ({LOOPBACK: "0"} if local else {})).items():
                    meanwhile.enter_context(_replaced(os.environ, name, value))
                if local:  # which the variable decides only where Ray is imported later
                    meanwhile.enter_context(_replaced(vars(ray_constants), "ENABLE_RAY_CLUSTER", False))
                self._connect(ray)
            yield

    def _connect(self, ray: Any) -> None:
        settings: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        if self.address is None:
            cpus = ceil(self.cpus * self.jobs) if self.jobs else None
            settings |= {"address": "local", "num_cpus": cpus, "object_store_memory": STORE, "include_dashboard": False}
        else:
            _knock(self.address)
            settings["address"] = self.address
        try:
            ray.init(**settings)
        except (OSError, RuntimeError, ValueError) as error:
            raise ValueError(f"cannot reach Ray at {self.address or 'this machine'}: {one_line(error)}") from error

    def _check_size(self, ray: Any) -> None:
        """Ray itself waits without a word, since a machine that is big enough may join."""
        largest = max((node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]), default=0)
        words = f"no machine here has {self.cpus:g} CPUs for a run, the largest has {largest:g}"
        if self.cpus > largest:
            if self.address is None:
                raise ValueError(words)
            to_stderr(f"{words}: runs wait until one joins")


def work(config: RunConfig, out: Path, token: Path, cwd: str, path: Sequence[str]) -> str:
    """What a worker does for a run: `attempt`, where it can; gives the trouble, "" if all is well."""
    if not token.is_file():
        return f"{socket.gethostname()} does not see {out.parent}: choose a folder on a shared disk with --runs"
    if os.path.isdir(cwd):
        os.chdir(cwd)
    sys.path += [entry for entry in path if entry not in sys.path]
    _wait_until_free(out)
    return attempt(config, out)


def _wait_until_free(out: Path) -> None:
    """A machine that Ray cannot reach any more may still work on the run; `attempt` says so if it does for long."""
    deadline = time.monotonic() + PATIENCE
    while out.is_dir() and time.monotonic() < deadline:
        try:
            with RunFolder(out).locked():
                return
        except ValueError:
            time.sleep(LOOK)


def _trouble(ray: Any, task: Any) -> str:
    try:
        return str(ray.get(task))
    except ray.exceptions.WorkerCrashedError:
        return f"its worker died {RETRIES + 1} times; Ray's logs of the machine say why"
    except ray.exceptions.RayTaskError as error:
        return f"a worker cannot begin, are the same versions everywhere? {one_line(error.cause)}"
    except ray.exceptions.RayError as error:
        return one_line(error)


def _ray() -> Any:
    try:
        import ray
    except ImportError:
        raise ValueError('the ray engine needs Ray: pip install "prefrl[ray]"') from None
    return ray


def _place(address: str) -> tuple[str, int]:
    """Host and port."""
    try:
        parts = urlsplit(address if "://" in address else f"//{address}")
        if parts.scheme in ("", "ray") and parts.hostname and parts.port:
            return parts.hostname, parts.port
    except ValueError:
        pass
    raise ValueError(f"cannot read the address {address!r}: write auto, host:port or ray://host:port")


def _knock(address: str) -> None:
    """Ray itself tries for minutes, and says so many times."""
    if address == "auto":
        return
    try:
        socket.create_connection(_place(address), timeout=KNOCK).close()
    except OSError as error:
        raise ValueError(f"no Ray answers at {address}: {error}") from error


@contextmanager
def _token(folder: Path) -> Iterator[Path]:
    """A file that only those see who see this very folder."""
    file = folder / f".seen-{uuid4().hex}"
    file.touch()
    try:
        yield file
    finally:
        file.unlink(missing_ok=True)


@contextmanager
def _replaced(values: MutableMapping[str, Any], name: str, value: object) -> Iterator[None]:
    before = {name: values[name]} if name in values else {}
    values[name] = value
    try:
        yield
    finally:
        del values[name]
        values.update(before)


def _say_nothing(*_: object, **__: object) -> None:
    pass


@contextmanager
def _own_sigterm() -> Iterator[None]:
    """Ray puts a handler of its own in place, for good."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if before is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)
