"""What of imported scores a table shows, and why not the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from harness.analysis.measurements import Measurements
from harness.analysis.scores import first_shown

if TYPE_CHECKING:
    from harness.results.store import Store
    from harness.results.transfer import ImportRow

_MOST_PARTS = 6  # of a list of seeds or steps


@dataclass(frozen=True)
class Seen:
    """What of some scores a table shows.

    Attributes:
        shown: how many of them.
        hidden: how many it does not show.
        reasons: why not.
        other_seeds: whether some are of seeds that its protocols do not have.
    """

    shown: int
    hidden: int
    reasons: tuple[str, ...]
    other_seeds: bool

    def __str__(self) -> str:
        total = self.shown + self.hidden
        rest = f", {self.hidden} not: {'; '.join(self.reasons)}" if self.hidden else ""
        return f"{total} score{'' if total == 1 else 's'}: {self.shown} shown{rest}"


def seen(rows: Sequence[ImportRow], found: Measurements, store: Store) -> Seen:
    """Which of the scores of a file are behind the numbers of a table.

    Args:
        rows: the scores, with the runs that hold them.
        found: what the database, these scores included, says of the table.
        store: that database.
    """
    counted = {score.key for item in found.cells.values() for score in item.scores}
    reported = store.reported(row.record.key for row in rows)
    seeds: dict[str, set[int]] = {}
    steps: dict[str, set[int]] = {}
    shown = beside = 0
    for row in rows:
        item = found.cells[row.score.dataset, row.score.algorithm]
        protocol = item.cell.protocol
        if row.score.seed not in protocol.seeds:
            seeds.setdefault(protocol.id, set()).add(row.score.seed)
        elif not first_shown(protocol) <= row.score.step <= protocol.length:
            steps.setdefault(protocol.id, set()).add(row.score.step)
        elif row.record.key in counted:
            shown += 1
        elif item.scores and protocol.length in reported[row.record.key][0]:
            beside += 1
        else:  # an evaluation that counts only where the last one is there, too
            steps.setdefault(protocol.id, set()).add(row.score.step)
    reasons = [_sentence("seed", some, f"not in protocol {name}") for name, some in seeds.items()]
    reasons += [_sentence("step", some, f"not what protocol {name} counts") for name, some in steps.items()]
    if beside:
        reasons.append(
            f"{beside} beside scores of the same cells that were trained here or come from elsewhere"
        )
    return Seen(shown, len(rows) - shown, tuple(reasons), bool(seeds))


def _sentence(what: str, numbers: set[int], rest: str) -> str:
    """For example ``seeds 4 to 9 are not in protocol d4rl-1m``."""
    ordered = sorted(numbers)
    runs = [[n for _, n in some] for _, some in groupby(enumerate(ordered), lambda pair: pair[1] - pair[0])]
    parts = [
        f"{run[0]:,} to {run[-1]:,}" if len(run) > 2 else ", ".join(f"{n:,}" for n in run) for run in runs
    ]
    several = len(ordered) > 1
    if len(parts) > _MOST_PARTS:
        parts = [*parts[: _MOST_PARTS - 1], f"… {parts[-1]} ({len(ordered):,} of them)"]
    return f"{what}{'s' if several else ''} {', '.join(parts)} {'are' if several else 'is'} {rest}"
