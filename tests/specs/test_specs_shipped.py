"""What the project ships: the 39 datasets, Table 1 of the ASPC paper and its algorithms."""

import re
from collections import Counter
from fnmatch import fnmatchcase
from pathlib import Path
from statistics import fmean

import pytest

from harness.datasets.policies import card
from harness.environments.antmaze import position
from harness.environments.ogbench import TASKS
from harness.planning.cells import resolve
from harness.planning.choice import Choice
from harness.specs import Specs
from harness.specs.catalogue import shipped_folder
from harness.specs.columns import columns_of, hyperparameters
from harness.specs.published import Check, LoneChange
from harness.specs.validation import validate

OGBENCH = "https://rail.eecs.berkeley.edu/datasets/ogbench"

# (row, column) of averages that the printed cells do not give within 0.1; the audit finds them
INCONSISTENT = {
    ("mujoco", "td3_bc"): 69.05,
    ("mujoco", "wpc"): 77.92,
    ("maze2d", "iql"): 29.20,
    ("adroit", "wpc"): 27.68,
    ("total", "td3_bc"): 56.91,
    ("total", "iql"): 61.33,
    ("total", "wpc"): 63.87,
}


@pytest.fixture(scope="module")
def specs():
    return Specs()


@pytest.fixture(scope="module")
def table(specs):
    return specs.table("aspc-table1")


@pytest.fixture(scope="module")
def cells(specs, table):
    return specs.published(table)


def test_everything_is_valid(specs):
    assert validate(specs) == []


def test_counts(specs, table, cells):
    d4rl = [name for name in specs.ids("datasets") if specs.dataset(name).d4rl]
    assert len(d4rl) == len(table.datasets) == 39
    assert [len(group.datasets) for group in table.groups] == [18, 3, 6, 12]
    assert [column.label for column in table.columns] == ["TD3+BC*", "A2PR", "IQL", "wPC*", "ReBRAC", "ASPC"]
    assert Counter(row in table.datasets for row, _ in cells) == {True: 234, False: 30}
    assert Counter(cell.source for (row, _), cell in cells.items() if row in table.datasets) == {
        "own": 4 * 39,
        "copied": 2 * 39,
    }


@pytest.mark.parametrize(
    ("row", "column", "mean", "std", "n"),
    [
        ("halfcheetah-random-v2", "td3_bc", 10.6, 0.7, 4),
        ("halfcheetah-medium-v2", "aspc", 58.7, 0.4, 4),
        ("hopper-expert-v2", "rebrac", 100.1, 8.3, 10),
        ("walker2d-medium-v2", "td3_bc", 62.0, 3.0, 4),
        ("maze2d-umaze-v1", "iql", -8.9, 6.1, 4),
        ("maze2d-medium-v1", "td3_bc", 63.3, 63.3, 4),
        ("hammer-expert-v1", "iql", 129.6, 71.5, 10),
        ("relocate-expert-v1", "aspc", 111.2, 2.4, 4),
        ("maze2d", "a2pr", 123.53, None, 4),
        ("adroit", "a2pr", 4.65, None, 4),
        ("total", "aspc", 77.9, None, 4),
        ("total", "td3_bc", 57.7, None, 4),
    ],
)
def test_literals(cells, row, column, mean, std, n):
    cell = cells[row, column]
    assert (cell.mean, cell.std, cell.n) == (mean, std, n)


def test_conventions(table, cells):
    for (row, column), cell in cells.items():
        if row in table.datasets:
            # CORL takes ddof 0; its Maze2d cells are copied, with IQL's on umaze being its CQL
            corl = cell.sample == "corl-offline" or cell.check == Check.OTHER
            assert cell.ddof == (0 if column == "a2pr" or corl else 1)
            assert cell.source == ("copied" if column in ("iql", "rebrac") else "own")
            assert ("inferred" in cell.note) == (column == "a2pr")
            unknown = cell.check in (Check.DIFFERENT, Check.NO_SOURCE)
            assert ("defaults" in cell.note) == (cell.source == "copied" and unknown)


def test_what_public_scores_say_of_copied_cells(cells):
    """As `harness sources check aspc-table1 --recorded` finds with the sources' files at hand."""
    counts = {
        column: Counter(str(cell.check) for cell in cells.values() if cell.column == column and cell.check)
        for column in ("iql", "rebrac")
    }
    assert counts == {
        "iql": {"DERIVED": 37, "OTHER CELL": 1, "MEAN ONLY": 1},
        "rebrac": {"DERIVED": 24, "MEAN ONLY": 4, "DIFFERENT": 10, "NO SOURCE": 1},
    }
    assert {(cell.sample, cell.n, cell.ddof, cell.rounding) for cell in cells.values() if cell.sample} == {
        ("rebrac-2023", 10, 1, "cut off"),
        ("corl-offline", 4, 0, "cut off"),
    }


def test_averages_agree_with_the_cells_except_where_the_paper_errs(table, cells):
    wrong = {}
    for column in (column.id for column in table.columns):
        for row, datasets in [
            *((group.id, group.datasets) for group in table.groups),
            ("total", table.datasets),
        ]:
            computed = fmean(cells[dataset, column].mean for dataset in datasets)
            if abs(computed - cells[row, column].mean) > 0.1:
                wrong[row, column] = computed
    assert wrong == pytest.approx(INCONSISTENT, abs=0.006)


# D4RL, d4rl/infos.py @ 89141a6
@pytest.mark.parametrize(
    ("dataset", "minimum", "maximum", "file"),
    [
        ("hopper-full-replay-v2", -20.272305, 3234.3, "gym_mujoco_v2/hopper_full_replay-v2.hdf5"),
        ("halfcheetah-medium-v2", -280.178953, 12135.0, "gym_mujoco_v2/halfcheetah_medium-v2.hdf5"),
        ("walker2d-medium-expert-v2", 1.629008, 4592.3, "gym_mujoco_v2/walker2d_medium_expert-v2.hdf5"),
        ("maze2d-umaze-v1", 23.85, 161.86, "maze2d/maze2d-umaze-sparse-v1.hdf5"),
        ("maze2d-medium-v1", 13.13, 277.39, "maze2d/maze2d-medium-sparse-v1.hdf5"),
        ("maze2d-large-v1", 6.7, 273.99, "maze2d/maze2d-large-sparse-v1.hdf5"),
        (
            "antmaze-medium-play-v2",
            0.0,
            1.0,
            "ant_maze_v2/Ant_maze_big-maze_noisy_multistart_True_multigoal_False_sparse_fixed.hdf5",
        ),
        ("pen-human-v1", 96.262799, 3076.8331017826877, "hand_dapg_v1/pen-human-v1.hdf5"),
        ("hammer-cloned-v1", -274.856578, 12794.134825156867, "hand_dapg_v1/hammer-cloned-v1.hdf5"),
        ("door-expert-v1", -56.512833, 2880.5693087298737, "hand_dapg_v1/door-expert-v1.hdf5"),
        ("relocate-human-v1", -6.425911, 4233.877797728884, "hand_dapg_v1/relocate-human-v1.hdf5"),
    ],
)
def test_reference_scores_and_files(specs, dataset, minimum, maximum, file):
    spec = specs.dataset(dataset)
    assert (spec.reference.minimum, spec.reference.maximum) == (minimum, maximum)
    assert spec.d4rl.url == (f"http://rail.eecs.berkeley.edu/datasets/offline_rl/{file}",)


def test_sizes_environments_and_sources(specs):
    datasets = {name: specs.dataset(name) for name in specs.ids("datasets") if specs.dataset(name).d4rl}
    sizes = {
        "halfcheetah": (17, 6),
        "hopper": (11, 3),
        "walker2d": (17, 6),
        "maze2d": (4, 2),
        "antmaze": (29, 8),
        "pen": (45, 24),
        "hammer": (46, 26),
        "door": (39, 28),
        "relocate": (39, 30),
    }
    for name, spec in datasets.items():
        assert (spec.observation_size, spec.action_size) == sizes[name.split("-")[0]]
        assert spec.environment.comparable == (spec.domain == "mujoco")
    environments = {(spec.environment.id, spec.environment.max_episode_steps) for spec in datasets.values()}
    assert environments == {
        ("Hopper-v4", 1000),
        ("HalfCheetah-v4", 1000),
        ("Walker2d-v4", 1000),
        ("harness/maze2d-umaze", 300),
        ("harness/maze2d-medium", 600),
        ("harness/maze2d-large", 800),
        ("harness/antmaze-umaze", 700),
        ("harness/antmaze-medium", 1000),
        ("harness/antmaze-large", 1000),
        ("harness/adroit-pen", 100),
        ("harness/adroit-door", 200),
        ("harness/adroit-hammer", 200),
        ("harness/adroit-relocate", 200),
    }
    urls = [spec.d4rl.url for spec in datasets.values()]
    hashes = [spec.d4rl.sha256 for spec in datasets.values() if spec.d4rl.sha256]
    assert len(set(urls)) == 39
    assert len(set(hashes)) == len(hashes) == 33
    minari = {name: spec.minari.id for name, spec in datasets.items() if spec.minari}
    assert len(minari) == len(set(minari.values())) == 6 + 12
    assert minari["hopper-medium-v2"] == "mujoco/hopper/medium-v0"
    generated = {
        name: (spec.generated.recipe, spec.generated.transitions)
        for name, spec in datasets.items()
        if spec.generated
    }
    ladder = {}
    for name in ("halfcheetah", "hopper", "walker2d"):
        medium = card(shipped_folder() / "policies" / f"{name}-medium.safetensors")
        ladder |= {
            f"{name}-random-v2": ("random-policy", 1_000_000),
            f"{name}-medium-v2": ("policy-rollout", 1_000_000),
            f"{name}-expert-v2": ("policy-rollout", 1_000_000),
            f"{name}-medium-expert-v2": ("stitched", 2_000_000),
            f"{name}-medium-replay-v2": ("sac-replay", medium.steps + 1000),
            f"{name}-full-replay-v2": ("sac-replay", 1_000_000),
        }
    assert generated == ladder | {
        "maze2d-umaze-v1": ("maze2d-waypoints", 1_000_000),
        "maze2d-medium-v1": ("maze2d-waypoints", 2_000_000),
        "maze2d-large-v1": ("maze2d-waypoints", 4_000_000),
        **{name: ("random-policy", 1_000_000) for name in datasets if name.startswith("antmaze")},
    }


def test_ogbench_has_two_mazes_of_five_tasks_each_with_its_environments_goal(specs):
    found = [data for data in map(specs.dataset, specs.ids("datasets")) if data.ogbench]
    assert [(data.id, data.environment.id) for data in found] == [
        (
            f"antmaze-{size}-navigate-singletask-task{task}-v0",
            f"harness/ogbench-antmaze-{size}-task{task}",
        )
        for size in ("giant", "large")
        for task in range(1, 6)
    ]
    for data in found:
        size, task = data.environment.id.removeprefix("harness/ogbench-antmaze-").split("-task")
        assert list(data.goal_task.goal) == position(TASKS[size][int(task) - 1][1]).tolist()
        assert data.ogbench.url == (f"{OGBENCH}/antmaze-{size}-navigate-v0.npz",)
        figures = {"large": (1_001_000, 1000), "giant": (1_000_500, 500)}[size]
        assert (data.ogbench.rows, data.ogbench.episodes) == figures
        assert (data.observation_size, data.action_size, data.domain) == (29, 8, "ogbench-antmaze")
        assert (data.environment.max_episode_steps, data.environment.scored_by_success) == (1000, True)
        made = data.generated
        assert (made.recipe, made.transitions) == ("ant-navigate", figures[0])
        expert = card(shipped_folder() / "policies" / "ogbench-ant-expert.safetensors")
        assert [(policy.id, policy.sha256) for policy in made.policies] == [(expert.id, expert.sha256)]
        assert expert.environment.id == "harness/ogbench-ant"


def test_what_an_algorithm_has_for_d4rls_antmaze_it_has_not_for_ogbenchs(specs):
    """Their names begin alike, but OGBench's rewards are -1 and 0 as they come."""
    of_ogbench = {name: specs.dataset(name).ogbench is not None for name in specs.ids("datasets")}
    for algorithm in map(specs.algorithm, specs.ids("algorithms")):
        for pattern in algorithm.per_dataset:
            reached = {of for name, of in of_ogbench.items() if fnmatchcase(name, pattern)}
            assert len(reached) == 1, (algorithm.id, pattern)


def test_algorithms(specs):
    values = {
        name: {key: value.value for key, value in specs.algorithm(name).hyperparameters.items()}
        for name in specs.ids("algorithms")
    }
    assert set(values) >= {"aspc", "bc", "td3_bc"}
    shared = (values["td3_bc"].keys() & values["aspc"].keys()) - {"critic"}
    assert len(shared) >= 11
    assert {key: values["aspc"][key] for key in shared} == {key: values["td3_bc"][key] for key in shared}
    assert (values["td3_bc"]["critic"], values["aspc"]["critic"]) == ("vanilla", "robust")
    assert (values["td3_bc"]["alpha"], values["aspc"]["initial_alpha"]) == (2.5, 2.5)
    assert (values["td3_bc"]["alpha_schedule"], values["td3_bc"]["final_alpha"]) == ("constant", 2.5)
    assert (
        values["aspc"].items()
        >= {
            "alpha_interval": 10,
            "alpha_learning_rate": 2e-3,
            "alpha_learning_rate_final": 0.01,
            "alpha_decay_steps": 1_000_000,
            "ema": 0.995,
            "loss": "L1+L2+L3",
            "l3_variant": 4,
            "reward_centering": False,
        }.items()
    )
    assert (
        values["bc"].items()
        >= {
            "learning_rate": 3e-4,
            "batch_size": 256,
            "actor_hidden_sizes": "256-256",
            "normalize_observations": True,
            "observation_epsilon": 1e-3,
        }.items()
    )
    assert all(type(value) in (bool, int, float, str) for spec in values.values() for value in spec.values())


def test_protocol_and_preset(specs, table):
    protocol = specs.protocol(table.protocol)
    assert (protocol.steps, protocol.evaluate_every, protocol.episodes) == (1_000_000, 5000, 10)
    assert (protocol.seeds, protocol.score) == ((0, 1, 2, 3), "last")
    smoke = specs.preset("smoke")
    assert smoke.datasets == ("maze2d-umaze-v1", "hopper-random-v2")
    assert all(specs.dataset(name).source(smoke.lineage) for name in smoke.datasets)
    assert [column.algorithm for column in smoke.extra_columns] == ["bc"]
    reduced = specs.preset("reduced")
    assert (reduced.datasets, reduced.columns, reduced.seeds) == (smoke.datasets, None, (0, 1))
    assert (reduced.steps, reduced.transitions, reduced.database) == (2000, 20000, "reduced.db")


def test_lite_is_what_two_cores_can_carry(specs):
    lite = resolve(specs, "aspc-table1", Choice(preset="lite"))
    assert {cell.column.id for cell in lite.cells} == {"td3_bc", "aspc"}
    assert {cell.dataset.id for cell in lite.cells} == {
        *(f"{name}-medium-v2" for name in ("halfcheetah", "hopper", "walker2d")),
        *(f"{name}-medium-expert-v2" for name in ("halfcheetah", "hopper", "walker2d")),
        "maze2d-umaze-v1",
    }
    [protocol] = lite.protocols
    assert (protocol.steps, protocol.seeds, lite.lineage) == (100_000, (0, 1), "generated")
    for cell in lite.cells:
        assert {"generated data", "lite protocol"} <= set(cell.incomparable)


def test_footnotes_say_what_the_audit_cannot(table):
    notes = " ".join(footnote.text for footnote in table.footnotes)
    for what in ("stars", "Tarasov", "CORL", "Walker2d cells", "collapsed seeds"):
        assert what in notes
    assert not re.search(r"seed text|transcri", notes)
    # what our copy of a paper lacks is no fact about the paper
    root = Path(__file__).parents[2]
    for path in [
        *(root / "specs").rglob("*.yaml"),
        *(root / "specs").rglob("*.csv"),
        *(root / "algorithms").glob("*.py"),
    ]:
        text = " ".join(path.read_text(encoding="utf-8").split())
        assert not re.search(r"legible|\bat hand\b", text), path


FIGURES = {
    "aspc-fig5": ("alpha_interval", [1, 5, 10, 20, 30] * 3),
    "aspc-fig6": ("critic", ["vanilla", "robust", "vanilla", "robust", "robust", "robust", "robust"]),
    "aspc-fig11": ("initial_alpha", [0.5, 1.0, 2.5, 5.0, 10.0]),
    "aspc-fig12": ("alpha_learning_rate", [2e-4, 5e-4, 2e-3, 5e-3, 2e-2]),
}


@pytest.mark.parametrize("name", FIGURES)
def test_figures_are_tables_almost_without_printed_numbers(specs, table, name):
    spec = specs.table(name)
    printed = specs.published(spec) or {}
    known = {("total", "aspc_k5"): 78.0, ("total", "aspc_k30"): 75.5} if name == "aspc-fig5" else {}
    assert {place: cell.mean for place, cell in printed.items()} == known
    assert spec.datasets == table.datasets
    hyperparameter, values = FIGURES[name]
    found = [
        hyperparameters(specs, written, "hopper-medium-v2")[hyperparameter].value
        for written in columns_of(spec).values()
        if specs.has_algorithm(written.column.algorithm)
    ]
    assert found == values[: len(found)]
    footnotes = " ".join(footnote.text for footnote in spec.footnotes)
    assert "not printed" in footnotes
    assert ("chosen here" in footnotes) == (name != "aspc-fig6")


def test_every_starred_column_has_the_robust_critic(specs):
    """The paper's stars: baselines that its authors trained with ASPC's critic."""
    cells = resolve(specs, "aspc-table1").cells
    for cell in cells:
        if cell.column.label.endswith("*") or cell.column.id == "aspc":
            assert cell.runs[0].hyperparameters["critic"] == "robust", cell.column.id
    assert {cell.column.id for cell in cells if cell.column.label.endswith("*")} == {"td3_bc", "wpc"}


def test_equal_configurations_of_the_tables_are_trained_once(specs):
    """ASPC as in Table 1 is a column of all of them."""
    keys = set()
    for name in ("aspc-table1", "aspc-table2", "aspc-table13", *FIGURES):
        [cell] = resolve(specs, name, Choice(datasets=("hopper-medium-v2",), algorithms=("aspc",))).cells
        keys.add(cell.runs[0].key)
    assert len(keys) == 1


def test_table_2_reads_alpha_from_our_own_runs(specs):
    cells = {
        cell.column.id: cell
        for cell in resolve(specs, "aspc-table2", Choice(datasets=("pen-human-v1",))).cells
    }
    assert cells["converged"].metrics.keys() == {"alpha"}
    assert cells["linear"].metrics.keys() == {"final_alpha"}
    for column in ("converged", "linear"):
        [source] = cells[column].metrics.values()
        assert source.cell.runs == cells["aspc"].runs
        assert cells[column].runs[0].configuration["hyperparameters"]["critic"] == "robust"


PRINTED = {"aspc-table2": (0, 20, 15), "aspc-table3": (54, 6, 28), "aspc-table13": (0, 25, 20)}


@pytest.mark.parametrize("name", PRINTED)
def test_the_other_tables_of_the_paper(specs, name):
    spec = specs.table(name)
    printed = specs.published(spec)
    cells = [cell for (row, _), cell in printed.items() if row in spec.datasets]
    changes = [cell for cell in printed.values() if cell.change]
    assert (len(cells), len(printed) - len(cells), len(changes)) == PRINTED[name]
    assert (spec.published.rows == "averages") == (not cells)
    assert {cell.decimals for cell in printed.values()} == {1}
    assert {cell.std for cell in printed.values()} == {None}


def test_where_the_numbers_of_table_3_come_from(specs):
    """Its IQL is Table 1's, cell by cell; the paper does not say so of the other two baselines."""
    first, third = (specs.published(specs.table(name)) for name in ("aspc-table1", "aspc-table3"))
    for row in specs.table("aspc-table3").datasets:
        assert third[row, "iql"].mean == first[row, "iql"].mean
    assert {(column, cell.source) for (_, column), cell in third.items()} == {
        ("iql", "copied"),
        ("cql", "unknown"),
        ("diffusion_ql", "copied"),
        ("iql_aspc", "own"),
        ("cql_aspc", "own"),
        ("diffusion_ql_aspc", "own"),
    }


def test_table_4_has_the_fql_papers_numbers_and_changes_alone(specs):
    table = specs.table("aspc-table4")
    printed, listing = specs.published(table), specs.listing(table)
    assert {column: cell.source for (_, column), cell in printed.items()} == dict.fromkeys(
        ("iql", "rebrac", "fql"), "copied"
    )
    assert {cell.n for cell in printed.values()} == {8}
    # the means of the ten rows, as summed up by hand
    for column, mean in {"iql": 28.7, "rebrac": 53.5, "fql": 43.6}.items():
        assert fmean(cell.mean for (_, name), cell in printed.items() if name == column) == pytest.approx(
            mean
        )
    changes = [cell.change for cell in listing.values() if isinstance(cell, LoneChange)]
    assert changes == ["5.0", "10.5", "5.4", "12.5", "3.6", "50.0", "188.9", "0.0", "135.7", "206.3", "13.5"]
    # each leads to whole points, which tells that the paper's FQL is that of the FQL paper
    for row, change in zip(table.datasets, changes, strict=False):
        points = printed[row, "fql"].mean * float(change) / 100
        assert abs(points - round(points)) < 0.03
    for name in ("td3_bc", "aspc", "fql_aspc"):
        assert all(listing[row, name] is None or name == "fql_aspc" for row in table.datasets)


def test_both_score_rules_of_diffusion_ql_are_the_same_runs(specs):
    cells = resolve(specs, "aspc-table3", Choice(datasets=("hopper-medium-v2",))).cells
    by_column = {cell.column.id: cell for cell in cells}
    for name, other, rules in (
        ("diffusion_ql", "diffusion_ql_last", ("best", "last")),
        ("diffusion_ql_aspc", "diffusion_ql_aspc_best", ("last", "best")),
    ):
        one, two = by_column[name], by_column[other]
        assert (one.protocol.score, two.protocol.score) == rules
        assert one.runs == two.runs
        assert one.protocol.steps == 2_000_000


@pytest.mark.parametrize(("name", "eta", "clip_norm"), [("human", 0.15, 7.0), ("cloned", 0.1, 8.0)])
@pytest.mark.parametrize(
    ("algorithm", "weight"), [("diffusion_ql", "eta"), ("diffusion_ql_aspc", "initial_eta")]
)
def test_diffusion_ql_on_adroit_is_its_authors(specs, algorithm, weight, name, eta, clip_norm):
    [overrides] = [
        each for data, each in specs.algorithm(algorithm).per_dataset.items() if data == f"pen-{name}-v1"
    ]
    values = overrides.hyperparameters
    assert (values[weight], values["clip_norm"], values["actor_learning_rate"]) == (eta, clip_norm, 3e-5)
    assert [str(step) for step in overrides.data or ()] == ["standardise_rewards True"]
    protocol = specs.protocol("diffusion-ql-1m")
    assert (protocol.steps, protocol.evaluate_every, protocol.episodes) == (1_000_000, 50_000, 100)


@pytest.mark.parametrize("name", ["aspc-table3", "aspc-table4", "aspc-fig9", "aspc-fig10"])
def test_the_smoke_preset_trains_every_column_on_generated_data(specs, name):
    found = resolve(specs, name, Choice(preset="smoke"))
    assert {cell.column.id for cell in found.cells} == {column.id for column in specs.table(name).columns}
    for cell in found.cells:
        assert (cell.unavailable, cell.lineage) == (None, "generated"), cell.column.id
        assert (cell.protocol.steps or 0) <= 200


def test_every_figure_over_training_draws_what_its_algorithms_report(specs):
    for name in ("aspc-table1", "aspc-fig10"):
        table = specs.table(name)
        for figure in table.figures:
            assert set(figure.draws) <= {"score", "alpha", "q", "cloning_loss"}


@pytest.mark.parametrize(
    ("name", "row", "column", "mean", "change"),
    [
        ("aspc-table2", "antmaze", "aspc", 74.5, "159.2"),
        ("aspc-table2", "adroit", "converged", 49.1, "1.6"),
        ("aspc-table2", "total", "naive", 57.0, ""),
        ("aspc-table3", "hopper-medium-replay-v2", "iql_aspc", 88.3, "1.4"),
        ("aspc-table3", "walker2d-medium-v2", "diffusion_ql", 87.0, ""),
        ("aspc-table3", "mujoco", "iql_aspc", 79.0, "2.5"),
        ("aspc-table13", "total", "variant3", 77.7, "-0.2"),
        ("aspc-table13", "maze2d", "variant5", 149.2, "1.4"),
    ],
)
def test_literals_of_the_other_tables(specs, name, row, column, mean, change):
    cell = specs.published(specs.table(name))[row, column]
    assert (cell.mean, cell.change) == (mean, change)
