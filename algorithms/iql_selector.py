"""SSAR's selector: the Q and V of IQL, which say what of the data is at least as good as its expectile."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from algorithms.base import Batch, batch_mean, register, uniform
from algorithms.iql import ExpectileHyperparameters, ExpectileValues
from algorithms.networks import best_of

CANDIDATES = 32
"""Actions of which an evaluation takes the best."""


@register("iql_selector")
class IQLSelector(ExpectileValues):
    """The selector of trusted transitions in SSAR: IQL without its policy (Kostrikov et al., 2021).

    Trained once for each dataset, expectile and seed, it serves every run of that seed. A transition is
    trusted where min_i Q_i(s, a) ≥ V(s), with Q itself and not its target.

    Differences from the authors' code:
        none. As there, and as in CORL, the target of Q comes from V before its step, Q's loss is the mean
        over both critics, and all weights begin as PyTorch's layers do. The paper's L₂² is a misprint of
        L₂^τ. With the same weights and batches, in float64 and over 60 updates, no parameter differs from
        those of the authors' class by more than 2e-8, since that rounds the expectile to float32; both trust
        the same.

    Choices of this project:
        The method asks for no policy. A protocol with evaluations would meet the best of 32 uniformly random
        actions by min_i Q_i(s, a).
    """

    Hyperparameters = ExpectileHyperparameters
    policy = ("critic", "value")

    def build(self) -> None:
        """Q and V."""
        self.build_values()
        self.acting_noise = uniform(CANDIDATES, self.sizes.action)

    def update(self, batch: Batch, noise: Mapping[str, Tensor], phase: str) -> dict[str, Tensor]:
        """V, then Q, then Q̄."""
        advantage, metrics = self.update_values(batch)
        return metrics | {"share_above_value": batch_mean((advantage >= 0).to(advantage.dtype))}

    def trusts(self, observation: Tensor, action: Tensor) -> Tensor:
        """Whether min_i Q_i(s, a) ≥ V(s): ``(M, B, S), (M, B, A) -> (M, B)`` of booleans."""
        trusted: Tensor = self.critic(observation, action).amin(1) >= self.value(observation)
        return trusted

    def act(self, observation: Tensor, noise: Tensor) -> Tensor:
        """The best of uniformly random actions, see the class: ``(M, B, S), (M, B, N, A) -> (M, B, A)``."""
        return best_of(self.critic, observation, 2 * noise - 1)
