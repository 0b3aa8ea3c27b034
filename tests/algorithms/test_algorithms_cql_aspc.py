"""CQL+ASPC's own promises: the outer gradient through the critics' step, and what it may not touch."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

OUTER = 10  # the first step that updates α
# steps this large make a wrong outer gradient visible in the critics; ρ this small makes L2 weigh in
LARGE = {"critic_learning_rate": 0.01, "alpha_learning_rate": 0.5, "ema": 0.1, "discount": 0.9}
VARIANTS = [
    {"outer_value": value, "outer_scale": scale} | loss
    for loss in (
        {"loss": "L1"},
        {"loss": "L1+L2", "outer_change": "average"},
        {"loss": "L1+L2", "outer_change": "step"},
    )
    for value in ("min", "mean")
    for scale in ("alpha", "one")
]


@pytest.mark.parametrize("changes", VARIANTS)
def test_cql_aspc_is_the_plain_program(lab, changes):
    algorithm, programs = lab.compare("cql_aspc", **(LARGE | changes), steps=23)
    for index, program in enumerate(programs):
        assert algorithm.scale.xi.grad[index].item() == pytest.approx(program.xi.grad.item(), rel=1e-7)
        assert program.alpha_updates == 2
        assert algorithm.scale_optimiser.learning_rate.item() == program.alpha_rate()


@pytest.mark.parametrize(
    "changes",
    [
        {"max_target_backup": True, "clamp_minimum": 4.5, "clamp_maximum": 4.7},
        {"critic_hidden_sizes": "16-16-16", "alpha_interval": 3},
    ],
)
def test_cql_aspc_is_the_plain_program_with_cqls_options(lab, changes):
    lab.compare("cql_aspc", **(LARGE | changes), steps=23)


def test_the_outer_losses_differ(lab):
    """Otherwise the comparison above could not tell them apart."""
    ends = []
    for variant in VARIANTS:
        population = lab.population("cql_aspc", **(LARGE | variant))
        population.train(2 * OUTER)
        ends.append(population.algorithm.scale.xi.grad.item())
    assert min(abs(x - y) for i, x in enumerate(ends) for y in ends[:i]) > 1e-8


class OuterStep:
    """One outer step, and L_out as a function of ξ alone: everything that is to be constant is a number."""

    def __init__(self, lab, **changes):
        population = lab.population("cql_aspc", **({"ema": 0.1, "critic_learning_rate": 1e-3} | changes))
        algorithm = self.algorithm = population.algorithm
        population.train(OUTER - 1)
        before = population.state()
        self.hyper = algorithm.members[0].hyperparameters
        self.batch, noise = population.inputs(OUTER)
        with torch.no_grad():  # the policy as it is before its own step
            policy, next_policy = (
                algorithm.actor(s) for s in (self.batch.observation, self.batch.next_observation)
            )
            self.action, _ = policy.sample(noise["action"])
            self.samples = algorithm.sampled(policy, next_policy, noise)
            self.target = algorithm.target_value(self.batch, next_policy, noise["target_action"])
        metrics = algorithm.update(self.batch, noise, algorithm.phase(OUTER))
        self.loss, self.gradient = metrics["outer_loss"].item(), algorithm.scale.xi.grad.item()
        self.xi, self.e = before["scale.xi"].clone(), before["scale.value_average"].item()
        self.names = [name for name, _ in algorithm.critics.named_parameters()]
        self.phi = [before[f"critics.{name}"] for name in self.names]
        moments = [f"critic_optimiser/{i}" for i in range(len(self.names))]
        self.first = [before[f"{m}/exp_avg"] for m in moments]
        self.second = [before[f"{m}/exp_avg_sq"] for m in moments]
        self.count = before[f"{moments[0]}/step"].item() + 1
        self.fixed = {}
        self.outer(self.xi)

    def constant(self, name, value):
        """The value that `name` had when it was first asked for."""
        return self.fixed.setdefault(name, value.detach())

    def q(self, phi, action):
        """Both critics' values."""
        values = []
        for head, critic in enumerate(self.algorithm.critics):
            own = {
                name.removeprefix(f"{head}."): p
                for name, p in zip(self.names, phi, strict=True)
                if name.startswith(f"{head}.")
            }
            values.append(torch.func.functional_call(critic, own, (self.batch.observation, action)))
        return values

    def gaps(self, phi):
        """R of both critics."""
        sampled, data = self.q(phi, self.samples.action), self.q(phi, self.batch.action)
        return [
            (torch.logsumexp(q - self.samples.log_density, -1) - d).mean()
            for q, d in zip(sampled, data, strict=True)
        ]

    def moved(self, xi):
        """φ' = φ + Adam's step down TD + softplus(ξ) R."""

        def inner(phi):
            td = sum(((q - self.target) ** 2).mean() for q in self.q(phi, self.batch.action))
            return td + F.softplus(xi).squeeze() * sum(self.gaps(phi))

        def step(p, g, m, v):
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
            root = torch.where(v > 0, v / (1 - 0.999**self.count), 1).sqrt()
            direction = m / (1 - 0.9**self.count) / (root + 1e-8)
            return p - self.hyper["critic_learning_rate"] * torch.where(v > 0, direction, 0)

        gradients = torch.func.grad(inner)(self.phi)
        return [step(*each) for each in zip(self.phi, gradients, self.first, self.second, strict=True)]

    def outer_q(self, phi):
        both = torch.stack(self.q(phi, self.action))
        return both.mean(0) if self.hyper["outer_value"] == "mean" else both.amin(0)

    def outer(self, xi):
        phi = self.moved(xi)
        q = self.outer_q(phi)
        scale = (
            self.constant("alpha", F.softplus(xi)).squeeze() if self.hyper["outer_scale"] == "alpha" else 1
        )
        loss = -q.mean() / self.constant("n", q.abs().mean()) + scale * sum(self.gaps(phi)) / 2
        if self.hyper["loss"] == "L1+L2":
            if self.hyper["outer_change"] == "average":
                change = (1 - self.hyper["ema"]) * (q.mean() - self.e)
            else:
                change = q.mean() - self.outer_q(self.phi).mean()
            loss = loss + change**2
        return loss


@pytest.mark.parametrize("changes", VARIANTS)
def test_the_outer_gradient_is_that_of_finite_differences_and_of_torch_func(lab, changes):
    step = OuterStep(lab, **changes)
    assert step.loss == pytest.approx(step.outer(step.xi).item(), rel=1e-9)
    h = 1e-4
    differences = (step.outer(step.xi + h) - step.outer(step.xi - h)).item() / (2 * h)
    assert step.gradient == pytest.approx(differences, rel=1e-4)
    assert step.gradient == pytest.approx(torch.func.grad(step.outer)(step.xi).item(), rel=1e-8)


@pytest.mark.parametrize("change", ["average", "step"])
def test_with_alpha_at_rest_cql_aspc_is_cql_bit_for_bit(lab, change):
    options = {"alpha_learning_rate": 0.0, "outer_change": change}
    adaptive = lab.population("cql_aspc", "ab", dtype=torch.float32, **options)
    fixed = lab.population("cql", "ab", dtype=torch.float32)
    adaptive.train(50)
    fixed.train(50)
    ours, theirs = adaptive.state(), fixed.state()
    assert adaptive.algorithm.scale.value_average.abs().min() > 0  # the outer steps did take place
    assert len(theirs) > 60
    for name, tensor in theirs.items():
        assert torch.equal(ours[name], tensor), name


def test_the_outer_step_moves_alpha_alone(lab):
    with_outer, without = lab.population("cql_aspc", alpha_interval=1), lab.population("cql_aspc")
    with_outer.train(1)
    without.train(1)
    assert with_outer.algorithm.phase(1) != without.algorithm.phase(1)
    ours, theirs = with_outer.state(), without.state()
    moved = {name for name in ours if not torch.equal(ours[name], theirs[name])}
    assert moved and all(name.startswith("scale") for name in moved), moved  # noqa: PT018 - one thought


def test_alpha_begins_at_its_initial_value(lab):
    each = [{"initial_alpha": value} for value in (10.0, 5.0, 1.0)]
    algorithm = lab.population("cql_aspc", "abc", each, dtype=torch.float32).algorithm
    assert algorithm.alpha[:, 0].tolist() == [10.0, 5.0, 1.0]


def test_alpha_is_updated_at_every_tenth_step_and_its_rate_falls_to_a_hundredth_in_a_million(lab):
    population = lab.population("cql_aspc")
    algorithm = population.algorithm
    phases = [algorithm.phase(step) for step in range(1, 31)]
    assert [step for step, phase in enumerate(phases, 1) if "alpha" in phase] == [10, 20, 30]
    rate = algorithm.scale_optimiser.param_groups[0]["lr"]
    assert rate.item() == pytest.approx(2e-3, rel=1e-7)
    algorithm.scale_optimiser.state[algorithm.scale.xi]["step"].fill_(99_999)
    population.train(OUTER)
    assert rate.item() == pytest.approx(2e-5, rel=1e-7)


def test_the_metric_is_the_alpha_that_the_step_used(lab):
    population = lab.population("cql_aspc", alpha_interval=1, alpha_learning_rate=5.0)
    assert population.train(1)["alpha"].item() == pytest.approx(10.0)
    assert population.algorithm.alpha.item() != pytest.approx(10.0, rel=1e-3)
