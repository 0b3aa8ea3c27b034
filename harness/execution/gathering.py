"""Replay data: what SAC gathers while it learns. They take hours and go on where they were left."""

from __future__ import annotations

import hashlib
from pathlib import Path

from algorithms import Sizes, source_hash
from harness.datasets import files
from harness.datasets.generated import Rows
from harness.errors import DataError, StoppedError
from harness.execution.interrupt import Interrupt
from harness.execution.progress import Reporter
from harness.results.records import canonical
from harness.specs import Dataset, GeneratedSource, Specs
from harness.training.ladder import learner, settings_hash
from harness.training.online import EPOCH, Learner, OnlineTrainer, replay_rows, seconds_per_epoch


def replay(
    dataset: Dataset, source: GeneratedSource, home: Path, reporter: Reporter, trained: Path | None = None
) -> Rows:
    """The first transitions that SAC gathers, in order.

    Datasets of one environment and seed share one training, kept in ``online/`` of the data folder: a longer
    one goes on from a shorter one's end.

    Args:
        dataset: whose environment it is.
        source: its recipe; the seed is that of the training.
        home: data folder.
        reporter: progress for the user.
        trained: the folder of an `OnlineTrainer` that has trained this already; nothing is trained then.

    Raises:
        DataError: the hyperparameters are no longer those of the spec, or `trained` has too little.
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
    if trained is not None:
        rows = replay_rows(trained, who.key, sizes)
        if rows is None or len(rows["rewards"]) < source.transitions:
            have = 0 if rows is None else len(rows["rewards"])
            raise DataError(
                f"{trained} has {have:,} transitions of {who.key}, "
                f"but {dataset.id} takes {source.transitions:,}"
            )
    else:
        folder = home / "online" / f"{dataset.id.partition('-')[0]}-{source.seed}-{_digest(who)[:12]}"
        with files.locked(folder / "checkpoint.pt"):
            rows = replay_rows(folder, who.key, sizes)
            if rows is None or len(rows["rewards"]) < source.transitions:
                done = 0 if rows is None else len(rows["rewards"]) // EPOCH
                rows = _train(dataset.id, who, folder, done, -(-source.transitions // EPOCH), reporter)
    return {name: array[: source.transitions] for name, array in rows.items()}


def _train(name: str, who: Learner, folder: Path, done: int, epochs: int, reporter: Reporter) -> Rows:
    # every checkpoint holds all transitions, and replaces the one before only once it is written
    row = 4 * (2 * sum(who.sizes) + 2)
    files.require_space(folder / "checkpoint.pt", 2 * epochs * EPOCH * row)
    left = epochs - done
    hours = left * seconds_per_epoch(who) / 3600
    reporter.message(
        f"{name}: SAC has {left:,} of {epochs:,} epochs to train, about {hours:.1f} h here (a few updates "
        f"were timed). Ctrl-C saves after the epoch under way, and the same command goes on from there."
    )
    trainer = OnlineTrainer([who], folder, epochs=epochs)
    bar = reporter.bar(name, epochs, done, "epochs")
    asked = "stopping after this epoch; the work is saved (again: stop at once)"
    with Interrupt(lambda: reporter.message(asked)) as stop:
        finished = trainer.train(bar.advance, stop)
    bar.done()
    if not finished:
        raise StoppedError(
            f"{name} is not finished; what was done is kept in {folder}, "
            f"and `harness data build {name}` goes on from there"
        )
    return trainer.gathered(who.key)


def _digest(who: Learner) -> str:
    """Names a training: what it learns from and how, and with which code."""
    content = {
        "key": who.key,
        "hyperparameters": dict(who.hyperparameters),
        "environment": who.environment.id,
        "max_episode_steps": who.environment.max_episode_steps,
        "source": source_hash(who.algorithm),
    }
    return hashlib.sha256(canonical(content).encode()).hexdigest()
