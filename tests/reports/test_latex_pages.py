"""The LaTeX table through a real pdflatex: what a reader sees on the page."""

from __future__ import annotations

import csv
import os
import re
import shutil
import subprocess
import unicodedata
from dataclasses import replace

import numpy as np
import pytest

from harness.analysis.comparison import compare
from harness.analysis.overall import overall
from harness.analysis.sourcing import Setting, check
from harness.errors import HarnessError
from harness.planning.cells import resolve
from harness.planning.imports import import_rows
from harness.reports import derivation, paper, render, render_diff, wording
from harness.results import transfer
from harness.results.store import Store
from harness.sources.scores import Scores
from harness.specs import Specs

TABLE = "aspc-table1"
EVIL = (r"\input{/etc/passwd}", "50% & more_$")
MARGIN = 15 / 25.4 * 72  # the document's, in points
STYLES = [
    {},
    {"siunitx": True},
    {"with_published": True},
    {"siunitx": True, "with_published": True, "digits": 2},
]
PROGRAMS = ("pdflatex", "pdftotext", "pdftoppm", "kpsewhich")


@pytest.fixture(scope="module", autouse=True)
def typesetting():
    """Left out, with a reason, where the programs or packages are missing; HARNESS_REQUIRE_LATEX=1 fails."""
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if not missing:
        missing = [
            name
            for name in (
                "booktabs.sty",
                "siunitx.sty",
                "adjustbox.sty",
                "xcolor.sty",
                "float.sty",
                "ptmr8t.tfm",
            )
            if subprocess.run(["kpsewhich", name], capture_output=True, check=False).returncode
        ]
    if missing:
        reason = f"LaTeX tables are not typeset here: {', '.join(missing)} missing"
        (pytest.fail if os.environ.get("HARNESS_REQUIRE_LATEX") == "1" else pytest.skip)(reason)


def compared(folder, keep=lambda dataset, column, seed: True, table=TABLE):
    """A table with scores drawn around the printed numbers, where ``keep`` says so."""
    specs = Specs()
    resolved = resolve(specs, table)
    published = specs.published(resolved.table)
    random = np.random.default_rng(3)
    path = folder / "scores.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["dataset", "algorithm", "seed", "step", "score"])
        for cell in resolved.cells:
            key = (cell.dataset.id, cell.column.id)
            printed = published[key]
            for seed in cell.protocol.seeds:
                score = random.normal(printed.mean, printed.std or 1.0)
                if keep(*key, seed):
                    writer.writerow([*key, seed, cell.protocol.length, round(score, 2)])
    with Store.open(folder / "results.db", create=True) as store:
        transfer.import_scores(store, import_rows(resolved, transfer.read_scores_csv(path), path), path)
        return compare(resolved, specs, store)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return compared(tmp_path_factory.mktemp("whole"))


def typeset(folder, document, body=""):
    """Pages of text as laid out, and pdflatex's log."""
    (folder / "page.tex").write_text(document, encoding="utf-8")
    (folder / "body.tex").write_text(body, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "page.tex"]
    for _ in range(2):  # the second time with the references of the first
        done = subprocess.run(command, cwd=folder, capture_output=True, timeout=120, check=False)
        assert done.returncode == 0, done.stdout.decode(errors="replace")[-2000:]
    text = subprocess.run(
        ["pdftotext", "-layout", "page.pdf", "-"], cwd=folder, capture_output=True, text=True, check=True
    ).stdout
    return text, (folder / "page.log").read_text(errors="replace")


def squeezed(text):
    composed = unicodedata.normalize("NFC", re.sub(r"\s", "", text))
    return composed.replace("\N{MINUS SIGN}", "-").replace("\N{EN DASH}", "-")


def expected(row, style):
    """What the line of a row shows, without spaces."""
    digits = style.get("digits", 1)
    shown = [row.label]
    for cell in row.cells:
        shown += [wording.reproduced(cell, digits), wording.mark(cell)]
        if style.get("with_published"):
            shown.append(wording.published(cell))
    return squeezed("".join(shown))


def ink(folder, dots_per_inch=60):
    """(left, top, right, bottom) of white around what is printed on every page, in points; pages of PGM."""
    subprocess.run(
        ["pdftoppm", "-gray", "-r", str(dots_per_inch), "page.pdf", "page"], cwd=folder, check=True
    )
    for path in sorted(folder.glob("page-*.pgm")):
        header = re.match(rb"P5\s+(\d+)\s+(\d+)\s+255\s", path.read_bytes())
        width, height = int(header[1]), int(header[2])
        grey = np.frombuffer(path.read_bytes(), np.uint8, offset=header.end()).reshape(height, width)
        down, across = np.nonzero(grey < 200)
        edges = across.min(), down.min(), width - 1 - across.max(), height - 1 - down.max()
        yield tuple(edge * 72 / dots_per_inch for edge in edges)


def too_wide_or_high(log):
    return re.findall(r"Overfull.*|.*too large.*", log)


@pytest.mark.parametrize("style", STYLES, ids=lambda style: "+".join(style) or "plain")
def test_the_whole_table_on_a_page(whole, tmp_path, style):
    text, log = typeset(tmp_path, render(whole, "latex", standalone=True, **style))
    first = text.split("\f")[0]
    lines = {squeezed(line) for line in first.splitlines()}
    for row in whole.rows:
        assert expected(row, style) in lines
    for group in whole.groups:
        assert group.label in lines
    assert "??" not in text
    for said in ("d4rl-1m", "lineage d4rl", "git commits", "aspc-table1, version 1", "ddof 1"):
        assert said in " ".join(text.split())
    assert too_wide_or_high(log) == []
    margins = list(ink(tmp_path))
    assert margins
    assert min(edge for page in margins for edge in page) > MARGIN - 3


def test_bold_is_what_the_model_says(whole, tmp_path):
    source = render(whole, "latex", standalone=True, siunitx=True)
    typeset(tmp_path, source)
    cells = (*whole.cells, *whole.summaries)
    assert source.count(r"\bfseries") == sum(cell.leading for cell in cells) > len(whole.rows)
    fonts = subprocess.run(["pdffonts", "page.pdf"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "NimbusRomNo9L-Medi" in fonts.stdout
    assert "Type 3" not in fonts.stdout  # bitmaps


@pytest.mark.parametrize("style", STYLES, ids=lambda style: "+".join(style) or "plain")
def test_partly_measured(tmp_path, style):
    """Missing seeds, missing cells, one seed alone."""

    def keep(dataset, column, seed):
        return column in ("td3_bc", "aspc") and (not dataset.startswith("hopper") or seed < 1)

    comparison = compared(tmp_path, keep)
    text, log = typeset(tmp_path, render(comparison, "latex", standalone=True, **style))
    flat = " ".join(text.split())
    assert "MISSING 1/4" in flat
    assert ("[29.5 ± 1.5]" in flat) != bool(style.get("with_published"))
    assert too_wide_or_high(log) == []


def test_columns_that_cannot_be_run(example, tmp_path):
    text, _ = typeset(tmp_path, render(example(), "latex", standalone=True))
    assert "no implementation: " in " ".join(text.split())


@pytest.mark.parametrize("siunitx", [False, True])
def test_labels_are_text(whole, tmp_path, siunitx):
    labels = (*EVIL, *(column.label for column in whole.columns[2:]))
    columns = tuple(
        column.model_copy(update={"label": label})
        for column, label in zip(whole.columns, labels, strict=True)
    )
    document = render(replace(whole, columns=columns), "latex", standalone=True, siunitx=siunitx)
    text, log = typeset(tmp_path, document)
    for label in EVIL:
        assert squeezed(label) in squeezed(text)
    assert "root:" not in text
    assert "passwd" not in log
    assert too_wide_or_high(log) == []


def test_letters_of_all_kinds(whole, tmp_path):
    title = "\u03b1 \u03b2 \u03c3 \u2264 \u2265 \u2248 \u2192 \u2212 × · é ß ø ł ő č “q” — – ± § 中"
    comparison = replace(whole, table=whole.table.model_copy(update={"title": title}))
    text, _ = typeset(tmp_path, render(comparison, "latex", standalone=True))
    assert squeezed(title).replace("中", "U+4E2D") in squeezed(text)


@pytest.mark.parametrize("style", STYLES, ids=lambda style: "+".join(style) or "plain")
def test_fits_a_narrow_page_of_someones_paper(whole, tmp_path, style):
    body = render(whole, "latex", **style)
    needed = re.search(r"% needs (\\usepackage\{.*?\})", body)[1]
    document = rf"\documentclass{{article}}{needed}\begin{{document}}Text.\input{{body}}\end{{document}}"
    text, log = typeset(tmp_path, document, body)
    assert "walker2d-full-replay-v2" in text
    assert "Notes to Table 1." in text
    assert "??" not in text
    assert too_wide_or_high(log) == []


def test_intervals_of_sums_stand_below_them_and_widen_no_column(tmp_path):
    whole = compared(tmp_path, table="ssar-offline")
    body = render(whole, "latex")
    lines = body.splitlines()
    [place] = [index for index, line in enumerate(lines) if line.startswith("Locomotion total")]
    assert " to " not in lines[place]
    assert lines[place + 1].count(" to ") == len(whole.columns)


# -- style paper --------------------------------------------------------------------------------------------


def cell_line(text, label):
    """The entries of a row."""
    [line] = [line for line in text.splitlines() if line.startswith(label)]
    return [entry.strip() for entry in line.removesuffix(r"\\").split("&")][1:]


@pytest.mark.parametrize(
    ("show", "spread"),
    [("std", r"$\pm$\,2.0"), ("se", r"$\pm$\,1.0"), ("ci", "[90.9, 94.4]"), ("none", "")],
)
def test_what_stands_beside_a_mean(example, show, spread):
    [number, beside, *_] = cell_line(render(example(), "latex", show=show, bold="none"), "hopper-medium-v2")
    assert number == "92.8"
    assert re.sub(r"^\{\\scriptsize\\,(.*)\}$", r"\1", beside) == spread


def test_the_level_of_the_intervals_is_said(whole):
    text = render(whole, "latex", show="ci")
    assert r"mean and 95 \% interval (exact percentile bootstrap), over 4 seeds" in text


def test_no_verdict_mark_or_note(example):
    text = render(example(label="smoke protocol", incomparable=("generated data",)), "latex", style="paper")
    for word in ("OK", "N/C", "MISSING", "dagger", "Provenance", "Verdicts"):
        assert word not in text
    assert "smoke protocol" in text


@pytest.mark.parametrize(("rule", "expected"), [("best", 1), ("ties", 2), ("none", 0)])
def test_bold(whole, rule, expected):
    row = next(row for row in whole.rows if row.kind == "dataset" and sum(c.leading for c in row.cells) == 2)
    line = " ".join(cell_line(render(whole, "latex", bold=rule, show="none"), row.label))
    assert line.count(r"\textbf") == expected


def test_best_is_what_a_reader_sees_as_best(whole):
    row = whole.groups[0].rows[0]
    means = [50.04, 50.01, 49.9, None, 1.0, 2.0]
    cells = [replace(cell, mean=mean) for cell, mean in zip(row.cells, means, strict=True)]
    group = replace(whole.groups[0], rows=(replace(row, cells=tuple(cells)),), summaries=())
    changed = replace(whole, groups=(group,), total=None)
    text = " ".join(cell_line(render(changed, "latex", bold="best", show="none"), row.label))
    assert text.count(r"\textbf{50.0}") == 2
    assert text.count(r"\textbf") == 2


def test_the_style_where_nothing_is_published_and_what_the_options_are_for(example):
    comparison = example()
    assert "Verdicts" in render(comparison, "latex")
    assert "Verdicts" not in render(comparison, "latex", wide=True)
    unpublished = replace(comparison, table=comparison.table.model_copy(update={"published": None}))
    assert "Verdicts" not in render(unpublished, "latex")
    assert "Verdicts" in render(unpublished, "latex", style="audit")
    assert "Verdicts" in render(unpublished, "latex", with_published=True)
    for style, option in (("audit", "transpose"), ("paper", "siunitx")):
        with pytest.raises(HarnessError, match=f"--{option} has no meaning for LaTeX of style {style}"):
            render(comparison, "latex", style=style, **{option: True})


@pytest.mark.parametrize(
    ("caption", "said"),
    [
        ("50% better", r"'%' means something in it; write \\% for the sign"),
        (r"\textbf{x", "braces do not match"),
        ("}{", "braces do not match"),
        ("costs $5", "without its second"),
        ("R_1 & more", "means something in it"),
        ("R^1", r"write \\\^\{\} for the sign"),
        ("ends in \\", "ends in a backslash"),
        ("two\nlines", "a line break"),
    ],
)
def test_captions_that_latex_would_not_get_over(example, caption, said):
    with pytest.raises(HarnessError, match=said):
        render(example(), "latex", caption=caption)


@pytest.mark.parametrize("caption", [r"as in~\cite[p.~3]{fu_2020} and \autoref{tab:a_b}", r"$x_1^2$ \& 5\%"])
def test_captions_that_latex_reads(example, caption):
    assert rf"\caption{{{caption}}}" in render(example(), "latex", caption=caption)


def test_labels(example):
    assert r"\label{tab:mine}" in render(example(), "latex", label="tab:mine")
    with pytest.raises(HarnessError, match="--label"):
        render(example(), "latex", label=r"tab:{\evil}")


CAPTION = r"Scores on \textsc{D4RL}, $n_4 = 4$, 50\% of it \& more"


@pytest.mark.parametrize("columns", ["onecolumn", "twocolumn"])
def test_everything_compiles_in_papers_of_one_and_two_columns(whole, tmp_path, columns):
    few = replace(whole, groups=whole.groups[1:2], total=None)
    parts = [
        render(whole, "latex", style="paper", wide=True, caption=CAPTION),
        render(whole, "latex", style="paper", show="ci", label="tab:ci"),
        render(few, "latex", style="paper", transpose=True, label="tab:transposed"),
        paper.statistics(whole, overall(whole), paper.Float()),
        render_diff(whole, "latex"),
    ]
    [needed] = {re.search(r"% needs (\\usepackage\{.*?\})", part)[1] for part in parts}
    body = "".join(parts)
    document = (
        rf"\documentclass[{columns}]{{article}}{needed}\begin{{document}}Text.\input{{body}}\end{{document}}"
    )
    text, log = typeset(tmp_path, document, body)
    flat = squeezed(text)
    assert "ScoresonD4RL" in flat.replace("D4rl", "D4RL")
    for row in (row for group in whole.groups for row in group.rows):
        assert row.label in text
    for line in wording.diff_lines(whole):
        assert squeezed(line.verdict.removesuffix("\N{DAGGER}")) in flat
    assert "continued" in flat
    assert too_wide_or_high(log) == []
    assert "multiply defined" not in log
    assert "undefined" not in log


@pytest.mark.parametrize("columns", ["onecolumn", "twocolumn"])
def test_what_follows_from_sources_may_go_over_pages(tmp_path, columns):
    specs = Specs()
    found = check(specs.table(TABLE), specs, Scores())
    settings = [Setting(row, "critic_bc_coefficient", 0.1, 0.01) for row in specs.table(TABLE).datasets]
    found = replace(found, columns=tuple(replace(each, settings=settings * 3) for each in found.columns))
    body = derivation.latex(found)
    [needed] = re.findall(r"% needs (\\usepackage\{.*?\})", body)
    document = (
        rf"\documentclass[{columns}]{{article}}{needed}\begin{{document}}Text.\input{{body}}\end{{document}}"
    )
    text, log = typeset(tmp_path, document, body)
    assert text.count("door-human-v1") > 2 * len(found.columns)
    assert too_wide_or_high(log) == []


def test_lines_too_long_for_one_of_two_columns_go_over_both(whole):
    assert r"\begin{table*}" in render(whole, "latex", style="paper")
    assert r"\begin{table}" in render(whole, "latex", style="paper", show="none")


def test_a_whole_document(whole, tmp_path):
    text, log = typeset(tmp_path, render(whole, "latex", style="paper", standalone=True))
    assert "Total Avg" in text
    assert too_wide_or_high(log) == []
