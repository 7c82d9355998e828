"""The four tables of a store, in SQLite or PostgreSQL: opened, written by one at a time, only added to."""

import operator
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import (
    URL,
    BigInteger,
    Column,
    Connection,
    Dialect,
    Double,
    Engine,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    Row,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    create_engine,
    event,
    func,
    insert,
    inspect,
    make_url,
    select,
    tuple_,
)
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import ArgumentError, DBAPIError

SCHEMA = 3
"""Version of the tables; a store of an earlier one is brought up to it, one of a later one is refused."""
UPGRADES = {
    1: "alter table labels add column note text not null default ''",
    2: "alter table labels add column confidence double precision",
}
"""What an earlier version lacks of the next."""
PATIENCE = 60.0
"""Seconds to wait for other writers of one SQLite file; sixteen of them wait 6 s at worst."""
REACH = 10
"""Seconds to wait for a database server that says nothing."""
BATCH = 1_000
"""Keys looked up by one statement; from some thousands on, PostgreSQL finds it too complex."""
LOCK = {
    "sqlite": "begin immediate",
    "postgresql": f"select pg_advisory_xact_lock({int.from_bytes(b'prefrl', 'big')})",
}
"""What keeps other writers out until the transaction ends."""


class Int(TypeDecorator[int]):
    """Integers, also NumPy's, of which SQLite's driver would keep the bytes."""

    impl = BigInteger().with_variant(Integer, "sqlite")  # there, only INTEGER PRIMARY KEY numbers its rows
    cache_ok = True

    def process_bind_param(self, value: int | None, dialect: Dialect) -> int | None:
        return None if value is None else operator.index(value)


EXAMPLE, DRIVER = "postgresql://user@host:5432/database", "postgresql+psycopg"
Key = tuple[Any, ...]


class Unreachable(ConnectionError):
    """A database server that does not answer, or not any more: it may later."""


metadata = MetaData()
mark = Table("prefrl", metadata, Column("schema", Int, primary_key=True))
segments = Table(
    "segments",
    metadata,
    Column("id", Int, primary_key=True),
    Column("digest", Text, nullable=False, unique=True),
    Column("media", Text),
    Column("step", Int, nullable=False),
)
queries = Table(
    "queries",
    metadata,
    Column("id", Int, primary_key=True),
    Column("left", ForeignKey(segments.c.id), nullable=False),
    Column("right", ForeignKey(segments.c.id), nullable=False),
    Column("step", Int, nullable=False),
    Column("why", Text, nullable=False),
    UniqueConstraint("left", "right", "step"),
)
labels = Table(
    "labels",
    metadata,
    Column("id", Int, primary_key=True),
    Column("key", Text, nullable=False, unique=True),
    Column("query", ForeignKey(queries.c.id), nullable=False, index=True),
    Column("preference", Double),
    Column("labeller", Text, nullable=False),
    Column("seconds", Double, nullable=False),
    Column("at", Double, nullable=False),
    Column("note", Text, nullable=False, server_default=""),
    Column("confidence", Double),
)
rewards = Table(
    "rewards",
    metadata,
    Column("id", Int, primary_key=True),
    Column("step", Int, nullable=False),
    Column("labels", Int, nullable=False),
    Column("digest", Text, nullable=False),
    Column("parameters", LargeBinary, nullable=False),
    UniqueConstraint("step", "digest"),
)


def opened(url: str | URL) -> Engine:
    """An engine on a store, made if the database is empty; `prefrl.schema` says which version it has.

    Raises ValueError for what is no store, and Unreachable, now and later, while a server does not answer.
    """
    engine = _engine(url)
    name = _name(engine.url)
    try:
        if not inspect(engine).get_table_names():
            with writing(engine) as connection:
                if not inspect(connection).get_table_names():  # another process may have been faster
                    metadata.create_all(connection)
                    connection.execute(insert(mark).values(schema=SCHEMA))
        if not inspect(engine).has_table(mark.name):
            raise ValueError(f"{name} is not a prefrl store: choose another, or an empty database")
        with engine.connect() as connection:
            found = connection.scalar(select(func.max(mark.c.schema)))
        if found in UPGRADES:
            _upgrade(engine)
        elif found != SCHEMA:
            raise ValueError(f"{name} is a store of version {found}, this is a prefrl for version {SCHEMA}")
    except BaseException as error:
        engine.dispose()
        if isinstance(error, DBAPIError) and engine.dialect.name == "postgresql":
            raise ValueError(f"{name} cannot hold a store: {str(error.orig).splitlines()[0]}") from None
        raise
    return engine


def check_unused(url: str) -> None:
    """Raises ValueError for the store of another run, and what `opened` raises."""
    engine = opened(url)
    try:
        with engine.connect() as connection:
            if connection.scalar(select(func.count()).select_from(segments)):
                raise ValueError(f"{_name(engine.url)} holds another run: give every run a database of its own")
    finally:
        engine.dispose()


def _engine(url: str | URL) -> Engine:
    if isinstance(url, URL):
        engine = create_engine(url)  # of a file
        event.listen(engine, "connect", _pragmas)
        return engine
    try:
        address = make_url(url)
    except (ArgumentError, ValueError):
        raise ValueError(f"a store is at {EXAMPLE}: this is not such a URL") from None
    if address.drivername not in ("postgresql", "postgres", DRIVER):
        raise ValueError(f"a store is at {EXAMPLE}: {address.drivername} is another kind of database")
    if "@" in (address.host or ""):
        raise ValueError(f"a store is at {EXAMPLE}: write an @ in user or password as %40")
    address = address.set(drivername=DRIVER, query={"connect_timeout": str(REACH), **address.query})
    try:
        engine = create_engine(address, pool_pre_ping=True)  # the server may have been started anew
    except ImportError:
        raise ValueError('PostgreSQL needs psycopg: pip install "prefrl[postgres]"') from None
    event.listen(engine, "handle_error", _told)
    return engine


def _told(trouble: ExceptionContext) -> Unreachable | None:
    """Trouble of the network, for who can wait, in place of SQLAlchemy's own."""
    lost = trouble.is_disconnect or trouble.connection is None
    if trouble.engine is None or trouble.is_pre_ping or not lost:
        return None
    words = " ".join(str(trouble.original_exception).split())
    return Unreachable(f"{_name(trouble.engine.url)} cannot be reached: {words}")


def _name(url: URL) -> str:
    """As it may be told: with stars for the password, and without what follows a `?`, which may be one too."""
    return url.set(drivername=url.get_backend_name(), query={}).render_as_string()


def _upgrade(engine: Engine) -> None:
    """From whatever version the store has, step by step."""
    with writing(engine) as connection:
        found = connection.scalar(select(func.max(mark.c.schema)))  # another process may have been faster
        for version in range(found or SCHEMA, SCHEMA):
            connection.exec_driver_sql(UPGRADES[version])
            connection.execute(insert(mark).values(schema=version + 1))


def sqlite_file(path: Path) -> URL:
    """Where `opened` finds or makes this file; one that is no SQLite database is refused."""
    if path.exists():
        with path.open("rb") as file:
            if file.read(16) not in (b"", b"SQLite format 3\0"):
                raise ValueError(f"{path} is not a prefrl store: choose another folder")
    return URL.create("sqlite", database=str(path))


def _pragmas(connection: sqlite3.Connection, _: object) -> None:
    connection.isolation_level = None  # `writing` begins transactions, not the driver
    # before 3.51.3, a write-ahead log that is reset at the wrong moment loses commits
    # a rollback journal that stays, and is overwritten, saves a fifth of a commit
    journal = "wal" if sqlite3.sqlite_version_info >= (3, 51, 3) else "persist"
    for pragma in (
        f"busy_timeout = {PATIENCE * 1000:.0f}",
        f"journal_mode = {journal}",
        "synchronous = full",
        "foreign_keys = on",
    ):
        connection.execute(f"pragma {pragma}")


def reading(engine: Engine) -> Engine:
    """For single statements, which need no transaction: on a server, that is two journeys fewer."""
    return engine if engine.dialect.name == "sqlite" else engine.execution_options(isolation_level="AUTOCOMMIT")


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A transaction that no other writer overlaps, so that who reads ids in their order misses none."""
    with engine.begin() as connection:
        connection.exec_driver_sql(LOCK[engine.dialect.name])
        yield connection


def put(connection: Connection, table: Table, unique: list[str], rows: list[dict[str, Any]]) -> list[Row[Any]]:
    """The rows of the table that equal `rows` in their `unique` columns, those it lacks inserted first."""
    keys = [tuple(row[name] for name in unique) for row in rows]
    found = find(connection, table, unique, keys)
    missing = {key: row for key, row in zip(reversed(keys), reversed(rows), strict=True) if key not in found}
    if missing:
        connection.execute(insert(table), [missing[key] for key in dict.fromkeys(keys) if key in missing])
        found |= find(connection, table, unique, list(missing))
    return [found[key] for key in keys]


def find(connection: Connection, table: Table, unique: list[str], keys: list[Key]) -> dict[Key, Row[Any]]:
    """The rows with these values in the `unique` columns; large columns are left where they are."""
    small = [column for column in table.c if not isinstance(column.type, LargeBinary)]
    columns = tuple_(*(table.c[name] for name in unique))
    found = {}
    for start in range(0, len(keys), BATCH):
        for row in connection.execute(select(*small).where(columns.in_(keys[start : start + BATCH]))):
            found[tuple(row._mapping[name] for name in unique)] = row
    return found
