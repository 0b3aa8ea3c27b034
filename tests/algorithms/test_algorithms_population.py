"""What holds for every algorithm: members cannot feel each other, and the training state is all there is."""

from __future__ import annotations

from dataclasses import replace

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch.utils._python_dispatch import TorchDispatchMode

from algorithms import algorithm_class, algorithm_ids, member_slice
from algorithms.bc import BC

every_algorithm = pytest.mark.parametrize("algorithm_id", algorithm_ids())
STEPS = 46  # past ASPC's outer steps at 20 and 40


def assert_same(one, other, tolerance):
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=tolerance, atol=tolerance, msg=name)


def variations(lab, algorithm_id, factors):
    """Per-member hyperparameters that differ, one set per factor."""
    defaults = lab.defaults(algorithm_id)
    return [{n: defaults[n] * f for n in lab.per_member(algorithm_id)} for f in factors]


@every_algorithm
def test_a_member_does_not_feel_the_others(lab, algorithm_id):
    members = lab.members(algorithm_id, "abc", variations(lab, algorithm_id, (1.0, 0.9, 0.7)))
    population = lab.of(algorithm_id, members)
    metrics = population.train(STEPS)
    for index, member in enumerate(members):
        alone = lab.of(algorithm_id, [member])
        metrics_alone = alone.train(STEPS)
        assert_same(member_slice(population.state(), [index]), alone.state(), 1e-12)
        assert_same({k: v[[index]] for k, v in metrics.items()}, metrics_alone, 1e-10)


@every_algorithm
def test_a_member_that_diverges_takes_nobody_along(lab, algorithm_id):
    members = lab.members(algorithm_id, "ab")
    population, healthy = lab.of(algorithm_id, members), lab.of(algorithm_id, members[1:])
    with torch.no_grad():
        for parameter in population.algorithm.parameters():
            parameter[0].fill_(float("nan"))
    population.train(STEPS)
    healthy.train(STEPS)
    assert_same(member_slice(population.state(), [1]), healthy.state(), 1e-12)


@every_algorithm
def test_members_with_the_same_key_are_the_same_run_and_others_are_not(lab, algorithm_id):
    population = lab.population(algorithm_id, "aab")
    population.train(STEPS)
    for name, tensor in population.algorithm.named_parameters():
        assert torch.equal(tensor[0], tensor[1]), name
    policy = dict(population.algorithm.policy_state())
    assert not any(torch.equal(tensor[0], tensor[2]) for tensor in policy.values())


@every_algorithm
def test_loading_the_training_state_continues_bit_for_bit(lab, algorithm_id):
    members = lab.members(algorithm_id, "ab")
    straight, resumed = lab.of(algorithm_id, members), lab.of(algorithm_id, members)
    straight.train(27)
    # other first weights, other statistics: whatever the state leaves out shows
    resumed.algorithm = lab.population(algorithm_id, "xy").algorithm
    resumed.algorithm.members = straight.algorithm.members
    resumed.algorithm.load_training_state(straight.state())
    resumed.step = 27
    straight.train(STEPS - 27)
    resumed.train(STEPS - 27)
    assert_same(straight.state(), resumed.state(), 0)


@every_algorithm
def test_loading_keeps_the_memory_that_captured_graphs_know(lab, algorithm_id):
    population = lab.population(algorithm_id)
    population.train(2)
    before = {name: tensor.data_ptr() for name, tensor in population.algorithm.training_state().items()}
    population.algorithm.load_training_state(population.state())
    population.train(20)
    assert {n: t.data_ptr() for n, t in population.algorithm.training_state().items()} == before


@every_algorithm
def test_the_training_state_moves_no_tensor_that_it_does_not_name(lab, algorithm_id):
    """A tensor that updates change and that hides in an attribute would be lost at a resumption."""
    population = lab.population(algorithm_id)
    known = {tensor.data_ptr() for tensor in population.algorithm.training_state().values()}
    known |= {
        tensor.data_ptr() for tensor in vars(population.algorithm.hyper).values() if torch.is_tensor(tensor)
    }
    population.train(20)
    for name, value in vars(population.algorithm).items():
        if torch.is_tensor(value):
            assert value.data_ptr() in known, name


@every_algorithm
def test_members_cut_out_go_on_alone(lab, algorithm_id):
    members = lab.members(algorithm_id, "abc", variations(lab, algorithm_id, (1.0, 0.9, 0.7)))
    population, rest = lab.of(algorithm_id, members), lab.of(algorithm_id, [members[2], members[0]])
    population.train(23)
    rest.algorithm.load_training_state(member_slice(population.state(), [2, 0]))
    rest.step = 23
    population.train(STEPS - 23)
    rest.train(STEPS - 23)
    assert_same(member_slice(population.state(), [2, 0]), rest.state(), 1e-12)


@every_algorithm
@pytest.mark.parametrize(("keys", "widths"), [("abc", "16-16"), ("ab", "16-8")])
def test_a_state_of_another_shape_is_refused_before_anything_changes(lab, algorithm_id, keys, widths):
    population = lab.population(algorithm_id, "ab")
    before = population.state()
    foreign = lab.population(algorithm_id, keys, **dict.fromkeys(lab.widths(algorithm_id), widths)).state()
    with pytest.raises(ValueError, match="does not fit this algorithm at"):
        population.algorithm.load_training_state(foreign)
    assert_same(before, population.state(), 0)


@every_algorithm
def test_a_state_with_a_missing_or_a_foreign_entry_is_refused(lab, algorithm_id):
    population = lab.population(algorithm_id)
    state = population.state()
    name = next(iter(state))
    with pytest.raises(ValueError, match=name):
        population.algorithm.load_training_state({n: t for n, t in state.items() if n != name})
    with pytest.raises(ValueError, match="stranger"):
        population.algorithm.load_training_state(state | {"stranger": torch.zeros(1)})


@every_algorithm
def test_a_policy_state_is_a_copy_that_acts_the_same(lab, algorithm_id):
    population, other = lab.population(algorithm_id, "ab"), lab.population(algorithm_id, "xy")
    population.train(4)
    observation = population.inputs(99)[0].observation
    before = population.act(observation)
    policy = population.algorithm.policy_state()
    population.train(4)
    other.algorithm.members = population.algorithm.members  # whose keys acting draws from
    assert not torch.equal(other.act(observation), before)
    other.algorithm.load_policy_state(policy)
    torch.testing.assert_close(other.act(observation), before, rtol=0, atol=0)
    assert before.shape == (2, len(observation[0]), 2)
    assert before.abs().max() <= 1
    moved = population.algorithm.policy_state()
    assert not any(torch.equal(moved[name], tensor) for name, tensor in policy.items())


@every_algorithm
def test_metrics_are_one_detached_number_per_member(lab, algorithm_id):
    metrics = lab.population(algorithm_id, "abc").train(20)
    for name, tensor in metrics.items():
        assert tensor.shape == (3, 1), name
        assert not tensor.requires_grad, name
        assert tensor.isfinite().all(), name


class NoWaiting(TorchDispatchMode):
    """Refuses every operation that makes the host wait for the device."""

    WAIT = ("_local_scalar_dense", "nonzero", "equal", "is_nonzero", "masked_select", "unique", "item")

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert func.overloadpacket.__name__ not in self.WAIT, f"{func} waits for the device"
        return func(*args, **(kwargs or {}))


@every_algorithm
def test_an_update_never_waits_for_the_device(lab, algorithm_id):
    population = lab.population(algorithm_id, "ab", dtype=torch.float32)
    population.train(2)
    for step in range(3, 21):
        inputs = population.inputs(step)
        with NoWaiting():
            population.algorithm.update(*inputs, population.algorithm.phase(step))
    with pytest.raises(AssertionError, match="waits"), NoWaiting():
        float(torch.ones(()))


@every_algorithm
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_everything_has_the_asked_precision_and_the_same_first_weights(lab, algorithm_id, dtype):
    population = lab.population(algorithm_id, dtype=dtype)
    reference = lab.population(algorithm_id, dtype=torch.float32).algorithm.policy_state()
    for name, tensor in population.algorithm.policy_state().items():
        assert tensor.dtype == dtype
        torch.testing.assert_close(tensor.float(), reference[name], rtol=0, atol=0)
    for name, tensor in population.train(20).items():
        assert tensor.dtype == dtype, name
    assert population.act(population.inputs(1)[0].observation).dtype == dtype


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@every_algorithm
def test_cuda_computes_what_the_cpu_computes(lab, algorithm_id):
    members = lab.members(algorithm_id, "ab")
    cpu, cuda = lab.of(algorithm_id, members), lab.of(algorithm_id, members, device="cuda")
    for step in range(1, STEPS + 1):
        batch, noise = cpu.inputs(step)
        phase = cpu.algorithm.phase(step)
        cpu.algorithm.update(batch, noise, phase)
        there = {name: tensor.cuda() for name, tensor in noise.items()}
        cuda.algorithm.update(batch.map(torch.Tensor.cuda), there, phase)
    # CUDA's fused Adam corrects its moments in float32
    assert_same(cpu.state(), {name: tensor.cpu() for name, tensor in cuda.state().items()}, 1e-6)


@every_algorithm
def test_one_update_with_any_allowed_hyperparameters_is_the_same_alone(lab, algorithm_id):
    declared = algorithm_class(algorithm_id).Hyperparameters.__dataclass_fields__

    def numbers(name):
        bounds = declared[name].metadata
        low = bounds.get("minimum", bounds.get("above"))
        high = bounds.get("maximum", 10.0)
        return st.floats(low, high, exclude_min="above" in bounds, width=32).filter(
            lambda x: x == 0 or x > 1e-6
        )

    one = st.fixed_dictionaries({name: numbers(name) for name in lab.per_member(algorithm_id)})

    @settings(max_examples=8, derandomize=True)
    @given(st.tuples(one, one))
    def check(each):
        members = lab.members(algorithm_id, "ab", each, **fast(lab, algorithm_id))
        population = lab.of(algorithm_id, members)
        population.train(1)
        for index, member in enumerate(members):
            alone = lab.of(algorithm_id, [member])
            alone.train(1)
            assert_same(member_slice(population.state(), [index]), alone.state(), 1e-11)

    check()


def fast(lab, algorithm_id):
    """Every part of the update cycle at every step."""
    every = {"policy_frequency": 1, "alpha_interval": 1, "ema_interval": 1, "ema_begin": 0}
    return {name: value for name, value in every.items() if name in lab.defaults(algorithm_id)}


def test_an_unknown_algorithm_is_a_key_error():
    with pytest.raises(KeyError, match="no_such"):
        algorithm_class("no_such")


@pytest.fixture
def reader(monkeypatch):
    """Cloning that begins with another run's actor."""

    def build(self):
        whole(self)
        self.begin_as("actor", "teacher")

    whole = BC.build
    monkeypatch.setattr(BC, "build", build)
    monkeypatch.setattr(BC, "reads", ("teacher",))


def test_each_member_begins_with_the_state_of_its_own_input(lab, reader):
    teachers = lab.population("td3_bc", "ab")
    teachers.train(3)
    states = [member_slice(teachers.state(), [index]) for index in range(2)]
    members = [
        replace(member, inputs={"teacher": state})
        for member, state in zip(lab.members("bc", "xy"), states, strict=True)
    ]
    pupils = lab.of("bc", members)
    for name, tensor in pupils.algorithm.actor.state_dict().items():
        assert torch.equal(tensor, teachers.algorithm.actor.state_dict()[name]), name
    assert pupils.algorithm.inputs["teacher"]["critic.network.layers.0.weight"].shape[:2] == (2, 2)
    alone = lab.of("bc", members[1:]).algorithm.actor.network.layers[0].weight
    assert torch.equal(alone, states[1]["actor.network.layers.0.weight"])


def test_a_state_of_another_architecture_does_not_fit(lab, reader):
    state = lab.population("td3_bc", actor_hidden_sizes="16-8").state()
    [member] = lab.members("bc")
    with pytest.raises(ValueError, match=r"^the state of teacher does not fit actor at network\.layers"):
        lab.of("bc", [replace(member, inputs={"teacher": state})])


def test_who_is_evaluated_needs_no_input(lab, reader):
    pupil = lab.population("bc")
    other = lab.population("bc", "z").algorithm
    pupil.algorithm.load_policy_state(other.policy_state())
    observation = torch.ones(1, 3, 3, dtype=torch.float64)
    assert torch.equal(pupil.algorithm.act(observation), other.act(observation))
