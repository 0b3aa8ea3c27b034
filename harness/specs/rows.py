"""The rows of a table: those of datasets, and those that sum up others."""

from __future__ import annotations

from typing import Literal, NamedTuple

RowKind = Literal["dataset", "average", "sum", "total"]
#: Id of the row that averages all others.
TOTAL = "total"


class Row(NamedTuple):
    """A row of a table: a dataset's own, or one that sums up others.

    Attributes:
        id: of the row, as files of published numbers name it: the dataset's; the group's for an average, with
            ``:sum`` behind it for a sum; ``total`` for the average over all rows.
        label: of the row.
        kind: what stands in it.
        datasets: whose numbers it is made of.
    """

    id: str
    label: str
    kind: RowKind
    datasets: tuple[str, ...]
