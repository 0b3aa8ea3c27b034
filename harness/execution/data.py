"""Sees to it that the data of the runs are there before any of them starts."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from harness import datasets
from harness.datasets.generated import Trained
from harness.datasets.readers import reader
from harness.errors import DataError, StoppedError
from harness.execution.progress import Reporter
from harness.specs import Dataset, Lineage


def prepare(
    wanted: Iterable[Dataset],
    lineage: Lineage,
    home: Path | None,
    reporter: Reporter,
    device: str = "cpu",
    stop: Callable[[], bool] = lambda: False,
) -> None:
    """Build what can be built and download what can be downloaded.

    Args:
        wanted: the datasets.
        lineage: from which source.
        home: data folder, None for the default.
        reporter: progress for the user.
        device: 'auto', 'cpu' or 'cuda', for data that take a training.
        stop: asked while data are made or fetched.

    Raises:
        DataError: some cannot be had; one message names all that are missing.
        StoppedError: `stop` said so; what is there stays.
    """
    missing = [dataset for dataset in wanted if not datasets.available(dataset, lineage, home)]
    reasons: list[str] = []
    for dataset in missing:
        try:
            obtain(dataset, lineage, home, reporter, device=device, stop=stop)
        except DataError as error:
            reasons.append(str(error))
            if lineage != "generated":
                break  # the next download would wait for the same dead network
    still = [dataset for dataset in missing if not datasets.available(dataset, lineage, home)]
    if still:
        message = datasets.missing_message([(dataset, lineage) for dataset in still], home)
        raise DataError(
            "\n".join([message, *(f"(the first attempt said: {reason})" for reason in reasons[:1])])
        )


def examine(wanted: Collection[tuple[Dataset, str]], lineage: Lineage, home: Path | None) -> None:
    """Refuse data that cannot be trained on before anything is, but those examined when they were fetched.

    Args:
        wanted: datasets with the algorithms that train on them.
        lineage: from which source.
        home: data folder, None for the default.

    Raises:
        DataError: the data are damaged, not what the spec says, or lack what an algorithm reads.
    """
    if reader(lineage).examined:
        return
    from algorithms import algorithm_class  # with torch, which other users of this module do without

    by_id = {dataset.id: dataset for dataset, _ in wanted}
    for dataset in by_id.values():
        if datasets.load(dataset, lineage, home).ordered:
            continue
        for algorithm in sorted({name for other, name in wanted if other.id == dataset.id}):
            if algorithm_class(algorithm).reads_next_action:
                raise DataError(
                    f"{algorithm} reads what was done next, which {dataset.id} ({lineage}) does not tell, "
                    "since its rows do not follow each other; choose others with --datasets or "
                    "--algorithms, or give the rows in order"
                )


def obtain(
    dataset: Dataset,
    lineage: Lineage,
    home: Path | None,
    reporter: Reporter,
    trained: Path | None = None,
    device: str = "cpu",
    stop: Callable[[], bool] = lambda: False,
) -> Path:
    """Build or download one dataset, with a bar.

    Args:
        dataset: which.
        lineage: from which source.
        home: data folder, None for the default.
        reporter: progress for the user.
        trained: an online training whose transitions a replay dataset is to take; None trains it here.
        device: 'auto', 'cpu' or 'cuda', for data that take a training.
        stop: asked between whatever parts the work has.

    Raises:
        DataError: it cannot be had.
        StoppedError: a training was interrupted and can go on later, or `stop` said so.
    """
    _heed(stop, dataset)
    if lineage == "generated":
        return _build(dataset, home, reporter, trained, device, stop)
    reporter.message(f"downloading {dataset.id} ({lineage})")
    bar = None

    def progress(done: int, total: int | None) -> None:
        nonlocal bar
        _heed(stop, dataset)
        if bar is None and done:
            bar = reporter.bar(dataset.id, total or 0, 0, "bytes")
        if bar is not None:
            bar.advance(done)

    return datasets.pull(dataset, lineage, home, progress=progress, say=reporter.message)


def _heed(stop: Callable[[], bool], dataset: Dataset) -> None:
    if stop():
        raise StoppedError(f"stopped before {dataset.id} was there; the same command goes on with it")


def _build(
    dataset: Dataset,
    home: Path | None,
    reporter: Reporter,
    trained: Path | None,
    device: str,
    stop: Callable[[], bool],
) -> Path:
    reporter.message(f"building {dataset.id} (generated data)")
    waits = False

    def waiting() -> None:
        nonlocal waits
        _heed(stop, dataset)
        if not waits:
            reporter.message(f"another process makes {dataset.id}: waiting for it")
        waits = True

    source = dataset.generated
    if source is not None and source.recipe == "sac-replay":

        def train() -> Trained:
            from harness.execution.gathering import replay

            return replay(dataset, source, home or datasets.default_home(), reporter, trained, device)

        return datasets.build(dataset, "generated", home, train=train, waiting=waiting)
    bar = None

    def progress(done: int) -> None:
        nonlocal bar
        _heed(stop, dataset)
        if bar is None:
            bar = reporter.bar(dataset.id, source.transitions if source else 0, 0, "rows")
        bar.advance(done)

    return datasets.build(dataset, "generated", home, progress, waiting=waiting)
