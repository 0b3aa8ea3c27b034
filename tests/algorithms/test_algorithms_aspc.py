"""ASPC's own promises: the outer gradient, what it may not reach, and the schedule of α."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from algorithms.aspc import InnerStep

OUTER = 20  # the first step that updates α
VISIBLE = {"ema": 0.1, "actor_learning_rate": 1e-3}  # makes L2 and L3 weigh in
VARIANTS = (1, 2, 3, 4, 5)  # of L3
WEIGHTED = {"cloning_weight": "advantage", "value_learning_rate": 5e-3}  # V outgrows some of the Q values


def test_alpha_begins_at_its_initial_value(lab):
    values = (2.5, 1e-3, 1.1, 1000.0)
    each = [{"initial_alpha": value} for value in values]
    single = lab.population("aspc", "abcd", each, dtype=torch.float32).algorithm
    assert torch.equal(single.alpha[:, 0], torch.tensor(values))
    double = lab.population("aspc", "abcd", each).algorithm
    torch.testing.assert_close(
        double.alpha[:, 0], torch.tensor(values, dtype=torch.float64), rtol=1e-14, atol=0
    )


def test_the_rate_of_alpha_falls_to_a_hundredth_in_fifty_thousand_updates(lab):
    population = lab.population("aspc")
    optimiser = population.algorithm.scale_optimiser
    rate, updates = optimiser.param_groups[0]["lr"], optimiser.state[population.algorithm.scale.xi]["step"]
    assert rate.item() == pytest.approx(2e-3, rel=1e-7)
    population.train(OUTER - 1)
    assert rate.item() == pytest.approx(2e-3, rel=1e-7)
    population.train(1)
    assert rate.item() == pytest.approx(2e-3 * 0.01 ** (1 / 50_000), rel=1e-7)
    updates.fill_(49_999)
    population.train(OUTER)
    assert rate.item() == pytest.approx(2e-5, rel=1e-7)


def test_a_million_steps_update_alpha_fifty_thousand_times(lab):
    algorithm = lab.population("aspc").algorithm
    phases = [algorithm.phase(step) for step in range(1, 1_000_001)]
    assert phases.count("critic, actor and alpha") == 50_000
    assert phases.count("critic and actor") == 450_000
    assert phases[:4] == ["critic", "critic and actor"] * 2
    assert phases.index("critic, actor and alpha") == OUTER - 1


@pytest.mark.parametrize(("interval", "rate"), [(1, 2e-4), (10, 2e-3), (30, 6e-3)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_adam_on_xi_honours_the_rate(lab, interval, rate, dtype):
    population = lab.population("aspc", alpha_interval=interval, policy_frequency=1, dtype=dtype)
    algorithm = population.algorithm
    population.train(interval - 1)
    before = algorithm.scale.xi.item()
    population.train(1)
    gradient = algorithm.scale.xi.grad.item()
    assert gradient != 0
    moved = -rate * gradient / (abs(gradient) + 1e-8)  # Adam's first step
    assert algorithm.scale.xi.item() - before == pytest.approx(moved, rel=1e-6)
    algorithm.scale_optimiser.param_groups[0]["lr"].zero_()
    before = algorithm.scale.xi.item()
    algorithm.scale_optimiser.apply([torch.ones_like(algorithm.scale.xi)])
    assert algorithm.scale.xi.item() == before


class OuterStep:
    """One outer step, and L_out as a function of ξ alone: everything that is to be constant is a number."""

    def __init__(self, lab, kill=(), **changes):
        population = lab.population("aspc", **(VISIBLE | changes))
        algorithm = population.algorithm
        with torch.no_grad():
            for layer, unit in kill:  # a unit that is never active has weights that no gradient ever reaches
                algorithm.actor.network.layers[layer].bias[..., unit] = -1e6
        population.train(OUTER - 1)
        before = population.state()
        self.algorithm, self.hyper = algorithm, algorithm.members[0].hyperparameters
        self.batch, noise = population.inputs(OUTER)
        algorithm.update(self.batch, noise, algorithm.phase(OUTER))
        self.gradient = algorithm.scale.xi.grad.item()
        self.xi, self.e = before["scale.xi"].clone(), before["scale.value_average"].item()
        self.names = [name for name, _ in algorithm.actor.named_parameters()]
        self.theta = [before[f"actor.{name}"] for name in self.names]
        moments = [f"actor_optimiser/{i}" for i in range(len(self.names))]
        self.first = [before[f"{m}/exp_avg"] for m in moments]
        self.second = [before[f"{m}/exp_avg_sq"] for m in moments]
        self.count = before[f"{moments[0]}/step"].item() + 1
        self.weight = torch.ones_like(self.batch.reward)
        if self.hyper["cloning_weight"] == "advantage":
            q = algorithm.critic.first(self.batch.observation, self.batch.action)
            v = {name: before[f"value.{name}"] for name, _ in algorithm.value.named_parameters()}
            self.weight[q <= torch.func.functional_call(algorithm.value, v, (self.batch.observation,))] = 0
        self.fixed = {}
        self.outer(self.xi)

    def policy(self, theta):
        parameters = dict(zip(self.names, theta, strict=True))
        return torch.func.functional_call(self.algorithm.actor, parameters, (self.batch.observation,))

    def q(self, action):
        return self.algorithm.critic.first(self.batch.observation, action)

    def cloning(self, action):
        """E[w (π - a)²]."""
        return (self.weight.unsqueeze(-1) * (action - self.batch.action) ** 2).mean()

    def constant(self, name, value):
        """The value that `name` had when it was first asked for."""
        return self.fixed.setdefault(name, value.detach())

    def moved(self, xi):
        """θ' = θ + Adam's step down L_in(θ; softplus(ξ))."""

        def inner(theta):
            pi = self.policy(theta)
            q = self.q(pi)
            scale = F.softplus(xi).squeeze() / self.constant("n", q.abs().mean())
            return -scale * q.mean() + self.cloning(pi)

        def step(p, g, m, v):
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
            root = torch.where(v > 0, v / (1 - 0.999**self.count), 1).sqrt()
            direction = m / (1 - 0.9**self.count) / (root + 1e-8)
            return p - self.hyper["actor_learning_rate"] * torch.where(v > 0, direction, 0)

        gradients = torch.func.grad(inner)(self.theta)
        return [step(*each) for each in zip(self.theta, gradients, self.first, self.second, strict=True)]

    def outer(self, xi):
        new_pi = self.policy(self.moved(xi))
        q = self.q(new_pi)
        error = ((self.policy(self.theta) - self.batch.action) ** 2).mean(-1)
        new_error = ((new_pi - self.batch.action) ** 2).mean(-1)
        scale = self.constant("alpha", F.softplus(xi)).squeeze() / self.constant("n'", q.abs().mean())
        l1 = -scale * q.mean() + self.cloning(new_pi)
        if self.hyper["outer_change"] == "average":
            l2 = ((1 - self.hyper["ema"]) * (q.mean() - self.e)) ** 2
        else:
            l2 = (q.mean() - self.q(self.policy(self.theta)).mean().detach()) ** 2
        change, scale = (error - new_error).abs(), self.constant("L2", l2)
        l3 = [
            change.max(),
            self.constant("b²", error.max() ** 2) * change.max(),
            scale * change.max(),
            scale * self.constant("b", error.max()) * change.max(),
            scale * self.constant("mean b", error.mean()) * change.mean(),
        ][self.hyper["l3_variant"] - 1]
        return sum({"L1": l1, "L2": l2, "L3": l3}[name] for name in self.hyper["loss"].split("+"))


@pytest.mark.parametrize(
    "changes",
    [
        *({"loss": loss} for loss in ("L1", "L1+L2", "L1+L3", "L1+L2+L3")),
        *({"loss": "L1+L2+L3", "l3_variant": variant} for variant in VARIANTS if variant != 4),
        *({"loss": loss, "outer_change": "step"} for loss in ("L1+L2", "L1+L2+L3")),
        {"loss": "L1+L2+L3"} | WEIGHTED,
    ],
    ids=lambda changes: "-".join(map(str, changes.values())),
)
def test_the_outer_gradient_is_that_of_finite_differences_and_of_torch_func(lab, changes):
    step = OuterStep(lab, **changes)
    h = 1e-4
    differences = (step.outer(step.xi + h) - step.outer(step.xi - h)).item() / (2 * h)
    assert step.gradient == pytest.approx(differences, rel=1e-4)
    automatic = torch.func.grad(step.outer)(step.xi).item()
    assert step.gradient == pytest.approx(automatic, rel=1e-9)


@pytest.mark.parametrize("variant", VARIANTS)
def test_each_variant_of_l3_is_that_of_the_plain_program(lab, variant):
    large = {"actor_learning_rate": 0.01, "alpha_learning_rate": 0.5, "ema": 0.1, "discount": 0.9}
    lab.compare("aspc", l3_variant=variant, **large)


@pytest.mark.parametrize(("variant", "expected"), [(1, 3.0), (2, 48.0), (3, 6.0), (4, 24.0), (5, 10.0)])
def test_each_variant_of_l3_in_numbers(lab, variant, expected):
    """L2 = 2, b = (4, 1) and |Δb| = (1, 3): another sample has the largest change than the largest error."""
    algorithm = lab.population("aspc", l3_variant=variant).algorithm
    numbers = ([[2.0]], [[4.0, 1.0]], [[1.0, 3.0]])
    l3 = algorithm.third_loss(*(torch.tensor(each).double() for each in numbers))
    assert l3.tolist() == [[expected]]


def test_dead_units_add_nothing_to_the_outer_gradient_and_no_nan(lab):
    step = OuterStep(lab, kill=[(0, 3), (1, 0), (1, 5)])
    algorithm = step.algorithm
    weight = algorithm.actor.network.layers[0].weight
    dead = torch.zeros_like(weight, dtype=torch.bool)
    dead[..., 3] = True
    moments = algorithm.actor_optimiser.state[weight]["exp_avg_sq"]
    assert (moments[dead] == 0).all()
    assert (moments[~dead] != 0).any()
    jacobian = algorithm.actor_optimiser.jacobian(weight, weight.grad)
    assert (jacobian[dead] == 0).all()
    assert jacobian.isfinite().all()
    assert math.isfinite(step.gradient)
    assert step.gradient == pytest.approx(torch.func.grad(step.outer)(step.xi).item(), rel=1e-9)


def test_the_outer_gradient_reaches_the_updated_policy_alone(lab):
    population = lab.population("aspc", ema=0.9)
    algorithm = population.algorithm
    population.train(OUTER)
    batch, _ = population.inputs(OUTER + 1)
    e = algorithm.scale.value_average.clone()
    old_action = algorithm.act(batch.observation).detach().requires_grad_()
    new_action = (old_action.detach() * 0.9).requires_grad_()
    new_q = torch.linspace(-1, 2, algorithm.hyper.batch_size).double().unsqueeze(0).requires_grad_()
    inner = InnerStep(old_action, new_q.detach(), None, (), ())
    loss, new_e = algorithm.outer_loss(batch, inner, new_action, new_q)
    assert not new_e.requires_grad
    assert torch.equal(algorithm.scale.value_average, e)
    # with n, α, e, max b and L3's L2 constant, this is all that Q' and the actions may feel
    by_q, by_action = torch.autograd.grad(loss.sum(), [new_q, new_action], retain_graph=True)
    size, change = new_q.numel(), new_e - e
    expected = (-algorithm.alpha / new_q.abs().mean() + 2 * change * (1 - 0.9)) / size
    torch.testing.assert_close(by_q, expected.expand_as(by_q).detach())
    error, new_error = (((x - batch.action) ** 2).mean(-1) for x in (old_action, new_action))
    largest = (error - new_error).abs().argmax()
    factor = change**2 * error.max() * torch.sign(new_error - error)[0, largest]
    wanted = 2 * (new_action - batch.action) / new_action.numel()
    wanted[0, largest] += (factor * (new_action - batch.action)[0, largest]).squeeze(0)
    torch.testing.assert_close(by_action, wanted.detach())
    assert algorithm.scale.xi not in _leaves(loss)


def _leaves(tensor):
    leaves, nodes = set(), [tensor.grad_fn]
    while nodes:
        node = nodes.pop()
        if hasattr(node, "variable"):
            leaves.add(node.variable)
        nodes += [following for following, _ in node.next_functions if following is not None]
    return leaves


def test_the_outer_step_leaves_the_critics_and_their_gradients_alone(lab):
    changes = {"policy_frequency": 1, "alpha_interval": 1}
    with_outer, without = lab.population("aspc", **changes), lab.population("aspc", policy_frequency=1)
    with_outer.train(1)
    without.train(1)
    assert with_outer.algorithm.phase(1) != without.algorithm.phase(1)
    for network in ("critic", "target_critic", "actor", "target_actor"):
        pairs = zip(
            getattr(with_outer.algorithm, network).parameters(),
            getattr(without.algorithm, network).parameters(),
            strict=True,
        )
        for one, other in pairs:
            assert torch.equal(one, other), network
            assert one.grad is other.grad is None or torch.equal(one.grad, other.grad), network
    assert with_outer.algorithm.scale.xi.grad is not None
    assert without.algorithm.scale.xi.grad is None


def test_the_weighted_cloning_skips_some_actions_and_not_all(lab):
    """Otherwise the comparisons could not tell it from the plain one."""
    weight = OuterStep(lab, **WEIGHTED).weight
    assert 0 < weight.mean() < 1


def test_with_alpha_at_rest_the_weighted_one_is_wpc_bit_for_bit(lab):
    options = {"dtype": torch.float32, "critic": "robust", "value_learning_rate": 5e-3}
    adaptive = lab.population("aspc", "ab", alpha_learning_rate=0.0, cloning_weight="advantage", **options)
    fixed = lab.population("wpc", "ab", **options)
    adaptive.train(100)
    fixed.train(100)
    ours, theirs = adaptive.state(), fixed.state()
    assert any(name.startswith("value.") for name in theirs)
    for name, tensor in theirs.items():
        assert torch.equal(ours[name], tensor), name


def test_without_a_weight_there_is_no_v(lab):
    assert not any("value." in name for name in lab.population("aspc").state())


@pytest.mark.parametrize("critic", ["robust", "vanilla"])
def test_with_alpha_at_rest_aspc_is_td3_bc_bit_for_bit(lab, critic):
    adaptive = lab.population("aspc", "ab", dtype=torch.float32, critic=critic, alpha_learning_rate=0.0)
    fixed = lab.population("td3_bc", "ab", dtype=torch.float32, critic=critic)
    adaptive.train(100)
    fixed.train(100)
    ours, theirs = adaptive.state(), fixed.state()
    assert adaptive.algorithm.scale.value_average.abs().min() > 0  # the outer steps did take place
    assert len(theirs) >= 60
    for name, tensor in theirs.items():
        assert torch.equal(ours[name], tensor), name


def test_reward_centering_subtracts_the_mean_reward_of_the_members_own_dataset(lab):
    centred = lab.population("aspc", "ab", reward_centering=True).algorithm
    assert centred.reward_offset.tolist() == [[m.reward_mean] for m in centred.members]
    assert lab.population("aspc", "ab").algorithm.reward_offset.tolist() == [[0.0], [0.0]]
