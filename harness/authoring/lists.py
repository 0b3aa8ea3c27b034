"""Lists with a line for each cell, such as `harness table -f csv` prints, as the tables that they are of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.authoring.grid import Cell

_NUMBERS = ("mean", "std", "low", "high", "before_mean", "before_std")
_USUAL: Mapping[str, Sequence[str]] = {
    "row": ("row", "dataset", "task", "env", "environment", "env_id"),
    "column": ("column", "algorithm", "algo", "method", "agent"),
    "mean": ("mean", "score", "normalized_score", "normalised_score"),
}
_SUMMARIES = {"average": "average", "sum": "sum", "total": "average"}  # kinds of this program's own rows


def wide(rows: Sequence[Sequence[Cell]]) -> Sequence[Sequence[Cell]]:
    """The table of a list; what is no list as it is.

    Where the list has a paper's numbers beside others, as ``published_mean``, it is these.
    """
    header = [cell.text.lower() for cell in rows[0]] if rows else []
    names = [_ours(name) for name in header]
    if any(names.count(name) != 1 for name in _USUAL):  # of two scores it is not certain which is meant
        return rows
    lines = [
        (row[0].line, {name: cell.text for name, cell in zip(names, row, strict=False)})
        for row in rows[1:]
        if row
    ]
    prefix = "published_" if any(said.get("published_mean") for _, said in lines) else ""
    columns = dict.fromkeys(said["column"] for _, said in lines if "column" in said)
    table: dict[str, dict[str, Cell]] = {}
    for line, said in lines:
        kind = said.get("kind", "")
        label = f"{said['row']} {_SUMMARIES[kind]}" if kind in _SUMMARIES else said["row"]
        cells = table.setdefault(label.replace(":sum", ""), {})
        text = _cell({name: said.get(prefix + name, "") for name in _NUMBERS})
        if (above := cells.get(said.get("column", ""))) and above.text != text:
            text = f"{above.text} and {text}"  # scores of single seeds, say: which is meant is not certain
        cells[said.get("column", "")] = Cell(text, line)
    return [
        [Cell("", 1), *(Cell(column, 1) for column in columns)],
        *(
            [Cell(label, 1), *(cells.get(column, Cell("", 1)) for column in columns)]
            for label, cells in table.items()
        ),
    ]


def _ours(name: str) -> str:
    return next((ours for ours, usual in _USUAL.items() if name in usual), name)


def _cell(said: Mapping[str, str]) -> str:
    """A cell's numbers as a paper prints them in one."""
    if not said["mean"]:
        return "-"
    before, now = (
        " ± ".join(filter(None, (said[mean], said[std])))
        for mean, std in (("before_mean", "before_std"), ("mean", "std"))
    )
    interval = f" [{said['low']}, {said['high']}]" if said["low"] else ""
    return (f"{before} → " if before else "") + now + interval
