"""What SSAR's tables train, and which runs they share."""

from collections import Counter

import pytest

from harness.planning.cells import resolve
from harness.planning.choice import Choice
from harness.specs import Specs

TABLES = ("ssar-offline", "ssar-online", "ssar-parts", "ssar-controls", "ssar-same-buffer")
OFFLINE = ("td3_bc", "td3_bc_sa", "cql", "cql_sa")
ONLINE = ("iql", "spot", "fam_cql", "cql", "td3_bc", "td3_bc_sa", "cql_sa")


@pytest.fixture(scope="module")
def runs():
    """Table -> key -> (table, column) of every run that it trains, those that others read included."""
    specs = Specs()
    return {
        name: {
            run.key: (cell.table, cell.column.id)
            for cell in resolve(specs, name).with_below
            if cell.unavailable is None
            for run in cell.runs
        }
        for name in TABLES
    }


def test_the_offline_table_trains_five_seeds_of_all_and_the_selector_once_for_both(runs):
    assert Counter(runs["ssar-offline"].values()) == {
        **{("ssar-offline", column): 18 * 5 for column in OFFLINE},
        ("ssar-parts", "iql_selector"): 6 * 5,
    }


def test_the_online_table_trains_four_seeds_on_antmaze_and_begins_where_the_offline_ones_end(runs):
    each = 12 * 5 + 6 * 4
    assert Counter(runs["ssar-online"].values()) == {
        **{("ssar-online", column): each for column in ONLINE if column != "fam_cql"},
        ("ssar-online", "fam_cql"): 12 * 5,
        **{("ssar-offline", column): each for column in OFFLINE},
        **{("ssar-parts", column): each for column in ("iql", "spot", "cvae")},
        ("ssar-parts", "fam_cql"): 12 * 5,
        ("ssar-parts", "iql_selector"): 6 * 5,
    }


def test_tables_share_runs(runs):
    offline, online, parts, controls, same = (runs[name].keys() for name in TABLES)
    assert len(online & offline) == len(OFFLINE) * (12 * 5 + 6 * 4) + 30
    assert {runs["ssar-online"][key] for key in online & parts} == {
        ("ssar-parts", column) for column in ("iql", "spot", "cvae", "fam_cql", "iql_selector")
    }
    assert Counter(runs["ssar-controls"][key][1] for key in controls & offline) == {"td3_bc": 90, "cql": 90}
    # the SA columns keep the 50 best trajectories in both
    shared = Counter(runs["ssar-same-buffer"][key] for key in same & online)
    assert {name: shared["ssar-same-buffer", name] for name in ONLINE} == {
        **dict.fromkeys(ONLINE, 0),
        "td3_bc_sa": 60,
        "cql_sa": 60,
    }


@pytest.mark.parametrize("preset", ["smoke", "reduced", "quick"])
@pytest.mark.parametrize("name", TABLES)
def test_the_presets_train_generated_data(name, preset):
    found = resolve(Specs(), name, Choice(preset=preset))
    assert found.lineage == "generated"
    left = {cell.column.id for cell in found.with_below if cell.unavailable}
    # of other datasets alone
    untrusting = {"cql_sa_untrusting", "cql_sa_untrusting_online"}
    assert left <= untrusting | {"cql_5_5", "cql_5_5_online"}
    if name == "ssar-online" and preset != "quick":
        assert [column.id for column in found.table.columns] == list(ONLINE)


# Of TD3+BC(SA): what is trusted (a number: trajectories of a larger return), n at the start and at the end,
# whether the regulariser is masked; online, critic updates per policy update and the annealing.
# Of CQL(SA): the first four.
SETTINGS = {
    "halfcheetah-medium-v2": ((5200, 1, 3, True, 2, "linear"), ("top", 1, 3, True)),
    "hopper-medium-v2": ((1800, 1, 3, True, 2, "linear"), (2500, 1, 3, True)),
    "walker2d-medium-v2": ((2500, 1, 3, True, 2, "linear"), (3600, 1, 3, True)),
    "halfcheetah-medium-replay-v2": (("selector", 1, 3, True, 2, "linear"), ("top", 1, 3, True)),
    "hopper-medium-replay-v2": (("selector", 1, 3, True, 2, "linear"), ("selector", 1, 3, True)),
    "walker2d-medium-replay-v2": (("selector", 1, 3, True, 2, "linear"), ("selector", 1, 3, True)),
    "halfcheetah-medium-expert-v2": (("selector", 1, 1.5, False, 2, "linear"), (11000, 1, 3, True)),
    "hopper-medium-expert-v2": (("selector", 1, 1.5, True, 2, "linear"), ("selector", 1, 1.5, True)),
    "walker2d-medium-expert-v2": (("selector", 1, 1.5, True, 2, "linear"), ("selector", 1, 3, True)),
    "halfcheetah-expert-v2": ((10500, 1, 1.5, True, 2, "linear"), (11000, 1, 3, True)),
    "hopper-expert-v2": ((3500, 1, 1.5, True, 2, "linear"), (3500, 1, 1.5, True)),
    "walker2d-expert-v2": ((4500, 1, 1.5, True, 2, "linear"), (4800, 1, 3, True)),
    "antmaze-umaze-v2": (("success", 1, 5, False, 2, "linear"), ("success", 1, 5, False)),
    "antmaze-umaze-diverse-v2": (("success", 1, 3, False, 2, "linear"), ("success", 1, 3, False)),
    "antmaze-medium-play-v2": (("success", 5, 5, False, 30, None), ("success", 5, 5, False)),
    "antmaze-medium-diverse-v2": (("success", 5, 5, False, 20, None), ("success", 5, 5, False)),
    "antmaze-large-play-v2": (("success", 5, 5, False, 100, None), ("success", 5, 5, False)),
    "antmaze-large-diverse-v2": (("success", 5, 5, False, 100, None), ("success", 5, 5, False)),
}


def cells_of(name):
    return {(cell.dataset.id, cell.column.id): cell for cell in resolve(Specs(), name).cells}


@pytest.mark.parametrize("name", ["ssar-offline", "ssar-online"])
def test_the_settings_of_each_dataset(name):
    found, online = {}, name == "ssar-online"
    for (dataset, column), cell in cells_of(name).items():
        if column not in ("td3_bc_sa", "cql_sa"):
            continue
        configuration = cell.runs[0].configuration
        values = configuration["hyperparameters"]
        [trust] = [step["trust"] for step in configuration["data"] if "trust" in step]
        trusted = trust.get("above") or ("top" if trust.get("top") == 0.1 else trust["by"])
        assert ("selector" in configuration.get("inputs", {})) == (trusted == "selector")
        names = ("threshold_start", "threshold_end", "mask_regulariser")
        got = (trusted, *(values[each] for each in names))
        if column == "td3_bc_sa":
            got += (values["policy_frequency"], values.get("annealing"))
            assert values["initial_coefficient"] == 0.4
        else:
            maze = dataset.startswith("antmaze")
            assert (values["initial_coefficient"], values["lagrange"]) == ((5, True) if maze else (10, False))
            assert values["normalize_rewards"] is False  # also on hopper-medium, where CQL does
            assert values.get("annealing") == ("cosine" if online else None)
        assert values.get("coefficient") == ("frozen" if online else None)
        found.setdefault(dataset, {})[column] = got
    offline = {"policy_frequency": 2, "annealing": None}.values()
    assert found == {
        dataset: {"td3_bc_sa": td3 if online else (*td3[:4], *offline), "cql_sa": cql}
        for dataset, (td3, cql) in SETTINGS.items()
    }


def test_the_protocols_of_baselines_are_those_of_their_code():
    offline, online, parts = map(cells_of, ("ssar-offline", "ssar-online", "ssar-parts"))

    def of(cells, column, dataset="antmaze-umaze-v2"):
        protocol = cells[dataset, column].protocol
        return protocol.length, protocol.evaluate_every, protocol.episodes

    assert of(offline, "td3_bc") == (1_000_000, 5_000, 100)
    assert of(offline, "cql") == of(parts, "iql") == of(parts, "spot") == (1_000_000, 50_000, 100)
    assert of(offline, "td3_bc_sa") == of(offline, "cql_sa") == (2_000_000, 50_000, 100)
    assert of(parts, "fam_cql", "hopper-medium-v2") == (2_000_000, 5_000, 10)
    assert {of(online, column) for column in ONLINE if column != "fam_cql"} == {(250_000, 50_000, 100)}
    assert {of(online, column, "hopper-medium-v2") for column in ONLINE} == {(250_000, 5_000, 10)}


def test_the_controls_fine_tune_cql_with_corls_networks_too(runs):
    trained = Counter(column for _, column in runs["ssar-controls"].values())
    assert (trained["cql_5_5"], trained["cql_5_5_online"]) == (6 * 5, 6 * 4)
    cells = cells_of("ssar-controls")
    deep = "-".join(["256"] * 5)
    for column in ("cql_5_5", "cql_5_5_online"):
        values = cells["antmaze-large-play-v2", column].runs[0].configuration["hyperparameters"]
        assert values["critic_hidden_sizes"] == values["second_critic_hidden_sizes"] == deep
        assert values["initialisation"] == "orthogonal"


def test_the_controls_go_online_as_the_authors_code_does_where_nothing_is_trusted(runs):
    assert (
        Counter(column for _, column in runs["ssar-controls"].values())["cql_sa_untrusting_online"] == 2 * 5
    )
    cell = cells_of("ssar-controls")["halfcheetah-medium-replay-v2", "cql_sa_untrusting_online"]
    assert cell.protocol.gather.reproduce_defects
    assert cell.protocol.evaluations()[0] == 10_000
    assert {"trust": {"by": "return", "above": 6000, "allow_empty": True}} in cell.runs[0].configuration[
        "data"
    ]


def test_how_each_column_gathers():
    cells = cells_of("ssar-online")
    for dataset in ("hopper-medium-v2", "antmaze-umaze-v2"):
        gathers = {column: cells[dataset, column].protocol.gather for column in ONLINE}
        warm = {column: gather.warmup for column, gather in gathers.items() if gather.warmup}
        assert warm == {"td3_bc_sa": 5000, "cql_sa": 5000}
        for column, gather in gathers.items():
            noise = column in ("spot", "td3_bc")
            explore = "deterministic" if column == "td3_bc_sa" else "sample"
            assert gather.explore.noise == 0.1 if noise else gather.explore == explore
            assert gather.overlap is False
    kept = {column: cells["hopper-medium-v2", column].protocol.gather for column in ONLINE}
    assert kept["td3_bc_sa"].keep.best_trajectories == kept["cql_sa"].keep.best_trajectories == 50
    assert {gather.keep for column, gather in kept.items() if "sa" not in column} == {"all"}
    assert (kept["fam_cql"].every, kept["fam_cql"].capacity) == (1000, 2_000_000)
    mazes = {column: cells["antmaze-umaze-v2", column].protocol.gather for column in ONLINE}
    assert {gather.keep for gather in mazes.values()} == {"all"}
    assert {column: g.capacity for column, g in mazes.items() if g.capacity and column != "fam_cql"} == {
        "td3_bc_sa": 1_000_000
    }


def test_what_changes_online():
    cells = cells_of("ssar-online")

    def of(dataset, column, *names):
        values = cells[dataset, column].runs[0].configuration["hyperparameters"]
        return tuple(values.get(name) for name in names)

    assert of("antmaze-large-play-v2", "spot", "discount", "lambda_floor") == (0.995, 0.2)
    assert of("antmaze-umaze-v2", "spot", "discount", "lambda_floor") == (0.99, 0.2)
    assert of("hopper-medium-v2", "fam_cql", "balance") == ("model",)
    # CORL's, deterministic and with scaled rewards on two datasets
    names = ("beta", "expectile", "policy", "soft_update", "normalize_rewards")
    assert of("hopper-medium-replay-v2", "iql", *names) == (3, 0.7, "deterministic", 0.001, True)
    assert of("hopper-medium-expert-v2", "iql", *names) == (6, 0.5, "gaussian", 0.005, False)
    assert of("antmaze-umaze-v2", "iql", *names) == (10, 0.9, "gaussian", 0.005, False)
    assert of("walker2d-expert-v2", "iql", *names) == (3, 0.7, "gaussian", 0.005, False)
