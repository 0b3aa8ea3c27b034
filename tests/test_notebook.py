from __future__ import annotations

import re
import shutil
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "docs" / "author.ipynb"


def executed(folder: Path) -> nbformat.NotebookNode:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}}).execute()
    return notebook


def outputs(notebook: nbformat.NotebookNode, kind: str) -> list[str]:
    return [
        output["data"][kind]
        for cell in notebook.cells
        for output in cell.get("outputs", ())
        if kind in output.get("data", {})
    ]


def test_the_notebook_runs_on_the_shipped_results(tmp_path):
    shutil.copy(ROOT / "results.db", tmp_path)
    notebook = executed(tmp_path)
    assert len(outputs(notebook, "image/png")) == 3
    shown = outputs(notebook, "text/html")
    assert any("hopper-medium-v2" in text and "<caption>" in text for text in shown)
    printed = [
        output["text"]
        for cell in notebook.cells
        for output in cell.get("outputs", ())
        if output.get("name") == "stdout"
    ]
    assert any(r"\begin{tabular}" in text for text in printed)


def test_the_notebook_is_kept_without_outputs():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    assert all(not cell.get("outputs") for cell in notebook.cells)


def test_a_notebook_without_a_database_says_what_to_do(tmp_path):
    said = r"^error: no results database at results.db; run `harness reproduce aspc-table1 --preset lite"
    with pytest.raises(CellExecutionError) as raised:
        executed(tmp_path)
    assert re.search(said, str(raised.value), re.MULTILINE)
    assert "Traceback" not in str(raised.value)
