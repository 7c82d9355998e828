"""Runs on Ray: killed, failing, and where there is no Ray."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from prefrl.reproduce import cluster as engine
from prefrl.reproduce.claim import Run
from prefrl.reproduce.cluster import OnRay
from prefrl.reproduce.engine import make
from prefrl.runs import RunFolder
from tests.tiny_runs import outcome, tiny
from tests.waiting import soon

ray = pytest.importorskip("ray", reason="Ray is not installed")

FATAL = """
import os
import signal
from pathlib import Path

from prefrl.oracles import Synthetic

KILLED = Path(__file__).with_name("killed")


def kills_its_process_once(left, right):
    if not KILLED.exists() and list(Path("runs", "Dot-killed-0", "checkpoints").glob("step_*")):
        KILLED.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return Synthetic()(left, right)


def kills_its_process(left, right):
    os.kill(os.getpid(), signal.SIGKILL)


def fails(left, right):
    raise OSError("no more opinions")
"""
LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F"}
"""127.0.0.1 and ::ffff:127.0.0.1, as /proc/net/tcp and tcp6 write them."""
ALONE = """
import sys
from pathlib import Path

from prefrl.reproduce.claim import Run
from prefrl.reproduce.cluster import OnRay
from tests.tiny_runs import tiny

endless = Run("Dot", "endless", tiny(total_timesteps=10_000_000, labels=10_000, turns=1000))
for outcome in OnRay(jobs=1)([endless], Path("runs")):
    print(outcome)
"""


@pytest.fixture(scope="module")
def two_machines() -> Iterator[Any]:
    """A cluster of two nodes with a CPU each."""
    from ray.cluster_utils import Cluster

    node: dict[str, Any] = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": engine.STORE}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        cluster: Any = Cluster(initialize_head=True, head_node_args=node)
        cluster.add_node(**node)
    yield cluster
    cluster.shutdown()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with components of the user's."""
    (tmp_path / "fatal.py").write_text(FATAL)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(condition: str, **changes: Any) -> Run:
    return Run("Dot", condition, tiny(**changes))


def test_a_killed_run_ends_as_a_local_one_and_a_failing_one_stops_no_other(two_machines: Any, here: Path) -> None:
    killed = run("killed", oracle="fatal:kills_its_process_once")
    failing = run("failing", oracle="fatal:fails")
    other = run("other", seed=1)

    outcomes = list(OnRay(two_machines.address)([killed, failing, other], Path("runs")))

    make(tiny(), here / "local-0")
    make(tiny(seed=1), here / "local-1")
    assert (here / "killed").exists()
    trouble = {run.name: trouble for run, trouble in outcomes}
    assert trouble[killed.name] == trouble[other.name] == ""
    assert trouble[failing.name] == f"OSError: no more opinions (more in {here}/runs/{failing.name}.error)"
    assert outcome(here / "runs" / killed.name) == outcome(here / "local-0")
    assert outcome(here / "runs" / other.name) == outcome(here / "local-1")
    assert not ray.is_initialized()
    assert not list((here / "runs").glob(".seen-*"))


@pytest.mark.slow
def test_a_run_that_kills_each_of_its_workers_is_given_up(
    two_machines: Any, here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    fatal = run("fatal", oracle="fatal:kills_its_process")

    assert list(OnRay(two_machines.address)([fatal], here)) == [
        (fatal, "its worker died 6 times; Ray's logs of the machine say why")
    ]
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_a_run_on_a_machine_that_is_gone_goes_on_elsewhere(here: Path) -> None:
    from ray.cluster_utils import Cluster

    cluster: Any = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        gone = cluster.add_node(num_cpus=1)
        moved = run("moved", oracle="tests.tiny_runs:thinks")
        ended: list[Any] = []
        thread = threading.Thread(target=lambda: ended.extend(OnRay(cluster.address)([moved], here)))
        thread.start()
        soon(lambda: list(here.glob("*/checkpoints/step_*")), within=60)
        cluster.remove_node(gone, allow_graceful=False)
        cluster.add_node(num_cpus=1)
        thread.join(180)
        make(tiny(), here / "local")
        assert ended == [(moved, "")]
        assert outcome(here / moved.name) == outcome(here / "local")
    finally:
        cluster.shutdown()


@pytest.mark.slow
def test_ctrl_c_ends_a_ray_of_its_own_and_all_that_it_does(here: Path) -> None:
    paths = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    script = here / "alone.py"
    script.write_text(ALONE)
    process = subprocess.Popen(
        [sys.executable, str(script)],
        env=os.environ | {"PYTHONPATH": paths},
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    soon(lambda: list(here.glob("runs/*/checkpoints/step_*")), within=60)
    assert listening(process.pid) == LOOPBACK
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)

    assert out == ""
    assert err.strip().endswith("KeyboardInterrupt")
    assert process.returncode == -signal.SIGINT
    assert soon(lambda: is_free(here / "runs" / "Dot-endless-0"))


def is_free(path: Path) -> bool:
    try:
        with RunFolder(path).locked():
            return True
    except ValueError:
        return False


def listening(session: int) -> set[str]:
    """The addresses at which the processes of a session wait for connections, as /proc/net/tcp writes them."""
    inodes = {inode for pid in Path("/proc").glob("[0-9]*") if session_of(pid) == session for inode in sockets(pid)}
    lines = [line.split() for file in ("tcp", "tcp6") for line in Path("/proc/net", file).read_text().splitlines()[1:]]
    return {line[1].partition(":")[0] for line in lines if line[3] == "0A" and line[9] in inodes}


def session_of(pid: Path) -> int:
    with suppress(OSError):
        return os.getsid(int(pid.name))
    return 0


def sockets(pid: Path) -> set[str]:
    found = set()
    with suppress(OSError):
        for descriptor in (pid / "fd").iterdir():
            with suppress(OSError):
                found.add(os.readlink(descriptor).removeprefix("socket:[").removesuffix("]"))
    return found


def test_an_address_where_nobody_answers_is_one_line(tmp_path: Path) -> None:
    for address in ("127.0.0.1:1", "ray://127.0.0.1:1"):
        with pytest.raises(ValueError, match=rf"^no Ray answers at {address}: .*refused$"):
            list(OnRay(address)([run("some")], tmp_path / "runs"))
    assert not (tmp_path / "runs").exists()


def test_without_ray_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ValueError, match=r'^the ray engine needs Ray: pip install "prefrl\[ray\]"$'):
        list(OnRay()([run("some")], tmp_path))


@pytest.mark.parametrize("address", ["", "head", "head:", "head:port", "http://head:8265", "head:99999"])
def test_an_address_that_cannot_be_is_refused_at_once(address: str) -> None:
    with pytest.raises(ValueError, match="write auto, host:port or ray://host:port"):
        OnRay(address)


@pytest.mark.parametrize(("settings", "words"), [({"jobs": 0}, "jobs"), ({"cpus": 0}, "cpus"), ({"cpus": 1.5}, "cpus")])
def test_numbers_that_cannot_be_are_refused_at_once(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=f"^{words} must be"):
        OnRay(**settings)


def test_a_worker_that_does_not_see_the_folder_says_what_to_do(tmp_path: Path) -> None:
    trouble = engine.work(tiny(), tmp_path / "run", tmp_path / "token", str(tmp_path), [])
    assert trouble.endswith(f"does not see {tmp_path}: choose a folder on a shared disk with --runs")
    assert not (tmp_path / "run").exists()


def test_a_run_waits_for_a_worker_that_still_works_but_not_forever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where it was is where it ends
    RunFolder.create(tmp_path / "run", tiny())
    (tmp_path / "token").touch()
    looks: list[float] = []
    monkeypatch.setattr(time, "sleep", looks.append)
    monkeypatch.setattr(time, "monotonic", lambda: 50.0 * len(looks))
    with RunFolder(tmp_path / "run").locked():
        trouble = engine.work(tiny(), tmp_path / "run", tmp_path / "token", str(tmp_path), [])
    assert looks == [1.0, 1.0, 1.0]
    assert trouble.startswith("another process is working on")
