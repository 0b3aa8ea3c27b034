"""What the README and the docs show works as shown."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.core import TyperCommand

from harness.analysis.verdicts import VerdictKind
from harness.cli import app
from harness.specs.loader import load
from harness.specs.models import Algorithm, Table

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES += sorted((ROOT / "reports").glob("*/README.md"))


def commands(text: str) -> list[str]:
    """Shown command lines that begin with ``harness``: in blocks, and in running text."""
    text = text.replace("\\\n", "")  # a line that goes on in the next
    blocks = re.findall(r"^ {4}(harness .*)$", text, re.MULTILINE)
    inline = re.findall(r"`(harness [^`]+)`", text)
    return blocks + inline


def fenced(page: str, language: str) -> list[str]:
    """Contents of a page's fenced blocks of a language."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


SHOWN = [(page.name, line) for page in PAGES for line in commands(page.read_text(encoding="utf-8"))]


def test_commands_are_found() -> None:
    assert commands("a\n\n    harness ls \\\n  --json  # why\n\nor `harness\u00a0x`, `harness db check`") == [
        "harness ls   --json  # why",
        "harness db check",
    ]
    assert len(SHOWN) > 20


@pytest.mark.parametrize(("page", "line"), SHOWN)
def test_shown_command_parses(page: str, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    reached = []
    monkeypatch.setattr(TyperCommand, "invoke", lambda self, ctx: reached.append(ctx.command_path))
    arguments = shlex.split(line, comments=True)[1:]
    if len(arguments) == 1:  # a verb by itself stands for itself, not for a whole command line
        arguments.append("--help")
    app(arguments, standalone_mode=False, prog_name="harness")
    assert reached or arguments[-1] == "--help"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (page.parent / target).exists(), target


def test_every_verdict_is_explained() -> None:
    page = (ROOT / "docs" / "reproduce.md").read_text(encoding="utf-8")
    shown = set(re.findall(r"^\| `([^`]+)` \|", page, re.MULTILINE))
    assert shown == {str(kind) for kind in VerdictKind}


def test_example_algorithm_trains(tmp_path: Path) -> None:
    [yaml] = fenced("adding-an-algorithm.md", "yaml")
    path = tmp_path / "weighted.yaml"
    path.write_text(yaml, encoding="utf-8")
    values = {name: each.value for name, each in load(path, Algorithm).hyperparameters.items()}
    [code] = fenced("adding-an-algorithm.md", "python")
    script = tmp_path / "weighted.py"
    script.write_text(
        f"{code}\n\n"
        "from algorithms import Member, Sizes\n"
        f"members = [Member(key, {values!r}) for key in ('a', 'b')]\n"
        "learner = Weighted(members, Sizes(4, 2))\n"
        "batch = Batch(*(torch.rand(2, 256, *rest) for rest in ((4,), (2,), (), (4,), (), (2,))))\n"
        "noise = {name: torch.randn(2, *each.shape) for name, each in learner.noise.items()}\n"
        "metrics = learner.update(batch, noise, learner.phase(1))\n"
        "assert metrics['actor_loss'].shape == (2, 1)\n"
        "assert learner.act(batch.observation).shape == (2, 256, 2)\n",
        encoding="utf-8",
    )
    subprocess.run([sys.executable, script], check=True)


def test_example_table_is_valid(tmp_path: Path) -> None:
    yaml, *_ = fenced("specs.md", "yaml")
    tables = tmp_path / "my-specs" / "tables"
    tables.mkdir(parents=True)
    (tables / "my-table.yaml").write_text(yaml, encoding="utf-8")
    load(tables / "my-table.yaml", Table)
    command = [sys.executable, "-m", "harness", "--specs", "my-specs", "validate", "my-table"]
    subprocess.run(command, check=True, cwd=tmp_path)


def test_example_python_works() -> None:
    code = "".join(fenced("python.md", "python"))
    subprocess.run(
        [sys.executable, "-c", code], check=True, cwd=ROOT, env={**os.environ, "MPLBACKEND": "agg"}
    )
