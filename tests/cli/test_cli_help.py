from __future__ import annotations

import os
import shlex
import subprocess
import sys

import pytest
import typer

from harness.cli import app
from harness.specs import Specs

GROUPS = {
    "new": ("table", "algorithm", "dataset"),
    "data": (
        *("ls", "pull", "build", "show", "import", "export-minari"),
        *("train", "policies", "verify", "path"),
    ),
    "sources": ("ls", "show", "pull", "check", "publish"),
    "db": ("upgrade", "check", "merge", "import", "export", "backup", "serve"),
}
ALONE = (
    "ls",
    "show",
    "validate",
    "audit",
    "plan",
    "reproduce",
    "work",
    "status",
    "retry",
    "table",
    "figure",
    "report",
    "cite",
    "stats",
    "metrics",
    "diff",
    "drift",
    "accept",
    "doctor",
)
VERBS = [
    [],
    *([name] for name in (*ALONE, *GROUPS)),
    *([group, name] for group, names in GROUPS.items() for name in names),
]


def test_every_verb_is_tried_below():
    root = typer.main.get_command(app)
    found = [[]]
    for name, command in root.commands.items():
        found.append([name])
        found += [[name, below] for below in getattr(command, "commands", {})]
    assert sorted(found) == sorted(VERBS)


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_every_help_page_ends_with_examples_that_parse(cli, verb):
    page = cli(*verb, "--help")
    assert (page.code, page.err) == (0, "")
    examples = [line.strip() for line in page.out.partition("Examples:")[2].splitlines()]
    commands = [shlex.split(line) for line in examples if line.startswith("harness ")]
    assert commands
    for program, *arguments in commands:
        assert program == "harness"
        assert cli(*arguments, "--help").code == 0, arguments
        if verb:
            assert arguments[: len(verb)] == verb or arguments[0] in (*GROUPS, "--specs")


def test_help_lists_each_verb_on_one_line_in_full(cli):
    listed = cli("--help").out.partition("Commands:")[2].partition("Examples:")[0].split("\n")
    assert len([line for line in listed if line.strip()]) == len(ALONE) + len(GROUPS)
    assert not [line for line in listed if "..." in line]


@pytest.mark.parametrize(
    ("arguments", "forbidden"),
    [
        (["--help"], {"torch", "sqlalchemy", "pydantic", "numpy", "rich"}),
        (["ls"], {"torch", "sqlalchemy", "numpy", "rich"}),
        (["ls", "datasets", "--long"], {"torch", "sqlalchemy"}),
        (["show", "aspc-table1", "--published"], {"torch"}),
        (["audit", "--all"], {"torch", "sqlalchemy", "numpy", "rich"}),
        (["table", "aspc-table1", "--db", "results.db"], {"torch", "scipy.stats", "matplotlib"}),
        (["report", "aspc-table1", "--db", "results.db"], {"torch"}),
        (["stats", "aspc-table1", "--pairs", "--db", "results.db"], {"torch"}),
        (["diff", "aspc-table1", "--db", "results.db"], {"torch", "scipy.stats", "matplotlib"}),
        (
            ["drift", "aspc-table1", "--db", "results.db", "--baseline", "results.db"],
            {"torch", "scipy.stats"},
        ),
        (["status", "aspc-table1", "--db", "results.db"], {"torch", "scipy.stats"}),
        (["retry", "aspc-table1", "--restart", "--db", "results.db"], {"torch", "h5py"}),
        (["data", "ls"], {"torch", "minari"}),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_verbs_import_no_more_than_they_need(cli, scores, arguments, forbidden):
    if "--db" in arguments:
        assert cli("db", "import", scores(), "--table", "aspc-table1").code == 0
    code = (
        "import sys\nfrom harness.cli import main\n"
        f"try:\n    main({arguments!r})\n"
        "except SystemExit as end:\n"
        f"    sys.exit('failed' if end.code else repr(sorted({forbidden!r} & set(sys.modules))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stderr.splitlines()[-1:] == ["[]"], done.stderr


def test_an_unknown_verb_names_the_nearest(cli):
    result = cli("tabel", "aspc-table1")
    assert result.code == 2
    assert "table" in result.err.partition("tabel")[2]


def test_version(cli):
    result = cli("--version")
    assert (result.code, result.out.split()[0]) == (0, "harness")


def test_the_module_runs_too(program):
    done = program("ls")
    assert (done.returncode, done.stdout.split()) == (0, Specs().ids("tables"))


def test_a_shell_completes_tables_and_presets(program):
    def completed(line):
        words = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split()) - 1)}
        return program(env=dict(os.environ) | words | {"_HARNESS_COMPLETE": "complete_bash"}).stdout.split()

    assert "aspc-table13" in completed("harness table aspc-table1")
    assert completed("harness table aspc-table1 --preset smo") == ["smoke"]
