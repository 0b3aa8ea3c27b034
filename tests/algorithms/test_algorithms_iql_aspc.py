"""IQL+ASPC's own promises: the outer gradient, what it may not reach, and the schedule of β."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

OUTER = 10  # the first step that updates β
POLICIES = ("gaussian", "deterministic")
LOSSES = ("L1", "L1+L2", "L1+L3", "L1+L2+L3")
# steps this large make a wrong outer gradient visible in the policy; ρ this small makes L2 and L3 weigh in
LARGE = {
    **{f"{name}_learning_rate": 0.01 for name in ("actor", "critic", "value")},
    "alpha_learning_rate": 0.5,
    "ema": 0.1,
    "discount": 0.9,
}
CAPPED = {"weight_cap": 0.9, "expectile": 0.3}  # the cap holds for some samples, not for all
OPTIONS = [
    *({"loss": loss} for loss in LOSSES),
    {"outer_scale": "one"},
    {"outer_weight": "one"},
    {"outer_q": "mean"},
    {"outer_q": "first"},
    {"outer_change": "step"},
    {"outer_change": "step", "loss": "L1+L2+L3"},
]


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("changes", OPTIONS)
def test_it_is_the_plain_program(lab, policy, changes):
    # the actor's rate falls fast, so that the outer steps must use the one of their inner step
    options = LARGE | {"policy": policy, "actor_decay_steps": 30} | changes
    algorithm, programs = lab.compare("iql_aspc", steps=22, **options)
    for index, program in enumerate(programs):
        assert algorithm.scale.xi.grad[index].item() == pytest.approx(program.xi.grad.item(), rel=1e-7)
        assert program.beta_updates == 2
        assert algorithm.scale_optimiser.learning_rate.item() == program.beta_rate()


def test_it_is_the_plain_program_in_the_form_of_ogbenchs_authors(lab):
    """Without a schedule the policy's rate is a number, not a tensor."""
    form = {"networks": "flax", "policy": "unit_gaussian", "advantage_critic": "online"}
    form |= {"target_order": "before", "critic_loss": "sum", "actor_decay_steps": 0}
    lab.compare("iql_aspc", steps=22, **LARGE, **form)


@pytest.mark.parametrize("outer_q", ["min", "mean", "first"])
def test_q_judges_a_unit_gaussians_mean_as_it_would_be_done(lab, outer_q):
    population = lab.population("iql_aspc", policy="unit_gaussian", outer_q=outer_q)
    algorithm, batch = population.algorithm, population.inputs(1)[0]
    mean = 3 * batch.action
    assert (mean.abs() > 1).any()
    both = algorithm.critic(batch.observation, mean.clamp(-1, 1))
    wanted = {"min": both.amin(1), "mean": both.mean(1), "first": both[:, 0]}[outer_q]
    torch.testing.assert_close(algorithm.outer_value(batch, mean), wanted)


def test_it_is_the_plain_program_where_caps_hold(lab):
    lab.compare("iql_aspc", **LARGE, **CAPPED)


def test_the_options_differ(lab):
    """Otherwise the comparison above could not tell them apart."""
    ends = []
    for changes in [{}, *OPTIONS]:
        population = lab.population("iql_aspc", **(LARGE | changes))
        population.train(OUTER)
        ends.append(population.algorithm.scale.xi.grad.item())
    assert ends[0] == ends[2]  # L1+L2 is the default
    del ends[2]
    assert min(abs(x / y - 1) for i, x in enumerate(ends) for y in ends[:i]) > 1e-6


class OuterStep:
    """One outer step, and L_out as a function of ξ alone: everything that is to be constant is a number."""

    def __init__(self, lab, kill=(), **changes):
        population = lab.population("iql_aspc", **(LARGE | {"actor_decay_steps": 25} | changes))
        algorithm = population.algorithm
        with torch.no_grad():
            for layer, unit in kill:  # a unit that is never active has weights that no gradient ever reaches
                algorithm.actor.network.layers[layer].bias[..., unit] = -1e6
        population.train(OUTER - 1)
        before = population.state()
        self.batch, noise = population.inputs(OUTER)
        with torch.no_grad():
            q = algorithm.target_critic(self.batch.observation, self.batch.action).amin(1)
            self.advantage = q - algorithm.value(self.batch.observation)
        algorithm.update(self.batch, noise, algorithm.phase(OUTER))
        self.algorithm, self.hyper = algorithm, algorithm.members[0].hyperparameters
        self.gradient = algorithm.scale.xi.grad.item()
        self.xi, self.e = before["scale.xi"].clone(), before["scale.value_average"].item()
        self.names = [name for name, _ in algorithm.actor.named_parameters()]
        self.theta = [before[f"actor.{name}"] for name in self.names]
        moments = [f"actor_optimiser/{i}" for i in range(len(self.names))]
        self.first = [before[f"{m}/exp_avg"] for m in moments]
        self.second = [before[f"{m}/exp_avg_sq"] for m in moments]
        cosine = (1 + math.cos(math.pi * (OUTER - 1) / 25)) / 2
        self.rate = torch.tensor(self.hyper["actor_learning_rate"] * cosine, dtype=torch.float32).item()
        self.fixed = {}
        self.outer(self.xi)

    def mean(self, theta):
        parameters = dict(zip(self.names, theta, strict=True))
        return torch.func.functional_call(self.algorithm.actor, parameters, (self.batch.observation,))

    def imitation(self, theta):
        error = (self.mean(theta) - self.batch.action) ** 2
        if self.hyper["policy"] == "deterministic":
            return error.sum(-1)
        log_std = theta[self.names.index("log_std")]
        return (error / (2 * torch.exp(2 * log_std)) + log_std + math.log(2 * math.pi) / 2).sum(-1)

    def weight(self, xi):
        return torch.exp((F.softplus(xi) * self.advantage).clamp(max=math.log(self.hyper["weight_cap"])))

    def q(self, theta):
        q = self.algorithm.critic(self.batch.observation, self.mean(theta))
        return {"min": q.amin(1), "mean": q.mean(1), "first": q[:, 0]}[self.hyper["outer_q"]]

    def constant(self, name, value):
        """The value that `name` had when it was first asked for."""
        return self.fixed.setdefault(name, value.detach())

    def moved(self, xi):
        """θ' = θ + Adam's step down L_in(θ; softplus(ξ))."""

        def step(p, g, m, v):
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
            root = torch.where(v > 0, v / (1 - 0.999**OUTER), 1).sqrt()
            direction = m / (1 - 0.9**OUTER) / (root + 1e-8)
            return p - self.rate * torch.where(v > 0, direction, 0)

        def inner(theta):
            return (self.weight(xi) * self.imitation(theta)).mean()

        gradients = torch.func.grad(inner)(self.theta)
        return [step(*each) for each in zip(self.theta, gradients, self.first, self.second, strict=True)]

    def outer(self, xi):
        theta = self.moved(xi)
        q, imitation = self.q(theta), self.imitation(theta)
        scale = self.constant("n", 1 / q.abs().mean())
        if self.hyper["outer_scale"] == "coefficient":
            scale = scale * self.constant("beta", F.softplus(xi)).squeeze()
        if self.hyper["outer_weight"] == "advantage":
            imitation = self.constant("w", self.weight(xi)) * imitation
        l1 = -scale * q.mean() + imitation.mean()
        if self.hyper["outer_change"] == "average":
            l2 = ((1 - self.hyper["ema"]) * (q.mean() - self.e)) ** 2
        else:
            l2 = (q.mean() - self.q(self.theta).mean().detach()) ** 2
        error, new_error = (((self.mean(t) - self.batch.action) ** 2).mean(-1) for t in (self.theta, theta))
        l3 = self.constant("L2", l2) * self.constant("b", error.max()) * (error - new_error).abs().max()
        return sum({"L1": l1, "L2": l2, "L3": l3}[name] for name in self.hyper["loss"].split("+"))


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("changes", OPTIONS)
def test_the_outer_gradient_is_that_of_finite_differences_and_of_torch_func(lab, policy, changes):
    step = OuterStep(lab, policy=policy, **changes)
    h = 1e-5
    differences = (step.outer(step.xi + h) - step.outer(step.xi - h)).item() / (2 * h)
    assert step.gradient != 0
    assert step.gradient == pytest.approx(differences, rel=1e-4)
    assert step.gradient == pytest.approx(torch.func.grad(step.outer)(step.xi).item(), rel=1e-9)


@pytest.mark.parametrize("policy", POLICIES)
def test_dead_units_add_nothing_to_the_outer_gradient_and_no_nan(lab, policy):
    step = OuterStep(lab, kill=[(0, 3), (1, 0), (1, 5)], policy=policy)
    optimiser = step.algorithm.actor_optimiser
    jacobians = [optimiser.jacobian(p, p.grad) for p in optimiser.parameters]
    assert any((jacobian == 0).any() for jacobian in jacobians)
    assert all(jacobian.isfinite().all() for jacobian in jacobians)
    assert step.gradient == pytest.approx(torch.func.grad(step.outer)(step.xi).item(), rel=1e-9)


def test_capped_samples_are_nothing_to_beta(lab):
    step = OuterStep(lab, **CAPPED)
    capped = (step.weight(step.xi) > CAPPED["weight_cap"] - 1e-9).float().mean()
    assert 0 < capped < 1
    h = 1e-5
    differences = (step.outer(step.xi + h) - step.outer(step.xi - h)).item() / (2 * h)
    assert step.gradient == pytest.approx(differences, rel=1e-4)


def test_where_all_are_capped_beta_rests_even_if_the_exponential_overflows(lab):
    population = lab.population("iql_aspc", dtype=torch.float32, alpha_interval=1)
    algorithm = population.algorithm
    with torch.no_grad():
        algorithm.target_critic.network.layers[-1].bias.fill_(1e4)
    batch, noise = population.inputs(1)
    metrics = algorithm.update(batch, noise, algorithm.phase(1))
    assert algorithm.scale.xi.grad.item() == 0
    assert metrics["actor_loss"].isfinite().all()
    assert torch.equal(algorithm.beta, torch.tensor([[3.0]]))


def test_the_outer_gradient_reaches_the_updated_policy_alone(lab):
    population = lab.population("iql_aspc", ema=0.9, loss="L1+L2+L3")
    algorithm = population.algorithm
    population.train(OUTER)
    batch, _ = population.inputs(OUTER + 1)
    e = algorithm.scale.value_average.clone()
    old_mean = algorithm.act(batch.observation).detach().requires_grad_()
    new_mean = (old_mean.detach() * 0.9).requires_grad_()
    weight = torch.linspace(0.1, 3, new_mean.shape[1]).double().unsqueeze(0)
    loss, new_e = algorithm.outer_loss(batch, weight, old_mean.detach(), new_mean)
    assert not new_e.requires_grad
    assert torch.equal(algorithm.scale.value_average, e)
    (gradient,) = torch.autograd.grad(loss.sum(), [new_mean], retain_graph=True)

    q = algorithm.critic(batch.observation, new_mean).amin(1)
    change = (1 - 0.9) * (q.mean() - e)
    error, new_error = (((m - batch.action) ** 2).mean(-1) for m in (old_mean, new_mean))
    factors = algorithm.beta / q.abs().mean(), change**2 * error.max(), 2 * change * (1 - 0.9)
    scale, factor, slope = (f.detach() for f in factors)
    imitation = algorithm.imitation_loss(new_mean, batch)
    linear = (slope - scale) * q.mean() + (weight * imitation).mean()
    linear = linear + factor * (error.detach() - new_error).abs().max()
    (wanted,) = torch.autograd.grad(linear.sum(), [new_mean])
    torch.testing.assert_close(gradient, wanted)


def test_the_outer_step_leaves_critics_value_and_policy_alone(lab):
    with_outer, without = lab.population("iql_aspc", alpha_interval=1), lab.population("iql_aspc")
    with_outer.train(1)
    without.train(1)
    assert with_outer.algorithm.phase(1) != without.algorithm.phase(1)
    for name, parameter in without.algorithm.named_parameters():
        if name != "scale.xi":
            other = with_outer.algorithm.get_parameter(name)
            assert torch.equal(parameter, other), name
            assert parameter.grad is other.grad is None or torch.equal(parameter.grad, other.grad), name
    assert with_outer.algorithm.scale.xi.grad is not None
    assert without.algorithm.scale.xi.grad is None


@pytest.mark.parametrize("policy", POLICIES)
def test_with_beta_at_rest_it_is_iql_bit_for_bit(lab, policy):
    options = {"dtype": torch.float32, "policy": policy}
    adaptive = lab.population("iql_aspc", "ab", initial_beta=6.0, alpha_learning_rate=0.0, **options)
    fixed = lab.population("iql", "ab", beta=6.0, **options)
    adaptive.train(60)
    fixed.train(60)
    ours, theirs = adaptive.state(), fixed.state()
    assert adaptive.algorithm.scale.value_average.abs().min() > 0  # the outer steps did take place
    assert len(theirs) > 60
    for name, tensor in theirs.items():
        assert torch.equal(ours[name], tensor), name


def test_beta_begins_at_its_initial_value_and_the_new_one_counts_from_the_next_step(lab):
    values = (0.5, 3.0, 10.0)
    each = [{"initial_beta": value} for value in values]
    population = lab.population("iql_aspc", "abc", each, dtype=torch.float32)
    assert torch.equal(population.algorithm.beta[:, 0], torch.tensor(values))
    metrics = population.train(OUTER)
    assert torch.equal(metrics["beta"][:, 0], torch.tensor(values))
    assert (population.algorithm.beta[:, 0] != torch.tensor(values)).all()
    metrics = population.train(1)
    assert torch.equal(metrics["beta"], population.algorithm.beta)


def test_a_million_steps_update_beta_a_hundred_thousand_times_at_a_rate_that_falls_to_a_hundredth(lab):
    population = lab.population("iql_aspc")
    algorithm = population.algorithm
    phases = [algorithm.phase(step) for step in range(1, 1_000_001)]
    assert phases.count("update and beta") == 100_000
    assert phases.index("update and beta") == OUTER - 1
    optimiser = algorithm.scale_optimiser
    assert optimiser.learning_rate.item() == pytest.approx(2e-3, rel=1e-7)
    optimiser.state[algorithm.scale.xi]["step"].fill_(99_999)
    population.train(OUTER)
    assert optimiser.learning_rate.item() == pytest.approx(2e-5, rel=1e-7)


def test_what_is_reconstructed_says_so(lab):
    host = lab.specs.algorithm("iql").hyperparameters
    for name, entry in lab.specs.algorithm("iql_aspc").hyperparameters.items():
        if name not in host:
            assert entry.note is not None, name
            assert entry.note.startswith("Reconstructed"), name
