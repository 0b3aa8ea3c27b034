"""TD3+BC(SA): TD3+BC whose constraint has a learnt weight for each state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from algorithms.base import Batch, batch_mean, register, static
from algorithms.state_adaptive import StateAdaptiveHyperparameters, StateCoefficient
from algorithms.td3_bc import TD3, TD3Hyperparameters, mean_magnitude

DEVIATION = 0.1
"""δ, the unit of the threshold n: a deviation from the data, per action dimension."""


@dataclass(frozen=True, kw_only=True)
class TD3BCSAHyperparameters(TD3Hyperparameters, StateAdaptiveHyperparameters):
    """Hyperparameters of TD3+BC(SA)."""

    target_frequency: int = static(minimum=1)  # critic updates per update of the targets
    reproduce_defects: bool = static(neutral=False)


@register("td3_bc_sa")
class TD3BCSA(TD3):
    """TD3+BC with a state-adaptive coefficient (SSAR; Luo et al., 2025, arXiv:2505.19923).

    The policy minimises -λ E[Q₁(s, π(s))] + E[β̃ (π(s) - a)²], λ = 1 / E|Q₁(s, π(s))|, where β̃ is β_φ(s),
    times m(s, a) if `mask_regulariser`, times what `annealing` leaves of it online. φ descends
    E[w β_φ(s) m(s, a)]: β falls where the policy is within δ n of the data, root mean square over action
    dimensions, and rises elsewhere; m is 1 for trusted transitions and else 0. With β = 1/α everywhere and
    m = 1 this is TD3+BC with the loss of its policy divided by α.

    Online φ and n are frozen and all else goes on; the policy gathers without noise.

    Differences from the authors' code:
        In the code the targets move with the policy, as in TD3, so that what slows the policy online on
        AntMaze, 20 to 100 updates of the critics for one of its own, slows them too:
        ``reproduce_defects: true`` does that. ``false``, the default, moves them every `target_frequency`
        updates of the critics, as offline, where both are the same. Updates are counted anew online, in the
        code they are counted on: with a `policy_frequency` of 30 the policy's first online step is at the
        30th of them, not at the 10th. With ``true``, the same weights, batches and noise, in float64 and over
        60 updates, offline and online, no parameter and no n differs from those of the authors' class by
        more than 1e-14, which is rounding.

    Not a matter of this file:
        What the code gets wrong while it gathers, and ``reproduce_defects`` of a protocol's ``gather`` does:
        a full buffer is sampled below its pointer alone, and on AntMaze the data nearly fill it, so that
        after the warm-up nothing else is drawn than what was gathered; new transitions inherit the flags m of
        the slots they are put in; evaluations spoil transitions. The sub-dataset that is empty, the two
        depths of critics and the additional squared error are CQL(SA)'s.

    What the code does and the paper does not say:
        w takes the squared error of a dimension for 1 where it is larger, and the policy before its step. Its
        critics have layer normalisation, which TD3+BC's have not (``critic: layer_norm`` of TD3+BC shows what
        that does alone). Whether to raise n is decided by one minibatch; one without a trusted transition
        raises it. The factor of the linear annealing is printed as min(1 - N / N_end, 0), which is never
        positive; it is max(1 - N / N_end, 0).
    """

    Hyperparameters = TD3BCSAHyperparameters
    columns = ("trust",)

    def build(self) -> None:
        """As TD3, and β_φ with its threshold."""
        super().build()
        self.coefficient = StateCoefficient(self.initial, self.sizes, self.hyper)
        self.coefficient_optimiser = self.coefficient.optimiser()

    def phase(self, step: int) -> str:
        """Every step trains the critics; some also the policy and β, and some move the targets."""
        h = self.hyper
        moves = step % (h.policy_frequency if h.reproduce_defects else h.target_frequency) == 0
        acts = step % h.policy_frequency == 0
        return " and ".join(["critic", *(["actor"] if acts else []), *(["targets"] if moves else [])])

    def slack(self, squared_error: Tensor) -> Tensor:
        """Of each sample w = (δ n)² - mean_j min((π(s) - a)_j², 1), a constant: ``(M, B, A) -> (M, B)``."""
        allowed: Tensor = (DEVIATION * self.coefficient.threshold) ** 2
        return allowed - squared_error.detach().clamp(max=1).mean(-1)

    def update_actor(self, batch: Batch) -> dict[str, Tensor]:
        """One step of the policy, then of β_φ, which looks at the policy before that step."""
        action = self.actor(batch.observation)
        q = self.critic.first(batch.observation, action)
        squared_error = (action - batch.action) ** 2
        coefficient = self.coefficient(batch.observation)
        weight = self.coefficient.weight(coefficient, batch, self.clock)
        loss = batch_mean(weight * squared_error.mean(-1)) - batch_mean(q) / mean_magnitude(q)
        self.actor_optimiser.descend(loss)
        metrics = {"actor_loss": loss.detach(), "value": batch_mean(q).detach()}
        metrics |= self.coefficient.metrics(coefficient, batch)
        if self.hyper.coefficient == "learnt":
            slack = self.slack(squared_error)
            metrics |= self.coefficient.learn(
                self.coefficient_optimiser, coefficient, slack, batch, self.clock
            )
        return metrics

    def update(self, batch: Batch, noise: Mapping[str, Tensor], phase: str) -> dict[str, Tensor]:
        """Critics; then, delayed, policy and β on the same batch with the updated critics; then targets."""
        metrics = self.update_critic(batch, noise)
        if "actor" in phase:
            metrics |= self.update_actor(batch)
        if "targets" in phase:
            self.update_targets()
        return metrics
