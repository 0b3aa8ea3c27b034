import shutil
import sqlite3
import subprocess
import sys

import pytest
from sqlalchemy import create_engine

from harness.errors import DataError, SchemaError
from harness.results import models, schema
from harness.results.models import Base
from harness.results.store import Store


def test_models_and_migrations_agree(database, store, tmp_path):
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext
    from alembic.script import ScriptDirectory

    with store.reading() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
    assert ScriptDirectory.from_config(schema._alembic()).get_current_head() == models.SCHEMA_VERSION

    # Alembic does not compare checks, names of keys and row ids, the schema's text does.
    Base.metadata.create_all(create_engine(f"sqlite:///{tmp_path / 'models.db'}"))

    def text(path):
        query = "SELECT name, sql FROM sqlite_master WHERE sql NOT NULL AND name <> 'alembic_version'"
        with sqlite3.connect(path) as connection:
            return {
                name: sorted(line.strip(" ,\t") for line in sql.splitlines())
                for name, sql in connection.execute(query)
            }

    assert text(database) == text(tmp_path / "models.db")


def test_pragmas(store):
    with store.writing() as connection:
        values = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "synchronous", "busy_timeout", "foreign_keys")
        }
    assert values == {"journal_mode": "wal", "synchronous": 2, "busy_timeout": 60000, "foreign_keys": 1}


def test_opening_needs_neither_alembic_nor_torch(database, store):
    code = (
        "import sys; from harness.results.store import Store; Store.open(sys.argv[1]).runs();"
        "assert not {'alembic', 'torch', 'numpy', 'scipy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(database)], check=True)


def test_missing_database(database):
    with pytest.raises(SchemaError) as caught:
        Store.open(database)
    assert str(caught.value) == (
        f"no results database at {database}; run `harness reproduce TABLE` or give another by --db"
    )
    assert not database.exists()


def test_an_empty_file_is_no_database_yet(database):
    database.touch()
    with pytest.raises(SchemaError, match="no results database"):
        Store.open(database)
    with Store.open(database, create=True) as store:
        assert store.runs() == {}


def test_creation_makes_folders_and_accepts_odd_names(tmp_path):
    path = tmp_path / "new" / "r?s #1 100%20'é.db"
    with Store.open(path, create=True):
        pass
    with Store.open(f"sqlite:///{path.parent}/plain.db", create=True):
        pass
    assert sorted(p.name for p in path.parent.iterdir()) == ["plain.db", path.name]


@pytest.mark.parametrize("create", [False, True])
def test_what_is_no_database_is_left_alone(tmp_path, create):
    text = tmp_path / "notes.txt"
    text.write_text("dataset,algorithm\n" * 100)
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE run (id)")
    for path, message in (
        (tmp_path, "is a directory"),
        (text, "is not a SQLite database"),
        (other, "not one of harness"),
        (text / "below.db", "notes.txt"),
    ):
        with pytest.raises((SchemaError, DataError), match=message):
            Store.open(path, create=create)
    assert text.read_text().startswith("dataset")
    assert not other.with_name("other.db-wal").exists()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("sqlite://", "in memory"),
        ("sqlite:///:memory:", "in memory"),
        ("nosuch://host/results", "SQLite file or PostgreSQL"),
        ("://", "neither a path nor"),
    ],
)
def test_odd_urls(url, message):
    with pytest.raises(SchemaError, match=message):
        Store.open(url)


def test_a_damaged_database(database, store):
    store.close()
    content = bytearray(database.read_bytes())
    content[100:] = b"\xff" * (len(content) - 100)
    database.write_bytes(content)
    with pytest.raises(DataError, match="damaged"):
        Store.open(database)


def test_reading_changes_no_byte(database, store, record, train, tmp_path):
    train(store, record(), {5: [1.0]})
    shipped = tmp_path / "shipped" / "results.db"
    shipped.parent.mkdir()
    schema.copy_sqlite(database, shipped)
    before = shipped.read_bytes()
    with Store.open(shipped, create=True) as reader:
        assert len(reader.evaluations([record().key])[record().key]) == 1
        assert reader.check() == []
    assert shipped.read_bytes() == before
    assert [path.name for path in shipped.parent.iterdir()] == ["results.db"]


def test_a_read_only_database_can_be_read_and_says_so_when_written(database, store, record, monkeypatch):
    store.register([record()])
    store.close()
    # Root may write everything, so the rights are denied here rather than on disk.
    monkeypatch.setattr(schema.os, "access", lambda path, mode: False)
    with Store.open(database) as reader:
        assert list(reader.runs()) == [record().key]
    original = schema.connect_sqlite
    monkeypatch.setattr(schema, "connect_sqlite", lambda path, writing: original(path, writing=False))
    with Store.open(database) as reader, pytest.raises(DataError, match=r"results\.db may not be written"):
        reader.register([record(1)])


def test_another_schema_version(database, store):
    store.close()
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(SchemaError) as caught:
        Store.open(database)
    assert str(caught.value) == (
        f"{database} has schema version 9999 and this program needs {models.SCHEMA_VERSION}; "
        f"run harness db upgrade --db {database}"
    )
    with pytest.raises(SchemaError, match=r"has schema version 9999, which this program .* does not know"):
        schema.upgrade(database)


def test_upgrade_keeps_a_copy_and_all_rows(database, store, record, train, tmp_path, monkeypatch):
    train(store, record(), {5: [1.0]})
    store.close()
    assert str(schema.upgrade(database)).startswith("already at schema version")

    migrations = tmp_path / "100% migrations"
    shutil.copytree(schema.MIGRATIONS, migrations)
    (migrations / "versions" / "0003_note.py").write_text(
        "import sqlalchemy as sa\nfrom alembic import op\nrevision = '0003'\ndown_revision = '0002'\n"
        "def upgrade():\n"
        "    with op.batch_alter_table('run', recreate='always') as batch:\n"
        "        batch.add_column(sa.Column('note', sa.Text()))\n"
    )
    monkeypatch.setattr(schema, "MIGRATIONS", migrations)
    monkeypatch.setattr(schema, "SCHEMA_VERSION", "0003")
    with pytest.raises(SchemaError, match="run harness db upgrade"):
        Store.open(database)
    done = schema.upgrade(database)
    backup = database.with_name("results.db.bak-0002")
    assert str(done) == (
        f"upgraded from schema version 0002 to 0003; the database as it was is kept as {backup}"
    )
    with Store.open(database) as store:
        assert len(store.evaluations([record().key])[record().key]) == 1
        assert store.check() == []
    assert schema.current_version(schema.Location.parse(backup)) == "0002"


def test_a_failed_upgrade_changes_nothing(database, store, tmp_path, monkeypatch):
    store.close()
    migrations = tmp_path / "migrations"
    shutil.copytree(schema.MIGRATIONS, migrations)
    (migrations / "versions" / "0003_bad.py").write_text(
        "from alembic import op\nrevision = '0003'\ndown_revision = '0002'\n"
        "def upgrade():\n    op.drop_table('metric')\n    raise RuntimeError('power cut')\n"
    )
    monkeypatch.setattr(schema, "MIGRATIONS", migrations)
    monkeypatch.setattr(schema, "SCHEMA_VERSION", "0003")
    with pytest.raises(RuntimeError, match="power cut"):
        schema.upgrade(database)
    assert schema.current_version(schema.Location.parse(database)) == "0002"
    with sqlite3.connect(database) as connection:
        connection.execute("SELECT count(*) FROM metric")


def test_upgrading_nothing(database):
    with pytest.raises(SchemaError, match="nothing to upgrade"):
        schema.upgrade(database)
