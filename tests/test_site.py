"""The documentation's site builds without a warning or a network, and says what code and specs say."""

import os
import re
import subprocess
import sys
from html import unescape
from pathlib import Path

import pytest

from algorithms import algorithm_class
from harness.specs import Specs
from website.docstrings import markdown
from website.pages import pages

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1", "https_proxy": "http://127.0.0.1:9"},
    )
    assert built.returncode == 0, built.stderr
    assert "WARNING" not in built.stderr
    return folder


@pytest.fixture(scope="module")
def made() -> dict[str, str]:
    return pages(Specs())


def text(page: Path) -> str:
    """A page's text, tags left out."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", page.read_text(encoding="utf-8"))).split())


def test_nothing_is_fetched_when_a_page_is_read(site: Path) -> None:
    for page in site.rglob("*.html"):
        if page.is_relative_to(site / "reports"):
            continue
        fetched = r"<(?:script|img|iframe)[^>]+src=\"?https?:|<link(?=[^>]+stylesheet)[^>]+href=\"?https?:"
        assert not re.search(fetched, page.read_text(encoding="utf-8")), page


def test_the_search_knows_every_algorithm(site: Path) -> None:
    index = (site / "search" / "search_index.json").read_text(encoding="utf-8")
    assert all(f"algorithms/{name}.html" in index for name in Specs().ids("algorithms"))


def test_an_algorithms_page_has_its_equations_and_its_source(site: Path) -> None:
    page = text(site / "algorithms" / "td3_bc.html")
    assert "-λ E[Q₁(s, π(s))] + E[(π(s) - a)²], λ = α / E|Q₁(s, π(s))| held constant (eq. 5)" in page
    assert "y = r + γ (1 - d) min_k Q̄_k(s', clip(π̄(s') + ε, -1, 1))" in page, "inherited from TD3"
    assert "def actor_loss" in page
    assert "load_training_state" not in page, "every algorithm has it"


def test_links_lead_to_files_beside_the_docs(site: Path) -> None:
    assert (site / "specs" / "algorithms" / "td3_bc.yaml").is_file()
    assert (site / "reference" / "td3_bc.py").is_file()
    assert (site / "CHANGELOG.html").is_file()


def test_hyperparameters_have_all_that_source_and_spec_say(made: dict[str, str]) -> None:
    lines = made["algorithms/td3_bc.md"].splitlines()
    for line in (
        "| `discount` | γ | `0.99` | ≥ 0, ≤ 1 | per member | ASPC paper, Table 6 (gamma) |",
        "| `alpha_schedule` |  | `constant` | constant, linear | shared | TD3+BC paper, equation 5 |",
        "| `batch_size` |  | `256` | whole, ≥ 1 | shared | ASPC paper, Table 6 |",
    ):
        assert line in lines
    [rewards] = [line for line in lines if line.startswith("| `normalize_rewards`")]
    assert "r ← reward" in rewards, "the comment above the declaration"


def test_every_hyperparameter_of_every_algorithm_is_listed(made: dict[str, str]) -> None:
    row = re.compile(r"^\| `(\w+)` \| .* \| (?:shared|per member) \|", re.MULTILINE)
    for name in Specs().ids("algorithms"):
        declared = algorithm_class(name).Hyperparameters
        listed = set(row.findall(made[f"algorithms/{name}.md"]))
        assert set(declared.__dataclass_fields__) - set(declared.neutral()) <= listed


def test_an_algorithm_names_its_tables(made: dict[str, str]) -> None:
    assert "(../papers/aspc.md#aspc-table1) | TD3+BC\\* |" in made["algorithms/td3_bc.md"]


def test_a_paper_has_its_tables_in_order_with_their_audit(made: dict[str, str]) -> None:
    page = made["papers/aspc.md"]
    assert page.index("## Table 2") < page.index("## Table 13") < page.index("## Figure 5")
    assert "Rows and environments: as in [Table 1](#aspc-table1)." in page
    assert "| [Table 3](#aspc-table3) | `aspc-table3` | 9 | 8 |" in page
    assert "harness figure aspc-fig10 fig10 -o figures" in page
    assert "- error: " in page


def test_the_aspc_papers_page_has_every_table_of_it_and_every_figure() -> None:
    page = (ROOT / "docs" / "aspc.md").read_text(encoding="utf-8")
    specs = Specs()
    for table in (specs.table(name) for name in specs.ids("tables") if name.startswith("aspc-")):
        assert table.paper.table is not None
        assert f"| {table.paper.table} | `harness reproduce {table.id}`" in page
        line = next((line for line in page.splitlines() if f"harness figure {table.id} " in line), "")
        assert all(figure.id in line for figure in table.figures), table.id


@pytest.mark.parametrize(
    ("docstring", "shown"),
    [
        ("The loss, as *printed*_here.", r"The loss, as \*printed\*\_here."),
        ("E[(Q_1(s, a) - y)²]: ``(M, 1)``.", "```text\nE[(Q_1(s, a) - y)²]: (M, 1).\n```"),
        ("L1 = a / n\nL2 = Δ²,\n    over", "```text\nL1 = a / n\nL2 = Δ²,\n    over\n```"),
        ("One.\n\nArgs:\n    q: of `M`.", "One.\n\nArgs:\n    q: of `M`."),
        ("One.\n\nOpen choices:\n    two,\n    three.\n", "One.\n\n**Open choices**\n\ntwo, three."),
        ("- a\n- b_c\n  d", "- a\n- b\\_c d"),
    ],
)
def test_docstrings_become_markdown(docstring: str, shown: str) -> None:
    assert markdown(docstring) == shown
