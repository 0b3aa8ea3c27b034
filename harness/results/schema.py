"""Opening, creating, upgrading and copying databases: everything about them but their rows."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, QueuePool, create_engine, event, inspect, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, NoSuchModuleError, OperationalError

from harness import files, streams
from harness.errors import DataError, HarnessError, SchemaError
from harness.escaping import terminal
from harness.home import default_home, expanded
from harness.results.models import SCHEMA_VERSION, Base
from harness.results.records import canonical

T = TypeVar("T")

#: Seconds that SQLite waits for another process's transaction.
BUSY_SECONDS = 60.0
#: Seconds for which a server may leave an attempt to connect unanswered.
CONNECT_SECONDS = 15
#: Seconds for which a server that does not answer is asked again where a database is opened.
OPEN_SECONDS = 20.0
MIGRATIONS = Path(__file__).parent / "migrations"

_HEADER = b"SQLite format 3\0"
_CREATION = 0x6861726E657373  # the lock under which a server's tables are made: 'harness'


@dataclass(frozen=True)
class Location:
    """Where a database is.

    Attributes:
        url: SQLAlchemy's URL.
        path: the file, if it is SQLite.
        read_only: whether the URL says that it may not be written.
    """

    url: URL
    path: Path | None
    read_only: bool = False

    @classmethod
    def parse(cls, url: str | Path) -> Location:
        """Understand a path or an SQLAlchemy URL.

        Raises:
            SchemaError: it is neither, or names a database that lives in memory.
        """
        if "\0" in str(url):
            raise SchemaError(f"{str(url)!r} is no path: it holds a NUL")
        if isinstance(url, Path) or "://" not in url:
            path = expanded(url)
            return cls(URL.create("sqlite", database=str(path)), path)
        try:
            parsed = make_url(url)
        except (ArgumentError, ValueError) as error:  # the latter where the port is no number
            raise SchemaError(f"{url!r} is neither a path nor a database URL") from error
        backend = parsed.get_backend_name()
        if backend == "postgresql":
            # psycopg is what this program installs; who names another driver gets that
            plain = parsed.drivername == backend
            return cls(parsed.set(drivername="postgresql+psycopg") if plain else parsed, None)
        if backend != "sqlite":
            raise SchemaError(
                f"a {backend} database cannot hold results; give a SQLite file or PostgreSQL's URL"
            )
        if parsed.database in (None, "", ":memory:"):
            raise SchemaError(
                "a results database is a file; one in memory would be lost, give a path by --db"
            )
        options = dict(parsed.query)
        mode = options.pop("mode", "rw")
        options.pop("uri", None)
        if options or mode not in ("ro", "rw", "rwc"):
            raise SchemaError(f"{url!r}: of a SQLite URL's options only mode=ro, rw and rwc are known here")
        return cls(parsed, Path((parsed.database or "").removeprefix("file:")), mode == "ro")

    @property
    def address(self) -> str | Path:
        """What opens it, its password included: not to be shown."""
        return self.path or self.url.render_as_string(hide_password=False)

    def folder(self, kind: str, home: Path | None = None) -> Path:
        """Where the database's files of a kind lie: beside a SQLite file, else in the data folder.

        Args:
            kind: 'checkpoints' or 'artefacts'.
            home: data folder, None for the default.
        """
        if self.path is not None:
            path = files.real(self.path)
            return path.with_name(f"{path.stem}.{kind}")
        return (home or default_home()) / kind / quote(self.url.database or "", safe="")

    def __str__(self) -> str:
        return str(self.path) if self.path else self.url.render_as_string(hide_password=True)


def engine(location: Location, *, writing: bool, foreign_keys: bool = True) -> Engine:
    """An engine whose transactions are `BEGIN IMMEDIATE` on SQLite if they are for writing.

    A reading engine leaves a SQLite file as it is, byte for byte, and reads files it may not write; only a
    writing one switches the file to write-ahead logging. Neither makes a file that is not there.

    Raises:
        SchemaError: the URL needs a driver that is not installed.
    """
    path = location.path
    if path is None:
        try:
            # a connection that a firewall or a failover has closed is replaced before it is used; a firewall
            # that drops what comes would be waited for as long as the system pleases
            psycopg = "psycopg" in location.url.drivername and "connect_timeout" not in location.url.query
            patience: dict[str, Any] = {"connect_timeout": CONNECT_SECONDS} if psycopg else {}
            return create_engine(
                location.url, json_serializer=canonical, pool_pre_ping=True, connect_args=patience
            )
        except (ModuleNotFoundError, NoSuchModuleError) as error:
            raise SchemaError(f"cannot open {location}: {error}; install that database's driver") from error

    def connect() -> sqlite3.Connection:
        if writing and location.read_only:
            raise DataError(f"{location} may not be written: its URL says mode=ro")
        connection = connect_sqlite(path, writing=writing)
        if foreign_keys:
            connection.execute("PRAGMA foreign_keys=ON")
        if writing:
            connection.execute("PRAGMA synchronous=FULL")
            # write-ahead logging needs memory that all processes share, which those of two machines do not;
            # the switch needs the file for itself
            mode = "DELETE" if files.network_file_system(path) else "WAL"
            _execute_when_free(connection, f"PRAGMA journal_mode={mode}")
        return connection

    made = create_engine("sqlite://", creator=connect, poolclass=QueuePool, json_serializer=canonical)
    others = False

    @event.listens_for(made, "begin")
    def begin(connection: Connection) -> None:
        nonlocal others
        driver = connection.connection.driver_connection
        assert isinstance(driver, sqlite3.Connection)  # noqa: S101 - see above
        others = _execute_when_free(driver, "BEGIN IMMEDIATE" if writing else "BEGIN", others=others)

    return made


def connect_sqlite(path: Path, *, writing: bool) -> sqlite3.Connection:
    """A connection in autocommit mode to a file that exists; reads a file that may not be written."""
    path = files.real(path)  # what belongs to a link's target lies beside that
    query = "mode=rw"
    wal = path.with_name(path.name + "-wal")
    if (
        not writing
        and not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK))
        and not wal.exists()
    ):
        # Without the right to make the -shm file beside it, SQLite reads a write-ahead database only if
        # told that nobody writes it.
        query = "mode=ro&immutable=1"
    return sqlite3.connect(
        f"{path.as_uri()}?{query}",
        uri=True,
        timeout=BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
    )


def _execute_when_free(connection: sqlite3.Connection, statement: str, *, others: bool = False) -> bool:
    """Execute what may have to wait for other processes' transactions.

    SQLite itself looks ever more rarely, ten times a second in the end, so that of many writers the one that
    has just committed is mostly the next again and some never are. Looking at random moments is fair, if that
    one, too, looks no sooner: on a busy machine it alone is awake when its transaction ends. Who has waited
    for long looks more often.

    Args:
        connection: in autocommit mode.
        statement: what takes the lock.
        others: whether others were in the way the last time.

    Returns:
        Whether others were in the way.

    Raises:
        sqlite3.OperationalError: after `BUSY_SECONDS`.
    """
    began = time.monotonic()
    connection.execute("PRAGMA busy_timeout=0")
    pause, others = others, False
    try:
        while True:
            waited = time.monotonic() - began
            if pause:
                time.sleep(random.uniform(0.001, 0.05) / (1 + waited))  # noqa: S311 - no secret
            try:
                connection.execute(statement).fetchall()
                return others
            except sqlite3.OperationalError as error:
                busy = error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
                if not busy or waited > BUSY_SECONDS:
                    raise
            pause = others = True
    finally:
        connection.execute(f"PRAGMA busy_timeout={BUSY_SECONDS * 1000:.0f}")


class ConnectionLostError(DataError):
    """A server that does not answer, or closed a connection; it may answer again."""


def say(text: str) -> None:
    """Tell a person, on stderr."""
    streams.said().write(f"{terminal(text)}\n")


def answered(ask: Callable[[], T], seconds: float, tell: Callable[[str], None]) -> T:
    """What a function gives, called again and again where the connection was lost.

    Args:
        ask: the function.
        seconds: for which it is called again at most.
        tell: told once that this is done.

    Raises:
        ConnectionLostError: the server did not answer for so long.
    """
    wait, deadline = 0.1, 0.0
    while True:
        try:
            return ask()
        except ConnectionLostError as error:
            if not deadline:
                deadline = time.monotonic() + seconds
                tell(f"{error}; trying again for up to {seconds:g} s")
            if time.monotonic() + wait > deadline:
                raise
            time.sleep(wait)
            wait = min(2 * wait, 5.0)


@contextlib.contextmanager
def explained(place: Location | Path) -> Iterator[None]:
    """Turn the database's refusals that a user can mend into one clear sentence.

    Args:
        place: the database.

    Raises:
        HarnessError: another process held the database for too long.
        ConnectionLostError: the server does not answer, or gave up the transaction for another's sake.
        DataError: the file is read-only, damaged or cannot be opened, the disk is full, or what is asked of
            the database is not there.
    """
    try:
        yield
    except (DBAPIError, sqlite3.Error) as error:
        cause = (error.orig or error) if isinstance(error, DBAPIError) else error
        message = (str(cause).strip().splitlines() or [type(cause).__name__])[0]
        if isinstance(cause, sqlite3.Error):
            path = place if isinstance(place, Path) else place.path
            assert path is not None  # noqa: S101 - SQLite is a file
            raise _explain(path, message, getattr(cause, "sqlite_errorcode", None)) from error
        if isinstance(error, OperationalError | InterfaceError):
            raise ConnectionLostError(f"the database {place} does not answer: {message}") from error
        raise DataError(f"the database {place} refuses: {message}") from error


def _explain(name: Path, message: str, code: int | None) -> HarnessError:
    busy = DataError(
        f"{name} was locked by another process for more than {BUSY_SECONDS:g} s; try again when that process "
        "is done"
    )
    no_locks = DataError(
        f"{name} cannot be locked: its file system lacks locks; keep the database on another"
    )
    known = {
        sqlite3.SQLITE_BUSY: busy,
        sqlite3.SQLITE_LOCKED: busy,
        sqlite3.SQLITE_PROTOCOL: no_locks,
        sqlite3.SQLITE_IOERR_LOCK: no_locks,
        sqlite3.SQLITE_IOERR_RDLOCK: no_locks,
        sqlite3.SQLITE_IOERR_SHMLOCK: no_locks,
        sqlite3.SQLITE_IOERR_SHMMAP: no_locks,
        sqlite3.SQLITE_READONLY: DataError(
            f"{name} may not be written; make it writable, or give another by --db"
        ),
        sqlite3.SQLITE_FULL: DataError(f"the disk is full: {name} could not grow; free space and run again"),
        sqlite3.SQLITE_IOERR: DataError(
            f"the disk failed while using {name}; check the disk, then harness db check"
        ),
        sqlite3.SQLITE_CORRUPT: DataError(f"{name} is damaged; run harness db check, or restore a backup"),
        sqlite3.SQLITE_NOTADB: DataError(f"{name} is damaged or no SQLite database; restore a backup"),
        sqlite3.SQLITE_CANTOPEN: DataError(
            f"{name} cannot be opened; check that it and its folder may be read"
        ),
    }
    other = DataError(f"{name} is not as this program writes databases ({message}); run harness db check")
    found = other if code is None else known.get(code) or known.get(code & 0xFF, other)  # or of its kind
    # SQLite says that it is busy where the system says that there are no locks, too
    return no_locks if found is busy and _lacks_locks(name.parent) else found


def _lacks_locks(folder: Path) -> bool:
    """Whether a folder's file system is known to lack the locks that SQLite needs."""
    import fcntl  # not on Windows

    try:
        # not the database: to close it would give up the locks that this process holds
        with tempfile.TemporaryFile(dir=folder) as file:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
    return False


def ensure(location: Location, *, create: bool, command: str = "harness reproduce TABLE") -> None:
    """Make sure that a database of this program's schema version is there.

    Args:
        location: the database.
        create: whether to create one where there is none. Any number of processes may do so at once.
        command: what would create one, for advice.

    Raises:
        SchemaError: there is none, it is of another version, or it is something else.
        DataError: it cannot be used, see `explained`.
    """
    version = current_version(location)
    if version is None and create and not location.read_only:
        _create(location)
        version = current_version(location)
    if version is None:
        raise SchemaError(f"no results database at {location}; run `{command}` or give another by --db")
    if version != SCHEMA_VERSION:
        raise SchemaError(
            f"{location} has schema version {version} and this program needs {SCHEMA_VERSION}; "
            f"run harness db upgrade --db {location}"
        )


def current_version(location: Location) -> str | None:
    """The schema version of a database; None where there is none, or an empty one.

    Raises:
        SchemaError: it is a directory, no SQLite file, or another program's database.
        DataError: it cannot be read.
    """
    if location.path is not None and not _holds_sqlite(location.path):
        return None
    made = engine(location, writing=False)

    def look() -> str | None:
        with explained(location), made.connect() as connection:
            return _version(connection, location)

    try:
        return answered(look, OPEN_SECONDS, say)
    finally:
        made.dispose()


def _version(connection: Connection, location: Location) -> str | None:
    inspector = inspect(connection)
    there = {*inspector.get_table_names(), *inspector.get_view_names()}
    if "alembic_version" in there and there & Base.metadata.tables.keys():
        versions = connection.execute(text("SELECT version_num FROM alembic_version")).scalars().all()
        if len(versions) == 1:
            return str(versions[0])
    if there:
        raise SchemaError(f"{location} is a database, but not one of harness; give another by --db")
    return None


def _holds_sqlite(path: Path) -> bool:
    try:
        if not path.is_file():  # a pipe would never answer
            if not path.exists():
                return False
            what = "a directory" if path.is_dir() else "no regular file"
            raise SchemaError(f"{path} is {what}; give the path of a results database")
        with path.open("rb") as file:
            header = file.read(len(_HEADER))
    except FileNotFoundError:
        return False
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    if header and header != _HEADER:
        raise SchemaError(f"{path} is not a SQLite database; give the path of a results database")
    return bool(header)


def _create(location: Location) -> None:
    if location.path is not None:
        try:
            location.path.parent.mkdir(parents=True, exist_ok=True)
            location.path.touch()
        except OSError as error:
            raise DataError(f"{location} cannot be created: {error.strerror}") from error
    made = engine(location, writing=True, foreign_keys=False)

    def fill() -> None:
        # One transaction holds all migrations: others wait for it and then find the tables, and a kill
        # leaves nothing half made.
        with explained(location), made.begin() as connection:
            if location.path is None:
                connection.execute(text(f"SELECT pg_advisory_xact_lock({_CREATION})"))
            if _version(connection, location) is None:
                _migrate(connection)

    try:
        answered(fill, OPEN_SECONDS, say)
    finally:
        made.dispose()


def _migrate(connection: Connection) -> None:
    from alembic import command

    command.upgrade(_alembic(connection), "head")


def _alembic(connection: Connection | None = None) -> Any:
    from alembic.config import Config

    config = Config()
    # Alembic reads the option with interpolation of percent signs
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


@dataclass(frozen=True)
class Upgrade:
    """What `upgrade` did: schema versions before and after, and the copy made first (SQLite only)."""

    before: str
    after: str
    backup: Path | None

    def __str__(self) -> str:
        if self.before == self.after:
            return f"already at schema version {self.after}; nothing to do"
        kept = f"; the database as it was is kept as {self.backup}" if self.backup else ""
        return f"upgraded from schema version {self.before} to {self.after}{kept}"


def upgrade(url: str | Path) -> Upgrade:
    """Bring a database to this program's schema version, after copying it to ``NAME.bak-VERSION``.

    Args:
        url: path or SQLAlchemy URL.

    Raises:
        SchemaError: there is no database, or a newer program wrote it.
        DataError: it cannot be used, or the copy cannot be made.
    """
    from alembic.script import ScriptDirectory

    location = Location.parse(url)
    before = current_version(location)
    if before is None:
        raise SchemaError(f"no results database at {location}; there is nothing to upgrade")
    if before == SCHEMA_VERSION:
        return Upgrade(before, before, None)
    known = {script.revision for script in ScriptDirectory.from_config(_alembic()).walk_revisions()}
    if before not in known:
        raise SchemaError(
            f"{location} has schema version {before}, which this program (version {SCHEMA_VERSION}) does not "
            f"know; install the newer program that wrote it"
        )
    backup = None
    if location.path is not None:
        backup = location.path.with_name(f"{location.path.name}.bak-{before}")
        copy_sqlite(location.path, backup)
    made = engine(location, writing=True, foreign_keys=False)
    try:
        with explained(location), made.begin() as connection:
            _migrate(connection)
    finally:
        made.dispose()
    return Upgrade(before, SCHEMA_VERSION, backup)


def copy_sqlite(source: Path, target: Path) -> None:
    """Copy a SQLite database that may be in use; the copy is whole or not there.

    Args:
        source: the database.
        target: a path where nothing is yet.

    Raises:
        DataError: something is there already, or the copy cannot be written.
    """
    if target.exists():
        raise DataError(f"{target} exists already and is not overwritten; move it away or give another name")
    if not target.parent.is_dir():
        raise DataError(f"the folder {target.parent} does not exist; make it first")
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        with explained(source), contextlib.closing(connect_sqlite(source, writing=False)) as connection:
            connection.execute("VACUUM INTO ?", (str(partial),))
        files.publish(partial, target)
    except OSError as error:
        raise DataError(f"{target} cannot be written: {error.strerror}") from error
    finally:
        partial.unlink(missing_ok=True)
