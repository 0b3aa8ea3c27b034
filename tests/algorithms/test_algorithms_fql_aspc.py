"""FQL+ASPC's own promises: the outer gradient, what it may not reach, and the schedule of α."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

OUTER = 10  # the first step that updates α
# steps this large make a wrong outer gradient visible in the student; ρ this small makes L2 and L3 weigh in
LARGE = {"learning_rate": 0.01, "alpha_learning_rate": 0.5, "ema": 0.1, "discount": 0.9, "flow_steps": 3}
FORMS = ("q", "distillation")
OPTIONS = [
    *({"loss": loss} for loss in ("L1", "L1+L2", "L1+L3", "L1+L2+L3")),
    {"outer_scale": "one"},
    {"outer_change": "step"},
    {"outer_change": "step", "loss": "L1+L2+L3"},
]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("changes", OPTIONS, ids=str)
def test_it_is_the_plain_program(lab, form, changes):
    algorithm, programs = lab.compare("fql_aspc", steps=22, **(LARGE | {"scaled_term": form} | changes))
    for index, program in enumerate(programs):
        assert algorithm.scale.xi.grad[index].item() == pytest.approx(program.xi.grad.item(), rel=1e-7)
        assert program.alpha_updates == 2
        assert algorithm.scale_optimiser.learning_rate.item() == program.alpha_rate()


def test_the_options_differ(lab):
    """Otherwise the comparison above could not tell them apart."""
    ends = []
    for form in FORMS:
        for changes in OPTIONS:
            population = lab.population("fql_aspc", **(LARGE | {"scaled_term": form} | changes))
            population.train(OUTER)
            ends.append(population.algorithm.scale.xi.grad.item())
    assert min(abs(x / y - 1) for i, x in enumerate(ends) for y in ends[:i]) > 1e-6


class OuterStep:
    """One outer step, and L_out as a function of ξ alone: everything that is to be constant is a number."""

    def __init__(self, lab, kill=(), **changes):
        population = lab.population("fql_aspc", **(LARGE | changes))
        algorithm = population.algorithm
        with torch.no_grad():
            for layer, unit in kill:  # a unit that is never active has weights that no gradient ever reaches
                algorithm.actor.network.layers[layer].bias[..., unit] = -1e6
        population.train(OUTER - 1)
        before = population.state()
        self.batch, noise = population.inputs(OUTER)
        self.z, self.critic = noise["action"], algorithm.critic
        self.taught = algorithm.flow_action(self.batch.observation, self.z)
        self.critic_state = {n: before[f"critic.{n}"] for n, _ in self.critic.named_parameters()}
        algorithm.update(self.batch, noise, algorithm.phase(OUTER))
        self.algorithm, self.hyper = algorithm, algorithm.members[0].hyperparameters
        self.gradient = algorithm.scale.xi.grad.item()
        self.xi, self.e = before["scale.xi"].clone(), before["scale.value_average"].item()
        self.names = [name for name, _ in algorithm.actor.named_parameters()]
        self.theta = [before[f"actor.{name}"] for name in self.names]
        moments = [f"actor_optimiser/{i}" for i in range(len(self.names))]
        self.first = [before[f"{m}/exp_avg"] for m in moments]
        self.second = [before[f"{m}/exp_avg_sq"] for m in moments]
        self.fixed = {}
        self.outer(self.xi)

    def judged(self, theta):
        """Q of the student's actions by the critics before their step, and the actions' distances."""
        call = torch.func.functional_call
        parameters = dict(zip(self.names, theta, strict=True))
        action = call(self.algorithm.actor, parameters, (self.batch.observation, self.z))
        q = call(self.critic, self.critic_state, (self.batch.observation, action.clamp(-1, 1)))
        return q.mean(1), ((action - self.taught) ** 2).mean(-1)

    def constant(self, name, value):
        """The value that `name` had when it was first asked for."""
        return self.fixed.setdefault(name, value.detach())

    def loss(self, scale, q, n, error):
        if self.hyper["scaled_term"] == "q":
            return -scale * q.mean() / n + error.mean()
        return -q.mean() / n + scale * error.mean()

    def moved(self, xi):
        """θ' = θ + Adam's step down L_in(θ; softplus(ξ))."""

        def step(p, g, m, v):
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
            root = torch.where(v > 0, v / (1 - 0.999**OUTER), 1).sqrt()
            direction = m / (1 - 0.9**OUTER) / (root + 1e-8)
            return p - self.hyper["learning_rate"] * torch.where(v > 0, direction, 0)

        def inner(theta):
            q, error = self.judged(theta)
            return self.loss(F.softplus(xi).squeeze(), q, self.constant("n", q.abs().mean()), error)

        gradients = torch.func.grad(inner)(self.theta)
        return [step(*each) for each in zip(self.theta, gradients, self.first, self.second, strict=True)]

    def outer(self, xi):
        (old_q, old_error), (q, error) = self.judged(self.theta), self.judged(self.moved(xi))
        one = self.hyper["outer_scale"] == "one"
        scale = 1 if one else self.constant("alpha", F.softplus(xi)).squeeze()
        l1 = self.loss(scale, q, self.constant("n'", q.abs().mean()), error)
        if self.hyper["outer_change"] == "average":
            l2 = ((1 - self.hyper["ema"]) * (q.mean() - self.e)) ** 2
        else:
            l2 = (q.mean() - old_q.mean().detach()) ** 2
        l3 = self.constant("L2", l2) * self.constant("b", old_error.max()) * (old_error - error).abs().max()
        return sum({"L1": l1, "L2": l2, "L3": l3}[name] for name in self.hyper["loss"].split("+"))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("changes", OPTIONS, ids=str)
def test_the_outer_gradient_is_that_of_finite_differences_and_of_torch_func(lab, form, changes):
    step = OuterStep(lab, scaled_term=form, **changes)
    h = 1e-5
    differences = (step.outer(step.xi + h) - step.outer(step.xi - h)).item() / (2 * h)
    assert step.gradient != 0
    assert step.gradient == pytest.approx(differences, rel=1e-4)
    assert step.gradient == pytest.approx(torch.func.grad(step.outer)(step.xi).item(), rel=1e-9)


def test_dead_units_add_nothing_to_the_outer_gradient_and_no_nan(lab):
    step = OuterStep(lab, kill=[(0, 3), (1, 0), (1, 5)])
    optimiser = step.algorithm.actor_optimiser
    jacobians = [optimiser.jacobian(p, p.grad) for p in optimiser.parameters]
    assert any((jacobian == 0).any() for jacobian in jacobians)
    assert all(jacobian.isfinite().all() for jacobian in jacobians)
    assert step.gradient == pytest.approx(torch.func.grad(step.outer)(step.xi).item(), rel=1e-9)


def test_the_outer_gradient_reaches_the_updated_student_alone(lab):
    population = lab.population("fql_aspc", ema=0.9, loss="L1+L2+L3")
    algorithm = population.algorithm
    population.train(OUTER)
    e = algorithm.scale.value_average.clone()
    old_q, old_error, new_q, new_error = torch.rand(4, 1, 6).double().requires_grad_().unbind()
    loss, new_e = algorithm.outer_loss((old_q.detach(), old_error.detach()), (new_q, new_error))
    assert not new_e.requires_grad
    assert torch.equal(algorithm.scale.value_average, e)
    by_q, by_error = torch.autograd.grad(loss.sum(), [new_q, new_error])

    count, change = new_q.numel(), (1 - 0.9) * (new_q.mean() - e)
    slope = -algorithm.alpha / new_q.mean() + 2 * change * (1 - 0.9)  # all q are positive: E|q| = E[q]
    torch.testing.assert_close(by_q, (slope / count).expand_as(by_q))
    largest = (old_error - new_error).abs().argmax()
    expected = torch.full_like(by_error, 1 / count)
    sign = (new_error - old_error).sign()[0, largest]
    expected[0, largest] += (change**2 * old_error.max() * sign).item()
    torch.testing.assert_close(by_error, expected)


def test_the_outer_step_moves_alpha_alone(lab):
    with_outer, without = lab.population("fql_aspc", alpha_interval=1), lab.population("fql_aspc")
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


def test_with_alpha_at_rest_it_is_fql_with_a_normalised_q_bit_for_bit(lab):
    options = {"dtype": torch.float32, "flow_steps": 3}
    adaptive = lab.population(
        "fql_aspc", "ab", initial_alpha=3.0, alpha_learning_rate=0.0, scaled_term="distillation", **options
    )
    fixed = lab.population("fql", "ab", alpha=3.0, normalize_q_loss=True, **options)
    adaptive.train(25)
    fixed.train(25)
    ours, theirs = adaptive.state(), fixed.state()
    assert adaptive.algorithm.scale.value_average.abs().min() > 0  # the outer steps did take place
    for name, tensor in theirs.items():
        assert torch.equal(ours[name], tensor), name


def test_alpha_begins_at_its_initial_value_and_the_new_one_counts_from_the_next_step(lab):
    values = (0.4, 2.5, 10.0)
    each = [{"initial_alpha": value} for value in values]
    population = lab.population("fql_aspc", "abc", each, dtype=torch.float32)
    assert torch.equal(population.algorithm.alpha[:, 0], torch.tensor(values))
    metrics = population.train(OUTER)
    assert torch.equal(metrics["alpha"][:, 0], torch.tensor(values))
    assert (population.algorithm.alpha[:, 0] != torch.tensor(values)).all()
    assert torch.equal(population.train(1)["alpha"], population.algorithm.alpha)


def test_a_million_steps_update_alpha_a_hundred_thousand_times_at_a_rate_that_falls_to_a_hundredth(lab):
    population = lab.population("fql_aspc")
    algorithm = population.algorithm
    phases = [algorithm.phase(step) for step in range(1, 1_000_001)]
    assert phases.count("update and alpha") == 100_000
    assert phases.index("update and alpha") == OUTER - 1
    optimiser = algorithm.scale_optimiser
    assert optimiser.learning_rate.item() == pytest.approx(2e-3, rel=1e-7)
    optimiser.state[algorithm.scale.xi]["step"].fill_(99_999)
    population.train(OUTER)
    assert optimiser.learning_rate.item() == pytest.approx(2e-5, rel=1e-7)


def test_what_is_reconstructed_says_so(lab):
    host = lab.specs.algorithm("fql").hyperparameters
    for name, entry in lab.specs.algorithm("fql_aspc").hyperparameters.items():
        if name not in host:
            assert entry.note is not None, name
            assert entry.note.startswith("Reconstructed"), name
