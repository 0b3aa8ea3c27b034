from __future__ import annotations

import csv
import io
import json
import math
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from harness import escaping
from harness.errors import HarnessError, UnknownNameError
from harness.reports import DIFF_FORMATS, FORMATS, console, render, render_diff, wording

GOLDEN = Path(__file__).parent / "golden"
INCOMPARABLE = {"incomparable": ("generated data",), "label": "smoke protocol"}


def rendered(comparison, name):
    if name == "diff.txt":
        out = Console(file=io.StringIO(), width=140, color_system=None)
        out.print(console.diff(comparison, 140))
        return "\n".join(line.rstrip() for line in out.file.getvalue().splitlines()) + "\n"
    if name == "diff.md":
        return render_diff(comparison, "markdown")
    if name == "document.tex":
        return render(comparison, "latex", standalone=True)
    endings = {"md": "markdown", "tex": "latex", "csv": "csv", "json": "json"}
    return render(comparison, endings[name.split(".")[1]])


def rounded(text):
    """The last digits of a float are the machine's, not ours."""
    return re.sub(r"-?\d+\.\d{9,}(e-?\d+)?", lambda match: f"{float(match[0]):.6g}", text)


@pytest.mark.parametrize(
    "name",
    ["table.md", "table.tex", "document.tex", "table.csv", "table.json", "diff.md", "diff.txt"],
)
@pytest.mark.parametrize("kind", ["plain", "smoke"])
def test_golden(example, name, kind):
    """Set HARNESS_REGENERATE=1 to write the expected files anew; then read what changed."""
    path = GOLDEN / f"{kind}-{name}"
    text = rendered(example(**(INCOMPARABLE if kind == "smoke" else {})), name)
    if os.environ.get("HARNESS_REGENERATE"):
        path.write_text(text, encoding="utf-8")
    assert rounded(text) == rounded(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", ["table.md", "table.tex", "table.csv", "table.json", "diff.md", "diff.txt"])
def test_numbers_on_other_data_are_labelled_everywhere(example, name):
    comparison = example(**INCOMPARABLE)
    text = rendered(comparison, name)
    assert text.count("N/C") >= len(comparison.cells)
    assert "generated data" in text
    assert "smoke protocol" in text


def test_every_row_of_csv_and_json_names_reasons(example):
    comparison = example(**INCOMPARABLE)
    for record in csv.DictReader(io.StringIO(render(comparison, "csv"))):
        assert record["reasons"] == "generated data"
        assert record["verdict"].startswith("N/C")
        assert (record["p"], record["p_adjusted"]) == ("", "")
    document = json.loads(render(comparison, "json"))
    for group in document["groups"]:
        for row in group["rows"]:
            assert all(cell["verdict"]["kind"] == "N/C" for cell in row["cells"])


def test_unknown_formats(example):
    with pytest.raises(UnknownNameError, match="markdown"):
        render(example(), "markdwon")
    with pytest.raises(UnknownNameError):
        render_diff(example(), "html")
    assert set(DIFF_FORMATS) < set(FORMATS)


def test_csv_numbers_are_unrounded(example):
    comparison = example()
    records = list(csv.DictReader(io.StringIO(render(comparison, "csv"))))
    cells = comparison.cells + comparison.summaries
    assert len(records) == len(cells)
    by_key = {(record["row"], record["column"]): record for record in records}
    for cell in cells:
        record = by_key[cell.row, cell.column]
        assert record["mean"] == ("" if cell.mean is None else repr(cell.mean))
        assert record["verdict"] == cell.verdict.text


def test_json_has_null_for_nan(example):
    comparison = example()
    group = comparison.groups[0]
    row = group.rows[0]
    broken = replace(row, cells=(replace(row.cells[0], mean=math.nan, std=math.inf), *row.cells[1:]))
    comparison = replace(
        comparison, groups=(replace(group, rows=(broken, *group.rows[1:])), *comparison.groups[1:])
    )
    cell = json.loads(render(comparison, "json"))["groups"][0]["rows"][0]["cells"][0]
    assert (cell["mean"], cell["std"]) == (None, None)


def test_all_outputs_show_the_same_verdicts(example):
    comparison = example()
    diff = [line.verdict for line in wording.diff_lines(comparison)]
    in_csv = [record["verdict"] for record in csv.DictReader(io.StringIO(render(comparison, "csv")))]
    assert diff == in_csv


@pytest.mark.parametrize(
    ("value", "sign", "text"),
    [
        (-0.04, False, "0.0"),
        (-0.04, True, "0.0"),
        (1.25, True, "+1.2"),
        (-3.0, True, "-3.0"),
        (None, True, "–"),
    ],
)
def test_numbers(value, sign, text):
    assert wording.number(value, sign=sign) == text


@pytest.mark.parametrize(("value", "text"), [(0.04951, "0.050"), (0.0004, "<0.001"), (1.0, "1.000")])
def test_p_values(value, text):
    assert wording.p_value(value) == text


def test_bold_is_decided_once(example):
    comparison = example()
    leading = {(cell.row, cell.column) for cell in comparison.cells if cell.leading}
    # td3_bc's 110 on hopper-expert rests on 2 of 4 seeds, and one column alone is not the best of anything
    assert leading == {("hopper-medium-v2", "aspc")}
    assert render(comparison, "markdown").count("**92.8 ± 2.0**") == 1
    assert r"\textbf{92.8} & $\pm$\,\textbf{2.0} & {\tiny OK}" in render(comparison, "latex")
    assert r"\bfseries 92.8 +- 2.0 & {\tiny OK}" in render(comparison, "latex", siunitx=True)
    in_csv = csv.DictReader(io.StringIO(render(comparison, "csv")))
    assert {(line["row"], line["column"]) for line in in_csv if line["leading"] == "True"} == leading
    document = json.loads(render(comparison, "json"))
    flags = [
        (cell["row"], cell["column"])
        for group in document["groups"]
        for row in group["rows"]
        for cell in row["cells"]
        if cell["leading"]
    ]
    assert flags == sorted(leading)
    for text in (render(comparison, "markdown"), render(comparison, "latex"), str(document["notes"])):
        assert "equivalent to it, by the test of the verdicts" in text


def test_two_seeds_have_no_interval_but_their_range(example):
    [text] = [note.text for note in wording.notes(example()) if note.title == "Intervals"]
    four, two = text.split("; ")
    assert four == "95% exact percentile bootstrap of the mean, n = 4, 35 resamples"
    assert two.endswith("n = 2, 3 resamples (with two seeds no more than their range)")


def test_one_is_singular(example):
    comparison = example(**INCOMPARABLE)
    [group, *_] = comparison.groups
    cell = group.rows[0].cells[0]
    cell = replace(cell, protocol=cell.protocol.model_copy(update={"episodes": 1}))
    row = replace(group.rows[0], cells=(cell,))
    one = replace(comparison, groups=(replace(group, rows=(row,)),))
    assert "N/C: 1 of 1 cell cannot" in wording.warning(one)
    text = " ".join(note.text for note in wording.notes(one))
    for words in ("(1 cell)", "over the 0 cells tested", "on 1 episode, "):
        assert words in text


@pytest.mark.parametrize("siunitx", [False, True])
def test_the_papers_numbers_beside_ours(example, siunitx):
    text = render(example(), "latex", siunitx=siunitx, with_published=True, digits=2)
    ours = r"\bfseries 92.78 +- 2.03" if siunitx else r"\textbf{92.78} & $\pm$\,\textbf{2.03}"
    theirs = "92.7 +- 2.2" if siunitx else r"\textcolor{gray}{92.7} & \textcolor{gray}{$\pm$\,2.2}"
    assert rf"{ours} & {{\tiny OK}} & {theirs} & " in text
    assert "**92.78 ± 2.03** OK \\[92.7 ± 2.2\\]" in render(
        example(), "markdown", with_published=True, digits=2
    )


@pytest.mark.parametrize(
    ("siunitx", "shown"), [(True, "92.70 +- 12.25"), (False, r"92.7} & \textcolor{gray}{$\pm$\,12.25}")]
)
def test_digits_that_were_printed_are_kept_and_have_room(example, siunitx, shown):
    comparison = example()
    group, *others = comparison.groups
    cell, *cells = group.rows[0].cells
    printed = replace(cell.published, std=12.25, std_decimals=2)
    row = replace(group.rows[0], cells=(replace(cell, published=printed), *cells))
    comparison = replace(comparison, groups=(replace(group, rows=(row, *group.rows[1:])), *others))
    text = render(comparison, "latex", siunitx=siunitx, with_published=True, digits=3)
    assert shown in text
    assert bool(re.search(r"table-format=-?\d\.3\(5\)", text)) == siunitx  # 12 and three decimals


@pytest.mark.parametrize(
    ("form", "option"),
    [
        ("markdown", {"siunitx": True}),
        ("markdown", {"standalone": True}),
        ("csv", {"digits": 1}),
        ("json", {"with_published": True}),
    ],
)
def test_options_without_a_meaning_are_refused(example, form, option):
    name = "--" + next(iter(option)).replace("_", "-")
    with pytest.raises(HarnessError, match=f"{name} has no meaning for {form}; it is for .*LaTeX"):
        render(example(), form, **option)


# -- escaping ----------------------------------------------------------------------------------------------

NASTY = st.text(st.sampled_from("\\{}$&#_%~^<>|[]*`\"'-=+@\n\r\tab é–±"), max_size=30)
COMMANDS = re.compile(
    r"\\textbackslash\{\}|\\textasciitilde\{\}|\\textasciicircum\{\}|\\textless\{\}|\\textgreater\{\}"
    r"|\\textbar\{\}|\\textendash\{\}|\\ensuremath\{\\pm\}|\\[{}$&#_%]|\{\[\}|\{\]\}|\{\*\}|-\{\}"
)


@given(NASTY)
def test_latex_leaves_no_special(text):
    assert not re.search(r"[\\{}$&#_%~^<>|\[\]*\n\r]", COMMANDS.sub("", escaping.latex(text)))


@given(NASTY)
def test_latex_loses_nothing(text):
    """As many visible characters come out as went in, runs of white space counting as one."""
    visible = COMMANDS.sub("x", escaping.latex(text))
    assert len(visible) == len(re.sub(r"\s+", " ", text))


def unescaped_pipes(line):
    return len(re.findall(r"(?<!\\)(?:\\\\)*\|", line))


@given(NASTY)
def test_markdown_tables_keep_their_columns(example, text):
    for document in (render(example(text=text), "markdown"), render_diff(example(text=text))):
        lines = [line for line in document.splitlines() if line.startswith("|")]
        assert len({unescaped_pipes(line) for line in lines}) == 1
        assert not re.search(r"(?<!\\)`|<(?!br)|[\x00-\x09]", document)


@given(NASTY, st.booleans(), st.booleans())
def test_latex_tables_keep_their_columns(example, text, siunitx, with_published):
    document = render(example(text=text), "latex", siunitx=siunitx, with_published=with_published)
    each = 2 + with_published if siunitx else 3 + 2 * with_published
    body = document.split("\\toprule\n")[1].split("\\bottomrule")[0]
    for line in body.splitlines():
        if not line.startswith(("\\midrule", "\\cmidrule", "\\addlinespace")):
            spanned = sum(int(width) - 1 for width in re.findall(r"\\multicolumn\{(\d+)\}", line))
            assert len(re.findall(r"(?<!\\)&", line)) + spanned == 3 * each
            assert line.endswith(" \\\\")
    bare = re.sub(r"\\[{}]", "", document)
    assert bare.count("{") == bare.count("}")


@given(NASTY)
def test_csv_has_no_formulas(text):
    escaped = escaping.csv(text)
    assert not escaped.startswith(("=", "@", "\t", "\r", "+", "-")) or re.fullmatch(r"[+-][\d.]+", escaped)
    assert escaped.removeprefix("'") == escaping.terminal(text).removeprefix("'")


@pytest.mark.parametrize("text", ["-1.5", "+2", "-.5e-3", "hopper", "", "–"])
def test_csv_leaves_numbers_and_words(text):
    assert escaping.csv(text) == text


def test_csv_formula_in_a_label(example):
    record = next(csv.DictReader(io.StringIO(render(example(text="\n=1"), "csv"))))
    assert record["label"] == "ASPC\n=1"
    assert escaping.csv('=HYPERLINK("x")') == '\'=HYPERLINK("x")'


def test_console_text_is_no_markup(example):
    assert "[red]" in rendered(example(text="[red]"), "diff.txt")


def test_imported_numbers_carry_a_dagger_and_a_legend(example):
    plain = example()
    groups = tuple(
        replace(
            group,
            rows=tuple(
                replace(row, cells=tuple(replace(cell, imported=True) for cell in row.cells))
                for row in group.rows
            ),
        )
        for group in plain.groups
    )
    imported = replace(plain, groups=groups)
    for style in ("markdown", "latex"):
        ours, theirs = render(imported, style), render(plain, style)
        dagger = r"\textdagger" if style == "latex" else "†"
        assert dagger not in theirs
        assert ours.count(dagger) > 2
        assert "imported from a file of scores" in ours
    assert "†" in render_diff(imported, "markdown")


# -- on a terminal -----------------------------------------------------------------------------------------


def drawn(comparison, width, draw=console.table, **options):
    out = Console(file=io.StringIO(), width=width, color_system=None)
    out.print(draw(comparison, width, **options))
    return out.file.getvalue()


@pytest.mark.parametrize("width", [80, 120, 200])
@pytest.mark.parametrize("draw", [console.table, console.diff])
def test_a_table_fits_its_terminal_and_loses_nothing(example, width, draw):
    text = drawn(example(), width, draw)
    assert max(map(len, text.splitlines())) <= width
    assert "\N{HORIZONTAL ELLIPSIS}" not in text
    for shown in ("92.8", "61.9", "MISSING 2/4", "WORSE"):
        assert shown in text
    assert "\\" not in text


def test_columns_that_do_not_fit_go_into_a_second_table(example):
    text = drawn(example(), 34, all_notes="harness table x --notes")
    assert text.count("Dataset") == text.count("hopper-medium-v2") == 3


def test_names_are_wrapped_at_hyphens(example):
    lines = [line.split("  ")[0].strip() for line in drawn(example(), 78, console.diff).splitlines()]
    assert lines[lines.index("hopper-") + 1] == "medium-v2"


def test_three_lines_of_notes_and_how_to_see_the_others(example):
    text = drawn(example(), 100, all_notes="harness table x --notes")
    *_, bold, verdicts, more = text.splitlines()
    assert bold.startswith("Bold: ")
    assert verdicts.startswith("Verdicts: ")
    assert re.fullmatch(r"\d+ more notes: harness table x --notes", more.strip())
    assert "Provenance" in drawn(example(), 100)


def test_differences_of_what_is_not_comparable_are_in_brackets(example):
    comparison = example(**INCOMPARABLE)
    lines = {(line.row, line.column): line for line in wording.diff_lines(comparison)}
    assert lines["hopper-medium-v2", "ASPC"].difference == "(+0.1)"
    assert lines["hopper-medium-v2", "ASPC"].p == "–"
    assert lines["hopper-medium-v2", "IQL"].difference == "–"
    assert {cell.verdict.kind for cell in comparison.cells} == {"N/C"}


def test_environments_are_grouped(example):
    places = tuple(f"environment harness/maze2d-{size}" for size in ("umaze", "large"))
    comparison = example(incomparable=("generated data", *places, "environment harness/pen"))
    said = "generated data; environments harness/maze2d-* (2), harness/pen."
    assert wording.warning(comparison).endswith(said)
