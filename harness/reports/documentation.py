"""The pages on algorithms, papers, shipped policies and copied columns, from sources, specs and cards.

``make docs`` runs this module, which writes them into the checkout's ``docs/``.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any, NamedTuple

import jinja2

from harness import escaping
from harness.analysis.audit import audit
from harness.counting import count
from harness.datasets import policies
from harness.errors import SpecError
from harness.reports.audit import markdown_findings
from harness.reports.copied import copied_page
from harness.reports.protocols import held_for, protocol_text
from harness.reports.source_code import Part, algorithms_folder, read_algorithm
from harness.reports.templating import Raw, environment
from harness.specs import Specs
from harness.specs.catalogue import shipped_folder

if TYPE_CHECKING:
    from harness.specs import models
    from harness.specs.models import Column, Paper, Table

_MADE = "<!-- Made by `make docs`"  # every page begins with it
# a note that says one of these is about what the paper or the authors' code left open or did differently
_CHOICE = re.compile(
    r"paper|code|author|script|reconstruct|choice|chosen|assume|unlike|differ|print", re.IGNORECASE
)
_SECTION = re.compile(r"^(?P<title>[A-Z][^.:\n]*):\n(?P<body>(?:[ \t]+\S.*\n?|\n(?=[ \t]))+)", re.MULTILINE)
_STANDARD = ("Args", "Attributes", "Raises", "Returns", "Yields")
_CODE = re.compile(r"``(?P<double>.+?)``|`(?P<single>[^`]+)`")
_DEFINITION = re.compile(r"\S+ = |\S{1,4}: ")
_WORD = re.compile(r"(?:[A-Za-z][A-Za-z-]+|a)[.,;:]?")
_OPERATOR = re.compile(r"[=+²Σ∇\[/]")


class _Docstring(NamedTuple):
    """A class's docstring: what it is, and its sections of its own such as ``Differences from ...:``."""

    body: str
    sections: tuple[tuple[str, str], ...]


class _Field(NamedTuple):
    """A line of the table of hyperparameters."""

    name: str
    comment: str
    value: str
    allowed: str
    scope: str
    source: str


class _Use(NamedTuple):
    """A column that an algorithm fills; ``link`` is where its table is described."""

    title: str
    link: str
    label: str
    settings: Raw


@dataclass(frozen=True)
class _Sheet:
    """A table on its paper's page."""

    name: str
    table: Table
    protocol: str
    like: Raw | None  # a table above that has the same rows
    rows: tuple[Mapping[str, Any], ...]
    columns: tuple[Mapping[str, Any], ...]
    trainable: str
    missing: Raw
    environment_notes: tuple[str, ...]
    alarms: int
    printed: Raw
    findings: Raw


def pages(specs: Specs, sources: Path | None = None) -> dict[str, str]:
    """Every page by its path below ``docs/``.

    An algorithm has a page if it has both a spec and a source.

    Args:
        specs: the specs.
        sources: the folder of the algorithms' sources; None for the project's.

    Raises:
        SpecError: a spec or a source is wrong.
    """
    sources = sources or algorithms_folder()
    ids = [name for name in specs.ids("algorithms") if (sources / f"{name}.py").exists()]
    papers = _papers(specs)
    found = {f"algorithms/{name}.md": _algorithm(specs, sources, name, papers) for name in ids}
    found |= {f"papers/{slug}.md": _paper(specs, tables, ids) for slug, tables in papers.items()}
    found["algorithms/README.md"] = _algorithms_index(specs, ids, papers)
    found["papers/README.md"] = _papers_index(papers)
    found["policies/README.md"] = _policies(specs)
    found["sources/README.md"] = f"{_MADE}. -->\n\n{copied_page(specs)}"
    return found


def write_pages(folder: Path, specs: Specs, sources: Path | None = None) -> None:
    """Write `pages` below a folder, and delete pages made earlier of what is there no more.

    Args:
        folder: ``docs/``.
        specs: the specs.
        sources: see `pages`.
    """
    made = pages(specs, sources)
    for name, text in made.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    for name in stale_pages(folder, made):
        (folder / name).unlink()


def stale_pages(folder: Path, made: Mapping[str, str]) -> list[str]:
    """The pages below a folder that are missing, differ from those made, or are of what is there no more."""
    there = {
        str(path.relative_to(folder).as_posix()): text
        for kind in ("algorithms", "papers", "policies", "sources")
        for path in sorted((folder / kind).glob("*.md"))
        if (text := path.read_text(encoding="utf-8")).startswith(_MADE)
    }
    return sorted(name for name in made.keys() | there.keys() if made.get(name) != there.get(name))


# -- algorithms --------------------------------------------------------------------------------------------


def _algorithm(specs: Specs, sources: Path, name: str, papers: Mapping[str, Sequence[Table]]) -> str:
    spec = specs.algorithm(name)
    source = read_algorithm(sources, name)
    fields = []
    for key, entry in spec.hyperparameters.items():
        if key not in source.fields:
            document = specs.document("algorithms", name)
            message = f"algorithms/{name}.py declares no {key}; known: {', '.join(source.fields)}"
            raise SpecError(document.problem(("hyperparameters", key), message, key=True))
        declared = source.fields[key]
        scope = "shared" if declared.shared else "per member"
        fields.append(
            _Field(key, declared.comment, _value(entry.value), declared.allowed, scope, entry.source)
        )
    notes = [(key, entry.note) for key, entry in spec.hyperparameters.items() if entry.note]
    return _rendered(
        "algorithm.md.j2",
        spec=spec,
        reference=_reference(sources, name),
        text=_docstring(source.text).body,
        parts=[
            (part, _docstring(part.text).body if part.name != source.name else "") for part in source.parts
        ],
        sections=[
            (f"{title} ({part.name})" if part.name != source.name else title, section)
            for part in source.parts
            for title, section in _docstring(part.text).sections
        ],
        fields=fields,
        notes=[item for item in notes if not _CHOICE.search(item[1])],
        choices=[item for item in notes if _CHOICE.search(item[1])],
        per_dataset={
            pattern: {key: _value(value) for key, value in overrides.hyperparameters.items()}
            for pattern, overrides in spec.per_dataset.items()
        },
        per_dataset_names=[
            key
            for key in spec.hyperparameters
            if any(key in overrides.hyperparameters for overrides in spec.per_dataset.values())
        ],
        uses=list(_uses(specs, name, papers)),
    )


def _reference(sources: Path, name: str) -> Raw:
    """A link to the plain program that tests hold the algorithm against, where there is one."""
    if not (sources.parent / "reference" / f"{name}.py").exists():
        return Raw("")
    return Raw(
        f" The same for one seed, plainly: {_linked(f'reference/{name}.py', f'../../reference/{name}.py')}."
    )


def _docstring(text: str) -> _Docstring:
    """A class's docstring, its own sections apart."""
    sections = [
        (match["title"], _dedented(match["body"]))
        for match in _SECTION.finditer(text + "\n")
        if match["title"] not in _STANDARD
    ]
    body = _SECTION.sub("", text + "\n").strip()
    return _Docstring(body, tuple(sections))


def _dedented(text: str) -> str:
    lines = text.rstrip().splitlines()
    indent = min(len(line) - len(line.lstrip()) for line in lines if line.strip())
    return "\n".join(line[indent:] for line in lines)


def _uses(specs: Specs, name: str, papers: Mapping[str, Sequence[Table]]) -> Iterator[_Use]:
    for slug, tables in papers.items():
        for table in tables:
            for column in table.columns:
                if column.algorithm == name:
                    yield _Use(
                        table.title, f"../papers/{slug}.md#{table.id}", column.label, _settings(column)
                    )
    for preset in map(specs.preset, specs.ids("presets")):
        for column in preset.extra_columns:
            if column.algorithm == name:
                link = f"../../specs/presets/{preset.id}.yaml"
                yield _Use(f"preset {preset.id}", link, column.label, _settings(column))


def _settings(column: Column) -> Raw:
    """What a column sets, in one cell."""
    places: list[tuple[Column | models.ColumnOverrides, str]] = [(column, "")]
    places += [(overrides, f" on {_code(pattern)}") for pattern, overrides in column.per_dataset.items()]
    parts = []
    for place, where in places:
        parts += [f"{_setting(key, value)}{where}" for key, value in place.hyperparameters.items()]
        if place.data is not None:
            parts.append(
                f"data: {', '.join(_code(str(step)) for step in place.data) or 'as they are'}{where}"
            )
    return Raw("; ".join(parts))


def _setting(key: str, value: object) -> str:
    if isinstance(value, bool | int | float | str):
        return f"{_code(key)} = {_code(_value(value))}"
    # a value that another column arrives at
    return f"{_code(key)} = what {_code(getattr(value, 'metric', ''))} of column " + (
        f"{_code(getattr(value, 'column', ''))} ends at"
    )


def _value(value: models.Value) -> str:
    """A setting as YAML writes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


# -- papers ------------------------------------------------------------------------------------------------


def _papers(specs: Specs) -> dict[str, list[Table]]:
    """Tables by paper, under the part of their ids that they share; shown in the order of their numbers."""
    by_title: dict[str, list[Table]] = {}
    for table in map(specs.table, specs.ids("tables")):
        by_title.setdefault(table.paper.title, []).append(table)
    found: dict[str, list[Table]] = {}
    for tables in by_title.values():
        words = [table.id.split("-")[:-1] or [table.id] for table in tables]
        shared = [word for word, *others in zip(*words, strict=False) if set(others) <= {word}]
        slug = "-".join(shared) or tables[0].id
        found[slug] = sorted(found.get(slug, []) + tables, key=_place)
    return found


def _place(table: Table) -> tuple[bool, list[tuple[int, str]]]:
    """Tables before figures, each by its number."""
    parts = [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", table.id)]
    return not _name(table).startswith("Table"), parts


def _name(table: Table) -> str:
    return table.paper.table or table.title


def _paper(specs: Specs, tables: Sequence[Table], implemented: Collection[str]) -> str:
    paper = tables[0].paper.model_copy(update={"table": None})
    sheets = [_sheet(specs, table, implemented, tables[:index]) for index, table in enumerate(tables)]
    return _rendered("paper.md.j2", paper=paper, sheets=sheets)


def _sheet(specs: Specs, table: Table, implemented: Collection[str], above: Sequence[Table]) -> _Sheet:
    findings = audit(table, specs)
    trained = [column for column in table.columns if column.algorithm]
    missing = [column for column in trained if column.algorithm not in implemented]
    datasets = {name: specs.dataset(name) for name in table.datasets}
    notes: dict[str, list[str]] = {}
    for name, dataset in datasets.items():
        if dataset.environment and dataset.environment.note:
            notes.setdefault(dataset.environment.note, []).append(name)
    return _Sheet(
        name=_name(table),
        table=table,
        protocol=_protocol(specs, table),
        like=next((_linked(_name(t), f"#{t.id}") for t in above if _rows(t) == _rows(table)), None),
        rows=tuple(
            {
                "label": group.label,
                "datasets": Raw(", ".join(map(_code, group.datasets))),
                "environments": _environments(datasets[name] for name in group.datasets),
            }
            for group in table.groups
        ),
        columns=tuple(
            {
                "label": column.label,
                "id": column.id,
                "algorithm": _implementation(column, implemented),
                "settings": _column_notes(column),
            }
            for column in table.columns
        ),
        trainable=f"{len(trained) - len(missing)} of {len(trained)}",
        missing=Raw(", ".join(escaping.markdown(column.label) for column in missing)),
        environment_notes=tuple(f"{', '.join(names)}: {note}" for note, names in notes.items()),
        alarms=sum(finding.severity != "info" for finding in findings),
        printed=_printed(table),
        findings=Raw(markdown_findings(findings).rstrip() if table.published else ""),
    )


def _implementation(column: Column, implemented: Collection[str]) -> Raw:
    """What gives a column its numbers."""
    if column.mean_of:
        return Raw(f"mean of {', '.join(map(_code, column.mean_of))}")
    if column.algorithm is None:
        return Raw("printed only")
    if column.algorithm in implemented:
        return _linked(column.algorithm, f"../algorithms/{column.algorithm}.md")
    return Raw(f"{_code(column.algorithm)}: none")


def _rows(table: Table) -> list[tuple[str, tuple[str, ...]]]:
    return [(group.label, group.datasets) for group in table.groups]


def _protocol(specs: Specs, table: Table) -> str:
    """Each protocol with the cells that it holds for."""
    texts = [
        f"{where and f'{where}: '}{protocol_text(specs.protocol(name))}."
        for name, cells in table.protocols.items()
        for where in (held_for(table, cells),)
    ]
    return " ".join([*texts, f"Data: {table.lineage}."])


def _environments(datasets: Iterable[models.Dataset]) -> Raw:
    found: dict[str, None] = {}
    for dataset in datasets:
        environment = dataset.environment
        if environment is None:
            found["none yet: cannot be evaluated"] = None
        else:
            comparable = "" if environment.comparable else " (not comparable)"
            found[f"{_code(environment.id)}{comparable}"] = None
    return Raw(", ".join(found))


def _column_notes(column: Column) -> Raw:
    change = f"changes are from {_code(column.change_from)}" if column.change_from else ""
    note = escaping.markdown(column.note) if column.note else ""
    return Raw("; ".join(part for part in (_settings(column), change, note) if part))


def _printed(table: Table) -> Raw:
    if table.published is None:
        return Raw("No numbers are printed for it.")
    name = table.published.file.rpartition("/")[2]
    link = _linked(name, f"../../specs/published/{name}")
    rows = "only averages" if table.published.rows == "averages" else "all rows"
    return Raw(
        f"The printed numbers: {link}, {rows}; {count(table.published.seeds, 'seed')} where a cell does not "
        "say."
    )


# -- indices -----------------------------------------------------------------------------------------------


def _algorithms_index(specs: Specs, ids: Sequence[str], papers: Mapping[str, Sequence[Table]]) -> str:
    rows = []
    for name in ids:
        spec = specs.algorithm(name)
        uses = dict.fromkeys(_linked(use.title, use.link.split("#")[0]) for use in _uses(specs, name, papers))
        paper = f"{_title(spec.paper)}, {escaping.markdown(spec.paper.venue or str(spec.paper.year))}"
        rows.append((_linked(spec.title, f"{name}.md"), paper, ", ".join(uses)))
    return _index(
        "Algorithms",
        "Made from their sources and specs; how to add one: "
        "[adding-an-algorithm.md](../adding-an-algorithm.md).",
        ("Algorithm", "Paper", "Used in"),
        rows,
    )


def _papers_index(papers: Mapping[str, Sequence[Table]]) -> str:
    rows = [
        (
            _linked(tables[0].paper.title, f"{slug}.md"),
            escaping.markdown(str(tables[0].paper.year)),
            ", ".join(_linked(table.title, f"{slug}.md#{table.id}") for table in tables),
        )
        for slug, tables in papers.items()
    ]
    return _index(
        "Papers", "Their tables, and what the audit finds in them.", ("Paper", "Year", "Tables"), rows
    )


def _policies(specs: Specs) -> str:
    """The shipped policies beside the datasets of D4RL whose like they make."""
    datasets = {
        policy.id: specs.dataset(name)
        for name in specs.ids("datasets")
        if (made := specs.dataset(name).generated) and made.recipe == "policy-rollout"
        for policy in made.policies
    }
    rows = []
    cards = [
        policies.card(place) for place in sorted((shipped_folder() / "policies").glob("*" + policies.SUFFIX))
    ]
    earned = {(card.environment.id, card.level): fmean(card.recorded.returns.stochastic) for card in cards}
    for card in cards:
        returns = card.recorded.returns
        mean, expert = earned[card.environment.id, card.level], earned[card.environment.id, "expert"]
        dataset = datasets.get(card.id)
        known = dataset.d4rl.statistics if dataset and dataset.d4rl else None
        rows.append(
            (
                _code(card.id),
                escaping.markdown(card.environment.id),
                f"{card.steps:,}",
                f"{mean:,.0f} ± {stdev(returns.stochastic):,.0f}",
                f"{card.reference.normalise(mean):.1f}",
                f"{mean / expert:.0%}",
                f"{fmean(returns.deterministic):,.0f} ± {stdev(returns.deterministic):,.0f}",
                f"{known.return_mean:,.0f}" if known and known.return_mean is not None else "",
                escaping.markdown(card.rule),
            )
        )
    return _index(
        "Policies",
        "SAC's, trained here; [data.md](../data.md) says how they are made and used. Returns are means ± "
        "standard deviations over the episodes on the policy's card; datasets hold stochastic ones. D4RL's "
        "is the mean return of its own dataset of that name. None is D4RL's policy: an expert here is the "
        "best of the end of a training of the stated length, whether or not longer training would help. A "
        "medium from another training than the expert was chosen by the expert of its own training.",
        (
            "Policy",
            "Environment",
            "Updates",
            "Return, stochastic",
            "Normalised",
            "Of the expert's",
            "Return, deterministic",
            "D4RL's",
            "Chosen as",
        ),
        rows,
    )


def _index(title: str, text: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"{_MADE}. -->", "", f"# {title}", "", text, ""]
    lines += [f"| {' | '.join(header)} |", f"|{' :--- |' * len(header)}"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join(lines) + "\n"


# -- Markdown ----------------------------------------------------------------------------------------------


def _rendered(template: str, **variables: Any) -> str:
    text = _templates().get_template(template).render(**variables)
    return re.sub(r"\n{3,}", "\n\n", text).rstrip() + "\n"


@cache
def _templates() -> jinja2.Environment:
    templates = environment(escaping.markdown, block=("{%", "%}"), variable=("{{", "}}"))
    templates.filters |= {
        "bold_code": lambda name: Raw(f"**{_code(name)}**"),
        "cited": _cited,
        "code": _code,
        "heading": _heading,
        "linked": _linked,
        "prose": _prose,
        "quoted": _quoted,
        "raw": Raw,
    }
    return templates


def _code(text: object) -> Raw:
    """A code span in a cell of a table, where a bar would end the cell."""
    return Raw(_span(str(text)).replace("|", "\\|"))


def _span(text: str) -> str:
    return "`" + text.replace("`", "'") + "`"


def _linked(text: str, target: str) -> Raw:
    return Raw(f"[{escaping.markdown(text)}]({target.replace(' ', '%20').replace(')', '%29')})")


def _title(paper: Paper) -> Raw:
    if paper.arxiv:
        return _linked(paper.title, f"https://arxiv.org/abs/{paper.arxiv}")
    return Raw(escaping.markdown(paper.title))


def _cited(paper: Paper) -> Raw:
    """The paper, and its authors' code."""
    parts = [f"{escaping.markdown(paper.authors)} ({paper.year}). {_title(paper)}."]
    if paper.venue:
        parts.append(f"{escaping.markdown(paper.venue)}.")
    if paper.code:
        address, _, commit = paper.code.partition(" @ ")
        seen = f", read at {_code(commit[:7])}" if commit else ""
        parts.append(f"Authors' code: {_linked(address.removeprefix('https://'), address)}{seen}.")
    return Raw(" ".join(parts))


def _heading(part: Part) -> Raw:
    source = f"[{part.module}.py](../../algorithms/{part.module}.py)"
    return Raw(f"{_code(part.name)}, in {source}" if part.name else f"Functions of {source}")


def _prose(text: str) -> Raw:
    """Paragraphs of a docstring: prose as prose, formulae and lists as they stand."""
    return Raw("\n\n".join(_paragraphs(text)))


def _quoted(text: str) -> Raw:
    """As `_prose`, set off from the name above."""
    return Raw("\n".join(f"> {line}".rstrip() for line in _prose(text).splitlines()))


def _paragraphs(text: str) -> Iterator[str]:
    for paragraph in _joined(re.split(r"\n[ \t]*\n", text.strip("\n"))):
        title, _, rest = paragraph.partition("\n")
        if title.rstrip(":") in _STANDARD and title.endswith(":"):
            yield f"*{title}*"
            yield "\n".join(f"- {_inline(item)}" for item in _items(_dedented(rest)))
        elif re.match(r"[-*] ", paragraph):
            yield "\n".join(
                f"- {_inline(item.removeprefix('- ').removeprefix('* '))}" for item in _items(paragraph)
            )
        elif _is_formula(paragraph):
            shown = _CODE.sub(lambda match: match["double"] or match["single"], _dedented(paragraph))
            fence = "`" * max(3, *(len(run) + 1 for run in re.findall("`+", shown)), 3)
            yield f"{fence}text\n{shown}\n{fence}"
        else:
            yield _inline(paragraph)


def _joined(paragraphs: Iterable[str]) -> list[str]:
    """Paragraphs, with those that continue a section joined to its heading."""
    found: list[str] = []
    for paragraph in paragraphs:
        in_section = bool(found) and found[-1].partition("\n")[0].rstrip(":") in _STANDARD
        if in_section and paragraph.startswith((" ", "\t")):
            found[-1] += "\n" + paragraph
        else:
            found.append(paragraph)
    return found


def _items(text: str) -> list[str]:
    """The entries of a section or a list: lines that are not indented, each with the indented ones below."""
    found: list[str] = []
    for line in text.splitlines():
        if line.startswith((" ", "\t")) and found:
            found[-1] += f" {line.strip()}"
        elif line.strip():
            found.append(line.strip())
    return found


def _is_formula(paragraph: str) -> bool:
    """Whether a paragraph must keep its line breaks: indented, a list of definitions, or hardly any words."""
    lines = [line for line in paragraph.splitlines() if not line.startswith((" ", "\t"))]
    if not lines or (len(lines) > 1 and all(map(_DEFINITION.match, lines))):
        return True
    tokens = re.sub(r"``.+?``", "", paragraph).split()
    words = sum(bool(_WORD.fullmatch(token)) for token in tokens)
    return bool(_OPERATOR.search(paragraph)) and words < 0.4 * len(tokens)


def _inline(text: str) -> str:
    """Running text on one line, its code spans kept."""
    text = " ".join(text.split())
    parts: list[str] = []
    end = 0
    for match in _CODE.finditer(text):
        parts += [escaping.markdown(text[end : match.start()]), _span(match["double"] or match["single"])]
        end = match.end()
    return "".join([*parts, escaping.markdown(text[end:])])


def main() -> None:
    """Write the checkout's pages."""
    write_pages(algorithms_folder().parent / "docs", Specs())


if __name__ == "__main__":
    main()
