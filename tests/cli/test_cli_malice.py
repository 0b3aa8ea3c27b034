"""Text from specs and files must not be obeyed by a terminal, nor taken for markup."""

from __future__ import annotations

import json

import pytest

EVIL = r"\e[31mred\e]0;title\a \x9b1m [bold]not bold[/bold] [/] \u202e\u200b\ufeff"


@pytest.fixture
def evil(elsewhere):
    folder = elsewhere / "evil"
    (folder / "tables").mkdir(parents=True)
    (folder / "tables" / "evil-table1.yaml").write_text(
        f'id: evil-table1\nversion: 1\ntitle: "T {EVIL}"\n'
        f'paper: {{title: "P {EVIL}", authors: "A {EVIL}", year: 2026}}\nlineage: d4rl\nprotocol: d4rl-1m\n'
        f'groups:\n  - {{id: g, label: "G {EVIL}", datasets: [hopper-medium-v2], average: "Avg {EVIL}"}}\n'
        f'columns:\n  - {{id: aspc, label: "L {EVIL}", algorithm: aspc, note: "N {EVIL}"}}\n'
        f'footnotes: ["F {EVIL}"]\n'
    )
    scores = elsewhere / "scores.csv"
    scores.write_text(
        "dataset,algorithm,seed,step,score\n"
        + "".join(f"hopper-medium-v2,aspc,{seed},1000000,{seed}\n" for seed in range(4))
    )
    return folder


def harmless(text):
    marks = "\u202e\u200b\ufeff"
    assert not [c for c in text if (ord(c) < 32 and c not in "\n\t") or 127 <= ord(c) < 160 or c in marks]


@pytest.mark.parametrize(
    "arguments",
    [
        ["ls", "--long"],
        ["show", "evil-table1"],
        ["show", "evil-table1", "--json"],
        ["plan", "evil-table1"],
        ["table", "evil-table1"],
        ["table", "evil-table1", "-f", "latex"],
        ["table", "evil-table1", "-f", "csv"],
        ["table", "evil-table1", "-f", "json"],
        ["diff", "evil-table1", "-f", "console"],
        ["table", "evil-table1", "-f", "console"],
    ],
    ids=" ".join,
)
def test_no_control_character_reaches_the_terminal(cli, evil, arguments):
    assert cli("--specs", evil, "db", "import", "scores.csv", "--table", "evil-table1").code == 0
    result = cli("--specs", evil, *arguments)
    assert result.code == 0
    harmless(result.out)
    harmless(result.err)
    if "json" in arguments or "--json" in arguments:
        title = json.loads(result.out)
        assert "\x1b[31m" in json.dumps(title, ensure_ascii=True).encode().decode("unicode_escape")
    if arguments[0] == "diff":
        assert "[bold]not bold[/bold]" in " ".join(result.out.split())


@pytest.mark.parametrize(
    "arguments", ["table -f markdown", "table -f html", "table -f csv", "diff -f markdown", "report"]
)
def test_no_control_character_reaches_a_page(cli, evil, elsewhere, arguments):
    assert cli("--specs", evil, "db", "import", "scores.csv", "--table", "evil-table1").code == 0
    verb, *options = arguments.split()
    assert cli("--specs", evil, verb, "evil-table1", *options, "-o", "made").code == 0
    made = [elsewhere / "made", *(elsewhere / "made").rglob("*")]
    pages = [path for path in made if path.is_file() and path.suffix in ("", ".md", ".html", ".csv", ".tex")]
    assert pages
    for page in pages:
        harmless(page.read_text(encoding="utf-8"))


def test_the_console_table_and_progress_are_harmless(evil, capsys):
    import io

    from rich.console import Console

    from harness.analysis.comparison import compare
    from harness.execution.progress import Reporter
    from harness.planning.cells import resolve
    from harness.reports import console
    from harness.results.store import Store
    from harness.specs import Specs

    specs = Specs([evil])
    with Store.open("results.db", create=True) as store:
        comparison = compare(resolve(specs, "evil-table1"), specs, store)
    out = io.StringIO()
    printer = Console(file=out, width=200)
    printer.print(console.table(comparison, 160))
    reporter = Reporter(printer)
    reporter.message("evil \x1b[31m [bold]")
    reporter.bar("evil \x1b[31m", 1, 0).done()
    harmless(out.getvalue())
    assert "[bold]not bold[/bold]" in " ".join(out.getvalue().split())
    assert "hopper-medium-v2" in out.getvalue()


@pytest.mark.parametrize("name", ["\x1b[31m", "../../etc/passwd", "a\nb", "[bold]", "'; DROP TABLE run; --"])
def test_names_given_on_the_command_line(cli, scores, name):
    cli("db", "import", scores(), "--table", "aspc-table1")
    for arguments in (
        ["table", name],
        ["show", name],
        ["plan", "aspc-table1", "--preset", name],
        ["data", "path", name],
        ["table", "aspc-table1", "--datasets", name],
        [name],
    ):
        result = cli(*arguments)
        assert result.code == 2, arguments
        assert result.out == ""
        harmless(result.err)


def test_names_in_a_file_of_scores(cli, elsewhere):
    (elsewhere / "s.csv").write_text("dataset,algorithm,seed,step,score\n\x1b[31mhopper,aspc,0,1000000,1\n")
    result = cli("db", "import", "s.csv", "--table", "aspc-table1")
    assert result.code == 2
    harmless(result.err)
