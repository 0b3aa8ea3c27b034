"""Whatever columns set, the planner makes populations that the algorithms take."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from algorithms import Member, Sizes, algorithm_class, algorithm_ids
from harness.planning.cells import Cell, ReadMetric, run_record
from harness.planning.populations import PlannedRun, populations
from harness.specs import Column, Specs

SPECS = Specs()
PROTOCOL = SPECS.protocol("d4rl-1m")
DATASETS = ("maze2d-umaze-v1", "maze2d-medium-v1", "hopper-random-v2", "walker2d-random-v2")
CHOICES = {
    "batch_size": (4, 8),
    "normalize_observations": (True, False),
    "critic": ("vanilla", "robust"),
    "policy_frequency": (1, 2),
    "discount": (0.9, 0.99, 1),
    "alpha": (0, 2.5, 40.0),
    "initial_alpha": (1, 2.5),
    "loss": ("L1", "L1+L2+L3"),
    "learning_rate": (1e-3, 3e-4),
}


@st.composite
def cells(draw):
    """A cell of a column that sets some hyperparameters, perhaps one that reads a value from another."""
    algorithm = draw(st.sampled_from([name for name in ("bc", "td3_bc", "aspc") if name in algorithm_ids()]))
    spec = SPECS.algorithm(algorithm)
    values = {name: entry.value for name, entry in spec.hyperparameters.items()} | {"actor_hidden_sizes": "8"}
    for name in draw(st.sets(st.sampled_from(sorted(CHOICES)))):
        if name in values:
            values[name] = draw(st.sampled_from(CHOICES[name]))
    dataset = SPECS.dataset(draw(st.sampled_from(DATASETS)))
    protocol = PROTOCOL.model_copy(update={"steps": draw(st.sampled_from((100, 200)))})
    seeds = draw(st.integers(1, 3))
    metrics = {}
    if algorithm == "td3_bc" and draw(st.booleans()):
        metrics = {"alpha": ReadMetric("alpha", Cell(dataset, column("aspc"), protocol, (), None, ()))}
        values["alpha"] = {"mean_of": "alpha", "configuration": "0" * 64, "seeds": [0]}
    configuration = {
        "algorithm": algorithm,
        "hyperparameters": values,
        "dataset": dataset.identity("generated"),
        "protocol": protocol.configuration,
    }
    runs = tuple(run_record(configuration, seed) for seed in range(seeds))
    return Cell(dataset, column(algorithm), protocol, runs, None, (), metrics)


def column(algorithm):
    return Column(id=algorithm, label=algorithm, algorithm=algorithm)


@given(st.lists(cells(), max_size=8), st.integers(1, 5))
@settings(max_examples=60)
def test_every_run_is_in_one_population_that_its_algorithm_takes(found, capacity):
    runs = list({run.key: PlannedRun(run, cell) for cell in found for run in cell.runs}.values())
    made = populations(runs, capacity)
    assert sorted(key for population in made for key in population.keys) == sorted(
        run.record.key for run in runs
    )
    begun = [{run.cell.rank for run in population.runs} for population in made]
    assert all(len(ranks) == 1 for ranks in begun)
    assert sorted(rank for ranks in begun for rank in ranks) == [rank for ranks in begun for rank in ranks]
    for population in made:
        assert 1 <= len(population.runs) <= capacity
        [sizes] = {
            Sizes(run.cell.dataset.observation_size, run.cell.dataset.action_size) for run in population.runs
        }
        members = [
            Member(run.record.key, run.record.hyperparameters | dict.fromkeys(run.cell.metrics, float(index)))
            for index, run in enumerate(population.runs)
        ]
        algorithm_class(population.algorithm)(members, sizes)


def test_what_members_may_differ_in_does_not_split_a_population():
    configuration = {
        "algorithm": "td3_bc",
        "hyperparameters": {k: v.value for k, v in SPECS.algorithm("td3_bc").hyperparameters.items()},
        "protocol": {"steps": 1},
    }
    runs = []
    for name in ("maze2d-umaze-v1", "maze2d-large-v1"):
        for alpha in (1.0, 2.0):
            changed = configuration | {"hyperparameters": configuration["hyperparameters"] | {"alpha": alpha}}
            record = run_record(changed | {"dataset": {"id": name}}, 0)
            runs.append(
                PlannedRun(record, Cell(SPECS.dataset(name), column("td3_bc"), PROTOCOL, (record,), None, ()))
            )
    [population] = populations(runs, 8)
    assert len(population.runs) == 4
