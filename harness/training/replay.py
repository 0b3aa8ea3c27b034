"""The data of a population on its device, and the random numbers that its members draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from algorithms import Batch, Noise, generator
from harness.datasets.base import Transitions
from harness.datasets.transforms import Prepared

BLOCK = 100
"""Steps whose random numbers are drawn at once. Part of what a run is: another value draws other numbers."""


def row_width(sizes: Sequence[int], extra: int = 0) -> int:
    """Numbers in a row, whose columns are those of `columns`; `extra` are those beside the usual ones."""
    return 2 * sum(sizes) + 2 + extra


def columns(rows: Tensor, sizes: Sequence[int]) -> tuple[Tensor, ...]:
    """s, a, r, s', d, a' and extra columns of rows, each with an axis of its own.

    Args:
        rows: of the storage of a replay: ``(..., 2 S + 2 A + 2 + E)``.
        sizes: of observation and action.
    """
    observation, action = sizes
    extra = rows.shape[-1] - row_width(sizes)
    return torch.split(rows, [observation, action, 1, observation, 1, action, *[1] * extra], -1)


class Rows:
    """Transitions of all members in one storage, one row each: (s, a, r, s', d, a') and extra columns.

    So a minibatch is one gather.

    Args:
        rows: that the storage has room for.
        sizes: of observation and action.
        device: where the rows are held.
        dtype: of the rows.
        extra: names of the E columns beside the usual ones.

    Attributes:
        sizes: of observation and action.
        storage: ``(rows, 2 S + 2 A + 2 + E)``.
        offset, length: ``(M,)``, where each member's rows lie in the storage.
    """

    offset: list[int]
    length: list[int]

    def __init__(
        self,
        rows: int,
        sizes: Sequence[int],
        device: torch.device | str,
        dtype: torch.dtype,
        extra: Sequence[str] = (),
    ) -> None:
        self.sizes, self._extra = list(sizes), tuple(extra)
        self.storage = torch.empty(rows, row_width(sizes, len(extra)), device=device, dtype=dtype)

    def _fill(self, start: int, batch: Sequence[np.ndarray]) -> None:
        """Write transitions, in the order of `Batch.tensors`, from row `start` on."""
        rows = self.storage[start : start + len(batch[0])]
        for column, values in zip(columns(rows, self.sizes), batch, strict=True):
            column.copy_(torch.from_numpy(values).view(column.shape))

    def draw(self, member: int, shape: Sequence[int], source: torch.Generator) -> Tensor:
        """Rows of a member, each as probable as any other."""
        rows = torch.randint(self.length[member], tuple(shape), generator=source, device=self.storage.device)
        return rows.add_(self.offset[member])

    def batch(self, rows: Tensor) -> Batch:
        """Gather storage rows ``(M, B)`` into a minibatch."""
        gathered = self.storage.index_select(0, rows.flatten()).view(*rows.shape, -1)
        parts = columns(gathered, self.sizes)
        observation, action, reward, next_observation, terminal, next_action, *extra = parts
        return Batch(
            observation,
            action,
            reward.squeeze(-1),
            next_observation,
            terminal.squeeze(-1),
            next_action,
            {name: column.squeeze(-1) for name, column in zip(self._extra, extra, strict=True)},
        )


class Replay(Rows):
    """Datasets of all members, each distinct one held once however many members use it.

    Args:
        data: one per member; members that share one give the same object.
        device: where the rows are held.
        dtype: of the rows.
        extra: names of the extra columns of the data that are held.
        held: the transitions of each member that are held, where these are not all of its data.
        room: further rows that the storage has room for, behind those that are held.

    Attributes:
        pipelines: one per member: what was done to its data, and is to be done to what it observes.
        reward_mean: ``(M,)``, of the rewards that are trained on.
    """

    def __init__(
        self,
        data: Sequence[Prepared],
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        extra: Sequence[str] = (),
        held: Sequence[Transitions] | None = None,
        room: int = 0,
    ) -> None:
        held = held or [each.rows for each in data]
        distinct = {id(rows): rows for rows in held}
        sizes = [held[0].observations.shape[1], held[0].actions.shape[1]]
        super().__init__(sum(map(len, distinct.values())) + room, sizes, device, dtype, extra)
        places, start = {}, 0
        for name, rows in distinct.items():
            self._fill(
                start,
                [
                    rows.observations,
                    rows.actions,
                    rows.rewards,
                    rows.next_observations,
                    rows.terminals,
                    rows.next_actions,
                    *(rows.extra[column] for column in extra),
                ],
            )
            places[name] = (start, len(rows))
            start += len(rows)
        means = {
            id(each): each.rows.rewards.mean(dtype="float64") if len(each.rows) else 0.0 for each in data
        }
        self.pipelines = [each.steps for each in data]
        self.reward_mean = [float(means[id(each)]) for each in data]
        self.offset = [places[id(rows)][0] for rows in held]
        self.length = [places[id(rows)][1] for rows in held]


def _mean(rewards: NDArray[np.float32]) -> float:
    return float(rewards.mean(dtype="float64")) if len(rewards) else 0.0


class GrowingReplay(Replay):
    """Rows of datasets, and behind them a region for what each member gathers while it trains.

    How far the regions are filled is known on the device, so that a captured graph draws from a buffer that
    grows: a draw is u in [0, 1), and its row ⌊u · length⌋. A ring, whose oldest rows are overwritten, is the
    newest of a member's rows, those of its dataset being older than all that it gathers.

    Args:
        data: one per member, as `Replay` has it.
        interactions: rows that each member may gather.
        mix: of each minibatch, how many rows are of the dataset and how many gathered; None: all rows are
            drawn alike.
        capacity: rows of the ring; None: nothing is overwritten.
        lapped: of a ring, only rows that were written since its first slot was last are drawn.
        marks: one per member: extra columns of what it gathers, ``(interactions, E)``; None: 1 in all.
        how: what else a `Replay` takes.

    Attributes:
        gathered: rows of each member so far.
    """

    def __init__(
        self,
        data: Sequence[Prepared],
        interactions: int,
        mix: tuple[int, int] | None = None,
        *,
        capacity: int | None = None,
        lapped: bool = False,
        marks: Sequence[NDArray[np.float32]] | None = None,
        **how: Any,
    ) -> None:
        super().__init__(data, room=len(data) * interactions, **how)
        self._mix, self._capacity, self._lapped, self._marks = mix, capacity, lapped, marks
        first = len(self.storage) - len(data) * interactions
        self._places = [first + member * interactions for member in range(len(data))]
        self.gathered = [0] * len(data)
        self._offset, self._kept, self._start, self._length = map(
            self._column, (self.offset, self.length, self._places, self.gathered)
        )

    def _column(self, numbers: Sequence[int]) -> Tensor:
        return torch.tensor(numbers, device=self.storage.device).unsqueeze(1)

    def append(self, rows: Mapping[int, NDArray[np.float32]]) -> None:
        """Add a row ``(2 S + 2 A + 2,)``, to which its extra columns come, to the regions of some members."""
        if not rows:
            return
        places = [self._places[member] + self.gathered[member] for member in rows]
        marked = [np.concatenate([row, self._mark(member)]) for member, row in rows.items()]
        new = torch.from_numpy(np.stack(marked)).to(self.storage)
        self.storage.index_copy_(0, torch.tensor(places, device=new.device), new)
        for member in rows:
            self.gathered[member] += 1
        self._length.copy_(self._column(self.gathered))

    def _mark(self, member: int) -> NDArray[np.float32]:
        """The extra columns of a member's next row."""
        one = np.ones(len(self._extra), np.float32)
        return one if self._marks is None else self._marks[member][self.gathered[member]]

    def region(self, member: int) -> Tensor:
        """What a member has gathered: ``(length, 2 S + 2 A + 2 + E)``."""
        return self.storage[self._places[member] :][: self.gathered[member]]

    def restore(self, regions: Sequence[Tensor]) -> None:
        """Put back what `region` gave of each member."""
        self.gathered = [len(rows) for rows in regions]
        for member, rows in enumerate(regions):
            self.region(member).copy_(rows)
        self._length.copy_(self._column(self.gathered))

    def draw(self, member: int, shape: Sequence[int], source: torch.Generator) -> Tensor:
        """Numbers in [0, 1), which `batch` makes rows of; float32 has too few digits for all of them."""
        return torch.rand(*shape, generator=source, device=self.storage.device, dtype=torch.float64)

    def batch(self, rows: Tensor) -> Batch:
        """A minibatch of draws ``(M, B)``."""
        if self._mix is None:
            total = self._kept + self._length
            drawn = self._drawn(total)
            row = total - drawn + (rows * drawn).long()
            place = torch.where(row < self._kept, self._offset + row, self._start + row - self._kept)
        else:
            kept, gathered = torch.split(rows, list(self._mix), 1)
            place = torch.cat(
                [self._offset + (kept * self._kept).long(), self._start + (gathered * self._length).long()],
                1,
            )
        return super().batch(place)

    def _drawn(self, total: Tensor) -> Tensor:
        """Of so many rows, how many of the newest are drawn from: ``(M, 1)``."""
        if self._capacity is None:
            return total
        # a ring that has just been filled has none that was written since; the newest row stands in
        return (total % self._capacity).clamp(min=1) if self._lapped else total.clamp(max=self._capacity)


class Block(NamedTuple):
    """Random numbers of `BLOCK` steps."""

    rows: Tensor  # (BLOCK, M, B), what the replay draws
    noise: dict[str, Tensor]  # name -> (BLOCK, M, *shape)


def numbers(keys: Sequence[str], stream: str, noise: Noise, index: int, like: Tensor) -> Tensor:
    """Random numbers of a block, a pure function of (run key, stream, block): ``(BLOCK, M, *shape)``.

    Args:
        keys: of the members.
        stream: name of what is drawn.
        noise: shape and distribution.
        index: of the block.
        like: a tensor of their device and type.
    """
    each = [noise.draw(generator(key, stream, index, like.device), BLOCK, 1).to(like.dtype) for key in keys]
    # what a member alone drew stays where it is: the numbers of dropout are many to copy
    return torch.cat(each, 1) if len(each) > 1 else each[0]


class Draws:
    """Minibatch indices and noise, a pure function of (run key, stream, block).

    Nothing here has a state: a resumed run draws what an uninterrupted one would have drawn, and a member
    draws the same whoever trains beside it. The device matters: the CPU and CUDA generators of torch differ,
    and for large draws so do those of cards with other numbers of multiprocessors.
    """

    def __init__(
        self,
        keys: Sequence[str],
        replay: Rows,
        batch_size: int,
        noise: Mapping[str, Noise],
    ) -> None:
        self._keys, self._replay, self._batch_size, self._noise = keys, replay, batch_size, noise

    def block(self, index: int) -> Block:
        """The numbers of steps ``index * BLOCK + 1`` to ``(index + 1) * BLOCK``."""
        shape = (BLOCK, self._batch_size)
        rows = [
            self._replay.draw(member, shape, generator(key, "batch", index, self._replay.storage.device))
            for member, key in enumerate(self._keys)
        ]
        noise = {
            name: numbers(self._keys, name, each, index, self._replay.storage)
            for name, each in self._noise.items()
        }
        return Block(torch.stack(rows, 1), noise)
