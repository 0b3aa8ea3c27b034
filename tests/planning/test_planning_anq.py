"""What ANQ's tables train, and on which data."""

import pytest

from harness.planning.cells import resolve
from harness.planning.choice import Choice
from harness.specs import Specs

TABLES = [name for name in Specs().ids("tables") if name.startswith("anq-")]


@pytest.fixture(scope="module")
def cells():
    specs = Specs()
    return {name: resolve(specs, name).cells for name in TABLES}


def data_of(cell):
    return cell.runs[0].configuration.get("data", [])


def share(cell):
    """The share that is dropped or mixed in."""
    [step] = data_of(cell) or [{"drop": 0}]
    return step.get("drop", step.get("mix", {}).get("ratio"))


def test_spots_autoencoder_is_trained_on_what_spot_is(cells):
    read = [
        (cell, cell.states["vae"].cell) for some in cells.values() for cell in some if "vae" in cell.states
    ]
    assert len(read) > 21 + 3 * 5 + 3 * 5
    for cell, vae in read:
        assert data_of(vae) == data_of(cell)
        assert [run.seed for run in vae.runs] == [run.seed for run in cell.runs]


@pytest.mark.parametrize(
    ("table", "methods", "shares"),
    [
        ("anq-noisy", ("cql", "iql", "spot", "anq"), (0.05, 0.1, 0.3, 0.5, 0.7)),
        ("anq-reduced", ("anq", "spot", "iql"), (0, 0.2, 0.4, 0.6, 0.8)),
    ],
)
def test_every_method_has_every_share(cells, table, methods, shares):
    found = {}
    for cell in cells[table]:
        assert cell.column.id == f"{cell.column.algorithm}_{share(cell)}"
        found.setdefault(cell.dataset.id, set()).add((cell.column.algorithm, share(cell)))
    assert len(found) == 3
    assert all(one == {(method, each) for method in methods for each in shares} for one in found.values())


def test_expert_data_of_the_same_environment_are_mixed_in(cells):
    for name in ("anq-noisy", "anq-noisy-alpha", "anq-robustness"):
        mixed = {(cell.dataset.id, *cell.mixed) for cell in cells[name] if cell.mixed}
        assert mixed == {
            (f"{env}-random-v2", f"{env}-expert-v2") for env in ("halfcheetah", "hopper", "walker2d")
        }


def test_every_method_is_tuned_over_as_many_settings_and_anq_over_the_declared_grid(cells):
    table = Specs().table("anq-tuned")
    for per in ("domain", "dataset"):
        settings = {column.id: column.best_of for column in table.columns if column.per == per}
        assert settings.keys() == {f"{method}_{per}" for method in ("td3_bc", "cql", "iql", "spot", "anq")}
        assert {len(some) for some in settings.values()} == {3}
    weights = {
        (cell.dataset.domain, cell.runs[0].configuration["hyperparameters"]["constraint_weight"])
        for cell in cells["anq-tuned"]
        if cell.column.algorithm == "anq"
    }
    assert weights == {(domain, weight) for domain in ("mujoco", "antmaze") for weight in (0.1, 1, 5)}


def test_where_nothing_is_dropped_runs_are_those_of_table_2(cells):
    def keys(table, column):
        return {run.key for cell in cells[table] if cell.column.id == column for run in cell.runs}

    for method in ("anq", "spot", "iql"):
        assert len(keys("anq-reduced", f"{method}_0") & keys("anq-table2", method)) == 3 * 5
    assert keys("anq-robustness", "cql") & keys("anq-noisy", "cql_0.7")


@pytest.mark.parametrize("name", TABLES)
def test_the_smoke_preset_trains_every_column_on_generated_data(name):
    found = resolve(Specs(), name, Choice(preset="smoke"))
    assert found.lineage == "generated"
    left = {cell.column.algorithm for cell in found.with_below if cell.unavailable}
    assert left == ({"cvae"} if name == "anq-parts" else set())
    assert [column.id for column in found.table.columns] == [
        column.id for column in Specs().table(name).columns
    ]


def test_the_spectrum_has_iql_and_unconstrained_q_learning_at_its_ends(cells):
    for name, setting in (
        ("anq-ablation-lambda", "constraint_weight"),
        ("anq-ablation-alpha", "radius_temperature"),
    ):
        swept = [cell for cell in cells[name] if cell.column.algorithm == "anq"]
        assert {cell.column.id for cell in cells[name]} - {cell.column.id for cell in swept} == {"iql"}
        values = {(cell.column.id, cell.runs[0].configuration["hyperparameters"][setting]) for cell in swept}
        assert {value for _, value in values} >= {0, 0.1, 1, 2, 5, 10}
    unconstrained = [cell for some in cells.values() for cell in some if cell.column.id == "lambda_0"]
    assert {cell.runs[0].configuration["hyperparameters"]["constraint_weight"] for cell in unconstrained} == {
        0
    }
    assert {cell.column.label for cell in unconstrained} == {
        "ANQ, lambda = 0 (unconstrained)",
        "Unconstrained Q-learning",
    }
