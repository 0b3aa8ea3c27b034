"""SAC trained online, for its policies and its replay data: hours, which go on where they were left."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from algorithms import Sizes
from harness import environments, files
from harness.datasets.generated import Trained
from harness.errors import DataError, StoppedError
from harness.execution import devices
from harness.execution.interrupt import Interrupt
from harness.execution.progress import Reporter
from harness.results.records import digest
from harness.specs import Dataset, GeneratedSource, Specs
from harness.training.ladder import learner, mean_return, read_training, settings_hash
from harness.training.memory import bytes_of_row
from harness.training.online import (
    EPOCH,
    Learner,
    OnlineTrainer,
    check_training,
    end,
    replay_rows,
    seconds_per_epoch,
)


def replay(
    dataset: Dataset,
    source: GeneratedSource,
    home: Path,
    reporter: Reporter,
    trained: Path | None = None,
    device: str = "cpu",
) -> Trained:
    """The first transitions that SAC gathers, in order.

    Datasets of one environment and seed share one training, kept in ``online/`` of the data folder: a longer
    one goes on from a shorter one's end.

    Args:
        dataset: whose environment it is.
        source: its recipe; the seed is that of the training.
        home: data folder.
        reporter: progress for the user.
        trained: the folder of an `OnlineTrainer` that has trained this already; nothing is trained then.
        device: 'auto', 'cpu' or 'cuda', to train on.

    Raises:
        DataError: the hyperparameters are no longer those of the spec, or `trained` has too little, or was
            trained otherwise.
        StoppedError: interrupted; what was done is kept.
    """
    if dataset.environment is None:
        raise DataError(f"{dataset.id} cannot be generated: its spec names no environment")
    sizes = Sizes(dataset.observation_size, dataset.action_size)
    who = learner(dataset.id.partition("-")[0], source.seed, Specs(), dataset.environment, sizes)
    if (own := settings_hash(who.hyperparameters)) != source.hyperparameters_sha256:
        raise DataError(
            f"{dataset.id} was specified for SAC with hyperparameters of SHA-256 "
            f"{source.hyperparameters_sha256}, but specs/algorithms/sac.yaml has {own}"
        )
    folder = trained or home / "online" / f"{dataset.id.partition('-')[0]}-{source.seed}-{_digest(who)[:12]}"
    if trained is None:
        with files.locked(folder / "checkpoint.pt", lambda: _wait(folder, reporter)):
            _train([who], folder, -(-source.transitions // EPOCH), dataset.id, reporter, device)
    rows = replay_rows(folder, who.key, sizes)
    if rows is None or len(rows["rewards"]) < source.transitions:
        have = 0 if rows is None else len(rows["rewards"])
        raise DataError(
            f"{folder} has {have:,} transitions of {who.key}, but {dataset.id} takes {source.transitions:,}"
        )
    first = {name: array[: source.transitions] for name, array in rows.items()}
    return Trained(first, _origin(folder, who, source.transitions))


def train(
    datasets: Sequence[Dataset],
    seed: int,
    updates: int,
    folder: Path,
    reporter: Reporter,
    device: str = "cpu",
) -> None:
    """Train SAC in the environments of some datasets, all in one population.

    Args:
        datasets: one of each environment; their observations and actions are equally long.
        seed: of the training.
        updates: of each policy, in whole epochs of 1000.
        folder: of the `OnlineTrainer`; goes on with what is there.
        reporter: progress for the user.
        device: 'auto', 'cpu' or 'cuda', to train on.

    Raises:
        DataError: sizes differ, an environment is missing or named twice, or the folder is of another
            training.
        HarnessError: an environment cannot be made, or is of other sizes than its spec says.
        StoppedError: interrupted; what was done is kept.
    """
    learners = []
    for dataset in datasets:
        if dataset.environment is None:
            raise DataError(f"{dataset.id} names no environment to train in")
        sizes = Sizes(dataset.observation_size, dataset.action_size)
        learners.append(learner(dataset.id.partition("-")[0], seed, Specs(), dataset.environment, sizes))
    if len({each.key for each in learners}) < len(learners):
        raise DataError("name one dataset of each environment: all of an environment share one training")
    if len({each.sizes for each in learners}) > 1:
        listed = ", ".join(f"{each.environment.id} {tuple(each.sizes)}" for each in learners)
        raise DataError(
            f"one population needs observations and actions of equal lengths, but they are {listed}; "
            "train these apart, each in a folder of its own"
        )
    for each in learners:
        environments.check(each.environment, *each.sizes)
    name = ", ".join(each.environment.id for each in learners)
    # the first epoch gathers and does not update
    epochs = -(-updates // EPOCH) + 1
    with files.locked(folder / "checkpoint.pt", lambda: _wait(folder, reporter)):
        _train(learners, folder, epochs, name, reporter, device)
        end(folder, epochs)


def _wait(folder: Path, reporter: Reporter) -> None:
    reporter.message(f"another process trains in {folder}: waiting for it")


def _train(
    learners: Sequence[Learner],
    folder: Path,
    epochs: int,
    name: str,
    reporter: Reporter,
    device: str,
) -> None:
    """Train to so many epochs, unless that was done."""
    checkpoint = folder / "checkpoint.pt"
    check_training(folder, learners)
    rows = [replay_rows(folder, each.key, each.sizes) for each in learners]
    done = min(0 if each is None else len(each["rewards"]) // EPOCH for each in rows)
    del rows
    if done >= epochs:
        return
    device = devices.chosen(device)
    # every checkpoint holds all transitions, and replaces the one before only once it is written
    row = bytes_of_row(learners[0].sizes)
    there = checkpoint.stat().st_size if checkpoint.exists() else 0
    files.require_space(checkpoint, 2 * len(learners) * epochs * EPOCH * row - there)
    left = epochs - done
    try:
        hours = left * seconds_per_epoch(learners, device) / 3600
        reporter.message(
            f"{name}: SAC has {left:,} of {epochs:,} epochs to train, about {hours:.1f} h here (a few "
            "updates were timed). Ctrl-C saves after the epoch under way, and the same command goes on from "
            "there."
        )
        trainer = OnlineTrainer(learners, folder, epochs=epochs, workers=len(learners), device=device)
        bar = reporter.bar(name, epochs, done, "epochs")

        def report(epoch: int) -> None:
            bar.scores({key: mean_return(scores[-1]) for key, scores in trainer.history.items() if scores})
            bar.advance(epoch)

        asked = "stopping after this epoch; the work is saved (again: stop at once)"
        with Interrupt(lambda: reporter.message(asked)) as stop:
            finished = trainer.train(report, stop)
    except RuntimeError as error:
        if not devices.out_of_memory(error):
            raise
        raise DataError(
            f"{name}: more than the GPU's memory holds: {error}; what was saved is kept, and --device cpu "
            "goes on from there"
        ) from error
    bar.done()
    if stop():  # in the last epoch, too: what comes after the training was not asked for any more
        state = "is trained to the end" if finished else "is not finished"
        raise StoppedError(
            f"{name} {state}; what was done is kept in {folder}, and the same command goes on from there"
        )


def _origin(folder: Path, who: Learner, transitions: int) -> dict[str, Any]:
    """What a card says of the training behind replay data; a training of another kind is refused."""
    run, history = read_training(folder)
    if other := who.differences(run["learners"].get(who.key, {})):
        raise DataError(
            f"{folder} trained {who.key} with other {' and '.join(other)} than the specs say now; "
            "take another training"
        )
    origin: dict[str, Any] = dict(run["trained_with"])
    for scored in history[who.key]:
        if scored.step + EPOCH <= transitions:
            origin |= {"updates when last scored": scored.step, "mean return then": mean_return(scored)}
    return origin


def _digest(who: Learner) -> str:
    """Names a training: what it learns from and how."""
    content = {
        "key": who.key,
        "hyperparameters": dict(who.hyperparameters),
        "environment": who.environment.id,
        "max_episode_steps": who.environment.max_episode_steps,
    }
    return digest(content)
