from __future__ import annotations

import csv
import re
import warnings
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from harness.analysis.history import RunHistory
from harness.errors import HarnessError, UnknownNameError
from harness.reports.figures import illustrations, save, write
from harness.reports.figures.look import Look
from harness.specs.models import PaperFigure

NASTY = "$\\frac{1}{$ _ <script>\n\x1b[31m"


def run(seed, score, curve=(), metrics=None, **more):
    given = {
        "wall_seconds": None,
        "environment": {},
        "failure": "",
        "status": "finished",
        "origin": "trained",
    }
    return RunHistory(f"{seed}", seed, score=score, curve=tuple(curve), metrics=metrics or {}, **given | more)


def drawn(comparison, histories):
    return {item.name: item.figure for item in illustrations(comparison, lambda: histories)}


def full(example, text=""):
    """The example with four seeds everywhere, and their histories."""
    comparison = example(text=text)
    rng = np.random.default_rng(0)
    histories = {}

    def whole(cell):
        scores = rng.normal(50, 5, 4).tolist()
        items = (
            [replace(cell.scores[0], seed=seed, score=score) for seed, score in enumerate(scores)]
            if cell.scores
            else ()
        )
        histories[cell.row, cell.column] = tuple(
            run(
                seed,
                score,
                [(500, score / 2), (1000, score)],
                {"alpha": ((500, 1.0), (1000, 2.0))},
                wall_seconds=60.0,
            )
            for seed, score in enumerate(scores)
        )
        return items and replace(cell, scores=tuple(items), mean=sum(scores) / 4, n=4)

    template = comparison.cells[0].scores[0]
    groups = []
    for group in comparison.groups:
        rows = []
        for row in group.rows:
            cells = tuple(whole(replace(cell, scores=(template,))) for cell in row.cells)
            rows.append(replace(row, cells=cells))
        groups.append(replace(group, rows=tuple(rows)))
    return replace(comparison, groups=tuple(groups)), histories


def test_without_data_nothing_is_drawn(example):
    comparison = example()
    empty = replace(
        comparison,
        groups=tuple(
            replace(
                group,
                rows=tuple(
                    replace(
                        row,
                        cells=tuple(
                            replace(cell, mean=None, n=0, scores=(), interval=None) for cell in row.cells
                        ),
                    )
                    for row in group.rows
                ),
            )
            for group in comparison.groups
        ),
    )
    figures = drawn(empty, {})
    assert set(figures.values()) == {None}
    assert set(figures) == {
        "scatter",
        "radar",
        "curves",
        "efficiency",
        "aggregates",
        "profiles",
        "improvement",
        "runtime",
    }


def test_with_all_data_everything_is_drawn(example):
    figures = drawn(*full(example))
    assert [name for name, figure in figures.items() if figure is None] == []
    assert "metric-alpha" in figures


def test_saved_twice_they_are_the_same_bytes(example, tmp_path):
    for turn in ("a", "b"):
        for name, figure in drawn(*full(example)).items():
            for ending in ("svg", "pdf"):
                save(figure, tmp_path / f"{turn}-{name}.{ending}")
    files = sorted(tmp_path.glob("a-*"))
    assert len(files) == 18
    for path in files:
        content = path.read_bytes()
        assert content == path.with_name(f"b{path.name[1:]}").read_bytes()
        assert b"<dc:date>" not in content
        assert b"CreationDate" not in content


def test_names_are_no_mathematics_and_stay_in_legends(example, tmp_path):
    comparison, histories = full(example, NASTY)
    columns = [column.model_copy(update={"label": f"_{column.label}"}) for column in comparison.columns]
    comparison = replace(comparison, columns=tuple(columns))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name, figure in drawn(comparison, histories).items():
            save(figure, tmp_path / f"{name}.svg")
            figure.savefig(tmp_path / f"{name}.png")
            assert figure.get_size_inches()[0] == pytest.approx(3.3)
            if name == "curves":
                assert [text.get_text()[:7] for text in figure.legends[0].get_texts()] == [
                    " _ASPC$",
                    " _TD3+B",
                    " _IQL",
                ]


def test_a_metric_cannot_name_a_file_elsewhere(example):
    histories = {("hopper-medium-v2", "aspc"): (run(0, 1.0, metrics={"../../x": ((1, 1.0), (2, 1.0))}),)}
    (name,) = [name for name in drawn(example(), histories) if name.startswith("metric")]
    assert re.fullmatch(r"metric-------x-[0-9a-f]{8}", name)


@pytest.mark.parametrize("style", ["paper", "talk"])
def test_nothing_reaches_out_of_a_single_column(example, style):
    comparison, histories = full(example)
    failed = run(7, None, [(500, 1.0), (1000, 2.0)], status="failed")
    histories = {place: (*runs, failed) for place, runs in histories.items()}
    for item in illustrations(comparison, lambda: histories, look=Look.of("single", style)):
        if item.figure:
            FigureCanvasAgg(item.figure).draw()
            inside, drawn_in = item.figure.bbox_inches, item.figure.get_tightbbox()
            room = inside.padded(0.02)  # inches, which the layout of round axes may be off
            assert room.containsx(drawn_in.x0), item.name
            assert room.containsx(drawn_in.x1), item.name
            assert room.containsy(drawn_in.y0), item.name
            assert room.containsy(drawn_in.y1), item.name


def test_bands_are_intervals_over_seeds_and_seeds_that_are_cut_off_are_named(example):
    def curve(last):
        return [(500, 0.0), (1000, last)]

    histories = {
        ("hopper-medium-v2", "aspc"): (run(0, 10.0, curve(10.0)), run(1, 14.0, curve(14.0))),
        ("hopper-expert-v2", "aspc"): (run(0, 30.0, curve(30.0)), run(1, 40.0, [*curve(40.0), (1500, 1e9)])),
        # failed: its curve is no part of any mean
        ("hopper-expert-v2", "td3_bc"): (run(0, None, curve(1e6), status="failed"),),
    }
    [item] = illustrations(example(), lambda: histories, ["curves"])
    assert [axes.get_title() for axes in item.figure.axes] == ["hopper-medium-v2", "hopper-expert-v2"]
    axes = item.figure.axes[0]
    assert axes.lines[0].get_xydata().tolist() == [[500, 0], [1000, 12]]
    heights = axes.collections[0].get_paths()[0].vertices[:, 1]
    assert (heights.min(), heights.max()) == pytest.approx((0, 14))
    said = " ".join(item.figure.legends[0].get_title().get_text().split())
    assert "bands: 95% exact percentile bootstrap over seeds" in said
    assert "cut off, not drawn: hopper-expert-v2 / TD3+BC seed 0 at 1k" in said
    last = item.data[item.data["step"] == 1000]
    assert list(last["mean"]) == [12.0, 35.0]
    assert list(last["high"]) == [14.0, 40.0]


def test_a_figure_of_the_paper_has_a_panel_for_each_quantity_of_its_columns(example):
    comparison, histories = full(example)
    figures = (
        PaperFigure(id="case", title="Figure 10", draws=("alpha", "score"), columns=("aspc",)),
        PaperFigure(id="none", title="Figure 11", draws=("q",)),
    )
    comparison = replace(comparison, table=comparison.table.model_copy(update={"figures": figures}))
    case, none = illustrations(comparison, lambda: histories, ["case", "none"])
    assert [axes.get_title().split("\n")[-1] for axes in case.figure.axes] == [
        "alpha",
        "normalised score [points]",
    ] * (len(case.figure.axes) // 2)
    assert set(case.data["column"]) == {"aspc"}
    assert set(case.data["quantity"]) == {"alpha", "normalised score [points]"}
    assert (none.figure, none.missing) == (None, "a scored run with two values of q")
    assert {"case", "none"}.isdisjoint(item.name for item in illustrations(comparison, lambda: histories))


def test_efficiency_is_the_iqm_at_each_step(example):
    comparison, histories = full(example)
    [item] = illustrations(comparison, lambda: histories, ["efficiency"])
    assert set(item.data["step"]) == {500, 1000}
    [statistics] = illustrations(comparison, lambda: histories, ["aggregates"])
    whole = statistics.data[statistics.data["metric"] == "iqm"].set_index("column")["value"]
    last = item.data[item.data["step"] == 1000].set_index("column")["value"]
    assert last.to_dict() == pytest.approx(whole.to_dict())


def test_a_radar_needs_three_algorithms(example):
    comparison, histories = full(example)
    two = replace(
        comparison,
        columns=comparison.columns[:2],
        groups=tuple(
            replace(group, rows=tuple(replace(row, cells=row.cells[:2]) for row in group.rows), summaries=())
            for group in comparison.groups
        ),
        total=None,
    )
    [item] = illustrations(two, lambda: histories, ["radar"])
    assert item.figure is None
    assert "three algorithms" in item.missing


@pytest.mark.parametrize(("width", "inches"), [("single", 3.3), ("double", 6.9), ("12.7", 5.0)])
def test_widths(example, width, inches):
    look = Look.of(width)
    comparison, histories = full(example)
    for item in illustrations(comparison, lambda: histories, look=look):
        assert item.figure.get_size_inches()[0] == pytest.approx(inches)


@pytest.mark.parametrize("width", ["0", "-3", "wide", "1e9", "nan"])
def test_widths_that_are_none(width):
    with pytest.raises(HarnessError, match="a width is single, double or from 4 to 100"):
        Look.of(width)


def test_the_palette_at_hand_is_seaborns():
    import seaborn as sns

    assert list(Look().colours(12)) == sns.color_palette("colorblind", 12).as_hex()


def test_palettes_and_kinds_that_are_none(example):
    with pytest.raises(HarnessError, match="no palette 'red-ish'"):
        Look.of(palette="red-ish")
    with pytest.raises(UnknownNameError, match="did you mean curves"):
        illustrations(example(), dict, ["curve"])


def test_data_lie_beside_each_figure_and_are_no_formulas(example, tmp_path):
    comparison, histories = full(example)
    columns = [column.model_copy(update={"label": f"={column.label}"}) for column in comparison.columns]
    comparison = replace(comparison, columns=tuple(columns))
    drawn = illustrations(comparison, lambda: histories, ["profiles", "curves"])
    paths = list(write(drawn, tmp_path / "deep" / "er", "png", Look()))
    assert [path.name for path in paths] == ["profiles.png", "curves.png"]
    for path in paths:
        lines = list(csv.DictReader(path.with_suffix(".csv").open()))
        assert lines
        assert {line["label"][:2] for line in lines} == {"'="}


def test_scatter_holds_every_comparable_cell_once(example):
    comparison = example()
    both = [cell for cell in comparison.cells if cell.mean is not None and cell.published]
    (axes,) = drawn(comparison, {})["scatter"].axes
    points = [
        tuple(point)
        for found in axes.collections
        for point in found.get_offsets()
        if len(found.get_offsets()) > 1 or found.get_offsets().any()
    ]
    assert sorted(points) == sorted((cell.published.mean, cell.mean) for cell in both)
    assert drawn(example(incomparable=("generated data",)), {})["scatter"] is None


def test_numbers_on_other_data_are_labelled_in_every_figure(example):
    comparison, histories = full(example)
    verdict = replace(comparison.cells[0].verdict, reasons=("generated data", "smoke protocol"))
    groups = tuple(
        replace(
            group,
            rows=tuple(
                replace(row, cells=tuple(replace(cell, verdict=verdict) for cell in row.cells))
                for row in group.rows
            ),
        )
        for group in comparison.groups
    )
    figures = drawn(replace(comparison, groups=groups), histories)
    assert figures.pop("scatter") is None
    for figure in figures.values():
        assert figure.get_suptitle() == "N/C: generated data; smoke protocol"


def test_the_label_leaves_room_for_a_figure_of_one_row_and_one_algorithm(example, tmp_path):
    comparison, histories = full(example)
    verdict = replace(comparison.cells[0].verdict, reasons=("generated data", "smoke protocol"))
    group = comparison.groups[0]
    row = replace(group.rows[0], cells=(replace(group.rows[0].cells[0], verdict=verdict),))
    small = replace(
        comparison,
        columns=comparison.columns[:1],
        groups=(replace(group, rows=(row,), summaries=()),),
        total=None,
    )
    figures = drawn(small, {(row.id, "aspc"): histories[row.id, "aspc"]})
    assert figures["aggregates"] is not None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name, figure in figures.items():
            if figure:
                save(figure, tmp_path / f"{name}.svg")


def test_radar_scales_each_spoke_from_lowest_to_highest(example):
    comparison, histories = full(example)
    (axes,) = drawn(comparison, histories)["radar"].axes
    values = np.array([line.get_ydata()[:-1] for line in axes.lines])
    assert values.shape == (3, 3)
    np.testing.assert_allclose(values.min(axis=0), 0)
    np.testing.assert_allclose(values.max(axis=0), 1)


def test_runtime_is_per_device_and_of_runs_trained_here(example):
    def seconds(value, **more):
        return run(0, 1.0, wall_seconds=value, **more)

    runs = (
        seconds(100.0, environment={"device": "GPU"}),
        seconds(300.0, environment={"device": "GPU"}),
        seconds(50.0),
        seconds(9.0, status="failed"),
        seconds(9.0, origin="imported"),
    )
    figure = drawn(example(), {("hopper-medium-v2", "aspc"): runs})["runtime"]
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["ASPC (3)"]
    widths = [bar.get_width() for bar in axes.patches if bar.get_height()]
    assert sorted(width for width in widths if width) == pytest.approx([50 / 60, 200 / 60])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["GPU", "device not recorded"]


def test_bars_of_aggregates_end_where_their_intervals_do(example):
    comparison, histories = full(example)
    [item] = illustrations(comparison, lambda: histories, ["aggregates"])
    iqm = item.data[item.data["metric"] == "iqm"]
    bars, values = item.figure.axes[0].collections[::2], item.figure.axes[0].collections[1::2]
    ends = [sorted(segment[:, 0]) for bar in bars for segment in bar.get_segments()]
    assert sorted(ends) == sorted(map(list, zip(iqm["low"], iqm["high"], strict=True)))
    assert {collection.get_capstyle() for collection in bars} == {"butt"}
    assert values


def test_many_panels_fit_on_a_page(example):
    comparison = example()
    group = comparison.groups[0]
    rows = [
        replace(row, id=f"{row.id}-{number}", cells=[replace(c, row=f"{row.id}-{number}") for c in row.cells])
        for row in group.rows
        for number in range(20)
    ]
    comparison = replace(comparison, groups=(replace(group, rows=tuple(rows)),))
    past = {(row.id, "aspc"): (run(0, 1.0, [(1, 0.0), (2, 1.0)]),) for row in rows}
    for width in ("single", "double"):
        [item] = illustrations(comparison, lambda: past, ["curves"], Look.of(width))
        assert len(item.figure.axes) == len(rows)
        assert item.figure.get_size_inches()[1] <= 9
