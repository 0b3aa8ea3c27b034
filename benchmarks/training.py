"""Member-steps per second of population training against the loop a researcher would write.

Both sides do the same algorithm on the same data in one process, in turns, so that a slow minute of the
machine meets both; printed are the medians of both and of their ratio. The eager loop is plain PyTorch: one
seed, nn.Sequential networks, torch.optim.Adam with its defaults, `backward()`, and for ASPC autograd's
second-order gradient through the inner Adam step.

    python benchmarks/training.py [--members 1 4 8] [--algorithms td3_bc aspc] [--rounds 9]
"""

from __future__ import annotations

import argparse
import copy
import math
import platform
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone uses
from torch import nn

from harness.datasets.base import Transitions
from harness.planning.cells import run_record
from harness.specs import Specs
from harness.training.engine import Engine, capture_cuda
from harness.training.population import Task, build

OBSERVATION, ACTION, BATCH, ROWS = 17, 6, 256, 100_000
BOUNDS = {
    ("td3_bc", 1): 1.1,
    ("td3_bc", 4): 0.8,
    ("td3_bc", 8): 0.8,
    ("aspc", 1): 0.9,
    ("aspc", 4): 0.9,
    ("aspc", 8): 0.9,
}


def data() -> Transitions:
    """Random transitions of HalfCheetah's sizes."""
    rng = np.random.default_rng(0)
    return Transitions(
        observations=rng.normal(size=(ROWS, OBSERVATION)).astype(np.float32),
        actions=rng.uniform(-1, 1, (ROWS, ACTION)).astype(np.float32),
        rewards=rng.normal(size=ROWS).astype(np.float32),
        next_observations=rng.normal(size=(ROWS, OBSERVATION)).astype(np.float32),
        terminals=rng.random(ROWS) < 0.001,
        identity={"id": "synthetic"},
        content_hash="synthetic",
    )


class EagerTD3BC:
    """TD3+BC with the robust critic as its authors' code goes: one seed, one step at a time."""

    def __init__(self, transitions: Transitions, device: str) -> None:
        torch.manual_seed(0)
        self.buffer = [
            torch.from_numpy(array.astype(np.float32)).reshape(ROWS, -1).to(device)
            for array in (
                transitions.observations,
                transitions.actions,
                transitions.rewards,
                transitions.next_observations,
                transitions.terminals,
            )
        ]
        self.actor = self._actor().to(device)
        self.critics = [self._critic().to(device) for _ in range(2)]
        self.target_actor, self.target_critics = copy.deepcopy(self.actor), copy.deepcopy(self.critics)
        self.actor_optimiser = torch.optim.Adam(self.actor.parameters(), lr=3e-4)
        self.critic_optimisers = [torch.optim.Adam(c.parameters(), lr=3e-4) for c in self.critics]
        self.alpha, self.steps, self.device = torch.tensor(2.5, device=device), 0, device

    @staticmethod
    def _actor() -> nn.Module:
        return nn.Sequential(
            nn.Linear(OBSERVATION, 256),
            nn.ReLU(),
            nn.Linear(256, 256),
            nn.ReLU(),
            nn.Linear(256, ACTION),
            nn.Tanh(),
        )

    @staticmethod
    def _critic() -> nn.Module:
        layers: list[nn.Module] = []
        for inputs in (OBSERVATION + ACTION, 256, 256):
            layers += [nn.Linear(inputs, 256), nn.ReLU(), nn.LayerNorm(256)]
        return nn.Sequential(*layers, nn.Linear(256, 1))

    def step(self) -> None:
        """One critic update and, every second time, the rest."""
        self.steps += 1
        rows = torch.randint(0, ROWS, (BATCH,), device=self.device)
        batch = [column[rows] for column in self.buffer]
        self.update_critics(*batch)
        if self.steps % 2 == 0:
            self.update_actor(batch[0], batch[1])
            for network, target in zip(
                [self.actor, *self.critics], [self.target_actor, *self.target_critics], strict=True
            ):
                for parameter, average in zip(network.parameters(), target.parameters(), strict=True):
                    average.data.copy_(0.005 * parameter.data + 0.995 * average.data)

    def update_critics(
        self, s: torch.Tensor, a: torch.Tensor, r: torch.Tensor, s2: torch.Tensor, d: torch.Tensor
    ) -> None:
        """Clipped double Q-learning with target smoothing."""
        with torch.no_grad():
            noise = (torch.randn_like(a) * 0.2).clamp(-0.5, 0.5)
            x2 = torch.cat([s2, (self.target_actor(s2) + noise).clamp(-1, 1)], 1)
            y = r + (1 - d) * 0.99 * torch.min(self.target_critics[0](x2), self.target_critics[1](x2))
        x = torch.cat([s, a], 1)
        loss = F.mse_loss(self.critics[0](x), y) + F.mse_loss(self.critics[1](x), y)
        for optimiser in self.critic_optimisers:
            optimiser.zero_grad()
        loss.backward()
        for optimiser in self.critic_optimisers:
            optimiser.step()

    def actor_loss(self, s: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
        """-λ E[Q] + MSE."""
        action = self.actor(s)
        q = self.critics[0](torch.cat([s, action], 1))
        return -self.alpha / q.abs().mean().detach() * q.mean() + F.mse_loss(action, a)

    def update_actor(self, s: torch.Tensor, a: torch.Tensor) -> None:
        """One step of Adam."""
        loss = self.actor_loss(s, a)
        self.actor_optimiser.zero_grad()
        loss.backward()
        self.actor_optimiser.step()


class EagerASPC(EagerTD3BC):
    """ASPC with autograd's second-order gradient through a differentiable step of Adam."""

    def __init__(self, transitions: Transitions, device: str) -> None:
        super().__init__(transitions, device)
        self.xi = torch.tensor(math.log(math.expm1(2.5)), device=device, requires_grad=True)
        self.xi_optimiser = torch.optim.Adam([self.xi], lr=2e-3)
        self.moments = [(torch.zeros_like(p), torch.zeros_like(p)) for p in self.actor.parameters()]
        self.actor_steps, self.average = 0, torch.zeros((), device=device)

    def update_actor(self, s: torch.Tensor, a: torch.Tensor) -> None:
        """Inner step by hand; every tenth time the outer step through it."""
        self.actor_steps += 1
        outer = self.actor_steps % 10 == 0
        names = [name for name, _ in self.actor.named_parameters()]
        parameters = list(self.actor.parameters())
        self.alpha = F.softplus(self.xi)
        loss = self.actor_loss(s, a)
        gradients = torch.autograd.grad(loss, parameters, create_graph=outer)
        updated, moments = [], []
        for parameter, gradient, (m, v) in zip(parameters, gradients, self.moments, strict=True):
            m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
            m_hat, v_hat = m / (1 - 0.9**self.actor_steps), v / (1 - 0.999**self.actor_steps)
            updated.append(parameter.detach() - 3e-4 * m_hat / ((v_hat + 1e-30).sqrt() + 1e-8))
            moments.append((m.detach(), v.detach()))
        if outer:
            self.update_alpha(s, a, dict(zip(names, updated, strict=True)))
        self.moments = moments
        with torch.no_grad():
            for parameter, value in zip(parameters, updated, strict=True):
                parameter.copy_(value)

    def update_alpha(self, s: torch.Tensor, a: torch.Tensor, updated: dict[str, torch.Tensor]) -> None:
        """L1 + L2 + L3 of the updated policy, back through the inner step to ξ."""
        with torch.no_grad():
            old_error = ((self.actor(s) - a) ** 2).mean(1)
        action = torch.func.functional_call(self.actor, updated, (s,))
        q = self.critics[0](torch.cat([s, action], 1))
        average = 0.005 * q.mean() + 0.995 * self.average
        l2 = (average - self.average) ** 2
        error = ((action - a) ** 2).mean(1)
        l1 = -self.alpha.detach() * q.mean() / q.abs().mean().detach() + F.mse_loss(action, a)
        loss = l1 + l2 + l2.detach() * old_error.max() * (old_error - error).abs().max()
        self.xi_optimiser.zero_grad()
        loss.backward()
        self.xi_optimiser.step()
        self.average = average.detach()


class EagerBC(EagerTD3BC):
    """Behaviour cloning."""

    def step(self) -> None:
        """One regression step."""
        rows = torch.randint(0, ROWS, (BATCH,), device=self.device)
        loss = F.mse_loss(self.actor(self.buffer[0][rows]), self.buffer[1][rows])
        self.actor_optimiser.zero_grad()
        loss.backward()
        self.actor_optimiser.step()


EAGER = {"bc": EagerBC, "td3_bc": EagerTD3BC, "aspc": EagerASPC}


def population(
    algorithm: str, members: int, transitions: Transitions, device: str
) -> tuple[Callable[[], None], int]:
    """A function that does one step of all members, and the bytes of the data it holds."""
    values = {name: h.value for name, h in Specs().algorithm(algorithm).hyperparameters.items()}
    if "critic" in values:
        values["critic"] = "robust"
    runs = [run_record({"algorithm": algorithm, "hyperparameters": values}, seed) for seed in range(members)]
    task = Task(algorithm, runs, [transitions] * members, [], 1, 1, 1)
    learner, replay, draws = build(task, device)
    engine = Engine(learner, replay, draws, capture_cuda if device == "cuda" else None)
    step = 0

    def advance() -> None:
        nonlocal step
        step += 1
        engine.step(step)

    return advance, replay.storage.numel() * replay.storage.element_size()


def seconds(advance: Callable[[], None], steps: int, device: str) -> float:
    """Seconds per call."""
    start = time.perf_counter()
    for _ in range(steps):
        advance()
    if device == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - start) / steps


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--members", type=int, nargs="+", default=[1, 4, 8])
    parser.add_argument("--algorithms", nargs="+", default=list(EAGER), choices=list(EAGER))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    arguments = parser.parse_args()
    device, transitions = arguments.device, data()
    name = (
        torch.cuda.get_device_name()
        if device == "cuda"
        else f"{platform.machine()}, {torch.get_num_threads()} threads"
    )
    print(
        f"torch {torch.__version__}, {name}; batch {BATCH}, {OBSERVATION} + {ACTION} dimensions, "
        "robust critic; milliseconds per member-step"
    )
    print(f"{'algorithm':9} {'M':>4} {'eager ms':>9} {'ours ms':>9} {'ratio':>6} {'bound':>6} {'data MB':>8}")
    for algorithm in arguments.algorithms:
        eager = EAGER[algorithm](transitions, device)
        seconds(eager.step, 40, device)
        for members in arguments.members:
            advance, size = population(algorithm, members, transitions, device)
            seconds(advance, 40, device)
            pairs = [
                (seconds(eager.step, 40, device), seconds(advance, 40, device) / members)
                for _ in range(arguments.rounds)
            ]
            ratio = statistics.median(ours / theirs for theirs, ours in pairs)
            theirs, ours = (1e3 * statistics.median(column) for column in zip(*pairs, strict=True))
            bound = BOUNDS.get((algorithm, members))
            print(
                f"{algorithm:9} {members:4} {theirs:9.2f} {ours:9.2f} {ratio:6.2f} "
                f"{'' if bound is None else f'{bound:.1f}':>6} {size / 1e6:8.1f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
