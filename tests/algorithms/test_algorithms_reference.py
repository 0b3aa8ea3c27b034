"""Every algorithm against a plain one-seed program written from its formulae: loops, modules, autograd."""

from __future__ import annotations

import copy
import math

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

STEPS = 46
LOSSES = ("L1", "L1+L2", "L1+L3", "L1+L2+L3")


def plain_linear(layer, member, head=None):
    weight, bias = (
        p.detach()[member] if head is None else p.detach()[member, head] for p in layer.parameters()
    )
    plain = nn.Linear(*weight.shape, dtype=weight.dtype)
    plain.weight.data, plain.bias.data = weight.T.clone(), bias[0].clone()
    return plain


def plain_actor(actor, member):
    layers = []
    for layer in actor.layers:
        layers += [plain_linear(layer, member), nn.ReLU()]
    return nn.Sequential(*layers[:-1], nn.Tanh())


def plain_critic(critic, member, head):
    layers = []
    for linear, norm in zip(critic.hidden, critic.norms, strict=True):
        layers += [plain_linear(linear, member, head), nn.ReLU()]
        if list(norm.parameters()):
            layers.append(nn.LayerNorm(norm.weight.shape[-1], dtype=norm.weight.dtype))
            layers[-1].weight.data = norm.weight.detach()[member, head, 0].clone()
            layers[-1].bias.data = norm.bias.detach()[member, head, 0].clone()
    return nn.Sequential(*layers, plain_linear(critic.output, member, head))


def adam(network, rate):
    return torch.optim.Adam(network.parameters(), lr=rate, fused=False, foreach=False)


class PlainBC:
    def __init__(self, algorithm, hyper, member):
        self.actor = plain_actor(algorithm.actor, member)
        self.optimiser = adam(self.actor, hyper["learning_rate"])

    def update(self, step, s, a, r, s2, d, noise):
        self.optimiser.zero_grad()
        ((self.actor(s) - a) ** 2).mean().backward()
        self.optimiser.step()

    def pairs(self, algorithm, member):
        yield "actor", self.actor, plain_actor(algorithm.actor, member)


class PlainTD3BC:
    reward_mean = 0.0

    def __init__(self, algorithm, hyper, member):
        self.h = hyper
        self.actor = plain_actor(algorithm.actor, member)
        self.critics = [plain_critic(algorithm.critic, member, head) for head in (0, 1)]
        self.target_actor = copy.deepcopy(self.actor)
        self.target_critics = copy.deepcopy(self.critics)
        self.critic_optimisers = [adam(critic, hyper["critic_learning_rate"]) for critic in self.critics]
        self.start_policy()

    def start_policy(self):
        self.optimiser = adam(self.actor, self.h["actor_learning_rate"])

    def q(self, critic, s, a):
        return critic(torch.cat([s, a], 1)).squeeze(1)

    def update(self, step, s, a, r, s2, d, noise):
        h = self.h
        with torch.no_grad():
            smoothing = (noise["target_action"] * h["policy_noise"]).clamp(-h["noise_clip"], h["noise_clip"])
            a2 = (self.target_actor(s2) + smoothing).clamp(-1, 1)
            q2 = torch.min(*[self.q(critic, s2, a2) for critic in self.target_critics])
            y = r - self.reward_mean + (1 - d) * h["discount"] * q2
        for critic, optimiser in zip(self.critics, self.critic_optimisers, strict=True):
            optimiser.zero_grad()
            F.mse_loss(self.q(critic, s, a), y).backward()
            optimiser.step()
        if step % h["policy_frequency"] == 0:
            self.update_policy(step, s, a)
            for target, online in [
                (self.target_actor, self.actor),
                *zip(self.target_critics, self.critics, strict=True),
            ]:
                for slow, fast in zip(target.parameters(), online.parameters(), strict=True):
                    slow.data = (1 - h["soft_update"]) * slow.data + h["soft_update"] * fast.data

    def update_policy(self, step, s, a):
        pi = self.actor(s)
        q = self.q(self.critics[0], s, pi)
        loss = -self.h["alpha"] / q.abs().mean().detach() * q.mean() + F.mse_loss(pi, a)
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()

    def pairs(self, algorithm, member):
        yield "actor", self.actor, plain_actor(algorithm.actor, member)
        yield "target actor", self.target_actor, plain_actor(algorithm.target_actor, member)
        for head in (0, 1):
            yield f"critic {head}", self.critics[head], plain_critic(algorithm.critic, member, head)
            target = plain_critic(algorithm.target_critic, member, head)
            yield f"target critic {head}", self.target_critics[head], target


def adam_step(parameters, gradients, first, second, count, rate):
    """Adam as a differentiable function of the gradients; a weight without any gradient so far stays."""
    new_first = [0.9 * m + 0.1 * g for m, g in zip(first, gradients, strict=True)]
    new_second = [0.999 * v + 0.001 * g * g for v, g in zip(second, gradients, strict=True)]
    moved = []
    for p, m, v in zip(parameters, new_first, new_second, strict=True):
        reached = v > 0
        root = torch.where(reached, v / (1 - 0.999**count), torch.ones_like(v)).sqrt()
        step = m / (1 - 0.9**count) / (root + 1e-8)
        moved.append(p - rate * torch.where(reached, step, torch.zeros_like(step)))
    return moved, [m.detach() for m in new_first], [v.detach() for v in new_second]


class PlainASPC(PlainTD3BC):
    """The outer gradient by differentiating through the policy's Adam step, nothing in closed form."""

    def start_policy(self):
        self.xi = torch.tensor(math.log(math.exp(self.h["initial_alpha"]) - 1), dtype=torch.float64)
        self.xi.requires_grad_()
        self.alpha_optimiser = torch.optim.Adam([self.xi], fused=False, foreach=False)
        self.first = [torch.zeros_like(p) for p in self.actor.parameters()]
        self.second = [torch.zeros_like(p) for p in self.actor.parameters()]
        self.count, self.alpha_updates, self.e = 0, 0, 0.0

    def alpha_rate(self):
        """From 2e-3 (at k = 10) to a hundredth of it in a million steps; CUDA's Adam takes it in float32."""
        decay = 0.01 ** (1 / int(1e6 / (2 * self.h["alpha_interval"])))
        rate = self.h["alpha_learning_rate"] * self.h["alpha_interval"] / 10 * decay**self.alpha_updates
        return torch.tensor(rate, dtype=torch.float32).item()

    def policy(self, parameters, s):
        names = [name for name, _ in self.actor.named_parameters()]
        return torch.func.functional_call(self.actor, dict(zip(names, parameters, strict=True)), (s,))

    def update_policy(self, step, s, a):
        theta = [p.detach().requires_grad_() for p in self.actor.parameters()]
        alpha = F.softplus(self.xi)
        pi = self.policy(theta, s)
        q = self.q(self.critics[0], s, pi)
        inner = -alpha / q.abs().mean().detach() * q.mean() + F.mse_loss(pi, a)
        gradients = torch.autograd.grad(inner, theta, create_graph=True)
        self.count += 1
        moved, self.first, self.second = adam_step(
            theta, gradients, self.first, self.second, self.count, self.h["actor_learning_rate"]
        )
        if step % (self.h["policy_frequency"] * self.h["alpha_interval"]) == 0:
            self.update_alpha(self.policy(moved, s), pi, s, a, alpha)
        for p, new in zip(self.actor.parameters(), moved, strict=True):
            p.data = new.detach()

    def update_alpha(self, new_pi, pi, s, a, alpha):
        q = self.q(self.critics[0], s, new_pi)
        e = (1 - self.h["ema"]) * q.mean() + self.h["ema"] * self.e
        b, new_b = ((pi - a) ** 2).mean(1).detach(), ((new_pi - a) ** 2).mean(1)
        l1 = -alpha.detach() * q.mean() / q.abs().mean().detach() + F.mse_loss(new_pi, a)
        l2 = (e - self.e) ** 2
        l3 = l2.detach() * b.max() * (b - new_b).abs().max()
        terms = {"L1": l1, "L2": l2, "L3": l3}
        outer = sum(terms[name] for name in self.h["loss"].split("+"))
        (self.xi.grad,) = torch.autograd.grad(outer, [self.xi])
        self.alpha_optimiser.param_groups[0]["lr"] = self.alpha_rate()
        self.alpha_optimiser.step()
        self.alpha_updates += 1
        self.e = e.item()


def compare(lab, plain, algorithm_id, **changes):
    """Train members with keys a and b by both programs and return the pairs."""
    population = lab.population(algorithm_id, "ab", **changes)
    algorithm = population.algorithm
    programs = []
    for index, member in enumerate(algorithm.members):
        program = plain(algorithm, member.hyperparameters, index)
        if changes.get("reward_centering"):
            program.reward_mean = member.reward_mean
        programs.append(program)
    for step in range(1, STEPS + 1):
        batch, noise = population.inputs(step)
        for index, program in enumerate(programs):
            program.update(step, *(t[index] for t in batch), {k: v[index] for k, v in noise.items()})
    population.train(STEPS)
    for index, program in enumerate(programs):
        for name, ours, theirs in program.pairs(algorithm, index):
            for (parameter, p), q in zip(ours.named_parameters(), theirs.parameters(), strict=True):
                torch.testing.assert_close(
                    p, q, rtol=0, atol=1e-10, msg=lambda m, n=f"{name} {parameter}": f"{n} {m}"
                )
    return algorithm, programs


def test_bc(lab):
    compare(lab, PlainBC, "bc")


@pytest.mark.parametrize("critic", ["vanilla", "robust"])
def test_td3_bc(lab, critic):
    compare(lab, PlainTD3BC, "td3_bc", critic=critic)


# steps this large make a wrong outer gradient visible in the policy; ρ this small makes L2 and L3 weigh in
LARGE = {"actor_learning_rate": 0.01, "alpha_learning_rate": 0.5, "ema": 0.1, "discount": 0.9}


@pytest.mark.parametrize(
    "changes", [*({"loss": loss} | LARGE for loss in LOSSES), {}, {"reward_centering": True}]
)
def test_aspc(lab, changes):
    algorithm, programs = compare(lab, PlainASPC, "aspc", **changes)
    for index, program in enumerate(programs):
        assert algorithm.xi[index].item() == pytest.approx(program.xi.item(), abs=1e-10)
        assert algorithm.xi.grad[index].item() == pytest.approx(program.xi.grad.item(), rel=1e-7)
        assert algorithm.value_average[index].item() == pytest.approx(program.e, abs=1e-10)
        assert program.alpha_updates == 2
        assert algorithm.alpha_optimiser.param_groups[0]["lr"].item() == program.alpha_rate()


def test_the_four_outer_losses_differ(lab):
    """Otherwise the comparison above could not tell them apart."""
    ends = []
    for loss in LOSSES:
        population = lab.population("aspc", loss=loss, **LARGE)
        population.train(STEPS)
        ends.append(population.algorithm.xi.item())
    assert min(abs(x - y) for i, x in enumerate(ends) for y in ends[:i]) > 1e-8
