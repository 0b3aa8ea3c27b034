"""The machines of ordinary users: no home folder, links, options in a URL, limits."""

from __future__ import annotations

import errno
import io
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from harness import home
from harness.errors import DataError
from harness.results.schema import Location
from harness.results.store import Store


def test_no_home_folder_is_a_sentence_where_data_are_needed_and_nothing_elsewhere(cli, monkeypatch):
    monkeypatch.delenv("HARNESS_DATA")
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", lambda number: (_ for _ in ()).throw(KeyError(number)))
    with pytest.raises(DataError, match="set HARNESS_DATA"):
        home.default_home()
    for arguments in (["ls"], ["show", "aspc-table1"], ["validate"]):
        assert cli(*arguments).code == 0
    found = cli("data", "ls")
    assert (found.code, "HARNESS_DATA" in found.err) == (4, True)
    monkeypatch.setenv("HARNESS_DATA", str(Path.cwd()))
    assert cli("data", "ls").code == 0


@pytest.fixture
def stranger():
    """Runs a command line as a user that the system does not know, with nothing in the environment.

    The user may read everything, for Python may lie in another one's home, and write in one folder, which the
    function has as `folder`.
    """
    caps = [f"--{kind}-caps=+dac_read_search" for kind in ("inh", "ambient")]
    user = ["setpriv", "--reuid=54321", "--regid=54321", "--clear-groups", *caps, "env", "-i"]

    def run(*command, **environment):
        given = [f"{name}={value}" for name, value in environment.items()]
        return subprocess.run(
            [*user, "PATH=/usr/bin:/bin", "OMP_NUM_THREADS=1", *given, sys.executable, *map(str, command)],
            cwd=run.folder,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    with tempfile.TemporaryDirectory() as folder:
        run.folder = Path(folder)
        if os.getuid() or not shutil.which("setpriv") or run("-c", "").returncode:
            pytest.skip("only root may become somebody else, by setpriv")
        os.chown(folder, 54321, 54321)
        yield run


def test_a_user_whom_the_system_does_not_know(stranger):
    refused = stranger("-m", "harness", "data", "ls")
    assert (refused.returncode, refused.stdout) == (4, "")
    assert refused.stderr == (
        "error: there is no home folder to keep data in; set HARNESS_DATA to a folder, or HOME\n"
    )
    asked = ["-m", "harness", "data", "build", "maze2d-umaze-v1", "--transitions", "300"]
    built = stranger(*asked, HARNESS_DATA="kept")
    assert built.returncode == 0, built.stderr
    assert (stranger.folder / built.stdout.strip()).is_file()
    assert [file.name for file in stranger.folder.iterdir()] == ["kept"]


@pytest.fixture
def only_read(monkeypatch):
    """Nothing can be written below the given folder, whoever tries."""

    def forbid(folder):
        real = os.open

        def open_(path, flags, *arguments, **keywords):
            if flags & (os.O_WRONLY | os.O_RDWR) and Path(os.fsdecode(path)).is_relative_to(folder):
                raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)
            return real(path, flags, *arguments, **keywords)

        real_io = io.open

        def open_io(file, mode="r", *arguments, **keywords):
            if not isinstance(file, int) and set(mode) & set("wax+") and Path(file).is_relative_to(folder):
                raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(file))
            return real_io(file, mode, *arguments, **keywords)

        monkeypatch.setattr(os, "open", open_)
        monkeypatch.setattr(io, "open", open_io)

    return forbid


def test_a_data_folder_that_is_only_read_is_used(cli, elsewhere, only_read):
    name, folder = "maze2d-umaze-v1", elsewhere / "data"
    built = cli("data", "build", name, "--transitions", "300", "--no-minari")
    card = next(folder.rglob("*.md"))
    card.write_text("of an older version")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    only_read(folder)
    doctor = cli("doctor")
    assert doctor.code == 0
    assert f"warn  data folder         {folder} cannot be written: Read-only file system" in doctor.out
    again = cli("data", "build", name, "--transitions", "300", "--no-minari")
    assert (again.code, again.out) == (0, built.out)
    assert cli("data", "show", name, "--transitions", "300").code == 0
    assert before == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    refused = cli("data", "build", name, "--transitions", "301", "--no-minari")
    assert refused.code == 4
    assert "Read-only file system" in refused.err
    assert "Traceback" not in refused.err


@pytest.mark.parametrize("home", [None, "/proc/nothing", "file", "unreadable"])
def test_a_data_folder_that_cannot_be_had_fails(cli, elsewhere, monkeypatch, home):
    (elsewhere / "file").touch()
    if home is None:
        monkeypatch.delenv("HARNESS_DATA")
        monkeypatch.delenv("HOME")
        monkeypatch.setattr("pwd.getpwuid", lambda number: (_ for _ in ()).throw(KeyError(number)))
    else:
        monkeypatch.setenv("HARNESS_DATA", str(elsewhere / home))
    if home == "unreadable":
        folder, listed = elsewhere / home, Path.iterdir
        folder.mkdir()

        def iterdir(self):
            if self == folder:
                raise PermissionError(errno.EACCES, "Permission denied")
            return listed(self)

        monkeypatch.setattr(Path, "iterdir", iterdir)
    found = cli("doctor")
    assert found.code == 4
    assert "FAIL  data folder" in found.out
    assert "HARNESS_DATA" in found.out


def test_what_belongs_to_a_linked_database_lies_beside_the_file(elsewhere, record_of):
    (elsewhere / "disk").mkdir()
    (elsewhere / "disk" / "real.db").touch()
    link = elsewhere / "results.db"
    link.symlink_to(elsewhere / "disk" / "real.db")
    with Store.open(link, create=True) as store:
        store.register([record_of(0)])
        assert (elsewhere / "disk" / "real.db-wal").exists()
        assert not (elsewhere / "results.db-wal").exists()
        assert store.location.folder("checkpoints") == elsewhere / "disk" / "real.checkpoints"
        os.chmod(elsewhere, 0o555)  # noqa: PTH101 - where a link lies need not be writable
        try:
            with Store.open(link) as again:
                assert again.count() == 1
        finally:
            os.chmod(elsewhere, 0o755)  # noqa: PTH101


def test_a_url_that_says_read_only_is_not_written(elsewhere, cli, record_of):
    url = f"sqlite:///{elsewhere}/results.db?mode=ro"
    assert cli("reproduce", "aspc-table1", "--preset", "smoke", "--db", url, "--device", "cpu").code == 4
    assert not (elsewhere / "results.db").exists()
    with Store.open("results.db", create=True) as store:
        store.register([record_of(0)])
    with Store.open(url) as store:
        assert store.count() == 1
        with pytest.raises(DataError, match="mode=ro"):
            store.register([record_of(1)])
    assert cli("status", "--db", url.replace("mode=ro", "vfs=evil")).code == 4
    assert Location.parse(f"sqlite:///file:{elsewhere}/results.db?mode=ro&uri=true").path == Path(
        elsewhere / "results.db"
    )


@pytest.mark.parametrize("db", ["x" * 300, "sub/" * 2000 + "r.db", "/proc/nothing/r.db", "\0"])
def test_paths_that_the_system_refuses_are_a_sentence(cli, db):
    for arguments in (["status"], ["db", "merge", "other.db"]):
        result = cli(*arguments, "--db", db)
        assert result.code == 4, result
        assert "Traceback" not in result.err


@pytest.mark.parametrize("arguments", [["status"], ["table", "aspc-table1"], ["db", "merge", "pipe"]])
def test_a_pipe_is_not_waited_for(cli, elsewhere, arguments):
    os.mkfifo(elsewhere / "pipe")
    result = cli(*arguments, *([] if "merge" in arguments else ["--db", "pipe"]))
    assert (result.code, "pipe is no regular file" in result.err) == (4, True)


def test_links_that_lead_in_a_circle_are_a_sentence(cli, elsewhere, scores):
    (elsewhere / "specs" / "presets").mkdir(parents=True)
    for link in ("circle", "specs/presets/circle.yaml"):
        (elsewhere / link).symlink_to(Path(link).name)
    for arguments in (
        ["report", "aspc-table1", "-o", "circle"],
        ["db", "import", "circle", "--table", "aspc-table1"],
        ["db", "check", "--db", "circle"],
        ["--specs", "circle", "ls"],
        ["--specs", "specs", "plan", "aspc-table1", "--preset", "circle"],
    ):
        result = cli(*arguments)
        assert (result.code in (2, 4), "Traceback" in result.err) == (True, False), result


def test_a_folder_of_specs_that_may_not_be_read_is_not_taken_for_an_empty_one(cli, elsewhere, monkeypatch):
    (elsewhere / "specs" / "tables").mkdir(parents=True)
    iterdir = Path.iterdir

    def refusing(folder):
        if folder == Path("specs/tables"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))
        return iterdir(folder)

    monkeypatch.setattr(Path, "iterdir", refusing)
    result = cli("--specs", "specs", "ls")
    assert (result.code, "Permission denied: specs/tables" in result.err) == (4, True)


@pytest.mark.parametrize("steps", [10**23, 10**12])
def test_no_run_is_longer_than_any_could_be(cli, steps):
    result = cli("plan", "aspc-table1", "--steps", steps)
    assert (result.code, "1,000,000" in result.err) == (2, True)


def test_seeds_may_have_ten_digits(cli):
    assert cli("plan", "aspc-table1", "--seeds", "1234567890").code == 0


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (sqlite3.SQLITE_IOERR_LOCK, "lacks locks"),
        (sqlite3.SQLITE_PROTOCOL, "lacks locks"),
        (sqlite3.SQLITE_READONLY_DBMOVED, "may not be written"),
        (sqlite3.SQLITE_CORRUPT_INDEX, "is damaged"),
        (sqlite3.SQLITE_FULL, "disk is full"),
        (None, "not as this program writes"),
    ],
)
def test_refusals_of_sqlite_are_told_apart_by_their_codes(code, said):
    from harness.results.schema import _explain

    assert said in str(_explain(Path("r.db"), "some words", code))


@pytest.fixture
def record_of():
    from harness.results.records import RunRecord, canonical, digest, run_key

    configuration = {"algorithm": "a", "dataset": {"id": "d", "lineage": "d4rl"}}
    text = canonical(configuration)
    return lambda seed: RunRecord(run_key(text, seed), digest(configuration), configuration, seed)


def test_a_working_folder_that_is_gone_is_a_sentence(cli, elsewhere, monkeypatch):
    Store.open(elsewhere / "results.db", create=True).close()
    gone = elsewhere / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    result = cli("table", "aspc-table1", "--db", "../results.db")
    assert (result.code, result.err) == (
        4,
        "error: the working folder is gone; change to one that is there and run again\n",
    )


def test_a_file_that_ends_too_early_is_no_refused_answer(cli, monkeypatch):
    def ends(*_):
        raise EOFError("marshal data too short")

    monkeypatch.setattr("harness.specs.Specs.ids", ends)
    result = cli("ls", "tables")
    assert result.code == 70
    assert "marshal data too short" in result.err
    assert "Aborted" not in result.err
