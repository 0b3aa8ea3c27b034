"""A table of one's own from the file that a paper's table is printed from."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.authoring import layout, sources, writing
from harness.authoring.grid import Grid
from harness.authoring.layout import Reading
from harness.authoring.naming import Names
from harness.counting import count
from harness.errors import HarnessError, SpecError
from harness.specs import Specs
from harness.specs.text import Place

_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_SEEDS = re.compile(
    rf"\b(\d{{1,3}}|{'|'.join(_WORDS)})\s+(?:(?:different|random|independent|training|evaluation)\s+)*"
    r"(?:seeds|runs|trials)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Transcript:
    """What was read of a file.

    Attributes:
        place: where the table begins.
        reading: its rows, columns and cells.
        yaml: of the table.
        csv: of its printed numbers.
        assumed: what the file does not say.
    """

    place: Place
    reading: Reading
    yaml: str
    csv: str
    assumed: tuple[str, ...]

    @property
    def outcome(self) -> str:
        """How many cells were read."""
        read = self.reading.cells_of_file - len(self.reading.unread)
        said = f"read {read:,} of {count(self.reading.cells_of_file, 'cell')}"
        return f"{said}; {len(self.reading.unread):,} not" if self.reading.unread else said


def transcribe(
    path: Path,
    name: str,
    specs: Specs,
    *,
    number: int | None = None,
    macros: Sequence[Path] = (),
    seeds: int | None = None,
    protocol: str | None = None,
    lineage: str = "d4rl",
) -> Transcript:
    """Read a paper's printed table.

    Args:
        path: LaTeX, Markdown, HTML or CSV.
        name: id that the table is to have.
        specs: the datasets and algorithms that its names may mean.
        number: which of the file's tables, from 1; None where only one has scores.
        macros: further LaTeX files, whose macros it uses.
        seeds: behind each number; None: as the caption says, else as many as the protocol has.
        protocol: id; None: a usual one.
        lineage: of the data behind the printed numbers.

    Raises:
        SpecError: the file cannot be read, or no table of it has a row of a known dataset.
        HarnessError: its format is not known, or there are several tables and none is chosen.
    """
    names = Names(
        {each: specs.dataset(each).domain for each in specs.ids("datasets")},
        {each: specs.algorithm(each).title for each in specs.ids("algorithms")},
    )
    grid, reading = _chosen(path, sources.tables(path, macros), number, names)
    online = any(cell.before_mean for cell in reading.cells.values())
    protocol = protocol or ("ssar-online-locomotion" if online else "d4rl-1m")
    told = seeds or _seeds(grid.caption)
    plan = specs.protocol(protocol)
    assumed = writing.Assumed(told or len(plan.seeds), bool(told), protocol, specs.lineage(lineage), name)
    guesses = [f"protocol {protocol}: {plan.description}", "ddof 0, as numpy.std has it"]
    if not told:
        guesses.append(f"{count(len(plan.seeds), 'seed')}, as the protocol has; --seeds says otherwise")
    return Transcript(
        Place(path, grid.line),
        reading,
        writing.table(name, reading, assumed),
        writing.published(reading),
        tuple(guesses),
    )


def _chosen(path: Path, grids: Sequence[Grid], number: int | None, names: Names) -> tuple[Grid, Reading]:
    """The table that is meant, and what it says."""
    if not grids:
        raise SpecError(
            f"{Place(path)}: there is no table in the file; those that it includes by \\input are not read"
        )
    if number is not None:
        if not 1 <= number <= len(grids):
            raise HarnessError(f"{path} has {count(len(grids), 'table')}, and no table {number}")
        grids = [grids[number - 1]]
    found = [(grid, layout.read(grid, names)) for grid in grids]
    having = [(grid, reading) for grid, reading in found if any(cell.mean for cell in reading.cells.values())]
    if len(having) == 1:
        return having[0]
    if not having:
        for grid, reading in found:
            if reading.groups:
                first = "".join(f"; the first, {cell.text!r}: {cell.why}" for cell in reading.unread[:1])
                raise SpecError(f"{Place(path, grid.line)}: no number of this table can be read{first}")
        raise SpecError(
            f"{Place(path, grids[0].line)}: no row or column here is named like a known dataset; "
            "`harness data ls` lists them, and `harness new dataset` begins one"
        )
    listed = "".join(
        f"\n  --table {grids.index(grid) + 1}: line {grid.line}, "
        f"{count(len(reading.cells), 'cell')}{f': {grid.caption[:70]}' if grid.caption else ''}"
        for grid, reading in having
    )
    raise HarnessError(f"{path} has {len(having)} tables of scores; choose one:{listed}")


def _seeds(caption: str) -> int | None:
    """The number of seeds that a caption tells; None where it tells none, or several."""
    found = {match[1].lower() for match in _SEEDS.finditer(caption)}
    if len(found) != 1:
        return None
    text = found.pop()
    return int(text) if text.isdigit() else _WORDS.index(text)
