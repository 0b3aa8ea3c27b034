"""Whether printed cells follow from public scores, and how likely that many do by luck.

A rule says how a cell is made of a source's scores: which evaluation counts, which seeds, the divisor of the
deviation, and what is done to the digits that are not printed. All rules are tried on all cells of a column.
Some match by luck, so a rule is believed only where two chances are small, each for all that was searched:

- that so many cells, or fewer that tell more, match where the column's cells are shuffled over its rows;
- that as many match where every cell comes from another run of the same experiment, whose mean and deviation
  differ as those of other seeds do (Poisson-binomial, times the number of rules).

The second is what makes cells with few digits tell little: an independent repetition of 0.1 ± 0.1 prints the
same quite often. Cells that a believed rule explains are put aside, and the rest is searched again.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from harness.analysis.printed import CONVENTIONS, Convention, Printed
from harness.sources.scores import Curves, Scores, Summary, without_version
from harness.specs.published import Check

LIMIT = 0.01  # chances up to which matches are no luck
PERMUTATIONS = 999
_FEW = 10  # seeds of which every subset is tried
_MEANS = (3, 5, 10)  # last evaluations that are averaged
_TENTHS = 20  # evaluations that a run must have before its tenths are tried
_EXACT = 1e-9
_LEAST = 1e-7  # chance below which `_normal` tells nothing
_STREAM = 20230518  # of the permutations

Array = NDArray[np.float64]
Place = tuple[str, str]  # dataset id, algorithm id
Pick = Literal["all", "first", "best", "any"]
Ddof = Literal[0, 1]
_DDOFS: tuple[Ddof, ...] = (1, 0)


@dataclass(frozen=True, order=True)
class Rule:
    """How a cell is made of a source's scores.

    Attributes:
        source: id.
        phase: part of the runs; empty where they have none.
        score: ``last``, ``best``, ``mean of the last k`` or ``at k/10 of the run``.
        pick: which seeds.
        seeds: how many; 0 for all.
        ddof: of the standard deviation; None where none is printed.
        rounding: what is done to the digits that are not printed.
    """

    source: str
    phase: str
    score: str
    pick: Pick
    seeds: int
    ddof: Ddof | None
    rounding: Convention

    def text(self, n: int) -> str:
        """In words; ``n`` seeds are behind the cell."""
        whose = {"all": f"all {n} seeds", "any": f"some {self.seeds} seeds"}.get(
            self.pick, f"the {self.pick} {self.seeds} seeds"
        )
        parts = [f"{self.phase} {self.score}".strip(), whose]
        parts += [] if self.ddof is None else [f"ddof {self.ddof}"]
        return ", ".join([*parts, self.rounding])

    @property
    def plainness(self) -> tuple[int, int]:
        """What of two equally likely rules is taken: the one that needs less said."""
        order = ("last", "best")
        which = order.index(self.score) if self.score in order else len(order)
        return ("all", "first", "best", "any").index(self.pick), which


@dataclass(frozen=True)
class Cell:
    """A printed cell of a column."""

    row: str
    group: str
    mean: Printed
    std: Printed | None

    @property
    def text(self) -> str:
        """As the paper has it."""
        return " \N{PLUS-MINUS SIGN} ".join(str(number) for number in (self.mean, self.std) if number)


@dataclass(frozen=True)
class Value:
    """What a source gives for a cell."""

    mean: float
    std: float | None
    n: int
    source: str
    dataset: str
    label: str
    setting: str = ""


@dataclass(frozen=True)
class Found:
    """What is found of one cell.

    Attributes:
        row: dataset id.
        printed: the cell as the paper has it.
        check: the outcome.
        rule: of a derived cell, and of one whose mean alone follows.
        value: what the source gives by it, or the nearest there is; None where there is none.
        text: the outcome in words.
    """

    row: str
    printed: str
    check: Check
    rule: Rule | None
    value: Value | None
    text: str


@dataclass(frozen=True)
class Believed:
    """A rule that explains cells of a column.

    Attributes:
        rule: the rule.
        rows: that it explains.
        of: rows for which its source has scores, among those not explained before.
        searched: rules that were tried.
        shuffled: chance that shuffled cells match as well.
        repeated: chance that independent repetitions match as often.
    """

    rule: Rule
    rows: tuple[str, ...]
    of: int
    searched: int
    shuffled: float
    repeated: float

    @property
    def chance(self) -> float:
        """The larger of both chances."""
        return max(self.shuffled, self.repeated)


@dataclass(frozen=True)
class Column:
    """What is found of a column: its cells in their order, and the rules behind them."""

    cells: tuple[Found, ...]
    believed: tuple[Believed, ...]
    searched: int


class Known:
    """What sources hold, and what the last and the best scores of all seeds give."""

    def __init__(self, scores: Scores) -> None:
        self.incomparable = scores.incomparable
        self.tries: dict[Place, list[_Try]] = {}
        held: list[Curves | Summary] = [*scores.curves, *scores.summaries]
        for each in held:
            self.tries.setdefault((each.dataset, each.algorithm), []).extend(_tries(each))
        self._plain = [
            (place, rule, value)
            for place, tries in self.tries.items()
            for tried in tries
            if tried.score in ("last", "best")
            for ddof in _DDOFS
            for rule in [Rule(tried.source, tried.phase, tried.score, "all", 0, ddof, "rounded")]
            for value in tried.values(rule)
            if value.std is not None
        ]
        self._means = np.array([value.mean for _, _, value in self._plain])
        self._stds = np.array([value.std for _, _, value in self._plain], dtype=np.float64)
        self._seeds = np.array([value.n for _, _, value in self._plain], dtype=np.int64)

    def plain(self, place: Place) -> list[Value]:
        """What the plain rules give for a dataset and an algorithm."""
        return [value for where, _, value in self._plain if where == place]

    def elsewhere(self, cell: Cell, algorithm: str) -> tuple[Place, Rule, Value, float] | None:
        """Another algorithm's or dataset's numbers that are printed like a cell, and the chance of luck.

        The chance is that of another run of the cell's experiment, over all numbers that were looked at.
        """
        # of what differs in both nobody would copy by mistake
        looked = np.array([(row == cell.row) != (name == algorithm) for (row, name), _, _ in self._plain])
        if cell.std is None or not looked.any():
            return None
        numbers = self._means[looked], self._stds[looked], self._seeds[looked]
        lucky = sum(float(_repetition(cell, *numbers, rounding).sum()) for rounding in CONVENTIONS)
        fits = [self._plain[index] for index in np.flatnonzero(looked) if _fits(cell, self._plain[index][2])]
        return (*fits[0], lucky) if fits else None


class Search:
    """The rules of one algorithm on some rows, to try on printed cells; what needs no cell is computed once.

    Args:
        known: what sources hold.
        algorithm: id.
        rows: dataset ids, in the table's order.
    """

    def __init__(self, known: Known, algorithm: str, rows: Sequence[str]) -> None:
        self._known, self._algorithm, self._rows = known, algorithm, tuple(rows)
        self._tries = [
            (index, tried)
            for index, row in enumerate(self._rows)
            for tried in known.tries.get((row, algorithm), ())
        ]

    def judge(self, cells: Sequence[Cell]) -> Column:
        """What of printed cells, one for each row, follows."""
        trial = _Trial(self._tries, cells)
        believed: list[Believed] = []
        rules: dict[int, Rule] = {}
        rest = np.ones(len(cells), dtype=bool)
        while (next_one := trial.best(rest, [each.rule for each in believed])) is not None:
            believed.append(next_one)
            explained = [index for index, cell in enumerate(cells) if cell.row in next_one.rows]
            rules |= dict.fromkeys(explained, next_one.rule)
            rest[explained] = False
        holding: dict[str, dict[Rule, None]] = {cell.group: {} for cell in cells}
        for index, rule in rules.items():
            holding[cells[index].group][rule] = None
        found = [
            self._derived(cell, rules[index])
            if index in rules
            else self._other(cell, tuple(holding[cell.group]), int(rest.sum()))
            for index, cell in enumerate(cells)
        ]
        return Column(tuple(found), tuple(believed), trial.searched)

    def _derived(self, cell: Cell, rule: Rule) -> Found:
        value = self._by(rule, cell)
        assert value is not None  # noqa: S101 - the rule explains the cell
        setting = f", settings {value.setting}" if value.setting else ""
        return Found(
            cell.row,
            cell.text,
            Check.DERIVED,
            rule,
            value,
            f"{rule.source}'s {value.label}: {rule.text(value.n)}: {_shown(value)}{setting}",
        )

    def _by(self, rule: Rule, cell: Cell) -> Value | None:
        """What a rule gives for a cell: of several subsets or settings that which is nearest."""
        some = [
            each
            for index, tried in self._tries
            if self._rows[index] == cell.row
            for each in tried.values(rule)
        ]
        return min(some, key=lambda value: _distance(cell, value), default=None)

    def _other(self, cell: Cell, rules: Sequence[Rule], unexplained: int) -> Found:
        for rule in rules:
            value = self._by(rule, cell)
            if value is not None and any(_inside(value.mean, cell.mean, each) for each in CONVENTIONS):
                return Found(cell.row, cell.text, Check.MEAN, rule, value, _only_mean(cell, rule, value))
        if (elsewhere := self._elsewhere(cell, unexplained)) is not None:
            return elsewhere
        values = self._known.plain((cell.row, self._algorithm))
        if not values:
            return self._without(cell)
        nearest = min(values, key=lambda value: abs(value.mean - float(cell.mean.value)))
        text = f"{nearest.source}'s {nearest.label}: {_shown(nearest)}"
        if lucky := next((value for value in values if _fits(cell, value)), None):
            text = f"{lucky.source}'s {lucky.label}: {_shown(lucky)} fits, but so it would by luck"
            return Found(cell.row, cell.text, Check.NO_SOURCE, None, lucky, text)
        return Found(cell.row, cell.text, Check.DIFFERENT, None, nearest, f"the nearest is {text}")

    def _without(self, cell: Cell) -> Found:
        """What is said of a cell that no source has."""
        others = [
            f"{each.source} has {each.dataset}: {each.why}"
            for each in self._known.incomparable
            if each.algorithm == self._algorithm
            and without_version(each.dataset) == without_version(cell.row)
        ]
        if others:
            return Found(cell.row, cell.text, Check.INCOMPARABLE, None, None, "; ".join(others))
        return Found(cell.row, cell.text, Check.NO_SOURCE, None, None, "no source at hand has this cell")

    def _elsewhere(self, cell: Cell, unexplained: int) -> Found | None:
        """The other algorithm's or dataset's cell that this one is, if that is no luck."""
        found = self._known.elsewhere(cell, self._algorithm)
        if found is None or found[-1] * unexplained > LIMIT:
            return None
        (dataset, _), rule, value, _ = found
        where = f" on {dataset}" if dataset != cell.row else ""
        made = rule.text(value.n).removesuffix(f", {rule.rounding}")
        text = f"it is {value.source}'s {value.label}{where}: {made}: {_shown(value)}"
        return Found(cell.row, cell.text, Check.OTHER, rule, value, text)


# -- rules -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Try:
    """The cells that one score rule gives on one row by every choice of seeds.

    Attributes:
        source: id.
        phase: of the runs.
        score: the score rule.
        picks: (pick, seeds, first, last) of each choice of seeds, whose cells are ``first`` up to ``last``.
        means: of the cells.
        stds: of the cells, (ddof, cell); NaN where a source prints another ddof.
        seeds: behind each cell.
        error: half a unit of the last digit, of means and deviations that the source itself rounded.
        label: the source's name of the algorithm.
        dataset: id.
        setting: of the runs.
    """

    source: str
    phase: str
    score: str
    picks: tuple[tuple[Pick, int, int, int], ...]
    means: Array
    stds: Array
    seeds: NDArray[np.int64]
    error: float
    label: str
    dataset: str
    setting: str

    def values(self, rule: Rule) -> Iterator[Value]:
        """What a rule gives here; several for a choice of any seeds."""
        if (self.source, self.phase, self.score) != (rule.source, rule.phase, rule.score):
            return
        for pick, seeds, first, last in self.picks:
            if (pick, seeds) == (rule.pick, rule.seeds):
                for at in range(first, last):
                    std = float(self.stds[1 if rule.ddof is None else rule.ddof, at])
                    yield Value(
                        float(self.means[at]),
                        None if math.isnan(std) else std,
                        int(self.seeds[at]),
                        self.source,
                        self.dataset,
                        self.label,
                        self.setting,
                    )


def _tries(scores: Curves | Summary) -> Iterator[_Try]:
    """Every score rule on what a source has of one configuration."""
    if isinstance(scores, Curves):
        for score, values in _score_rules(scores.scores):
            yield _tried(scores, score, values)
        return
    stds = np.full((2, 1), np.nan)
    stds[scores.ddof] = scores.std
    yield _Try(
        scores.source,
        "",
        scores.which,
        (("all", 0, 0, 1),),
        np.array([scores.mean]),
        stds,
        np.array([scores.n]),
        scores.error,
        scores.label,
        scores.dataset,
        "",
    )


def _score_rules(scores: Array) -> Iterator[tuple[str, Array]]:
    """What may be counted of each run, by name; `scores` is (seeds, evaluations)."""
    length = scores.shape[1]
    yield "last", scores[:, -1]
    if length > 1:
        yield "best", scores.max(axis=1)
    for k in _MEANS:
        if k < length:
            yield f"mean of the last {k}", scores[:, -k:].mean(axis=1)
    if length >= _TENTHS:
        for tenth in range(1, 10):
            yield f"at {tenth}/10 of the run", scores[:, round(length * tenth / 10) - 1]


def _tried(curves: Curves, score: str, values: Array) -> _Try:
    masks, sorted_first, picks = _choices(len(values))
    chosen = np.where(sorted_first[:, None], np.sort(values)[::-1], values)
    counts = masks.sum(axis=1)
    means = (masks * chosen).sum(axis=1) / counts
    squares = (masks * (chosen - means[:, None]) ** 2).sum(axis=1)
    stds = np.full((2, len(masks)), np.nan)
    for ddof in (0, 1):
        several = counts > 1
        stds[ddof, several] = np.sqrt(squares[several] / (counts[several] - ddof))
    return _Try(
        curves.source,
        curves.phase,
        score,
        picks,
        means,
        stds,
        counts,
        0.0,
        curves.label,
        curves.dataset,
        curves.setting,
    )


@cache
def _choices(
    n: int,
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], tuple[tuple[Pick, int, int, int], ...]]:
    """Every choice of seeds out of n: masks, whether each is of seeds sorted best first, and the picks."""
    masks: list[tuple[int, ...]] = [tuple(range(n))]
    ordered = [False]
    picks: list[tuple[Pick, int, int, int]] = [("all", 0, 0, 1)]

    def add(pick: Pick, k: int, some: Sequence[tuple[int, ...]]) -> None:
        picks.append((pick, k, len(masks), len(masks) + len(some)))
        masks.extend(some)
        ordered.extend([pick == "best"] * len(some))

    for k in range(2, n):
        add("first", k, [tuple(range(k))])
        add("best", k, [tuple(range(k))])
        if n <= _FEW:
            add("any", k, list(combinations(range(n), k)))
    table = np.zeros((len(masks), n), dtype=bool)
    for index, some in enumerate(masks):
        table[index, list(some)] = True
    return table, np.array(ordered), tuple(picks)


# -- matches and their chances -----------------------------------------------------------------------------


def _bounds(numbers: Sequence[Printed | None], rounding: Convention) -> Array:
    """(lowest, highest) of what each number may stand for; everything where none is printed."""
    ends = []
    for number in numbers:
        if number is None:
            ends.append((-np.inf, np.inf))
            continue
        allowed = number.range(rounding)
        low = float(allowed.low) + (-_EXACT if allowed.low_closed else _EXACT)
        ends.append((low, float(allowed.high) + (_EXACT if allowed.high_closed else -_EXACT)))
    return np.array(ends).reshape(-1, 2)


def _inside(value: float, printed: Printed, rounding: Convention, error: float = 0.0) -> bool:
    low, high = _bounds([printed], rounding)[0]
    return bool(low - error <= value <= high + error)


def _fits(cell: Cell, value: Value) -> bool:
    """Whether mean and deviation are printed like a cell's, under one convention for both."""
    return any(
        _inside(value.mean, cell.mean, each)
        and (cell.std is None or (value.std is not None and _inside(value.std, cell.std, each)))
        for each in CONVENTIONS
    )


def _normal(x: Array) -> Array:
    """The normal distribution function, by Abramowitz and Stegun's 7.1.26, to 1e-7."""
    z = np.abs(x) / math.sqrt(2)
    t = 1 / (1 + 0.3275911 * z)
    series = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t
    tail = 0.5 * series * np.exp(-z * z)
    return np.where(x > 0, 1 - tail, tail)


def _repetition(
    cell: Cell,
    means: Array,
    stds: Array,
    seeds: NDArray[np.int64],
    rounding: Convention,
    error: float | Array = 0.0,
) -> Array:
    """Chance that another run of the experiment behind a cell is printed as each of some candidates.

    Means of n seeds differ by sqrt(2 / n) standard deviations, and standard deviations by a factor whose
    logarithm has the standard deviation 1 / sqrt(n - 1): both are what two samples of a normal distribution
    do.
    """
    n = np.maximum(np.asarray(seeds, dtype=np.float64), 2)
    centre, unit = _bounds([cell.mean], rounding)[0].mean(), float(cell.mean.unit)
    if cell.std is None:
        spread = np.where(np.isnan(stds), unit, stds)
    else:
        width = float(cell.std.unit)
        spread = np.full_like(means, max(_bounds([cell.std], rounding)[0].mean(), width / 2))
    sigma = np.sqrt(spread**2 * 2 / n + unit**2 / 12)
    low, high = _alike(means, unit, rounding, error)
    chance = _normal((high - centre) / sigma) - _normal((low - centre) / sigma)
    if cell.std is not None:
        low, high = (
            np.log(np.maximum(end, width * 1e-3) / spread) * np.sqrt(n - 1)
            for end in _alike(np.nan_to_num(stds), width, rounding, error)
        )
        chance = chance * (_normal(high) - _normal(low))
    return np.maximum(chance, _LEAST)


def _alike(values: Array, unit: float, rounding: Convention, error: float | Array) -> tuple[Array, Array]:
    """Lowest and highest number that is printed like each value, or like one within an error of it."""
    low, high = (values - error) / unit, (values + error) / unit
    if rounding == "rounded":
        return (np.round(low) - 0.5) * unit, (np.round(high) + 0.5) * unit
    # digits are cut off towards zero, which is printed for numbers on both sides of it
    low = np.where(low >= 1, np.floor(low), np.minimum(np.ceil(low) - 1, -1))
    high = np.where(high <= -1, np.ceil(high), np.maximum(np.floor(high) + 1, 1))
    return low * unit, high * unit


def _at_least(chances: Array, m: int) -> float:
    """Chance that at least m of independent events happen (Poisson-binomial)."""
    counts = np.zeros(m + 1)
    counts[0] = 1.0
    for chance in chances:  # the last entry gathers m and more
        counts[m] += counts[m - 1] * chance
        counts[1:m] = counts[1:m] * (1 - chance) + counts[: m - 1] * chance
        counts[0] *= 1 - chance
    return float(min(counts[m], 1.0))


class _Trial:
    """All rules tried on the cells of one column.

    Attributes:
        searched: how many rules have scores for a cell of the column.
    """

    def __init__(self, tries: Sequence[tuple[int, _Try]], cells: Sequence[Cell]) -> None:
        n = len(cells)
        self._cells = cells
        has_std = any(cell.std is not None for cell in cells)
        bounds = {
            rounding: (
                _bounds([cell.mean for cell in cells], rounding),
                _bounds([cell.std for cell in cells], rounding),
                np.array([cell.std is None for cell in cells]),
            )
            for rounding in CONVENTIONS
        }
        matches: dict[Rule, NDArray[np.bool_]] = {}
        chances: dict[Rule, Array] = {}
        self._has: dict[Rule, NDArray[np.bool_]] = {}
        ddofs: tuple[Ddof | None, ...] = _DDOFS if has_std else (None,)
        for row, tried in tries:
            starts = [first for _, _, first, _ in tried.picks]
            for rounding, (of_means, of_stds, bare) in bounds.items():
                fits = _within(tried.means, of_means, tried.error)
                for ddof in ddofs:
                    stds = tried.stds[1 if ddof is None else ddof]
                    if ddof is not None and np.isnan(stds).all():
                        continue
                    both = fits & (_within(stds, of_stds, tried.error) | bare[:, None])
                    hit = np.logical_or.reduceat(both, starts, axis=1)
                    lucky = np.add.reduceat(
                        _repetition(cells[row], tried.means, stds, tried.seeds, rounding, tried.error),
                        starts,
                    )
                    for at, (pick, seeds, _, _) in enumerate(tried.picks):
                        rule = Rule(tried.source, tried.phase, tried.score, pick, seeds, ddof, rounding)
                        if rule not in matches:
                            matches[rule] = np.zeros((n, n), dtype=bool)
                            chances[rule] = np.zeros(n)
                            self._has[rule] = np.zeros(n, dtype=bool)
                        matches[rule][:, row] |= hit[:, at]
                        chances[rule][row] += lucky[at]
                        self._has[rule][row] = True
        self.searched = len(matches)
        self._rules = [rule for rule, found in matches.items() if found.any()]
        # printed cell, row, rule
        self._matches = np.stack([matches[rule] for rule in self._rules], axis=2) if self._rules else None
        if self._matches is not None:
            others = self._matches & ~np.eye(n, dtype=bool)[:, :, None]
            shuffled = others.sum(axis=0) / max(n - 1, 1)
            repeated = np.stack([chances[rule] for rule in self._rules], axis=1)
            self._chances = np.clip(np.maximum(shuffled, repeated), _LEAST, 1.0)

    def best(self, rest: NDArray[np.bool_], used: Sequence[Rule]) -> Believed | None:
        """The rule that explains what is left of the cells with the least chance of luck, if it is small."""
        if self._matches is None or not rest.any():
            return None
        n = len(self._cells)
        hits = self._matches[np.arange(n), np.arange(n)] & rest[:, None]  # row, rule
        candidates = []
        for index, rule in enumerate(self._rules):
            if (m := int(hits[:, index].sum())) and rule not in used:
                has = self._has[rule] & rest
                repeated = min(1.0, self.searched * _at_least(self._chances[has, index], m))
                candidates.append((repeated, rule.plainness, -m, index))
        if not candidates:
            return None
        repeated, _, _, index = min(candidates)
        if repeated > LIMIT:
            return None
        shuffled = self._shuffled(rest, float((hits * -np.log(self._chances))[:, index].sum()))
        rule, has = self._rules[index], self._has[self._rules[index]] & rest
        rows = tuple(self._cells[row].row for row in self._by_group(hits[:, index], has, index))
        if shuffled > LIMIT or not rows:
            return None
        return Believed(rule, rows, int(has.sum()), self.searched, shuffled, repeated)

    def _shuffled(self, rest: NDArray[np.bool_], told: float) -> float:
        """Chance that, with the column's cells shuffled over its rows, some rule tells as much by luck.

        A match tells the more the less likely it is; that is its information, minus the logarithm of its
        chance, and a rule's is the sum over the rows that are left.
        """
        assert self._matches is not None  # noqa: S101 - checked by the caller
        rows = np.flatnonzero(rest)
        weights = (self._matches[:, rows] * -np.log(self._chances[rows])).astype(np.float32)
        generator = np.random.default_rng(_STREAM)
        as_much = 0
        for _ in range(PERMUTATIONS):
            placed = generator.permutation(len(self._cells))[: len(rows)]
            as_much += float(weights[placed, np.arange(len(rows))].sum(axis=0).max()) >= told
        return (1 + as_much) / (1 + PERMUTATIONS)

    def _by_group(self, hits: NDArray[np.bool_], has: NDArray[np.bool_], index: int) -> Iterator[int]:
        """The rows that a rule explains, without those of groups where its matches may be luck."""
        groups = dict.fromkeys(cell.group for cell in self._cells)
        for group in groups:
            here = np.array([cell.group == group for cell in self._cells])
            matched = np.flatnonzero(hits & here)
            if len(matched) and _at_least(self._chances[has & here, index], len(matched)) <= LIMIT:
                yield from matched.tolist()


def _within(values: Array, bounds: Array, error: float) -> NDArray[np.bool_]:
    """Whether each value is printed like each number: (numbers, values)."""
    found: NDArray[np.bool_] = (values >= bounds[:, :1] - error) & (values <= bounds[:, 1:] + error)
    return found


# -- words -------------------------------------------------------------------------------------------------


def _distance(cell: Cell, value: Value) -> tuple[float, float]:
    std = 0.0 if cell.std is None or value.std is None else abs(value.std - float(cell.std.value))
    return abs(value.mean - float(cell.mean.value)), std


def _shown(value: Value) -> str:
    std = "" if value.std is None else f" \N{PLUS-MINUS SIGN} {value.std:.4f}"
    return f"{value.mean:.4f}{std}"


def _only_mean(cell: Cell, rule: Rule, value: Value) -> str:
    """What of a cell follows by its column's rule where not all does."""
    start = f"{rule.source}'s {value.label}: {_shown(value)}"
    by_rule = _inside(value.mean, cell.mean, rule.rounding)
    mean = "the mean is right" if by_rule else f"the mean is not {rule.rounding}, as the column's others are"
    if cell.std is None or value.std is None:
        return f"{start}; {mean}"
    if _inside(value.std, cell.std, rule.rounding):
        return f"{start}; {mean}, the deviation is right"
    would = _printed(value.std, cell.std.decimals, rule.rounding)
    return f"{start}; {mean}, the deviation would be printed {would}"


def _printed(value: float, decimals: int, rounding: Convention) -> str:
    """A number as a rule prints it."""
    if rounding == "cut off":
        value = math.trunc(value * 10**decimals + math.copysign(_EXACT, value)) / 10**decimals
    return f"{value:.{decimals}f}"
