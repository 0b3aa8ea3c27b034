"""The example of docs/bring-your-own.md, as it stands there."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "bring-your-own.md"


@pytest.fixture
def own(elsewhere):
    """The page's files, in the working folder, and its data."""
    files = re.findall(r"^`([\w./-]+)`:\n\n```\w+\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    for name, text in files:
        (elsewhere / name).parent.mkdir(parents=True, exist_ok=True)
        (elsewhere / name).write_text(text, encoding="utf-8")
    runpy.run_path(str(elsewhere / "make_data.py"))
    return "--specs", "my-specs"


def test_the_page_runs_and_rescaling_by_hand_gives_the_same_scores(cli, own):
    commands = re.findall(r"^    harness (.*)$", PAGE.read_text(encoding="utf-8"), re.M)
    outputs = {}
    for command in commands:
        if " import " in command:  # its file is on the page, filled in
            command = command.replace("line-v0", "imported-v0").replace("--to my-specs", "--to others")
        done = cli(*command.split())
        outputs[command] = done
        assert done.code == 0, (command, done.err)
    assert "Rows do not follow each other" in outputs["--specs my-specs data show line-v0"].out
    table = json.loads(cli(*own, "table", "line", "--db", "line.db", "--format", "json").out)
    scores = {
        (row["id"], cell["column"]): cell["mean"]
        for group in table["groups"]
        for row in group["rows"]
        for cell in row["cells"]
    }
    assert scores["line-v0", "greedy"] > 90
    for column in ("bc", "greedy"):
        assert scores["line-v0", column] == pytest.approx(scores["line-by-hand-v0", column], abs=5)
    assert scores["line-v0", "bc"] < 50
