"""Trains one population from its last checkpoint to its end."""

from __future__ import annotations

import contextlib
import time
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from algorithms import Algorithm, Member, Sizes, algorithm_class, member_slice, stacked
from harness.datasets import transforms
from harness.datasets.base import Transitions
from harness.datasets.transforms import Inputs, Prepared, Selector, prepare, shared, steps_of
from harness.errors import DataError
from harness.results.records import EvaluationRecord, RunRecord, countable
from harness.specs import Environment, Protocol
from harness.specs.models import Gather
from harness.training import checkpoints
from harness.training.acting import Explorer
from harness.training.archive import Archive, archive, member_of
from harness.training.checkpoints import Checkpoint, PendingEvaluation
from harness.training.engine import PLAIN, Arithmetic, Engine, capture_for, set_precision
from harness.training.feeds import Feed, Fixed, Gathering, Saved, following
from harness.training.provenance import loaded_source
from harness.training.replay import BLOCK, Draws, GrowingReplay, Replay
from harness.training.rollout import EvaluationTask
from harness.training.selectors import SelectingRun
from harness.training.workers import EvaluationFailedError, EvaluationPool

EVALUATIONS_AHEAD = 4
"""Training waits when this many evaluations per member are still to come back."""

_QUICK = 3.0
"""Seconds that a checkpoint may take; where it takes longer, there is so much more time between two."""

_LEFT = "left out"
"""Name of the column that `_marked` adds."""


class Recorder(typing.Protocol):
    """Where training reports to; every call is committed before it returns."""

    def evaluated(self, records: Sequence[EvaluationRecord]) -> None:
        """Evaluations have come back."""

    def measured(self, step: int, metrics: Mapping[str, Mapping[str, float]]) -> None:
        """Run key -> metric name -> value at `step`."""

    def failed(self, key: str, step: int, text: str) -> None:
        """A run failed; the others go on."""

    def checkpointing(self, keys: Sequence[str]) -> None:
        """A checkpoint is about to be written; raises where the runs are another process's by now."""

    def checkpointed(self, keys: Sequence[str], path: Path, step: int) -> None:
        """A checkpoint was written."""

    def progressed(self, step: int) -> None:
        """Training has reached `step`."""


@dataclass(frozen=True)
class Conditions:
    """How to train, none of which may move a score beyond floating-point noise.

    Attributes:
        device: 'cpu' or 'cuda'.
        arithmetic: how to compute.
        checkpoint_seconds: at least this much time between checkpoints.
        until: the step at which training is interrupted, as if it were asked to stop; None: at none.
    """

    device: str = "cpu"
    arithmetic: Arithmetic = PLAIN
    checkpoint_seconds: float = 60.0
    until: int | None = None


@dataclass(frozen=True)
class Task:
    """A population: runs that one batched program can train.

    Attributes:
        algorithm: its id.
        runs: the members.
        data: one dataset per member.
        environments: one per member.
        protocol: how long to train, and when and how to evaluate.
        starts: a member's training state, or parts of it, to begin with: tensors ``(1, ...)``; empty: none.
        inputs: what a member reads of other runs: name -> their states, tensors ``(1, ...)``; empty: nothing.
        mixed: one per member: the datasets that its transforms mix in, by id; empty where none do.
        selectors: one per member: the run that says which transitions it trusts, or None; empty: no member
            asks.
    """

    algorithm: str
    runs: Sequence[RunRecord]
    data: Sequence[Transitions]
    environments: Sequence[Environment]
    protocol: Protocol
    starts: Sequence[Mapping[str, torch.Tensor]] = ()
    inputs: Sequence[Mapping[str, Mapping[str, torch.Tensor]]] = ()
    mixed: Sequence[Mapping[str, Transitions]] = ()
    selectors: Sequence[SelectingRun | None] = ()


@dataclass(frozen=True)
class Ending:
    """How training ended.

    Attributes:
        finished: run keys with all evaluations committed; empty if interrupted.
        interrupted: asked to stop before the end.
        seconds: wall time of training, that before a resumption included.
    """

    finished: tuple[str, ...]
    interrupted: bool
    seconds: float


def prepared(
    runs: Sequence[RunRecord],
    data: Sequence[Transitions],
    mixed: Sequence[Mapping[str, Transitions]] = (),
    selectors: Sequence[Selector | None] = (),
    gather: Gather | None = None,
) -> list[Prepared]:
    """What each member trains on; members whose rows are equal share one object.

    Args:
        runs: see `Task`.
        data: see `Task`.
        mixed: see `Task`.
        selectors: see `Task`; equal ones trust the same.
        gather: of an online protocol.

    Raises:
        DataError: a transform of the data cannot be made, or leaves too little.
    """
    made: dict[tuple[str, str, Selector | None], Prepared] = {}
    members = []
    for run, own, others, selector in zip(
        runs, data, mixed or repeat({}), selectors or repeat(None), strict=False
    ):
        steps = steps_of(run.configuration)
        name = (own.content_hash, shared(steps, run.seed), selector)
        if name not in made:
            made[name] = prepare(_marked(own, gather), steps, Inputs(run.seed, others, selector))
            left, wanted = len(made[name].rows), run.hyperparameters["batch_size"]
            if left < min(len(own), wanted):
                raise DataError(
                    f"{own.identity['id']}: its transforms leave {left:,} of {len(own):,} transitions, "
                    f"fewer than a minibatch of {wanted}"
                )
            _room(made[name].rows, gather)
        members.append(made[name])
    return members


def build(
    task: Task, device: str = "cpu", dtype: torch.dtype = torch.float32
) -> tuple[Algorithm, Replay, Draws]:
    """The algorithm, its data and its random numbers, at step 0."""
    cls = algorithm_class(task.algorithm)
    sizes = Sizes(task.data[0].observations.shape[1], task.data[0].actions.shape[1])
    selectors = [each and replace(each, device=device) for each in task.selectors]
    data = prepared(task.runs, task.data, task.mixed, selectors, task.protocol.gather)
    how: dict[str, Any] = {"device": device, "dtype": dtype, "extra": cls.columns}
    replay = _growing(task, data, how) if task.protocol.gather else Replay(data, **how)
    members = [
        Member(run.key, run.hyperparameters, mean, inputs)
        for run, mean, inputs in zip(
            task.runs, replay.reward_mean, task.inputs or [{} for _ in task.runs], strict=True
        )
    ]
    algorithm = cls(members, sizes, device, dtype)
    if task.starts:
        algorithm.load_training_state(algorithm.training_state() | stacked(task.starts))
    draws = Draws([m.key for m in members], replay, algorithm.hyper.batch_size, algorithm.noise)
    return algorithm, replay, draws


def _growing(task: Task, data: Sequence[Prepared], how: Mapping[str, Any]) -> GrowingReplay:
    """A replay with room for what the members gather.

    Raises:
        DataError: minibatches cannot be made up as the protocol says.
    """
    gather, algorithm = task.protocol.gather, task.algorithm
    assert gather is not None  # noqa: S101 - online protocols have it
    distinct = {id(each): each.rows for each in data}
    kept = {name: _kept(rows, gather) for name, rows in distinct.items()}
    held = [kept[id(each)] for each in data]
    replay = GrowingReplay(
        data,
        task.protocol.length,
        gather.mix,
        capacity=gather.capacity,
        lapped=gather.reproduce_defects,
        marks=_inherited(data, held, task.protocol, how["extra"]) if gather.reproduce_defects else None,
        held=held,
        **how,
    )
    if gather.mix:
        wanted = int(task.runs[0].hyperparameters["batch_size"])
        if sum(gather.mix) != wanted:
            raise DataError(
                f"protocol {task.protocol.id} mixes {gather.mix[0]} + {gather.mix[1]} rows, but a minibatch "
                f"of {algorithm} has {wanted}"
            )
        if gather.mix[0] and not all(replay.length):
            raise DataError(f"protocol {task.protocol.id} mixes in rows of a dataset of which it keeps none")
    return replay


def _room(rows: Transitions, gather: Gather | None) -> None:
    """See that the buffer of an online run has room for what it keeps.

    Raises:
        DataError: it has not.
    """
    if gather is None or gather.capacity is None:
        return
    kept = len(_kept(rows, gather))
    if kept > gather.capacity:
        raise DataError(
            f"a buffer of {gather.capacity:,} rows has no room for the {kept:,} that are kept of "
            f"{rows.identity['id']}; give the protocol's 'gather' a larger 'capacity', or let it keep fewer"
        )


def _marked(data: Transitions, gather: Gather | None) -> Transitions:
    """The data with a column that is 1 where an online run does not keep a row though it keeps some.

    Which trajectories are best is a matter of what they earned, before transforms change or cut them. A row
    that is mixed in later lacks the column, and so counts as not kept.
    """
    if gather is None or isinstance(gather.keep, str):
        return data
    best = transforms.BestTrajectories(gather.keep.best_trajectories).chosen(data)
    return replace(data, extra={**data.extra, _LEFT: (~best).astype(np.float32)})


def _kept(rows: Transitions, gather: Gather) -> Transitions:
    """Which of the transitions that are trained on an online run keeps."""
    if gather.keep == "all":
        return rows
    return rows.take(np.arange(0) if gather.keep == "none" else rows.extra[_LEFT] == 0)


def _inherited(
    data: Sequence[Prepared], held: Sequence[Transitions], protocol: Protocol, columns: Sequence[str]
) -> list[NDArray[np.float32]]:
    """What members' gathered rows have in extra columns where they inherit it from the slots they are put in.

    SSAR's code does not write it. A slot has what the dataset's row there had, or 1; rows of which a part is
    kept were moved to the dataset's first slots. A buffer that began empty, or is not the dataset's, has 1.
    """
    gather = protocol.gather
    assert gather is not None  # noqa: S101 - online protocols have it
    marks: dict[int, NDArray[np.float32]] = {}
    for each, kept in zip(data, held, strict=True):
        if id(each) in marks:
            continue
        found = marks[id(each)] = np.ones((protocol.length, len(columns)), np.float32)
        slots = len(kept) + np.arange(protocol.length)
        if gather.capacity is not None:
            slots %= gather.capacity
        there = slots < (len(each.rows) if len(kept) and not gather.mix else 0)
        for index, name in enumerate(columns if there.any() else ()):
            before = np.concatenate([kept.extra[name], each.rows.extra[name][len(kept) :]])
            found[there, index] = before[slots[there]]
    return [marks[id(each)] for each in data]


class Trainer:
    """One population on its way.

    Args:
        task: what to train.
        recorder: where to report.
        pool: evaluation workers.
        path: of the checkpoint.
        conditions: how to train.
        resume: where to go on; members that `task` does not name are cut out.
    """

    def __init__(
        self,
        task: Task,
        recorder: Recorder,
        pool: EvaluationPool,
        path: Path,
        conditions: Conditions | None = None,
        resume: Checkpoint | None = None,
    ) -> None:
        self._recorder, self._pool, self._path = recorder, pool, path
        self._conditions = conditions or Conditions()
        arithmetic = self._conditions.arithmetic
        set_precision(arithmetic.precision, self._conditions.device)
        self._algorithm, self._replay, draws = build(task, self._conditions.device)
        self._task = replace(
            task, data=(), mixed=(), selectors=()
        )  # the replay holds the transitions; they are not held twice
        capture = capture_for(self._conditions.device)
        self._engine = Engine(self._algorithm, self._replay, draws, capture, compiled=arithmetic.compiled)
        self._keys = [run.key for run in task.runs]
        self._alive = dict.fromkeys(self._keys, True)
        self._evaluated: dict[str, list[int]] = {key: [] for key in self._keys}
        self._measured: dict[str, list[int]] = {key: [] for key in self._keys}
        self._step, self._before, self._saving = 0, 0.0, 0.0
        self._policies: dict[int, dict[str, torch.Tensor]] = {}  # of evaluations, if they are archived
        gather = task.protocol.gather
        self._first = gather.warmup if gather else 0  # no update before
        self._resumed = resume is not None
        chosen = [resume.keys.index(key) for key in self._keys] if resume else []
        self._feed = self._made_feed(
            [resume.gathered[i] for i in chosen] if resume and resume.gathered else []
        )
        if resume:
            self._resume(resume, chosen)

    def _made_feed(self, saved: Saved) -> Feed:
        protocol = self._task.protocol
        if not isinstance(self._replay, GrowingReplay) or protocol.gather is None:
            return Fixed()
        return Gathering(
            protocol,
            self._keys,
            self._task.environments,
            Explorer(self._algorithm, self._keys, protocol.gather.explore),
            self._replay,
            lambda member, text: self._fail(self._keys[member], self._step, text),
            saved,
        )

    def _resume(self, checkpoint: Checkpoint, chosen: Sequence[int]) -> None:
        self._algorithm.load_training_state(member_slice(checkpoint.state, chosen))
        self._engine.metrics = {
            name: values.to(self._algorithm.device)
            for name, values in member_slice(checkpoint.metrics, chosen).items()
        }
        self._step, self._before = checkpoint.step, checkpoint.seconds
        self._policies = {step: member_slice(policy, chosen) for step, policy in checkpoint.policies.items()}
        self._evaluated = {key: list(checkpoint.evaluated[key]) for key in self._keys}
        self._measured = {key: list(checkpoint.measured[key]) for key in self._keys}
        for pending in checkpoint.pending:
            if pending.key in self._alive:
                self._pool.submit(
                    self._evaluation(self._keys.index(pending.key), pending.step, pending.policy)
                )

    def train(self, stop: Callable[[], bool] = lambda: False) -> Ending:
        """Train to the end, or until `stop` says so; then a checkpoint is there to go on from."""
        with contextlib.closing(self._feed):
            return self._train(stop)

    def _train(self, stop: Callable[[], bool]) -> Ending:
        self._started = self._saved = time.monotonic()
        protocol = self._task.protocol
        length = min(protocol.length, self._conditions.until or protocol.length)
        if not self._resumed and 0 in protocol.evaluations():
            self._measure()
            self._evaluate()
        while self._step < length and any(self._alive.values()):
            end = min(following(self._step, BLOCK), following(self._step, protocol.interval), length)
            while self._step < end:
                if stop():
                    return self._interrupt()
                self._step = self._advance(self._feed.fill(self._step, end))
            if self._first <= end < protocol.length:
                self._engine.prepare(end + 1 - self._first)  # while the device is still busy
            self._recorder.progressed(end)
            self._fail_diverged()
            if end == protocol.length or end in protocol.evaluations():
                self._measure()
            if end in protocol.evaluations():
                self._evaluate()
            self._collect(0.0)
            if self._due():
                self._checkpoint()
        while self._pool.pending:
            self._collect(0.2)
            if stop():
                return self._interrupt()
        if length < protocol.length and any(self._alive.values()):
            return self._interrupt()
        return Ending(tuple(key for key, alive in self._alive.items() if alive), False, self._seconds())

    def policies(self) -> dict[str, dict[str, torch.Tensor]]:
        """Run key -> the policy as it is now; copies on the CPU, tensors ``(1, ...)``."""
        state = self._algorithm.policy_state()
        return {key: member_slice(state, [member]) for member, key in enumerate(self._keys)}

    def archives(self) -> dict[str, Archive]:
        """Run key -> what it gathered, and the policies that it was evaluated by."""
        return {
            key: archive(saved["rows"], saved["cuts"], self._replay.sizes, member_of(self._policies, member))
            for member, (key, saved) in enumerate(zip(self._keys, self._feed.save(), strict=True))
        }

    def states(self) -> dict[str, dict[str, torch.Tensor]]:
        """Run key -> the training state as it is now; copies on the CPU, tensors ``(1, ...)``."""
        state = {
            name: tensor.to("cpu", copy=True) for name, tensor in self._algorithm.training_state().items()
        }
        return {key: member_slice(state, [member]) for member, key in enumerate(self._keys)}

    def _advance(self, end: int) -> int:
        """Do updates up to `end`, as many as one launch does; the step that training has reached."""
        if self._step < self._first:
            return min(self._first, end)
        return self._first + self._engine.advance(self._step - self._first, end - self._first)

    def _seconds(self) -> float:
        return self._before + time.monotonic() - self._started

    def _interrupt(self) -> Ending:
        self._checkpoint()
        self._pool.discard()
        return Ending((), True, self._seconds())

    def _metrics(self) -> dict[str, dict[str, float]]:
        """Run key -> metric -> value; the one place where training waits for the device."""
        if not self._engine.metrics:
            return {key: {} for key in self._keys}
        names = sorted(self._engine.metrics)
        table = torch.cat([self._engine.metrics[name].to(torch.float64) for name in names], 1).tolist()
        return {key: dict(zip(names, row, strict=True)) for key, row in zip(self._keys, table, strict=True)}

    def _fail_diverged(self) -> None:
        """A NaN never heals: the members that have one are out, the others go on."""
        for key, metrics in self._metrics().items():
            bad = [name for name, value in metrics.items() if not abs(value) < float("inf")]
            if bad and self._alive[key]:
                self._fail(
                    key, self._step, f"training diverged: {', '.join(bad)} not finite at step {self._step}"
                )

    def _fail(self, key: str, step: int, text: str) -> None:
        self._alive[key] = False
        self._feed.drop(self._keys.index(key))
        self._recorder.failed(key, step, text)

    def _evaluation(self, member: int, step: int, policy: dict[str, torch.Tensor]) -> EvaluationTask:
        task, run = self._task, self._task.runs[member]
        return EvaluationTask(
            key=run.key,
            step=step,
            algorithm=task.algorithm,
            hyperparameters=run.hyperparameters,
            sizes=self._algorithm.sizes,
            policy={name: tensor.numpy() for name, tensor in policy.items()},
            pipeline=self._replay.pipelines[member].acting,
            environment=task.environments[member],
            episodes=task.protocol.episodes or 0,
        )

    def _measure(self) -> None:
        alive = [key for key in self._keys if self._alive[key]]
        metrics = self._metrics()
        self._recorder.measured(self._step, {key: metrics[key] for key in alive})
        for key in alive:
            if metrics[key]:
                self._measured[key].append(self._step)

    def _evaluate(self) -> None:
        policies = self._algorithm.policy_state()
        if self._task.protocol.archive:
            self._policies[self._step] = policies
        for member, key in enumerate(self._keys):
            if self._alive[key]:
                self._pool.submit(self._evaluation(member, self._step, member_slice(policies, [member])))
        while len(self._pool.pending) > EVALUATIONS_AHEAD * len(self._keys):
            self._collect(None)

    def _collect(self, timeout: float | None) -> None:
        done = []
        for result in self._pool.results(timeout):
            key = result.task.key if isinstance(result, EvaluationFailedError) else result.key
            if not self._alive.get(key, False):
                continue
            if isinstance(result, EvaluationFailedError):
                self._fail(key, result.task.step, result.text)
            elif not all(map(countable, result.returns)):
                text = f"its evaluation gave returns that are not finite, or too large: {result.returns}"
                self._fail(key, result.step, text)
            else:
                done.append(result)
        if done:
            self._recorder.evaluated(done)
            for record in done:
                self._evaluated[record.key].append(record.step)

    def _due(self) -> bool:
        """Whether to write a checkpoint; where that takes long, as with many rows, it is done seldom."""
        wait = self._conditions.checkpoint_seconds * max(1.0, self._saving / _QUICK)
        return time.monotonic() - self._saved > wait

    def _checkpoint(self) -> None:
        began = time.monotonic()
        alive = [key for key in self._keys if self._alive[key]]
        self._recorder.checkpointing(alive)
        pending = tuple(
            PendingEvaluation(task.key, task.step, {n: torch.from_numpy(p) for n, p in task.policy.items()})
            for task in self._pool.pending
            if self._alive.get(task.key, False)
        )
        checkpoints.save(
            Checkpoint(
                algorithm=self._task.algorithm,
                source=loaded_source(self._task.algorithm),
                keys=tuple(self._keys),
                step=self._step,
                state=self._algorithm.training_state(),
                metrics=self._engine.metrics,
                pending=pending,
                seconds=self._seconds(),
                gathered=self._feed.save(),
                policies=self._policies,
                evaluated=self._evaluated,
                measured=self._measured,
            ),
            self._path,
        )
        self._saved = time.monotonic()
        self._saving = self._saved - began
        self._recorder.checkpointed(alive, self._path, self._step)
