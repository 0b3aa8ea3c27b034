"""The password of a database's or a mirror's URL is nowhere shown and nowhere stored."""

from __future__ import annotations

import subprocess
import sys

import pytest
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite

from harness.datasets.download import Retry, download
from harness.errors import DataError, masked
from harness.planning.cells import resolve
from harness.planning.choice import Choice
from harness.results.store import Store
from harness.specs import Specs

PASSWORD = "hunter2"


class Dialect(SQLiteDialect_pysqlite):
    """SQLite behind a URL like a server's."""

    supports_statement_cache = True

    def create_connect_args(self, url):
        return [url.database], {"timeout": 30}

    def on_connect(self):
        usual = super().on_connect()

        def made(connection):
            usual(connection)
            connection.create_function("pg_advisory_xact_lock", -1, lambda *_: None)

        return made


@pytest.fixture
def server(elsewhere, monkeypatch, cli, scores):
    """The URL of a database with some scores, as HARNESS_DB says it."""
    registry.register("postgresql.walled", __name__, "Dialect")
    url = f"postgresql+walled://user:{PASSWORD}@host/{elsewhere / 'walled.db'}"
    monkeypatch.setenv("HARNESS_DB", url)
    assert cli("db", "import", scores(), "--table", "aspc-table1").code == 0
    return url


VERBS = [
    "plan aspc-table1 --json",
    "plan aspc-table1",
    "reproduce aspc-table1 --dry-run",
    "status",
    "status aspc-table1 --json",
    "retry aspc-table1",
    "table aspc-table1",
    "table aspc-table1 --datasets pen-*",
    "diff aspc-table1 --datasets pen-*",
    "stats aspc-table1",
    "stats aspc-table1 --datasets pen-*",
    "metrics aspc-table1",
    "metrics aspc-table1 alpha",
    "report aspc-table1 --datasets hopper-medium-*",
    "drift aspc-table1",
    "drift aspc-table1 --baseline URL",
    "accept aspc-table1 --reason x",
    "accept aspc-table1 --reason x --baseline URL",
    "doctor",
    "db check",
    "db upgrade",
    "db backup copy.db",
    "db export all.csv",
    "db export all.json",
    "db export all.db",
    "db merge URL",
    "db merge nowhere://user:hunter2@host/x",
    "db merge postgresql://user:hunter2@host:port/x",
]


@pytest.mark.parametrize("line", VERBS)
def test_no_verb_shows_or_writes_the_password(cli, server, elsewhere, line):
    result = cli(*line.replace("URL", server).split())
    assert result.code != 70
    assert PASSWORD not in result.out + result.err
    assert result.out + result.err
    for file in elsewhere.rglob("*"):
        assert not file.is_file() or PASSWORD.encode() not in file.read_bytes(), file


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://u:p@h/d", "postgresql://u:***@h/d"),
        ("'postgresql+psycopg://u:p/w:x@y@h:5432/d'", "'postgresql+psycopg://u:***@h:5432/d'"),
        ("http://:p@h/a and ftp://u:q@i", "http://:***@h/a and ftp://u:***@i"),
        ('["a://u:p@h","b://v:q@i"]', '["a://u:***@h","b://v:***@i"]'),
        ("x://h/d?sslpassword=p&a=b&access_token=q c", "x://h/d?sslpassword=***&a=b&access_token=*** c"),
        ("'host=h password=p sslpassword = q'", "'host=h password=*** sslpassword = ***'"),
        ("postgresql://u:my p@h/d", "postgresql://u:***@h/d"),
        ("postgresql://u:p%40ss%2Fw@h/d", "postgresql://u:***@h/d"),
        ("host=h password='p q' a='b'", "host=h password=*** a='b'"),
        ("PGPASSWORD=p harness", "PGPASSWORD=*** harness"),
        ("http://h:8000 (Ctrl-C ends it); y@z", "http://h:8000 (Ctrl-C ends it); y@z"),
        ("https://h:8000/a?b=c", "https://h:8000/a?b=c"),
        ("a: b@c, x://y and z@w", "a: b@c, x://y and z@w"),
        ("/a:b@c", "/a:b@c"),
        ("looked at ftp:/u:p@h/x.npz", "looked at ftp:/u:***@h/x.npz"),  # taken for a path
        ("http:/u:p@h/d:1:1: no such folder", "http:/u:***@h/d:1:1: no such folder"),
        ("cannot download http://h/x?token=p: refused", "cannot download http://h/x?token=***: refused"),
    ],
)
def test_what_is_masked(text, shown):
    assert masked(text) == shown
    assert masked(shown) == shown


def test_streams_mask_what_others_write():
    script = (
        "from harness import streams; streams.settle(); import sys\n"
        "print('a://u:hunter2@h')\nraise ValueError('b://u:hunter2@h')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout == "a://u:***@h\n"
    assert "ValueError: b://u:***@h" in done.stderr


def test_a_mirror_that_fails(elsewhere):
    url = f"http://user:{PASSWORD}@127.0.0.1:1/file"
    said = []
    with pytest.raises(DataError) as caught:
        download([url, url], elsewhere / "file", say=said.append, retry=Retry(attempts=1))
    assert "user:***@" in str(caught.value)
    assert PASSWORD not in str(caught.value)


def test_a_stored_traceback(elsewhere):
    cells = resolve(
        Specs(), "aspc-table1", Choice(datasets=("hopper-medium-v2",), algorithms=("aspc",))
    ).cells
    with Store.open("results.db", create=True) as store:
        store.register(cells[0].runs)
        [key] = store.claim([cells[0].runs[0].key])
        store.fail(key, 1, f"Traceback\nOperationalError: x://user:{PASSWORD}@host")
        assert store.runs([key])[key].error == "Traceback\nOperationalError: x://user:***@host"
    assert PASSWORD.encode() not in (elsewhere / "results.db").read_bytes()
