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
    assert left <= {"cql_sa_untrusting"}  # two datasets' own
    if name == "ssar-online" and preset != "quick":
        assert [column.id for column in found.table.columns] == list(ONLINE)


def test_what_is_frozen_and_annealed_online():
    cells = {(cell.dataset.id, cell.column.id): cell for cell in resolve(Specs(), "ssar-online").cells}

    def of(dataset, column, *names):
        values = cells[dataset, column].runs[0].configuration["hyperparameters"]
        return tuple(values.get(name) for name in names)

    names = ("coefficient", "annealing", "policy_frequency")
    assert of("hopper-medium-v2", "td3_bc_sa", *names) == ("frozen", "linear", 2)
    assert of("antmaze-umaze-v2", "td3_bc_sa", *names) == ("frozen", "linear", 2)
    assert of("antmaze-medium-play-v2", "td3_bc_sa", *names) == ("frozen", None, 30)
    assert of("antmaze-medium-diverse-v2", "td3_bc_sa", *names) == ("frozen", None, 20)
    assert of("antmaze-large-play-v2", "td3_bc_sa", *names) == ("frozen", None, 100)
    assert of("antmaze-large-diverse-v2", "cql_sa", *names[:2]) == ("frozen", "cosine")
    assert of("antmaze-large-play-v2", "spot", "discount") == (0.995,)
    assert of("antmaze-umaze-v2", "spot", "discount") == (0.99,)
    kept = {column: cells["hopper-medium-v2", column].protocol.gather for column in ONLINE}
    assert {column: gather.warmup for column, gather in kept.items() if gather.warmup} == {
        "td3_bc_sa": 5000,
        "cql_sa": 5000,
    }
    assert kept["td3_bc_sa"].keep.best_trajectories == kept["cql_sa"].keep.best_trajectories == 50
    assert {cells["antmaze-umaze-v2", column].protocol.gather.keep for column in ONLINE} == {"all"}
