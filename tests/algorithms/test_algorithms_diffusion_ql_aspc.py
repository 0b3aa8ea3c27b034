"""Diffusion-QL+ASPC's own promises: the outer gradient through the policy's step, and what that moves."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

OUTER = 10  # the first step that updates η
# steps this large make a wrong outer gradient visible in the policy; ρ this small makes L2 weigh in
LARGE = {
    "actor_learning_rate": 0.01,
    "alpha_learning_rate": 0.5,
    "initial_eta": 2.0,
    "ema": 0.1,
    "discount": 0.9,
}
VARIANTS = [
    {"outer_value": value, "outer_scale": scale} | loss
    for loss in (
        {"loss": "L1"},
        {"loss": "L1+L2", "outer_change": "average"},
        {"loss": "L1+L2", "outer_change": "step"},
    )
    for value, scale in (("host", "eta"), ("host", "one"), ("min", "eta"), ("mean", "one"))
]


@pytest.mark.parametrize("changes", VARIANTS)
def test_it_is_the_plain_program(lab, changes):
    algorithm, programs = lab.compare("diffusion_ql_aspc", **(LARGE | changes), steps=23)
    for index, program in enumerate(programs):
        assert algorithm.scale.xi.grad[index].item() == pytest.approx(program.xi.grad.item(), rel=1e-7)
        assert program.eta_updates == 2
        assert algorithm.scale_optimiser.learning_rate.item() == program.eta_rate()


@pytest.mark.parametrize(
    "changes",
    [
        {"clip_norm": 0.1, "max_q_backup": True, "alpha_interval": 3},
        {"policy_value": "first", "rate_decay": "none", "ema_begin": 0, "ema_interval": 3},
    ],
)
def test_it_is_the_plain_program_with_diffusion_qls_options(lab, changes):
    lab.compare("diffusion_ql_aspc", **(LARGE | changes), steps=23)


def test_the_outer_losses_differ(lab):
    """Otherwise the comparison above could not tell them apart."""
    ends = []
    for variant in VARIANTS:
        population = lab.population("diffusion_ql_aspc", **(LARGE | variant))
        population.train(OUTER)
        ends.append(population.algorithm.scale.xi.grad.item())
    assert min(abs(x - y) for i, x in enumerate(ends) for y in ends[:i]) > 1e-8


class OuterStep:
    """One outer step, and L_out as a function of ξ alone: everything that is to be constant is a number."""

    def __init__(self, lab, **changes):
        population = lab.population("diffusion_ql_aspc", **({"ema": 0.1} | changes))
        algorithm = self.algorithm = population.algorithm
        population.train(OUTER - 1)
        before = population.state()
        self.hyper = algorithm.members[0].hyperparameters
        self.batch, self.noise = population.inputs(OUTER)
        metrics = algorithm.update(self.batch, self.noise, algorithm.phase(OUTER))
        self.loss, self.gradient = metrics["outer_loss"].item(), algorithm.scale.xi.grad.item()
        self.xi, self.e = before["scale.xi"].clone(), before["scale.value_average"].item()
        self.names = [name for name, _ in algorithm.actor.named_parameters()]
        self.theta = [before[f"actor.{name}"] for name in self.names]
        moments = [f"actor_optimiser/{i}" for i in range(len(self.names))]
        self.first = [before[f"{m}/exp_avg"] for m in moments]
        self.second = [before[f"{m}/exp_avg_sq"] for m in moments]
        self.rate = before["actor_optimiser/lr"].item()
        self.count = before[f"{moments[0]}/step"].item() + 1
        self.fixed = {}
        self.outer(self.xi)

    def constant(self, name, value):
        """The value that `name` had when it was first asked for."""
        return self.fixed.setdefault(name, value.detach())

    def policy(self, theta):
        """L_d, and both critics' values of the policy's samples; the critics have moved already."""
        algorithm, parameters = self.algorithm, dict(zip(self.names, theta, strict=True))

        def model(*inputs):
            return torch.func.functional_call(algorithm.actor, parameters, inputs)

        s = self.batch.observation
        action = algorithm.diffusion.sample(model, s, self.noise["policy_action"])
        return algorithm.cloning_loss(model, self.batch, self.noise), algorithm.critic(s, action)

    def moved(self, xi):
        """θ' = θ + Adam's step down L_d + softplus(ξ) L_q, whose gradient is clipped by a constant."""

        def inner(theta):
            cloning, q = self.policy(theta)
            climbed, scale = self.algorithm.climbed(q, self.noise)
            scale = self.constant("inner scale", scale.abs().mean())
            return (cloning - F.softplus(xi) * climbed.mean() / scale).squeeze()

        def step(p, g, m, v):
            g = clip * g
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
            root = torch.where(v > 0, v / (1 - 0.999**self.count), 1).sqrt()
            direction = m / (1 - 0.9**self.count) / (root + 1e-8)
            return p - self.rate * torch.where(v > 0, direction, 0)

        gradients = torch.func.grad(inner)(self.theta)
        norm = torch.cat([g.flatten() for g in gradients]).norm()
        clip = self.constant("clip", (self.hyper["clip_norm"] / (norm + 1e-6)).clamp(max=1))
        return [step(*each) for each in zip(self.theta, gradients, self.first, self.second, strict=True)]

    def outer_q(self, q):
        """The outer loss's Q, and what scales it."""
        if self.hyper["outer_value"] == "host":
            return self.algorithm.climbed(q, self.noise)
        value = q.mean(1) if self.hyper["outer_value"] == "mean" else q.amin(1)
        return value, value

    def outer(self, xi):
        cloning, both = self.policy(self.moved(xi))
        q, scale = self.outer_q(both)
        weight = self.constant("eta", F.softplus(xi)) if self.hyper["outer_scale"] == "eta" else 1
        loss = cloning - weight * q.mean() / self.constant("scale", scale.abs().mean())
        if self.hyper["loss"] == "L1+L2":
            change = (1 - self.hyper["ema"]) * (q.mean() - self.e)
            if self.hyper["outer_change"] == "step":
                change = q.mean() - self.outer_q(self.policy(self.theta)[1])[0].mean()
            loss = loss + change**2
        return loss.squeeze()


@pytest.mark.parametrize("changes", [*VARIANTS, {"clip_norm": 0.1}, {"policy_value": "first"}])
def test_the_outer_gradient_is_that_of_finite_differences_and_of_torch_func(lab, changes):
    step = OuterStep(lab, **changes)
    assert step.loss == pytest.approx(step.outer(step.xi).item(), rel=1e-9)
    h = 1e-4
    differences = (step.outer(step.xi + h) - step.outer(step.xi - h)).item() / (2 * h)
    assert step.gradient == pytest.approx(differences, rel=1e-6)
    assert step.gradient == pytest.approx(torch.func.grad(step.outer)(step.xi).item(), rel=1e-8)


def test_a_gradient_is_clipped_in_both_steps(lab):
    """What is tested above with a small norm does differ from what is with a large one."""
    gradients = [OuterStep(lab, clip_norm=norm).gradient for norm in (0.1, 100.0)]
    assert gradients[0] != pytest.approx(gradients[1], rel=1e-3)


@pytest.mark.parametrize("change", ["average", "step"])
def test_with_eta_at_rest_it_is_diffusion_ql(lab, change):
    options = {"alpha_learning_rate": 0.0, "outer_change": change}
    adaptive, fixed = (
        lab.population("diffusion_ql_aspc", "ab", **options),
        lab.population("diffusion_ql", "ab"),
    )
    adaptive.train(25)
    fixed.train(25)
    ours, theirs = adaptive.state(), fixed.state()
    assert adaptive.algorithm.scale.value_average.abs().min() > 0  # the outer steps did take place
    assert len(theirs) > 60
    for name, tensor in theirs.items():
        torch.testing.assert_close(ours[name], tensor, rtol=0, atol=1e-11, msg=name)


def test_the_outer_step_moves_eta_alone(lab):
    with_outer, without = (
        lab.population("diffusion_ql_aspc", alpha_interval=interval) for interval in (1, 10)
    )
    with_outer.train(1)
    without.train(1)
    assert with_outer.algorithm.phase(1) != without.algorithm.phase(1)
    ours, theirs = with_outer.state(), without.state()
    moved = {name for name in ours if (ours[name] - theirs[name]).abs().max() > 1e-12}
    assert moved and all(name.startswith("scale") for name in moved), moved  # noqa: PT018 - one thought


def test_eta_begins_at_its_initial_value(lab):
    each = [{"initial_eta": value} for value in (4.5, 1.0, 0.5)]
    algorithm = lab.population("diffusion_ql_aspc", "abc", each, dtype=torch.float32).algorithm
    assert algorithm.eta[:, 0].tolist() == [4.5, 1.0, 0.5]


def test_phases(lab):
    algorithm = lab.population("diffusion_ql_aspc").algorithm
    phases = [algorithm.phase(step) for step in range(1, 31)]
    assert [step for step, phase in enumerate(phases, 1) if "eta" in phase] == [10, 20, 30]
    assert [step for step, phase in enumerate(phases, 1) if "average" in phase] == [1, 6, 11, 16, 21, 26]
