"""Trains a population that gathers its own data, as rlkit's batch algorithm does it.

Epoch after epoch every member first gathers 1000 transitions with its policy as it stands, in a worker
process, and then does 1000 updates on all that it has gathered so far. No update is done in the first epoch.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from algorithms import Member, Sizes, algorithm_class, generator, member_slice
from harness import environments, files, processes
from harness.errors import DataError
from harness.results.provenance import both
from harness.specs import Environment
from harness.training import checkpoints
from harness.training.engine import PLAIN, Engine, capture_for, set_precision
from harness.training.provenance import loaded_source, provenance
from harness.training.replay import Draws, Rows, columns, row_width
from harness.training.rollout import episode_seed, roll_out

EPOCH = 1000
"""Transitions gathered, and updates done, per epoch."""

FIELDS = ("observations", "actions", "rewards", "next_observations", "terminals", "timeouts")

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Learner:
    """One member: what acting in its environment needs, in a worker process or here.

    Attributes:
        key: of its random numbers.
        algorithm: its id; its class has ``explore``.
        hyperparameters: complete, by name.
        sizes: of observation and action.
        environment: where it acts.
    """

    key: str
    algorithm: str
    hyperparameters: Mapping[str, Any]
    sizes: Sizes
    environment: Environment

    @property
    def description(self) -> dict[str, Any]:
        """What ``run.json`` says of the member, as JSON values."""
        return {
            "algorithm": self.algorithm,
            "hyperparameters": dict(self.hyperparameters),
            "environment": self.environment.identity,
            "sizes": list(self.sizes),
        }

    def differences(self, begun: Mapping[str, Any]) -> list[str]:
        """In which of these a member of a ``run.json`` was another one."""
        own = self.description
        known = begun.get("environment", {})
        there = {**begun, "environment": {name: known.get(name) for name in own["environment"]}}
        return [name for name, value in own.items() if there.get(name) != value]


def _policy(
    learner: Learner, state: Mapping[str, NDArray[Any]]
) -> Callable[[NDArray[Any], torch.Tensor], Any]:
    """Observations ``(n, S)`` and noise ``(n, A)`` to actions drawn from the policy."""
    member = Member(learner.key, learner.hyperparameters)
    algorithm: Any = algorithm_class(learner.algorithm)([member], learner.sizes)
    algorithm.load_policy_state({name: torch.from_numpy(array) for name, array in state.items()})

    @torch.no_grad()
    def act(observations: NDArray[Any], noise: torch.Tensor) -> Any:
        states = torch.from_numpy(observations.astype(np.float32)).unsqueeze(0)
        return algorithm.explore(states, noise.unsqueeze(0)).squeeze(0).numpy()

    return act


def _begin() -> None:
    """In a worker process, before all else."""
    torch.set_num_threads(1)


def gather(learner: Learner, state: Mapping[str, NDArray[Any]], epoch: int) -> Arrays:
    """The transitions of one epoch, in episodes that end by themselves, at the time limit, or with the epoch.

    Returns:
        The fields of `FIELDS`, each with `EPOCH` rows; an episode that ends at its last step counts as
        cut, as in D4RL.
    """
    act = _policy(learner, state)
    noise = torch.randn(EPOCH, learner.sizes.action, generator=generator(learner.key, "exploration", epoch))
    env = environments.make(learner.environment)
    limit = environments.time_limit(learner.environment)
    rows: list[tuple[Any, ...]] = []
    observation, _ = env.reset(seed=episode_seed(f"{learner.key}/{epoch}", 0))
    length = 0
    for step in range(EPOCH):
        action = act(np.asarray(observation)[None], noise[step : step + 1])[0]
        after, reward, terminated, _, _ = env.step(action)
        length += 1
        timeout = length == limit or (step == EPOCH - 1 and not terminated)
        terminal = bool(terminated) and not timeout
        rows.append((observation, action, float(reward), after, terminal, timeout))
        observation = after
        if terminal or timeout:
            observation, _ = env.reset()
            length = 0
    env.close()
    types = (np.float32, np.float32, np.float32, np.float32, bool, bool)
    return {
        name: np.array(column, dtype=kind)
        for name, column, kind in zip(FIELDS, zip(*rows, strict=True), types, strict=True)
    }


def score(learner: Learner, state: Mapping[str, NDArray[Any]], step: int, episodes: int) -> list[float]:
    """Returns of whole episodes with actions drawn from the policy."""
    act = _policy(learner, state)
    source = generator(learner.key, "scoring", step)
    envs = [environments.make(learner.environment) for _ in range(episodes)]
    seeds = [episode_seed(f"{learner.key}/scoring/{step}", i) for i in range(episodes)]
    returns, _ = roll_out(
        lambda seen, _: act(seen, torch.randn(len(seen), learner.sizes.action, generator=source)), envs, seeds
    )
    for env in envs:
        env.close()
    return returns


class GrowingReplay(Rows):
    """Transitions that members gather while they train, each up to `capacity`.

    Args:
        members: number of members.
        capacity: rows of each.
        sizes: of observation and action.
        device: where the rows are held.
        dtype: of the rows.
    """

    def __init__(
        self,
        members: int,
        capacity: int,
        sizes: Sequence[int],
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(members * capacity, sizes, device, dtype)
        self.offset = [member * capacity for member in range(members)]
        self.length = [0] * members

    def append(self, member: int, batch: Sequence[np.ndarray]) -> None:
        """Add a member's transitions, in the order of `Batch`."""
        self._fill(self.offset[member] + self.length[member], batch)
        self.length[member] += len(batch[0])

    def rows(self, member: int) -> torch.Tensor:
        """What a member has gathered: ``(length, 2 S + 2 A + 2)``."""
        return self.storage[self.offset[member] :][: self.length[member]]

    def restore(self, member: int, rows: torch.Tensor) -> None:
        """Put back what `rows` gave."""
        self.length[member] = len(rows)
        self.rows(member).copy_(rows)


class _Population:
    """Members, what they gathered, and the engine that trains them on it, in plain float32.

    Args:
        learners: the members, of equal algorithm, sizes and static hyperparameters.
        capacity: transitions that each may gather.
        device: 'cpu' or 'cuda'.

    Raises:
        DataError: a member wants observations or rewards changed.
    """

    def __init__(self, learners: Sequence[Learner], capacity: int, device: str) -> None:
        first = learners[0]
        members = [Member(each.key, each.hyperparameters) for each in learners]
        set_precision(PLAIN.precision, device)
        self.algorithm = algorithm_class(first.algorithm)(members, first.sizes, device)
        self.replay = GrowingReplay(len(members), capacity, first.sizes, device)
        hyper = self.algorithm.hyper
        if hyper.normalize_observations or hyper.normalize_rewards:
            raise DataError("data that are gathered while training cannot be normalised before it")
        if (hyper.reward_scale, hyper.reward_shift) != (1, 0):
            raise DataError("rewards that are gathered while training stay as they are: scale 1, shift 0")
        draws = Draws([m.key for m in members], self.replay, hyper.batch_size, self.algorithm.noise)
        self.engine = Engine(self.algorithm, self.replay, draws, capture_for(device))

    def policies(self) -> list[dict[str, NDArray[Any]]]:
        """Each member's, as it acts now."""
        state = self.algorithm.policy_state()
        members = range(len(self.replay.length))
        return [{name: t.numpy() for name, t in member_slice(state, [m]).items()} for m in members]

    def append(self, member: int, rows: Arrays) -> None:
        """Add what `gather` gave."""
        # of the next action nothing here makes use
        self.replay.append(member, [*(rows[name] for name in FIELDS[:-1]), np.zeros_like(rows["actions"])])


def seconds_per_epoch(learners: Sequence[Learner], device: str = "cpu", updates: int = 40) -> float:
    """About how long an epoch of a population takes here: one is gathered, and a few updates are timed."""
    population = _Population(learners, EPOCH, device)
    policies = population.policies()
    began = time.perf_counter()
    rows = gather(learners[0], policies[0], 0)  # the others act at the same time
    gathering = time.perf_counter() - began
    for member in range(len(learners)):
        population.append(member, rows)
    engine = population.engine
    begin = done = engine.advance(0, updates)  # makes what the others find: on a GPU it captures a cycle
    population.policies()
    began = time.perf_counter()
    while done < begin + updates:
        done = engine.advance(done, begin + updates)
    population.policies()  # waits for the device, as before
    return gathering + EPOCH * (time.perf_counter() - began) / updates


@dataclass(frozen=True)
class Scored:
    """What a member's policy earned after so many updates."""

    step: int
    returns: list[float]


class OnlineTrainer:
    """A population on its way, in a folder that holds all it knows.

    The folder gets ``checkpoint.pt`` with everything that going on needs, ``<key>/<step>.pt`` for every
    policy that was scored, ``history.json``: key -> scores, and ``run.json``: who trains, how long,
    with which code and versions.

    Args:
        learners: the members, of equal algorithm, sizes and static hyperparameters.
        folder: where to keep all; training goes on from the checkpoint that is there.
        epochs: how long.
        score_every: epochs between two scorings.
        episodes: of one scoring.
        workers: processes that act.
        device: 'cpu' or 'cuda'.
        checkpoint_seconds: at least this much time between checkpoints.

    Raises:
        DataError: the folder's checkpoint is damaged or of another training, or a member wants observations
            or rewards changed, which takes data that are all there before training begins.
    """

    def __init__(
        self,
        learners: Sequence[Learner],
        folder: Path,
        *,
        epochs: int,
        score_every: int = 10,
        episodes: int = 10,
        workers: int = 1,
        device: str = "cpu",
        checkpoint_seconds: float = 600.0,
    ) -> None:
        self._learners, self._folder = tuple(learners), folder
        self._epochs, self._score_every, self._episodes = epochs, score_every, episodes
        self._workers, self._checkpoint_seconds = workers, checkpoint_seconds
        self._population = _Population(learners, epochs * EPOCH, device)
        self._timeouts: list[list[NDArray[np.bool_]]] = [[] for _ in learners]
        self._epoch = 0
        self.history: dict[str, list[Scored]] = {each.key: [] for each in learners}
        check_training(folder, learners)
        if self._checkpoint.exists():
            self._resume()
        self._describe(device)

    @property
    def _checkpoint(self) -> Path:
        return self._folder / "checkpoint.pt"

    def train(
        self, report: Callable[[int], None] = lambda _: None, stop: Callable[[], bool] = lambda: False
    ) -> bool:
        """Train to the end, or until `stop` says so; then a checkpoint is there to go on from.

        Args:
            report: called with the number of epochs done.
            stop: asked after each epoch.

        Returns:
            Whether the end was reached.

        Raises:
            DataError: training diverged, a file cannot be written, or a process that acts died.
        """
        saved = time.monotonic()
        names = ", ".join(each.environment.id for each in self._learners)
        with processes.pool(self._workers, _begin, (), f"acts in {names}") as pool:
            while self._epoch < self._epochs:
                self._gather(pool)
                if self._epoch > 0:
                    done, end = (self._epoch - 1) * EPOCH, self._epoch * EPOCH
                    while done < end:
                        done = self._population.engine.advance(done, end)
                    self._check_finite()
                self._epoch += 1
                if (self._epoch - 1) % self._score_every == 0 or self._epoch == self._epochs:
                    self._score(pool)
                report(self._epoch)
                due, stopping = time.monotonic() - saved > self._checkpoint_seconds, stop()
                if due or stopping or self._epoch == self._epochs:
                    self._save()
                    saved = time.monotonic()
                if stopping:
                    return self._epoch == self._epochs
        return True

    def _gather(self, pool: ProcessPoolExecutor) -> None:
        work = [
            pool.submit(gather, learner, policy, self._epoch)
            for learner, policy in zip(self._learners, self._population.policies(), strict=True)
        ]
        for member, future in enumerate(work):
            rows = future.result()
            self._population.append(member, rows)
            self._timeouts[member].append(rows["timeouts"])

    def _score(self, pool: ProcessPoolExecutor) -> None:
        step = (self._epoch - 1) * EPOCH
        policies = self._population.policies()
        work = [
            pool.submit(score, learner, policy, step, self._episodes)
            for learner, policy in zip(self._learners, policies, strict=True)
        ]
        for learner, policy, future in zip(self._learners, policies, work, strict=True):
            self.history[learner.key].append(Scored(step, future.result()))
            place = self._folder / learner.key / f"{step}.pt"
            checkpoints.write({name: torch.from_numpy(array) for name, array in policy.items()}, place)
        content = {key: [asdict(each) for each in scores] for key, scores in self.history.items()}
        with files.atomic(self._folder / "history.json") as temporary:
            temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    def _check_finite(self) -> None:
        for name, values in self._population.engine.metrics.items():
            finite = values.flatten(1).isfinite().all(1).tolist()
            if diverged := [each.key for each, fine in zip(self._learners, finite, strict=True) if not fine]:
                raise DataError(
                    f"{', '.join(diverged)} diverged: {name} is not finite after {self._epoch} epochs; "
                    f"{self._folder} holds the state before, which would diverge again: train in another "
                    "folder, with another seed or without the environment"
                )

    def _save(self) -> None:
        members, replay = range(len(self._learners)), self._population.replay
        content = {
            "keys": [each.key for each in self._learners],
            "epoch": self._epoch,
            "state": self._population.algorithm.training_state(),
            # copies, since a view of the replay would be saved with all the room that is still empty
            "rows": [replay.rows(member).cpu().clone() for member in members],
            "timeouts": [torch.from_numpy(np.concatenate(each)) for each in self._timeouts],
            "history": {key: [asdict(each) for each in scores] for key, scores in self.history.items()},
        }
        checkpoints.write(content, self._checkpoint)

    def _describe(self, device: str) -> None:
        """Write ``run.json``; a training that goes on is held to the code that it was begun by."""
        place = self._folder / "run.json"
        algorithm = self._learners[0].algorithm
        own = {
            "source_sha256": loaded_source(algorithm),
            "learners": {each.key: each.description for each in self._learners},
            "epochs": self._epochs,
        }
        begun = (files.read_json(place) or {}) if self._checkpoint.exists() else {}
        if begun and begun.get("source_sha256") != own["source_sha256"]:
            commit = begun.get("trained_with", {}).get("git_commit", "unknown")
            raise DataError(
                f"{self._folder} was begun by other code of {algorithm} (commit {commit}); check that code "
                "out again, or move the folder away to begin anew"
            )
        now = provenance(algorithm, device, PLAIN)
        self._folder.mkdir(parents=True, exist_ok=True)
        files.write_json(place, own | {"trained_with": both(begun.get("trained_with", {}), now)})

    def _resume(self) -> None:
        content = _read(self._checkpoint, mapped=False)
        try:
            self._population.algorithm.load_training_state(content["state"])
        except Exception as error:  # whatever a state of other tensors raises
            raise DataError(f"cannot go on from {self._checkpoint}: {error}; {_DAMAGED}") from error
        if content["epoch"] > self._epochs:
            raise DataError(f"{self._checkpoint} has {content['epoch']} epochs already, not {self._epochs}")
        self._epoch = content["epoch"]
        for member, (rows, timeouts) in enumerate(zip(content["rows"], content["timeouts"], strict=True)):
            self._population.replay.restore(member, rows)
            self._timeouts[member] = [timeouts.numpy()]
        self.history = {
            key: [Scored(**each) for each in scores] for key, scores in content["history"].items()
        }


_DAMAGED = "if the file is damaged, move the folder away to begin anew"


def _read(place: Path, *, mapped: bool = True) -> dict[str, Any]:
    """A checkpoint; `mapped` leaves its tensors on the disk until they are used."""
    try:
        content = torch.load(place, map_location="cpu", weights_only=True, mmap=mapped)
        wanted = {"keys", "epoch", "state", "rows", "timeouts", "history"}
        if missing := wanted - content.keys():
            raise ValueError(f"it lacks {', '.join(sorted(missing))}")
    except Exception as error:  # a damaged file can fail in any way inside the unpickler
        raise DataError(f"cannot read {place}: {error}; {_DAMAGED}") from error
    found: dict[str, Any] = content
    return found


def check_training(folder: Path, learners: Sequence[Learner]) -> None:
    """See to it that the training of a folder, if there is one, is of these members and no others.

    Raises:
        DataError: it is not, or its files are missing or damaged.
    """
    if not (folder / "checkpoint.pt").exists():
        return
    begun, keys = _read(folder / "checkpoint.pt")["keys"], [each.key for each in learners]
    if begun != keys:
        raise DataError(
            f"{folder} trains {', '.join(begun)}, not {', '.join(keys)}: name the same ones in the same "
            "order, or another folder"
        )
    described = (files.read_json(folder / "run.json") or {}).get("learners", {})
    for each in learners:
        if each.key not in described:
            raise DataError(f"{folder / 'run.json'} is missing or damaged; {_DAMAGED}")
        if changed := each.differences(described[each.key]):
            raise DataError(
                f"{folder} trains {each.key} with other {' and '.join(changed)} than the specs say now; "
                "go on with those, or train in another folder"
            )


def end(folder: Path, epochs: int) -> None:
    """Let the training of a folder, which has come so far, be one of so many epochs.

    Raises:
        DataError: ``run.json`` cannot be written.
    """
    place = folder / "run.json"
    run = files.read_json(place)
    if run is not None and run.get("epochs") != epochs:
        files.write_json(place, run | {"epochs": epochs})


def replay_rows(folder: Path, key: str, sizes: Sizes) -> Arrays | None:
    """What a member had gathered when its folder was last saved, by the names of `FIELDS`.

    Returns:
        None if nothing was saved there.

    Raises:
        DataError: the checkpoint is damaged, or of other members or sizes.
    """
    place = folder / "checkpoint.pt"
    if not place.exists():
        return None
    content = _read(place)
    if key not in content["keys"]:
        raise DataError(f"{folder} trains {', '.join(content['keys'])}, not {key}; name another folder")
    member = content["keys"].index(key)
    rows, timeouts = content["rows"][member], content["timeouts"][member]
    if rows.shape[-1] != (width := row_width(sizes)):
        raise DataError(f"{place} holds rows of {rows.shape[-1]} numbers, but {key} takes {width}")
    parts = columns(rows, sizes)
    arrays: Arrays = {name: part.numpy() for name, part in zip(FIELDS[:-1], parts, strict=False)}
    for name in ("rewards", "terminals"):
        arrays[name] = arrays[name][:, 0]
    return arrays | {"terminals": arrays["terminals"].astype(bool), "timeouts": timeouts.numpy()}
