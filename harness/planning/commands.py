"""Command lines that go on from a table as it was chosen, to be suggested to whoever chose it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from harness.planning.choice import Choice

#: Verb -> the fields of a `Choice` that only some verbs take, and those of its other options that are carried
#: from one verb to another.
TAKEN: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("plan", "reproduce", "work", "status", "retry"), ("seeds", "data_home")),
    **dict.fromkeys(("table", "diff", "stats", "report", "figure"), ("score", "every_seed")),
    "drift": ("score", "baseline"),
    "accept": ("seeds", "baseline"),
}
_RARE = {name for names in TAKEN.values() for name in names}
_FLAGS = {"lineage": "--data", "every_seed": "--seeds", "data_home": "--data-home"}


@dataclass(frozen=True)
class Commands:
    """The command lines of verbs for one table.

    Attributes:
        table: id of the table.
        choice: what was chosen of it.
        folders: further folders of specs.
        places: where things are, by the names of the options: ``db``, ``data_home``, ``baseline``; only what
            was said and would not be found without.
    """

    table: str
    choice: Choice = field(default_factory=Choice)
    folders: tuple[Path, ...] = ()
    places: Mapping[str, str | Path | None] = field(default_factory=dict)

    def __call__(self, verb: str) -> str:
        """The command line of a verb, with those options that it takes."""
        specs = [text for folder in self.folders for text in ("--specs", str(folder))]
        options = [
            text
            for name, value in (*asdict(self.choice).items(), *self.places.items())
            if value and takes(verb, name)
            for text in (_FLAGS.get(name, f"--{name}"), _written(value))
        ]
        return shlex.join(["harness", *specs, verb, self.table, *options])

    @property
    def whole(self) -> Commands:
        """Those of the whole table as it is, in the database that it has by default."""
        return Commands(self.table, folders=self.folders)

    def of(self, dataset: str, column: str) -> Commands:
        """Those of one cell."""
        return replace(self, choice=replace(self.choice, datasets=(dataset,), algorithms=(column,)))


def takes(verb: str, option: str) -> bool:
    """Whether a verb takes an option, a field of `Choice` or a place."""
    return option in TAKEN.get(verb, ()) or option not in _RARE


def _written(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return "all" if value is True else str(value)
