"""Tables in fifteen layouts that papers use, against what a person reads in them."""

import csv
import io
from pathlib import Path

import pytest

from harness.authoring.transcription import transcribe
from harness.specs import Specs

CASES = sorted(path for path in (Path(__file__).parent / "cases").iterdir() if ".expected." not in path.name)


@pytest.fixture(scope="module")
def specs():
    return Specs()


def written(line):
    """A line of the published CSV as the files of what is expected have it."""
    if line["note"].startswith("NOT READ"):
        return "NOT READ"
    text = " ".join(filter(None, (line["mean"], line["std"])))
    if line.get("before_mean"):
        text = f"{' '.join(filter(None, (line['before_mean'], line['before_std'])))} > {text}"
    if line.get("low"):
        text += f" [{line['low']} {line['high']}]"
    if line.get("change"):
        text += f" ({line['change']})"
    return text


def expected(path):
    with path.with_suffix(".expected.csv").open(encoding="utf-8", newline="") as file:
        return {row: texts for row, *texts in csv.reader(file)}


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.name)
def test_cells_are_those_that_a_person_reads(specs, path):
    read = transcribe(path, "case", specs)
    found = {}
    for line in csv.DictReader(io.StringIO(read.csv)):
        found.setdefault(line["row"], []).append(written(line))
    assert found == expected(path)


def test_nearly_all_cells_of_the_cases_are_read(specs):
    readings = [transcribe(path, "case", specs).reading for path in CASES]
    assert len(readings) == 15
    cells = sum(reading.cells_of_file for reading in readings)
    unread = [cell for reading in readings for cell in reading.unread]
    assert [cell.text for cell in unread] == [
        *("85.9", "78.8", "90.9"),
        "108.1 / 2",
        *("94,7 ± 8,6", "52,5^{1} ± 1,4", "94,7 ± 8,6", "1.078,3 ± 8,7"),
    ]
    assert cells == 335
    assert len(unread) < 0.05 * cells
