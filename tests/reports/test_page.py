"""The HTML of tables and reports, read as a browser would, without one."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.analysis.history import RunHistory, thinned
from harness.reports import render
from harness.reports.figures import illustrations
from harness.reports.page import Picture, _facts, html_report, svg_source
from harness.specs.published import Check

GOLDEN = Path(__file__).parent / "golden"
INCOMPARABLE = {"incomparable": ("generated data",), "label": "smoke protocol"}
NASTY = '</script><script>alert(1)</script>" onload="x\' &amp; <!-- ]]> \\input{/etc/passwd}\u2028\u202e'
LOADS = {"src", "srcset", "action", "formaction", "poster", "ping", "background"}


class Reader(HTMLParser):
    """Collects what tests ask about."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.data, self._within = [], {}, []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._within.append(tag)

    def handle_endtag(self, tag):
        while self._within and self._within.pop() != tag:
            pass

    def handle_data(self, text):
        for tag in set(self._within):
            self.data[tag] = self.data.get(tag, "") + text

    def named(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def past(comparison, points=3, environment=None):
    """Histories that end in the scores of a comparison."""
    steps = [round(1000 * (place + 1) / points) for place in range(points)]
    return {
        (cell.row, cell.column): tuple(
            RunHistory(
                key=item.key,
                seed=item.seed,
                origin="trained",
                status="finished",
                score=item.score,
                curve=tuple((step, item.score * step / 1000) for step in steps),
                metrics={},
                wall_seconds=90.0,
                environment=environment or {"device": "cpu", "git_commit": "0123456789abcdef"},
                failure="",
            )
            for item in cell.scores
        )
        for cell in comparison.cells
    }


def report(comparison, histories=None, pictures=()):
    return html_report(
        comparison,
        past(comparison) if histories is None else histories,
        pictures,
        lambda dataset, column: f"harness reproduce {dataset} {column}",
    )


def embedded(page):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)[1])


@pytest.mark.parametrize("kind", ["plain", "smoke"])
def test_golden_table(example, kind):
    """Set HARNESS_REGENERATE=1 to write the expected files anew; then read what changed."""
    page = render(example(**(INCOMPARABLE if kind == "smoke" else {})), "html")
    body = page[page.index("<body>") :]
    path = GOLDEN / f"{kind}-table.html"
    if os.environ.get("HARNESS_REGENERATE"):
        path.write_text(body, encoding="utf-8")
    assert body == path.read_text(encoding="utf-8")


def test_a_printed_table_needs_no_script(example):
    page = Reader(render(example(), "html"))
    assert not page.named("script")
    assert not page.named("button")
    assert "script-src 'none'" in str(page.named("meta"))


@pytest.mark.parametrize("form", ["table", "report"])
def test_numbers_on_other_data_are_labelled(example, form):
    comparison = example(**INCOMPARABLE)
    page = render(comparison, "html") if form == "table" else report(comparison)
    shown = Reader(page).data
    assert shown["h1"].endswith("smoke protocol")
    assert "smoke protocol" in shown["title"]
    assert page.count("\N{NOT EQUAL TO}</span> N/C") == len(comparison.cells) + len(comparison.summaries)
    assert "generated data" in shown["p"]


def test_a_cell_says_all_that_is_known(example):
    comparison = example()
    data = embedded(report(comparison))
    cells = {cell["id"]: cell for cell in data["cells"]}
    assert len(cells) == len(comparison.cells) + len(comparison.summaries)
    cell, ours = cells["hopper-expert-v2/aspc"], comparison.cells[3]
    facts = dict(cell["facts"])
    assert facts["Verdict"].startswith("WORSE: ")
    assert facts["Reproduced"] == "50.2 ± 0.6 (4 of 4 seeds, ddof 1)"
    assert facts["Published"].startswith("112.3 ± 0.4 (4 seeds, ddof 1; ")
    assert facts["Difference"] == "-62.0"
    assert facts["p, adjusted over the table"] == "<0.001"
    assert facts["Interval"].startswith(f"{ours.interval.low:.1f} to {ours.interval.high:.1f} (95% exact")
    assert [seed["score"] for seed in cell["seeds"]] == ["50.0", "51.0", "49.5", "50.5"]
    assert cell["command"] == "harness reproduce hopper-expert-v2 aspc"
    assert data["environments"][cell["seeds"][0]["environment"]] == [
        ["device", "cpu"],
        ["git_commit", "0123456789abcdef"],
    ]
    assert cells["hopper-expert-v2/iql"]["command"] is None
    assert cells["hopper/aspc"]["command"] is None
    assert cells["hopper-expert-v2/td3_bc"]["notes"] == ["1 failed"]


def test_a_cell_says_what_public_scores_say(example):
    cell = example().cells[3]
    found = replace(cell.published, check=Check.DERIVED, sample="rebrac-2023", n=10, rounding="cut off")
    facts = dict(_facts(replace(cell, published=found), 1))
    assert facts["Public scores"].startswith("DERIVED from rebrac-2023, 10 seeds, ddof 1, cut off: mean and")
    facts = dict(_facts(replace(cell, published=replace(found, check=Check.OTHER)), 1))
    assert facts["Public scores"] == "OTHER CELL: the cell is another algorithm's or dataset's"
    assert "Public scores" not in dict(_facts(cell, 1))


def test_buttons_and_data_are_of_the_same_cells(example):
    """A button that opened its neighbour would be believed."""
    comparison = example()
    page = report(comparison)
    data = embedded(page)
    places = re.findall(r'<button type="button" class="cell (\S+)" data-cell="(\d+)"', page)
    assert [int(place) for _, place in places] == list(range(len(data["cells"])))
    assert [style for style, _ in places] == [cell["style"] for cell in data["cells"]]


PIECES = [
    "</script>",
    "<script>",
    "<!--",
    "-->",
    "]]>",
    "</",
    "<b ",
    'a="',
    "'",
    "&lt;",
    "`",
    "{{ x }}",
    "{%",
    "é",
    "\n",
    "\x00",
    "\u2028",
    "\u202e",
]


@given(st.lists(st.sampled_from(PIECES), max_size=6).map("".join))
@settings(max_examples=30)
def test_no_text_becomes_markup(example, text):
    usual = [(tag, sorted(attributes)) for tag, attributes in Reader(report(example())).tags]
    page = report(example(text=text))
    assert [(tag, sorted(attributes)) for tag, attributes in Reader(page).tags] == usual
    assert page.count("</script") == 2
    assert page.count("<script") == 2
    assert "<!--" not in page
    column = embedded(page)["cells"][0]["column"]
    assert column == "ASPC" + text.replace("\u2028", r"\u2028").replace("\u202e", r"\u202e")


def test_a_script_stays_text_and_the_policy_allows_only_ours(example):
    environment = {"device": NASTY, NASTY: "x"}
    comparison = example(text=NASTY)
    pictures = [Picture(NASTY, NASTY, NASTY, ("figures/x.svg",), svg_source("<svg/>"))]
    page = report(comparison, past(comparison, environment=environment), pictures)
    reader = Reader(page)
    assert len(reader.named("script")) == 2
    assert not [name for _, attributes in reader.tags for name in attributes if name.startswith("on")]
    script = page.rpartition("<script>")[2].partition("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page
    assert "\u202e" not in page


def test_nothing_is_loaded_from_elsewhere(example):
    comparison = example()
    pictures = [Picture("a", "b", "c", ("figures/x.svg",), svg_source("<svg/>"))]
    page = report(comparison, pictures=pictures)
    for tag, attributes in Reader(page).tags:
        for name in LOADS & attributes.keys():
            assert attributes[name].startswith("data:"), (tag, attributes)
        if tag == "link":
            assert attributes["href"] == "data:,"
        if tag == "a":
            assert re.match(r"#|figures/", attributes["href"])
    assert not re.search(r"@import|url\(|https?:(?!//www\.w3\.org/2000/svg)", page)


def test_a_figure_that_is_not_drawn_is_named(example):
    page = report(example(), pictures=[Picture("Radar", "spokes", "three rows", (), "")])
    assert "Radar is not drawn: it needs three rows." in page
    assert not Reader(page).named("figure")


def test_landmarks_and_names(example):
    reader = Reader(report(example()))
    for tag in ("header", "main", "footer", "h1"):
        assert len(reader.named(tag)) == 1
    names = {attributes["id"] for _, attributes in reader.tags if "id" in attributes}
    for _, attributes in reader.tags:
        if "aria-labelledby" in attributes:
            assert attributes["aria-labelledby"] in names
    assert dict(reader.tags)["html"] == {"lang": "en"}


def test_pictures_lose_digits_of_paths_only():
    svg = '<svg><path d="M 1.23456 -0.5 L 7.899999 3"/><use transform="scale(0.015625)"/></svg>'
    smaller = base64.b64decode(svg_source(svg).partition(",")[2]).decode()
    assert smaller == '<svg><path d="M 1.23 -0.5 L 7.89 3"/><use transform="scale(0.015625)"/></svg>'


@pytest.mark.parametrize(("count", "most"), [(0, 2), (1, 2), (5, 5), (200, 64), (201, 2)])
def test_thinned_keeps_the_ends(count, most):
    kept = thinned(range(count), most)
    assert len(kept) == min(count, most)
    assert list(kept) == sorted(set(kept))
    if count:
        assert (kept[0], kept[-1]) == (0, count - 1)


def luminance(colour):
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_contrast(example, theme):
    """WCAG's 4.5 : 1 for text on all its grounds, 3 : 1 for edges and lines that carry meaning."""
    found = re.findall(r"--([a-z-]+): light-dark\((#\w{6}), (#\w{6})\)", report(example()))
    colours = {name: pair[theme] for name, *pair in found}

    def contrast(one, other):
        bright, dark = sorted((luminance(colours[one]), luminance(colours[other])), reverse=True)
        return (bright + 0.05) / (dark + 0.05)

    kinds = ["ok", "close", "undecided", "better", "worse", "missing", "incomparable"]
    for ground in ["page", "raised", *kinds]:
        assert contrast("ink", ground) >= 4.5, ground
    for text in ("quiet", "accent"):
        assert contrast(text, "page") >= 4.5
        assert contrast(text, "raised") >= 4.5
    for kind in kinds:
        assert contrast(f"{kind}-edge", "page") >= 3, kind


def test_figures_of_the_example_have_pages_of_their_own(example):
    """What the page is told of figures is what they are: nothing without axes."""
    comparison = example()
    for item in illustrations(comparison, lambda: past(comparison)):
        if item.figure:
            assert all(axes.has_data() for axes in item.figure.axes), item.name
        assert item.missing
