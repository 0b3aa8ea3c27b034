"""The tutorial of docs/new.md, as it stands there."""

import re
from pathlib import Path

PAGE = (Path(__file__).parents[2] / "docs" / "new.md").read_text(encoding="utf-8")


def test_the_page_s_table_is_read_as_the_page_says(cli, elsewhere):
    (elsewhere / "table.tex").write_text(re.search(r"```latex\n(.*?)```", PAGE, re.S)[1])
    done = cli("new", "table", "mine", "--from", "table.tex")
    assert done.code == 0, done.err
    for line in re.search(r"```text\n(.*?)```", PAGE, re.S)[1].splitlines():
        begins, _, ends = line.partition("…")
        assert any(
            said.startswith(begins) and said.endswith(ends) for said in (done.out + done.err).splitlines()
        ), line
    for command in ("validate", "audit"):
        assert cli("--specs", "my-specs", command, "mine").code == 0
