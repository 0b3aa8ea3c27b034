"""The public functions of `harness`: what the command line does, for Python.

Each takes the id of a table and, as keywords, what `Options` lists; the command line's verbs are these.
"""

from __future__ import annotations

import inspect
import os
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, TypeVar, Unpack, get_type_hints

from harness import plugs
from harness.analysis.comparison import compare
from harness.analysis.intervals import IntervalSettings
from harness.counting import count
from harness.errors import FailedRunsError, HarnessError, IncompleteError, NoBaselineError
from harness.escaping import terminal
from harness.files import real
from harness.planning.cells import ResolvedTable, resolve
from harness.planning.choice import Choice
from harness.planning.commands import Commands
from harness.planning.seeds import with_every_seed
from harness.reports import render, wording
from harness.results.schema import Location, current_version
from harness.results.store import Store
from harness.specs import Specs

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from harness.acceptance import Acceptance
    from harness.analysis.aggregates import Metric
    from harness.analysis.comparison import Comparison
    from harness.analysis.drift import Drift, Gate
    from harness.analysis.overall import Overall
    from harness.analysis.sourcing import CheckedTable
    from harness.execution.packing import Packing
    from harness.execution.progress import Reporter
    from harness.planning.plan import Measure, Plan
    from harness.planning.status import Status
    from harness.reports.figures.drawing import Illustration
    from harness.reports.figures.look import Look
    from harness.reports.frames import Rliable
    from harness.sources.scores import Scores
    from harness.specs import Table as TableSpec

BASELINES = Path("baselines")
METRICS: tuple[Metric, ...] = ("iqm", "mean", "median", "og")  # in the order shown
PAIR_REPETITIONS = 2000  # resamples of a probability of improvement, unless told otherwise

Function = TypeVar("Function", bound=Callable[..., Any])


class Options(TypedDict, total=False):
    """What can be chosen of a table; what is left out is as the table's spec says.

    Attributes:
        preset: id of a preset.
        datasets: ids or globs of rows.
        algorithms: ids or globs of columns.
        seeds: seeds to train; for what reads results ``"all"`` shows every seed that the database has.
        steps: train so many steps (online: interactions).
        lineage: where the data come from: ``"d4rl"``, ``"minari"``, ``"ogbench"``, ``"generated"`` or
            ``"file"``.
        score: which evaluations of a run count: ``"last"``, ``"mean_last"`` or ``"best"``.
        db: the results database, a path or an SQLAlchemy URL; default: the preset's, else ``results.db``.
        specs: further folders of specs.
    """

    preset: str | None
    datasets: str | Sequence[str]
    algorithms: str | Sequence[str]
    seeds: Sequence[int] | Literal["all"]
    steps: int | None
    lineage: str | None
    score: Literal["last", "mean_last", "best"] | None
    db: str | Path | None
    specs: str | Path | Sequence[str | Path]


def _with_options(function: Function) -> Function:
    """Show the keywords of `Options` in a function's signature: notebooks complete them."""
    keyword = inspect.Parameter.KEYWORD_ONLY
    own = inspect.signature(function)
    options = [
        inspect.Parameter(name, keyword, default=None, annotation=kind)
        for name, kind in get_type_hints(Options).items()
    ]
    given = [each for each in own.parameters.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
    function.__signature__ = own.replace(parameters=[*given, *options])  # type: ignore[attr-defined]
    return function


@dataclass(frozen=True)
class View:
    """A table as chosen, and the database that its results are in.

    Attributes:
        specs: where the table comes from.
        choice: what was chosen of it.
        resolved: its cells and runs.
        database: path or URL.
        command: the command lines of other verbs, for advice.
    """

    specs: Specs
    choice: Choice
    resolved: ResolvedTable
    database: str
    command: Commands

    @classmethod
    def of(
        cls,
        specs: Specs,
        table: str,
        choice: Choice,
        db: str | None = None,
        places: Mapping[str, str | Path | None] | None = None,
    ) -> View:
        """The view of a table.

        Args:
            specs: where it comes from.
            table: its id.
            choice: what is chosen of it.
            db: the database; None: the preset's, else ``results.db``.
            places: those that `Commands` repeats; None: the database.

        Raises:
            HarnessError: a name is unknown or a spec is wrong.
        """
        default = (specs.preset(choice.preset).database if choice.preset else None) or "results.db"
        places = {"db": db} if places is None else places
        command = Commands(table, choice, specs.further, places)
        return cls(specs, choice, resolve(specs, table, choice), db or default, command)

    def store(self) -> Store:
        """The open database.

        Raises:
            HarnessError: it cannot be opened.
        """
        return Store.open(self.database, command=self.command("reproduce"))

    def seen(self, store: Store) -> ResolvedTable:
        """The table with every seed that the database has, where that was chosen."""
        return with_every_seed(self.resolved, store) if self.choice.every_seed else self.resolved

    def table(self, intervals: IntervalSettings | None = None) -> Table:
        """The table beside what the paper printed.

        Raises:
            HarnessError: the database cannot be read.
        """
        with self.store() as store:
            return Table(self, compare(self.seen(store), self.specs, store, intervals=intervals))

    def worker(self, device: str, home: Path | None, how: Mapping[str, Any]) -> tuple[str, ...]:
        """What follows the program's name in the command line of a worker that trains for this view.

        Args:
            device: where to train.
            home: data folder, None for the default.
            how: what else `harness.execution.setup.Setup.on` takes.
        """
        folders = tuple(map(real, self.specs.further))
        command = replace(self.command, folders=folders, places={"data_home": home and real(home)})
        given = {
            "--device": device,
            "--precision": how.get("precision"),
            "--checkpoint-seconds": how.get("checkpoint_seconds"),
            "--workers": how.get("workers"),
        }
        options = [text for name, value in given.items() if value is not None for text in (name, str(value))]
        compiled = ["--compile"] if how.get("compiled") else []
        return (*shlex.split(command("work"))[1:], *options, *compiled)

    def baseline(self, given: str | Path | None = None) -> str:
        """The baseline's path or URL; in a folder it is named by what its scores are of."""
        if given is None or ("://" not in str(given) and Path(given).is_dir()):
            preset = self.choice.preset
            parts = filter(None, (self.resolved.table.id, preset, self.resolved.other_lineage))
            return str(Path(given or BASELINES) / f"{'-'.join(parts)}.db")
        return str(given)


def _view(table: str, options: Options, **places: str | Path | None) -> View:
    chosen: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    if unknown := chosen.keys() - get_type_hints(Options).keys():
        raise TypeError(f"no such option: {', '.join(sorted(unknown))}")
    specs = _specs(chosen.pop("specs", ()))
    db = chosen.pop("db", None)
    for name in ("datasets", "algorithms"):
        if name in chosen:
            value = chosen[name]
            chosen[name] = tuple(value.split(",") if isinstance(value, str) else value)
    if (seeds := chosen.pop("seeds", None)) == "all":
        chosen["every_seed"] = True
    elif seeds is not None:
        chosen["seeds"] = tuple(seeds)
    db = None if db is None else str(db)
    return View.of(specs, table, Choice(**chosen), db, {"db": db, **places})


def _specs(folders: str | Path | Sequence[str | Path]) -> Specs:
    folders = [folders] if isinstance(folders, str | Path) else folders
    return Specs([Path(folder) for folder in folders])


# -- reading -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Table:
    """A table as reproduced, beside what the paper printed; a notebook shows it.

    Attributes:
        view: what was chosen, and where the results are.
        comparison: everything that is known of every cell.
    """

    view: View
    comparison: Comparison

    @cached_property
    def frame(self) -> pd.DataFrame:
        """Everything that is known of each cell and average: a line each, numbers unrounded."""
        from harness.reports import frames

        return frames.cells(self.comparison)

    @property
    def verdicts(self) -> pd.DataFrame:
        """The verdict of every cell and average, in the paper's layout."""
        ids = [column.id for column in self.comparison.columns]
        wide = self.frame.pivot(index="row", columns="column", values="verdict")
        return wide.loc[[row.id for row in self.comparison.rows], ids]

    def to_latex(self, **options: Any) -> str:
        """LaTeX; `harness.reports.render` has the options."""
        return render(self.comparison, "latex", **options)

    def to_markdown(self, **options: Any) -> str:
        """GitHub-flavoured Markdown; `harness.reports.render` has the options."""
        return render(self.comparison, "markdown", **options)

    @property
    def scores(self) -> pd.DataFrame:
        """The scores that the cells count, see `harness.scores`."""
        from harness.reports import frames

        return _frame(self.view, self.comparison, frames.scores)

    def per_seed(self) -> str:
        """`scores` as CSV that ``harness db import`` takes."""
        from harness.reports import frames

        scores = self.scores.rename(columns={"column": "algorithm"})
        return frames.csv(scores[["dataset", "algorithm", "seed", "step", "score", "return", "source"]])

    def statistics(
        self,
        metrics: Sequence[Metric] = METRICS,
        *,
        pairs: bool = False,
        profiles: bool = False,
        method: Literal["percentile", "bca"] = "percentile",
        level: float = 0.95,
        repetitions: int | None = None,
        seed: int = 0,
    ) -> Overall:
        """The algorithms over all datasets, from the stratified bootstrap.

        Args:
            metrics: which aggregates, in order.
            pairs: also the probability of improvement of every pair.
            profiles: also performance profiles.
            method: of the aggregates' intervals; pairs and profiles have percentile ones.
            level: nominal coverage.
            repetitions: resamples; None: 50,000, for pairs 2,000.
            seed: of the resampling.

        Raises:
            IncompleteError: too little is measured.
        """
        from harness.analysis.aggregates import BootstrapSettings
        from harness.analysis.overall import overall

        settings = BootstrapSettings(method, level, repetitions or BootstrapSettings.repetitions, seed)
        return overall(
            self.comparison,
            metrics,
            settings,
            pairs=(repetitions or PAIR_REPETITIONS) if pairs else None,
            profiles=profiles,
            command=self.view.command,
        )

    def aggregates(self, **settings: Any) -> pd.DataFrame:
        """`statistics` as a frame: a line per column and aggregate, with the ends of its interval."""
        from harness.reports import frames

        return frames.aggregates(self.comparison, self.statistics(**settings))

    def rliable(self, **settings: Any) -> Rliable:
        """Scores, aggregates, profiles and probabilities as rliable's dictionaries, see `statistics`."""
        from harness.reports import frames

        found = self.statistics(**{"pairs": True, "profiles": True} | settings)
        return frames.rliable(self.comparison, found)

    def illustrations(
        self, kinds: Sequence[str] | None = None, look: Look | None = None
    ) -> tuple[Illustration, ...]:
        """Figures with their captions and data; `harness.reports.figures` has the kinds and looks.

        Raises:
            UnknownNameError: there is no such kind.
        """
        from harness.analysis.history import histories
        from harness.reports.figures import illustrations

        with self.view.store() as store:
            past = partial(histories, self.view.seen(store), self.comparison, store)
            return illustrations(self.comparison, past, kinds, look)

    def figure(
        self, kind: str, *, width: str = "single", style: str = "paper", palette: str = "colorblind"
    ) -> Figure:
        """One figure, which a notebook shows.

        Args:
            kind: ``profiles``, ``aggregates``, ``improvement``, ``curves``, ``efficiency``, ``scatter``,
                ``runtime`` or ``radar``.
            width: ``single``, ``double`` or centimetres.
            style: ``paper`` or ``talk``.
            palette: one of seaborn's.

        Raises:
            IncompleteError: its data do not exist.
            HarnessError: there is no such kind, width or palette.
        """
        from harness.reports.figures.look import Look

        for item in self.illustrations([kind], Look.of(width, style, palette)):
            if item.figure is None:
                raise IncompleteError(f"{item.name} needs {item.missing}")
            return item.figure
        raise IncompleteError(f"there is nothing to draw for {kind}")

    def _repr_html_(self) -> str:
        import numpy as np

        from harness.reports import frames

        texts, leading = frames.layout(self.comparison)
        bold = np.where(leading, "font-weight: bold", "")
        shown = texts.reset_index(names="Dataset").style.format(escape="html").hide(axis="index")
        shown = shown.apply(lambda _: bold, axis=None, subset=list(texts.columns))
        shown = shown.relabel_index(
            ["Dataset", *(_html(column.label) for column in self.comparison.columns)], axis="columns"
        )
        above = map(_html, (self.comparison.table.title, wording.warning(self.comparison)))
        notes = "".join(
            f"<li>{_html(note.title)}: {_html(note.text)}</li>"
            for note in wording.table_notes(self.comparison)
        )
        shown = shown.set_caption("<br>".join(filter(None, above)))
        return f"{shown.to_html()}<details><summary>Notes</summary><ul>{notes}</ul></details>"


def _html(text: str) -> str:
    return escape(terminal(text))


@_with_options
def table(
    table: str,
    *,
    ci: Literal["percentile", "bca", "t"] = "percentile",
    level: float = 0.95,
    **options: Unpack[Options],
) -> Table:
    """A table with our numbers, the paper's, and a verdict for every cell.

    Args:
        table: id of the table.
        ci: intervals of the cells: percentile or BCa bootstrap, or Student's t.
        level: their nominal coverage.
        **options: see `Options`.

    Raises:
        HarnessError: a name is unknown, a spec is wrong, or there is no such database.
    """
    return _view(table, options).table(IntervalSettings(ci, level))


@_with_options
def scores(table: str, **options: Unpack[Options]) -> pd.DataFrame:
    """The scores that a table's cells count: a line per dataset, column and seed.

    Its columns: ``dataset``, ``group``, ``column``, ``label``, ``seed``, ``step``, ``score`` (normalised, 0
    to 100 for the references), ``return`` (raw), ``source`` (``trained`` or where it was imported from) and
    ``status``.

    Args:
        table: id of the table.
        **options: see `Options`.

    Raises:
        HarnessError: a name is unknown, a spec is wrong, or there is no such database.
    """
    from harness.reports import frames

    return _read(table, options, frames.scores)


@_with_options
def curves(table: str, **options: Unpack[Options]) -> pd.DataFrame:
    """Every evaluation of a table's runs, with the columns of `scores`; ``step`` is the evaluation's.

    Args:
        table: id of the table.
        **options: see `Options`.

    Raises:
        HarnessError: a name is unknown, a spec is wrong, or there is no such database.
    """
    from harness.reports import frames

    return _read(table, options, lambda resolved, _, past: frames.curves(resolved, past))


@_with_options
def metrics(table: str, name: str | None = None, **options: Unpack[Options]) -> pd.DataFrame:
    """What a table's runs reported while they trained: a line per run, step and metric.

    Its columns: ``dataset``, ``group``, ``column``, ``label``, ``seed``, ``step``, ``metric``, ``value`` and
    ``status``.

    Args:
        table: id of the table.
        name: of one metric, such as ``alpha``; None for all.
        **options: see `Options`.

    Raises:
        HarnessError: a name is unknown, a spec is wrong, or there is no such database.
    """
    from harness.errors import UnknownNameError
    from harness.reports import frames

    found = _read(table, options, lambda resolved, _, past: frames.metrics(resolved, past))
    if name is None:
        return found
    known = found["metric"].unique()
    if name not in known:
        raise UnknownNameError("metric", name, known)
    return found[found["metric"] == name].reset_index(drop=True)


def _read(table: str, options: Options, frame: Callable[..., pd.DataFrame]) -> pd.DataFrame:
    """What a function of `harness.reports.frames` makes of a table's runs."""
    found = _view(table, options).table()
    return _frame(found.view, found.comparison, frame)


def _frame(view: View, comparison: Comparison, frame: Callable[..., pd.DataFrame]) -> pd.DataFrame:
    from harness.analysis.history import histories

    with view.store() as store:
        resolved = view.seen(store)
        return frame(resolved, comparison, histories(resolved, comparison, store, None))


# -- public scores -----------------------------------------------------------------------------------------


def check_sources(
    table: str,
    sources: str | Sequence[str] = (),
    *,
    data_home: Path | None = None,
    specs: str | Path | Sequence[str | Path] = (),
) -> pd.DataFrame:
    """Which printed cells follow from the scores of public sources: a line per printed cell.

    Its columns: ``dataset``, ``column``, ``label``, ``printed``, ``verdict`` (``DERIVED``, ``MEAN ONLY``,
    ``OTHER CELL``, ``DIFFERENT``, ``NO SOURCE`` or ``N/C``), ``rule`` (by which it follows, in words),
    ``source``, ``mean``, ``std``, ``n`` (what the source gives, or the nearest that one gives) and ``note``.

    Args:
        table: id of the table.
        sources: ids of sources; none: all on this machine.
        data_home: folder of the data; None for the default.
        specs: further folders of specs.

    Raises:
        IncompleteError: no source is on this machine, or the table has no printed cell.
        HarnessError: a name is unknown, a spec is wrong, or a source's file is not what it should be.
    """
    from harness.reports import frames

    names = [sources] if isinstance(sources, str) else sources
    return frames.printed(checked(_specs(specs), table, names, data_home))


def checked(specs: Specs, table: str, sources: Iterable[str], home: Path | None) -> CheckedTable:
    """What public scores say of a table's printed cells, see `check_sources`."""
    from harness.analysis.sourcing import check

    spec = specs.table(table)
    if not {row for row, _ in specs.published(spec) or {}}.intersection(spec.datasets):
        raise IncompleteError(f"{table} has no printed cell of a dataset, so there is nothing to check")
    return check(spec, specs, scores_at_hand(specs, spec, sources, home))


def scores_at_hand(specs: Specs, table: TableSpec, names: Iterable[str], home: Path | None) -> Scores:
    """The scores of public sources on this machine: of those that are named, else of all.

    Raises:
        IncompleteError: there are none.
        UnknownNameError: there is no source of a name.
    """
    from harness.sources import scores

    chosen = scores.chosen(specs, names)
    found = scores.at_hand(specs, chosen, home, table.lineage)
    if not found.sources:
        raise IncompleteError(
            f"no source is on this machine; `harness sources pull {' '.join(chosen)}` fetches them"
        )
    return found


# -- training ----------------------------------------------------------------------------------------------


@_with_options
def plan(table: str, *, data_home: Path | None = None, **options: Unpack[Options]) -> Plan:
    """What `reproduce` would train: runs done, failed and missing, and estimates of time and disk.

    It runs the code in the given folders of specs.

    Args:
        table: id of the table.
        data_home: folder of the data; None for the default.
        **options: see `Options`.

    Raises:
        HarnessError: a name is unknown, or a spec is wrong or does not fit the code.
    """
    view = _view(table, options, data_home=data_home)
    plugs.use(view.specs.folders)
    return plan_of(view, data_home)


def plan_of(view: View, home: Path | None = None, measure: Measure | None = None) -> Plan:
    """The plan of a view, whose database need not exist yet.

    Args:
        view: the table.
        home: data folder, None for the default.
        measure: times steps on this machine's devices; None for estimates from finished runs.

    Raises:
        HarnessError: the specs do not fit the code, or the database cannot be read.
    """
    from harness.planning.plan import plan as make

    def pack() -> Packing:  # with torch, which a plan without a GPU does not need
        from harness.execution.packing import Packing

        return Packing.of_gpu()

    if current_version(Location.parse(view.database)) is None:
        return make(view.resolved, view.specs, None, home=home, measure=measure, pack=pack)
    with Store.open(view.database) as store:
        return make(view.resolved, view.specs, store, home=home, measure=measure, pack=pack)


@dataclass(frozen=True)
class Reproduction:
    """What became of `reproduce`; a notebook shows its table.

    Attributes:
        table: the whole table, beside what the paper printed; None where training was interrupted.
        status: how far the runs are that were asked for; None where training was interrupted.
        error: why not all that was asked for is there; None if it is.
    """

    table: Table | None
    status: Status | None
    error: HarnessError | None

    @property
    def exit_code(self) -> int:
        """Of the command line: 0, 3 incomplete, 5 some runs failed, 130 interrupted with all saved."""
        if self.table is None:
            return 130
        return self.error.exit_code if self.error else 0

    def _repr_html_(self) -> str:
        shown = self.table._repr_html_() if self.table else "interrupted; the same call goes on from there"
        return shown + (f"<p>{_html(str(self.error))}</p>" if self.error else "")


@_with_options
def reproduce(
    table: str,
    *,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    data_home: Path | None = None,
    workers: int | None = None,
    executor: str = "local",
    jobs: int | None = None,
    executor_options: Mapping[str, str | int] | None = None,
    quiet: bool = False,
    **options: Unpack[Options],
) -> Reproduction:
    """Train what is missing of a table.

    It runs the code in the given folders of specs. Every score is kept when it is measured; finished runs are
    never trained twice. An interrupt (the notebook's stop button) writes a checkpoint and ends.

    Args:
        table: id of the table.
        device: where to train; ``"auto"``: on CUDA if there.
        data_home: folder of the data; None for the default.
        workers: processes that evaluate; None for half of the cores.
        executor: what trains: ``"local"`` (this process), ``"processes"`` (a worker per GPU), ``"slurm"``,
            ``"ray"``, or what an installed package brings.
        jobs: workers to start; None for as many as suit the executor.
        executor_options: for the executor alone, by its own names: ``{"partition": "gpu", "time": 600}``.
        quiet: no progress, only messages.
        **options: see `Options`.

    Returns:
        the table, and as ``exit_code`` what the command line would end with.

    Raises:
        HarnessError: a name is unknown, a spec is wrong, data are missing, the database cannot be written, or
            the executor refuses.
    """
    from harness.execution.progress import Reporter

    view = _view(table, options, data_home=data_home)
    plugs.use(view.specs.folders)
    return train(
        view,
        Reporter(quiet=quiet),
        executor,
        device=device,
        home=data_home,
        jobs=jobs,
        options={name: str(value) for name, value in (executor_options or {}).items()},
        workers=workers,
    )


def train(
    view: View,
    reporter: Reporter,
    executor: str = "local",
    *,
    device: str,
    home: Path | None,
    jobs: int | None = None,
    options: Mapping[str, str] | None = None,
    **how: Any,
) -> Reproduction:
    """Train what a view lacks, and compare the whole table.

    Args:
        view: the table; its seeds choose what to train, and the table shows all that it wants.
        reporter: tells a person how it goes.
        executor: what trains.
        device: see `harness.execution.setup.Setup.on`, as ``how``.
        home: folder of the data; None for the default.
        jobs: workers of an executor that starts some; None for as many as suit it.
        options: for the executor alone, by its own names.
        **how: what else `Setup.on` takes.

    Raises:
        HarnessError: data are missing, the device is not there, or the database cannot be written.
    """
    from harness.execution import executors
    from harness.planning.status import status

    run = executors.named(executor)
    with Store.open(view.database, create=True) as store:
        worker = view.worker(device, home, how)
        order = executors.Order(
            view.resolved, view.specs, store, home, device, how, worker, jobs, options or {}
        )
        with _interruptible(store, reporter) as stop:
            outcome = run(order, reporter, stop)
        if outcome.interrupted:
            return Reproduction(None, None, None)
        choice = replace(view.choice, seeds=())
        whole = replace(view, choice=choice, resolved=resolve(view.specs, view.command.table, choice))
        comparison = compare(whole.resolved, view.specs, store)
        state = status(store, view.resolved, home)
    return Reproduction(Table(whole, comparison), state, _lacking(view.command, comparison, state))


def work(
    view: View,
    reporter: Reporter,
    *,
    device: str,
    home: Path | None,
    wait: bool = False,
    **how: Any,
) -> bool:
    """Train what of a view can be claimed, until nothing is left to claim.

    Args:
        view: the table.
        reporter: tells a person how it goes.
        device: see `harness.execution.setup.Setup.on`, as ``how``.
        home: folder of the data; None for the default.
        wait: stay while others hold runs that may have to be taken over, or that further ones read from.
        **how: what else `Setup.on` takes.

    Returns:
        whether it came to its end; False where it was interrupted, with all saved.

    Raises:
        HarnessError: data are missing, the device is not there, or the database cannot be written or shared.
        FailedRunsError: runs that it trained failed.
    """
    from harness.execution.handing import OWN
    from harness.execution.setup import Setup
    from harness.execution.versions import require_same_version
    from harness.execution.work import require_shareable, train_claimable
    from harness.execution.worker import left_alone

    require_same_version(view.specs)
    location = Location.parse(view.database)
    own = OWN in os.environ
    if not own:
        require_shareable(location)
    elif current_version(location) is None:
        reporter.message("the runs of this worker were given to another")
        return True
    setup = Setup.on(device, location.folder("checkpoints", home), home=home, **how)
    with Store.open(view.database, create=True) as store:
        with _interruptible(store, reporter) as stop:
            outcome = train_claimable(
                view.resolved,
                view.specs,
                store,
                setup,
                reporter,
                lambda: stop() or left_alone(),
                wait=wait,
                queued_only=own,
            )
        if outcome.interrupted:
            return False
    done = f"{count(outcome.finished, 'run')} trained by this worker; nothing is left for it to claim"
    if outcome.failed:
        raise FailedRunsError(f"{done}, and {outcome.failed} failed: `{view.command('status')}` lists them")
    reporter.message(done)
    return True


@contextmanager
def _interruptible(store: Store, reporter: Reporter) -> Iterator[Callable[[], bool]]:
    """While this is open signals end training; yields what says whether one came."""
    from harness.execution.interrupt import Interrupt

    store.tell = reporter.message
    with (
        reporter,
        Interrupt(lambda: reporter.message("stopping: writing a checkpoint… (again: stop at once)")) as stop,
    ):
        yield stop


def _lacking(command: Callable[[str], str], comparison: Comparison, state: Status) -> HarnessError | None:
    """Why not all that was asked for is there; None if it is."""
    if state.counts["failed"]:
        one = state.failures[0]
        what = one.algorithm if one.column in (None, one.algorithm) else f"{one.column} ({one.algorithm})"
        where = f" at step {one.step:,}" if one.step is not None else ""
        return FailedRunsError(
            f"{count(state.counts['failed'], 'run')} failed; the first is {what} on {one.dataset}, "
            f"seed {one.seed}{where}: {one.error}. `{command('status')}` lists them, "
            f"`{command('retry')}` queues them again"
        )
    left = sum(number for name, number in state.counts.items() if name not in ("finished", "failed"))
    if left:
        busy = f"; {count(len(state.active), 'run')} of them are trained elsewhere" if state.active else ""
        return IncompleteError(f"{count(left, 'run')} that this needs are not finished{busy}")
    if comparison.wanted and all(cell.mean is None for cell in comparison.cells):
        return IncompleteError("nothing was measured")
    return None


# -- baselines ---------------------------------------------------------------------------------------------


@_with_options
def drift(
    table: str,
    *,
    baseline: str | Path | None = None,
    gate: Gate = "aggregates",
    alpha: float | None = None,
    margin: float | None = None,
    **options: Unpack[Options],
) -> Drift:
    """Our own results against a baseline: its ``judgement`` has an ``exit_code``, its ``cells`` the verdicts.

    Args:
        table: id of the table.
        baseline: a database or a folder of them; None for ``baselines/``.
        gate: what the judgement hangs on: ``"aggregates"``, ``"cells"`` or ``"both"``.
        alpha: false-discovery rate of the tests; None for the table's.
        margin: points that count as equal; None for the table's.
        **options: see `Options`.

    Raises:
        NoBaselineError: there is no such baseline.
        HarnessError: a name is unknown, a spec is wrong, or a database cannot be read.
    """
    from harness.analysis.drift import DriftSettings

    return drift_of(_view(table, options, baseline=baseline), baseline, DriftSettings(gate, alpha, margin))


def drift_of(view: View, baseline: str | Path | None, settings: Any) -> Drift:
    """The drift of a view, see `drift`."""
    from harness.analysis.drift import drift

    place = view.baseline(baseline)
    if "://" not in place and not Path(place).exists():
        raise NoBaselineError(
            f"{view.resolved.table.id} has no baseline {place}; "
            f"`{view.command('accept')} --reason TEXT` makes one"
        )
    with view.store() as now, Store.open(place) as before:
        return drift(view.resolved, now, before, settings, view.command)


@_with_options
def accept(
    table: str,
    reason: str,
    *,
    baseline: str | Path | None = None,
    log: Path | None = None,
    **options: Unpack[Options],
) -> Acceptance:
    """Make a table's finished runs the baseline; refused where the code is not as committed.

    Args:
        table: id of the table.
        reason: why, for the log of scores.
        baseline: the file to write; None for ``baselines/TABLE.db``.
        log: the log of scores; None for ``score-log.md`` beside the baseline.
        **options: see `Options`.

    Raises:
        IncompleteError: nothing is measured.
        HarnessError: no reason is given, the code is not as committed, or a file cannot be written.
    """
    return accept_of(_view(table, options, baseline=baseline), reason, baseline, log)


def accept_of(view: View, reason: str, baseline: str | Path | None, log: Path | None) -> Acceptance:
    """Make a view's results the baseline, see `accept`."""
    from harness.acceptance import LOG_NAME
    from harness.acceptance import accept as make

    if baseline and "://" in str(baseline):
        raise HarnessError(f"a baseline is written as a file, and {str(baseline)!r} is a URL; give a path")
    whole = resolve(view.specs, view.resolved.table.id, replace(view.choice, datasets=(), algorithms=()))
    path = Path(view.baseline(baseline))
    with view.store() as store:
        return make(view.resolved, whole, store, reason, path, log or path.with_name(LOG_NAME), view.command)
