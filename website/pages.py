"""The pages on algorithms, papers, shipped policies and copied columns, from code, specs and cards."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import Field, dataclass, fields
from functools import cache
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any, NamedTuple

import jinja2

from algorithms import Algorithm, algorithm_class
from harness import escaping
from harness.analysis.audit import audit
from harness.counting import count
from harness.datasets import policies
from harness.escaping import Raw
from harness.reports.audit import markdown_findings
from harness.reports.protocols import held_for, protocol_text
from harness.reports.templating import environment
from harness.specs import Specs
from harness.specs.catalogue import shipped_folder
from website.copied import copied_page

if TYPE_CHECKING:
    from harness.specs import models
    from harness.specs.models import Column, Paper, Table

_HERE = Path(__file__).parent
# a hyperparameter's declaration, and the comment beside it or on the line above
_DECLARATION = re.compile(
    r"^(?: {4}# (?P<above>.*)\n)? {4}(?P<name>\w+): \w+ = [^#\n]*(?:# (?P<beside>.*))?$", re.MULTILINE
)


class _Field(NamedTuple):
    """A line of the table of hyperparameters."""

    name: str
    comment: str
    value: str
    allowed: str
    scope: str
    source: str
    note: str


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


def pages(specs: Specs) -> dict[str, str]:
    """Every page by its path below the site's root.

    Raises:
        SpecError: a spec is wrong.
    """
    papers = _papers(specs)
    found = {f"algorithms/{name}.md": _algorithm(specs, name, papers) for name in specs.ids("algorithms")}
    found |= {f"papers/{slug}.md": _paper(specs, tables) for slug, tables in papers.items()}
    found["algorithms/README.md"] = _algorithms_index(specs, papers)
    found["papers/README.md"] = _papers_index(papers)
    found["policies/README.md"] = _policies(specs)
    found["sources/README.md"] = copied_page(specs)
    return found


# -- algorithms --------------------------------------------------------------------------------------------


def _algorithm(specs: Specs, name: str, papers: Mapping[str, Sequence[Table]]) -> str:
    spec = specs.algorithm(name)
    implementation = algorithm_class(name)
    declared = {field.name: field for field in fields(implementation.Hyperparameters)}
    comments = _comments(implementation.Hyperparameters)
    return _rendered(
        "algorithm.md.j2",
        spec=spec,
        path=f"{implementation.__module__}.{implementation.__name__}",
        of_all=[each for each in vars(Algorithm) if _is_same(implementation, each)],
        has_reference=(_HERE.parent / "reference" / f"{name}.py").exists(),
        fields=[
            _Field(
                key,
                comments.get(key, ""),
                _value(entry.value),
                _allowed(declared[key]),
                "shared" if declared[key].metadata["static"] else "per member",
                entry.source,
                entry.note or "",
            )
            for key, entry in spec.hyperparameters.items()
        ],
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


def _is_same(implementation: type[Algorithm], name: str) -> bool:
    """Whether an algorithm has what every algorithm has under that name."""
    return getattr(implementation, name) is getattr(Algorithm, name)


def _comments(hyperparameters: type) -> dict[str, str]:
    """Field -> the comment beside its declaration, or on the line above: its symbol and meaning."""
    found: dict[str, str] = {}
    for owner in hyperparameters.__mro__[-2::-1]:  # from the base of all, without `object`
        for match in _DECLARATION.finditer(inspect.getsource(owner)):
            found[match["name"]] = match["beside"] or match["above"] or ""
    return found


def _allowed(field: Field[Any]) -> str:
    """The values that a hyperparameter may have."""
    said = field.metadata
    if "pattern" in said:
        return "widths, as 256-256"
    if "choices" in said:
        return ", ".join(map(str, said["choices"]))
    if field.type in ("bool", "str"):
        return {"bool": "true, false", "str": "any text"}[field.type]
    bounds = [
        f"{sign} {said[name]:g}"
        for name, sign in (("above", ">"), ("minimum", "≥"), ("maximum", "≤"))
        if name in said
    ]
    return ", ".join([*(["whole"] if field.type == "int" else []), *bounds]) or "any number"


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


def _paper(specs: Specs, tables: Sequence[Table]) -> str:
    paper = tables[0].paper.model_copy(update={"table": None})
    sheets = [_sheet(specs, table, tables[:index]) for index, table in enumerate(tables)]
    return _rendered("paper.md.j2", paper=paper, sheets=sheets)


def _sheet(specs: Specs, table: Table, above: Sequence[Table]) -> _Sheet:
    implemented = specs.ids("algorithms")
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


def _implementation(column: Column, implemented: Sequence[str]) -> Raw:
    """What gives a column its numbers."""
    if column.parts:
        return Raw(column.made_of([*map(_code, column.parts)]))
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


def _algorithms_index(specs: Specs, papers: Mapping[str, Sequence[Table]]) -> str:
    rows = []
    for name in specs.ids("algorithms"):
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
                f"{card.reference.normalise(mean):.1f}" if card.reference else "",
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
    lines = [f"# {title}", "", text, ""]
    lines += [f"| {' | '.join(header)} |", f"|{' :--- |' * len(header)}"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join(lines) + "\n"


# -- Markdown ------------------------------------------------------------------------------------------


def _rendered(template: str, **variables: Any) -> str:
    text = _templates().get_template(template).render(**variables)
    return re.sub(r"\n{3,}", "\n\n", text).rstrip() + "\n"


@cache
def _templates() -> jinja2.Environment:
    templates = environment(escaping.markdown, block=("{%", "%}"), variable=("{{", "}}"))
    templates.loader = jinja2.FileSystemLoader(_HERE / "templates")
    templates.filters |= {"cited": _cited, "code": _code, "linked": _linked, "raw": Raw}
    return templates


def _code(text: object) -> Raw:
    """A code span in a cell of a table, where a bar would end the cell."""
    return Raw("`" + str(text).replace("`", "'").replace("|", "\\|") + "`")


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
