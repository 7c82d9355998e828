"""A PostgreSQL server of the tests' own, on loopback, and an empty database for each of them."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

import pytest

USER, PASSWORD = "tester", "geheim"
"""The password is in every URL, so that a test can look for it where it must not be."""
START = 30.0
"""Seconds that a server gets to answer."""


class Missing(Exception):
    """Why there can be no server here."""


def programs() -> Path:
    """The folder of `initdb` and `postgres`, the newest if there are several."""
    debian = Path("/usr/lib/postgresql").glob("*/bin/postgres")
    found = sorted(debian, key=lambda path: int(path.parts[-3]) if path.parts[-3].isdigit() else 0)
    if anywhere := shutil.which("postgres"):
        found.insert(0, Path(anywhere).resolve())
    if not found:
        raise Missing("needs a PostgreSQL server: apt-get install postgresql")
    return found[-1].parent


def _account() -> dict[str, int]:
    """As whom the server runs: it refuses to be root."""
    if os.getuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        try:
            account = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": account.pw_uid, "group": account.pw_gid}
    raise Missing("a PostgreSQL server cannot run as root: add a user named postgres")


class Server:
    """One server process, which may be stopped and started again with what it holds."""

    def __init__(self, folder: Path) -> None:
        self.data, self._log = folder / "data", folder / "log"
        self._programs, account = programs(), _account()
        self._who = {**account, "extra_groups": []} if account else {}
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        secret = folder / "password"
        secret.write_text(PASSWORD)
        self._log.touch()
        for path in (folder, secret, self._log):
            os.chown(path, account.get("user", -1), account.get("group", -1))
        settings = [f"--username={USER}", f"--pwfile={secret}", "--auth=scram-sha-256", "--encoding=UTF8"]
        command = [self._programs / "initdb", "-D", self.data, *settings, "--locale=C", "--no-sync"]
        made = subprocess.run(command, capture_output=True, text=True, cwd=folder, **self._who)
        if made.returncode:
            raise RuntimeError(made.stderr)

    def start(self) -> None:
        """Returns when it answers."""
        settings = ["listen_addresses=127.0.0.1", f"port={self.port}", "unix_socket_directories="]
        command = [self._programs / "postgres", "-D", self.data, *(word for s in settings for word in ("-c", s))]
        with self._log.open("ab") as log:
            streams = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}
            self._process = subprocess.Popen(command, cwd=self.data, **streams, **self._who)
        ready = [self._programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port), "-t", "1"]
        for _ in range(int(START / 0.05)):
            if subprocess.run(ready).returncode == 0:
                return
            if self._process.poll() is not None:
                break
            self._pause()
        raise RuntimeError(self._log.read_text())

    def stop(self, how: int = signal.SIGINT) -> None:
        """SIGINT ends connections and keeps all; SIGQUIT is as good as a crash."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(START)
            self._process = None

    def database(self) -> str:
        """The URL of a new, empty database; it goes away with the server."""
        name = f"test_{uuid4().hex[:12]}"
        self.say(self._url("postgres"), f"create database {name}")
        return self._url(name)

    def empty(self, url: str) -> None:
        """Makes a database as if it were new, in a tenth of the time."""
        self.end_connections(url)
        self.say(url, "drop schema public cascade; create schema public")

    def end_connections(self, url: str) -> None:
        """All to this database, at once, as when a machine is lost."""
        name = url.rpartition("/")[2]
        ended = f"select pg_terminate_backend(pid) from pg_stat_activity where datname = '{name}'"
        self.say(self._url("postgres"), ended)

    def say(self, url: str, statement: str) -> None:
        import psycopg  # not everybody has it

        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(statement)

    def _url(self, database: str) -> str:
        return f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{self.port}/{database}"

    def _pause(self) -> None:
        assert self._process is not None
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(0.05)


@contextmanager
def running() -> Iterator[Server]:
    """A server, until the end; raises Missing with the reason where there can be none."""
    with tempfile.TemporaryDirectory(prefix="prefrl-postgres-", dir="/tmp" if os.getuid() == 0 else None) as folder:
        made = Server(Path(folder))
        made.start()
        try:
            yield made
        finally:
            made.stop(signal.SIGQUIT)  # nobody will read it again


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    try:
        with running() as server:
            yield server
    except Missing as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="session")
def postgres_database(postgres: Server) -> str:
    return postgres.database()


@pytest.fixture
def database(postgres: Server, postgres_database: str) -> str:
    """The URL of an empty database."""
    postgres.empty(postgres_database)
    return postgres_database
