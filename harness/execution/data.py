"""Sees to it that the data of the runs are there before any of them starts."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from harness import datasets
from harness.datasets.generated import Trained
from harness.errors import DataError
from harness.execution.progress import Reporter
from harness.specs import Dataset, Lineage


def prepare(
    wanted: Iterable[Dataset], lineage: Lineage, home: Path | None, reporter: Reporter, device: str = "cpu"
) -> None:
    """Build what can be built and download what can be downloaded.

    Args:
        wanted: the datasets.
        lineage: from which source.
        home: data folder, None for the default.
        reporter: progress for the user.
        device: 'auto', 'cpu' or 'cuda', for data that take a training.

    Raises:
        DataError: some cannot be had; one message names all that are missing.
    """
    missing = [dataset for dataset in wanted if not datasets.available(dataset, lineage, home)]
    reasons: list[str] = []
    for dataset in missing:
        try:
            obtain(dataset, lineage, home, reporter, device=device)
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


def obtain(
    dataset: Dataset,
    lineage: Lineage,
    home: Path | None,
    reporter: Reporter,
    trained: Path | None = None,
    device: str = "cpu",
) -> Path:
    """Build or download one dataset, with a bar.

    Args:
        dataset: which.
        lineage: from which source.
        home: data folder, None for the default.
        reporter: progress for the user.
        trained: an online training whose transitions a replay dataset is to take; None trains it here.
        device: 'auto', 'cpu' or 'cuda', for data that take a training.

    Raises:
        DataError: it cannot be had.
        StoppedError: a build that can go on later was interrupted.
    """
    if lineage == "generated":
        return _build(dataset, home, reporter, trained, device)
    reporter.message(f"downloading {dataset.id} ({lineage})")
    bar = None

    def progress(done: int, total: int | None) -> None:
        nonlocal bar
        if bar is None:
            bar = reporter.bar(dataset.id, total or 0, 0, "bytes")
        bar.advance(done)

    return datasets.pull(dataset, lineage, home, progress=progress)


def _build(
    dataset: Dataset, home: Path | None, reporter: Reporter, trained: Path | None, device: str
) -> Path:
    reporter.message(f"building {dataset.id} (generated data)")
    source = dataset.generated
    if source is not None and source.recipe == "sac-replay":

        def train() -> Trained:
            from harness.execution.gathering import replay

            return replay(dataset, source, home or datasets.default_home(), reporter, trained, device)

        return datasets.build(dataset, "generated", home, train=train)
    bar = None

    def progress(done: int) -> None:
        nonlocal bar
        if bar is None:
            bar = reporter.bar(dataset.id, source.transitions if source else 0, 0, "rows")
        bar.advance(done)

    return datasets.build(dataset, "generated", home, progress)
