"""The pages on algorithms and papers: on small sources and specs, and those checked in."""

from pathlib import Path

import pytest

from harness.errors import SpecError
from harness.reports.documentation import pages, stale_pages, write_pages
from harness.reports.source_code import algorithms_folder, read_algorithm
from harness.specs import Specs, catalogue

DOCS = Path(__file__).parents[2] / "docs"

BASE = '''
class Hyperparameters:
    batch_size: int = static(minimum=1)
    # r <- scale * r
    # and nothing else
    reward_scale: float = static(above=0)


class Algorithm:
    """Not shown."""

    def noise(self):
        """Not shown either."""
'''
PARENT = '''
from algorithms.base import Algorithm, Hyperparameters, per_member


class ParentHyperparameters(Hyperparameters):
    discount: float = per_member(minimum=0, maximum=1)  # γ


class Parent(Algorithm):
    """What children share.

    Open choices:
        the target, see *below*.
    """

    def critic_loss(self, batch):
        """E[(Q_1(s, a) - y)²]: ``(M, 1)``."""

    def actor_loss(self, batch):
        """Overridden, so not shown."""

    def build(self):
        """Extended, so shown with what extends it."""

    def _private(self):
        """Hidden."""


def magnitude(q):
    """The magnitude E|Q| as a constant, or ``q | 1``."""
    return deeper(q)


def deeper(q):
    """Used by a function that is used."""


def unused(q):
    """Nobody uses it."""
'''
CHILD = '''
from algorithms.base import layer_sizes, per_member, register, static
from algorithms.parent import Parent, ParentHyperparameters, magnitude


class ChildHyperparameters(ParentHyperparameters):
    alpha: float = per_member(above=0)  # α, weight of <Q>
    sizes: str = layer_sizes()
    kind: str = static(choices=("a|b", "c"))
    steps: int = static(minimum=1, maximum=9)


class Helper:
    """A part."""

    def value(self):
        """Its value."""


@register("child")
class Child(Parent):
    """A child (Somebody, 2026).

    It descends one line of prose and
    y = another line that begins like a formula.

    Differences from the authors' code:
        Ours adds `alpha`;
        theirs does not.
    """

    Hyperparameters: ClassVar[type] = ChildHyperparameters

    def build(self):
        """As Parent, and more."""
        super().build()

    def actor_loss(self, batch):
        """The policy's loss, as printed_here.

        L1 = -α E[Q] / n
        L2 = Δ²,  Δ = change
            over one step

        Args:
            batch: transitions,
                of all members.
        """
        return magnitude(Helper())
'''
SPEC = """id: child
title: Child
paper: {title: A <paper>, authors: Some_body, year: 2026, arxiv: '2601.1',
        code: https://example.org/x @ 0123456789}
hyperparameters:
  alpha: {value: 2.5, source: paper | Table 1, note: 'What it weighs.'}
  kind: {value: c, source: chosen, note: 'The *paper* is silent.'}
  sizes: {value: '8-8', source: paper}
  steps: {value: 3, source: paper}
  discount: {value: 0.99, source: paper}
  batch_size: {value: 4, source: paper}
  reward_scale: {value: 1.0, source: paper}
per_dataset:
  hopper-*: {alpha: 1.0}
"""
TABLE = """id: deep-thought-table{number}
version: 1
title: Deep, Table {number}
paper: {{title: Deep *Thought*, authors: Ford, year: 1979, table: Table {number}}}
lineage: d4rl
protocol: d4rl-1m
groups:
  - {{id: hopper, label: Hopper, datasets: [hopper-random-v2, hopper-medium-v2], average: Avg}}
columns:
  - {{id: child, label: Child_1, algorithm: child, per_dataset: {{hopper-medium-*: {{alpha: 7.0}}}}}}
  - {{id: lost, label: Lost*, algorithm: lost, change_from: child}}
{more}"""
PRINTED = """published: {file: ../published/deep.csv, seeds: 4, ddof: 1}
footnotes: [A <note>]
"""
CSV = """row,column,mean,std,source,note
hopper-random-v2,child,10.0,1.0,own,
hopper-medium-v2,child,20.0,1.0,own,
hopper,child,99.0,,own,
"""


@pytest.fixture
def sources(tmp_path):
    folder = tmp_path / "sources"
    folder.mkdir()
    for name, text in {"base": BASE, "parent": PARENT, "child": CHILD}.items():
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def specs(tmp_path, monkeypatch):
    shipped, mine = catalogue.shipped_folder(), tmp_path / "specs"
    for kind in ("algorithms", "tables", "published"):
        (mine / kind).mkdir(parents=True)
    for kind in ("datasets", "protocols"):
        (mine / kind).symlink_to(shipped / kind)
    (mine / "algorithms" / "child.yaml").write_text(SPEC, encoding="utf-8")
    for number, more in ((2, ""), (10, PRINTED)):
        text = TABLE.format(number=number, more=more)
        (mine / "tables" / f"deep-thought-table{number}.yaml").write_text(text, encoding="utf-8")
    (mine / "published" / "deep.csv").write_text(CSV, encoding="utf-8")
    monkeypatch.setattr(catalogue, "shipped_folder", lambda: mine)
    return Specs()


def test_a_page_for_every_algorithm_and_paper(specs, sources):
    assert set(pages(specs, sources)) == {
        "policies/README.md",
        "sources/README.md",
        "algorithms/README.md",
        "algorithms/child.md",
        "papers/README.md",
        "papers/deep-thought.md",
    }


def test_hyperparameters_have_all_that_source_and_spec_say(specs, sources):
    page = pages(specs, sources)["algorithms/child.md"]
    for line in (
        r"| `alpha` | α, weight of &lt;Q&gt; | `2.5` | &gt; 0 | per member | paper \| Table 1 |",
        r"| `kind` |  | `c` | a\|b, c | shared | chosen |",
        "| `sizes` |  | `8-8` | widths, as 256-256 | shared | paper |",
        "| `steps` |  | `3` | whole, 1 to 9 | shared | paper |",
        "| `discount` | γ | `0.99` | 0 to 1 | per member | paper |",
        "| `batch_size` |  | `4` | whole, ≥ 1 | shared | paper |",
        "| `reward_scale` | r &lt;- scale \\* r and nothing else | `1.0` | &gt; 0 | shared | paper |",
        "| `hopper-*` | `1.0` |",
    ):
        assert line in page.splitlines()


def test_equations_are_in_the_order_of_the_source_and_keep_their_lines(specs, sources):
    page = pages(specs, sources)["algorithms/child.md"]
    names = [line.strip("*`") for line in page.splitlines() if line.startswith("**`")]
    assert names == ["critic_loss", "build", "build", "actor_loss", "value", "magnitude", "deeper"]
    assert "> ```text\n> E[(Q_1(s, a) - y)²]: (M, 1).\n> ```\n" in page
    assert "> L1 = -α E[Q] / n\n> L2 = Δ²,  Δ = change\n>     over one step\n" in page
    assert r"The policy's loss, as printed\_here." in page
    assert "> - batch: transitions, of all members.\n" in page
    assert r"The magnitude E\|Q\| as a constant, or `q | 1`." in page
    assert "It descends one line of prose and y = another line that begins like a formula." in page
    for hidden in ("Overridden", "Hidden", "Not shown", "Nobody"):
        assert hidden not in page


def test_differences_are_told_once(specs, sources):
    page = pages(specs, sources)["algorithms/child.md"]
    before, _, after = page.partition("## Differences from the authors' code and open choices")
    assert "**Differences from the authors' code.** Ours adds `alpha`; theirs does not." in after
    assert r"**Open choices (Parent).** the target, see \*below\*." in after
    assert r"- `kind`: The \*paper\* is silent." in after
    assert "- `alpha`: What it weighs." in before
    for text in ("theirs does not", "is silent", "What it weighs", "the target, see"):
        assert page.count(text) == 1


def test_an_algorithm_names_its_paper_and_its_tables(specs, sources):
    page = pages(specs, sources)["algorithms/child.md"]
    cited = r"Some\_body (2026). [A &lt;paper&gt;](https://arxiv.org/abs/2601.1). Authors' code: "
    assert f"{cited}[example.org/x](https://example.org/x), read at `0123456`.\n" in page
    rows = [line for line in page.splitlines() if line.startswith("| [Deep")]
    assert rows == [
        f"| [Deep, Table {number}](../papers/deep-thought.md#deep-thought-table{number}) | Child\\_1 | "
        "`alpha` = `7.0` on `hopper-medium-*` |"
        for number in (2, 10)
    ]


def test_a_paper_has_its_tables_in_order_with_their_audit(specs, sources):
    page = pages(specs, sources)["papers/deep-thought.md"]
    assert page.startswith("<!-- Made by `make docs`")
    assert r"# Deep \*Thought\*" in page
    assert page.index("## Table 2") < page.index("## Table 10")
    assert "| [Table 10](#deep-thought-table10) | `deep-thought-table10` | 2 | 2 | 1 of 2 | 1 |" in page
    assert "Rows and environments: as in [Table 2](#deep-thought-table2)." in page
    assert r"| Lost\* | `lost` | `lost`: none | changes are from `child` |" in page
    assert page.count("**Without implementation**, so only the printed numbers are shown: Lost\\*.") == 2
    assert "- error: Child\\_1, Avg: 99.0 is printed, the printed cells give 15" in page
    assert "- A &lt;note&gt;" in page
    assert "1,000,000 steps, evaluated every 5,000 on 10 episodes, seeds 0, 1, 2, 3, score: last" in page


def test_only_pages_made_here_are_replaced_or_deleted(specs, sources, tmp_path):
    docs = tmp_path / "docs"
    write_pages(docs, specs, sources)
    assert stale_pages(docs, pages(specs, sources)) == []
    (docs / "algorithms" / "own.md").write_text("# By hand\n", encoding="utf-8")
    (docs / "algorithms" / "gone.md").write_text("<!-- Made by `make docs`. -->\n", encoding="utf-8")
    (docs / "algorithms" / "child.md").write_text("<!-- Made by `make docs`. -->\nold\n", encoding="utf-8")
    (docs / "papers" / "deep-thought.md").unlink()
    stale = stale_pages(docs, pages(specs, sources))
    assert stale == ["algorithms/child.md", "algorithms/gone.md", "papers/deep-thought.md"]
    write_pages(docs, specs, sources)
    assert stale_pages(docs, pages(specs, sources)) == []
    assert {path.name for path in (docs / "algorithms").iterdir()} == {"README.md", "child.md", "own.md"}


def test_a_field_that_the_source_lacks_is_an_error(specs, sources):
    (sources / "child.py").write_text(CHILD.replace("    alpha: float", "    beta: float"), encoding="utf-8")
    with pytest.raises(SpecError, match=r"child.yaml:6:3: hyperparameters.alpha: .*declares no alpha"):
        pages(specs, sources)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def f(:\n", "child.py:1:7: no valid Python"),
        ("x = 1\n", "no class here has the decorator @register"),
    ],
)
def test_a_wrong_source_is_an_error_with_its_place(sources, text, message):
    (sources / "child.py").write_text(text, encoding="utf-8")
    with pytest.raises(SpecError, match=message):
        read_algorithm(sources, "child")


def test_declarations_agree_with_the_classes():
    from algorithms import algorithm_class

    specs = Specs()
    for name in specs.ids("algorithms"):
        declared, own = (
            read_algorithm(algorithms_folder(), name).fields,
            algorithm_class(name).Hyperparameters,
        )
        assert {key for key, field in declared.items() if field.shared} == own.static_names()
        assert set(declared) == set(own.__dataclass_fields__)


def test_the_checked_in_pages_are_current():
    stale = stale_pages(DOCS, pages(Specs()))
    assert not stale, f"out of date below docs/: {', '.join(stale)}; `make docs` writes them anew"
