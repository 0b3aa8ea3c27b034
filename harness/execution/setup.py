"""What trains on this machine, and where its files lie."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.execution.devices import arithmetic, chosen
from harness.planning.plan import CAPACITIES
from harness.processes import known_code, usable_cores
from harness.training.engine import Precision
from harness.training.population import Conditions


@dataclass(frozen=True)
class Setup:
    """What trains, and where its files lie.

    Attributes:
        conditions: how to train.
        checkpoints: folder of the checkpoints.
        home: data folder, None for the default.
        capacity: most members of one population; None for as many as the GPU's memory holds.
        workers: evaluation processes.
        trainers: populations that train at once, each in a process of one thread where there are several.
        at_most: members of one population that the GPU's memory does not exceed either; None: no such limit.
    """

    conditions: Conditions
    checkpoints: Path
    home: Path | None
    capacity: int | None
    workers: int
    trainers: int
    at_most: int | None = None

    @classmethod
    def on(
        cls,
        device: str,
        checkpoint_folder: Path,
        *,
        home: Path | None = None,
        precision: Precision | None = None,
        compiled: bool = False,
        checkpoint_seconds: float = 60.0,
        workers: int | None = None,
        until: int | None = None,
        at_most: int | None = None,
    ) -> Setup:
        """What suits a device.

        Args:
            device: 'auto', 'cpu' or 'cuda'.
            checkpoint_folder: of the checkpoints.
            home: data folder, None for the default.
            precision: of matrix products; None for TF32 on CUDA and float32 on a CPU.
            compiled: run updates through torch.compile.
            checkpoint_seconds: at least this long between two checkpoints of a population.
            workers: evaluation processes; None for as many as leave cores to the training.
            until: the step at which all training is interrupted; None: at none.
            at_most: members of one population, where fewer are wanted than suit the device.

        Raises:
            HarnessError: CUDA, TF32 or a compiler is asked for and not there.
        """
        known_code()  # what processes that start hours from now are to run, too
        device = chosen(device)
        cores = usable_cores()
        gpu = device == "cuda"
        return cls(
            Conditions(device, arithmetic(device, precision, compiled=compiled), checkpoint_seconds, until),
            checkpoints=checkpoint_folder,
            home=home,
            capacity=None if gpu else min(CAPACITIES["cpu"], at_most or CAPACITIES["cpu"]),
            workers=workers or max(1, cores - 2 if gpu else cores // 2),
            trainers=1 if gpu else cores,
            at_most=at_most,
        )
