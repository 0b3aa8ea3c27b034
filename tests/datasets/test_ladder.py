"""Trained policies' data: who acts, D4RL's rules for episodes, and what goes wrong."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from algorithms import Member, Sizes, algorithm_class
from harness import datasets, files
from harness.datasets import cards, generated, inventory, policies, rollouts
from harness.errors import DataError
from harness.execution.ladder import save_policy
from harness.specs import Specs
from harness.specs.models import Environment, GeneratedSource, PolicyFile

HOPPER = Environment(id="Hopper-v4", max_episode_steps=15)
SIZES = (11, 3)


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


@pytest.fixture
def make_policy(home):
    """Writes a policy with random weights to the data folder; returns what a spec says of it."""

    def make(name="toy-medium", seed=0, sizes=SIZES, width=8):
        random = np.random.default_rng(seed)
        shapes = [(sizes[0], width), (width, width), (width, 2 * sizes[1])]
        weights = [random.normal(0, 0.5, shape) for shape in shapes]
        place = home / "policies" / f"{name}.safetensors"
        place.parent.mkdir(parents=True, exist_ok=True)
        biases = [random.normal(0, 0.1, shape[1]) for shape in shapes]
        return PolicyFile(id=name, sha256=policies.write(place, weights, biases))

    return make


@pytest.fixture
def ladder(make_dataset):
    """A spec of hopper with short episodes."""

    def make(*acting, recipe="policy-rollout", transitions=800, seed=0, steps=15, version=1):
        source = GeneratedSource(
            recipe=recipe, version=version, seed=seed, transitions=transitions, policies=acting
        )
        return make_dataset(steps=steps, generated=source)

    return make


def place_of(home, name="toy-medium"):
    return home / "policies" / f"{name}.safetensors"


def rows_of(place):
    with h5py.File(place) as file:
        return {name: np.asarray(file[name]) for name in file}


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


# -- acting ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("own", [{}, {"activation": "gelu_tanh", "log_std_minimum": -0.5}])
def test_actions_are_those_of_torchs_sac(home, tmp_path, own):
    values = {name: h.value for name, h in Specs().algorithm("sac").hyperparameters.items()} | own
    sac = algorithm_class("sac")([Member("k", values)], Sizes(*SIZES))
    with torch.no_grad():  # the first output layer is all but zero
        for parameter in sac.actor.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0))
    place = tmp_path / "p.safetensors"
    save_policy(sac.policy_state(), place, own)
    policy = policies.read(place)
    random = np.random.default_rng(0)
    observations = random.normal(0, 2, (40, 11)).astype(np.float32)
    noise = random.standard_normal((40, 3)).astype(np.float32)
    seen = torch.from_numpy(observations)[None]
    with torch.no_grad():
        drawn, mean = sac.explore(seen, torch.from_numpy(noise)[None])[0], sac.act(seen)[0]
        spread = sac.actor(seen).log_std
    assert own.get("log_std_minimum", -20) <= spread.min() < 0 < spread.median() < 2 == spread.max()
    assert np.abs(drawn.numpy()).min() < 0.5
    np.testing.assert_allclose(policy.act(observations, noise), drawn.numpy(), atol=2e-5)
    np.testing.assert_allclose(policy.act(observations), mean.numpy(), atol=2e-5)
    assert policy.act(observations).dtype == np.float32


def test_the_spread_is_clamped():
    def policy(log_std):
        return policies.Policy("0" * 64, (np.zeros((2, 2)),), (np.array([0.0, log_std]),))

    noise = np.array([[0.1]])
    assert policy(50.0).act(np.zeros((1, 2)), noise)[0, 0] == np.float32(np.tanh(0.1 * np.exp(2)))
    assert policy(-50.0).act(np.zeros((1, 2)), noise)[0, 0] == np.float32(0.1 * np.exp(-20))


# -- D4RL's rows -------------------------------------------------------------------------------------------


def test_rows_are_episodes_as_d4rl_marks_them(ladder, make_policy, home):
    spec = ladder(make_policy())
    rows = rows_of(datasets.build(spec, "generated", home))
    assert {name: len(array) for name, array in rows.items()} == dict.fromkeys(rows, 800)
    assert not (rows["terminals"] & rows["timeouts"]).any()
    ends = np.flatnonzero(rows["terminals"] | rows["timeouts"])
    lengths = np.diff(ends, prepend=-1)
    assert rows["terminals"].any()
    assert (lengths[rows["timeouts"][ends]] == 15).all()
    assert (lengths[rows["terminals"][ends]] < 15).all()
    inside = np.delete(np.arange(799), ends[ends < 799])
    np.testing.assert_array_equal(rows["next_observations"][inside], rows["observations"][inside + 1])
    starts = rows["observations"][ends[:-1] + 1]
    assert np.abs(starts[:, 0] - 1.25).max() <= 0.0051
    assert len(np.unique(starts, axis=0)) == len(starts)
    data = datasets.load(spec, "generated", home)
    assert len(data) == 799 - rows["timeouts"][:-1].sum()


def test_an_episode_that_ends_by_itself_at_the_limit_was_cut(make_policy, home):
    make_policy()
    policy = policies.read(place_of(home))
    with rollouts.Actors(policy, Environment(id="Hopper-v4", max_episode_steps=1000), 8) as actors:
        natural = [len(rows["rewards"]) for rows in actors.roll_out(0, 0)]
    shortest = min(natural)
    with rollouts.Actors(policy, Environment(id="Hopper-v4", max_episode_steps=shortest), 8) as actors:
        episodes = actors.roll_out(0, 0)
    assert not any(rows["terminals"].any() for rows in episodes)
    assert all(rows["timeouts"][-1] and rows["timeouts"].sum() == 1 for rows in episodes)


def test_rows_replay_in_the_environment(make_policy, home):
    """Rewards and next observations are those of the written actions."""
    from harness import environments

    make_policy()
    rows = rollouts.collect(policies.read(place_of(home)), HOPPER, 60, 3)
    env = environments.make(HOPPER)
    env.reset(seed=0)
    for row in range(60):
        seen = rows["observations"][row].astype(float)
        env.reset()
        env.unwrapped.set_state(np.concatenate([[0.0], seen[:5]]), seen[5:])
        after, reward, *_ = env.step(rows["actions"][row])
        np.testing.assert_allclose(after, rows["next_observations"][row], atol=2e-3)
        assert reward == pytest.approx(rows["rewards"][row], abs=2e-3)


def test_the_number_of_processes_does_not_show(make_policy, home):
    make_policy()
    policy = policies.read(place_of(home))
    count = 3 * rollouts.EPISODES * 15  # more than two blocks, since hopper falls
    told = []
    alone = rollouts.collect(policy, HOPPER, count, 0, workers=1)
    shared = rollouts.collect(policy, HOPPER, count, 0, workers=3, progress=told.append)
    assert_same(alone, shared)
    assert told[-1] == count
    fewer = rollouts.collect(policy, HOPPER, 100, 0, workers=1)
    assert_same(fewer, {name: array[:100] for name, array in alone.items()})


def test_seed_and_policy_decide(make_policy, home):
    make_policy()
    make_policy("toy-expert", seed=1)
    medium, expert = (policies.read(place_of(home, f"toy-{level}")) for level in ("medium", "expert"))
    starts = [
        rollouts.collect(policy, HOPPER, 30, seed)["observations"][0]
        for policy, seed in ((medium, 0), (medium, 1), (expert, 0))
    ]
    assert len(np.unique(starts, axis=0)) == 3


def test_stitching_keeps_whole_episodes_of_the_first():
    def rows(ends, count, value):
        flags = np.isin(np.arange(count), ends)
        return {
            "rewards": np.full(count, value),
            "terminals": flags & (np.arange(count) % 2 == 0),
            "timeouts": flags & (np.arange(count) % 2 == 1),
        }

    whole = generated.stitch(rows([2, 5], 9, 1.0), rows([3], 9, 2.0), 100)
    assert whole["rewards"].tolist() == [1.0] * 6 + [2.0] * 9
    assert whole["terminals"][2]
    assert whole["timeouts"][5]
    assert whole["timeouts"][9]
    assert len(generated.stitch(rows([8], 9, 1.0), rows([8], 9, 2.0), 18)["rewards"]) == 18
    assert (
        generated.stitch(rows([2], 9, 1.0), rows([3], 9, 2.0), 5)["rewards"].tolist() == [1.0] * 3 + [2.0] * 2
    )
    assert generated.stitch(rows([], 9, 1.0), rows([], 2, 2.0), 5)["rewards"].tolist() == [1.0, 2.0, 2.0]


def test_medium_expert_is_medium_then_expert(ladder, make_policy, home):
    medium, expert = make_policy(), make_policy("hopper-expert", seed=1)
    both = rows_of(datasets.build(ladder(medium, expert, recipe="stitched", transitions=600), home=home))
    first, second = (
        rows_of(datasets.build(ladder(policy, transitions=300), home=home)) for policy in (medium, expert)
    )
    kept = np.flatnonzero(first["terminals"] | first["timeouts"])[-1] + 1
    assert_same(both, generated.stitch(first, second, 600))
    assert len(both["rewards"]) == kept + 300 < 600
    assert len(datasets.load(ladder(medium, expert, recipe="stitched", transitions=600), "generated", home))


# -- identity ----------------------------------------------------------------------------------------------


def test_other_bytes_of_the_policy_are_another_dataset(ladder, make_policy, home):
    one = ladder(make_policy())
    datasets.build(one, home=home)
    other = ladder(make_policy(seed=1))
    assert datasets.identity(one, "generated") != datasets.identity(other, "generated")
    assert datasets.path(one, "generated", home) != datasets.path(other, "generated", home)
    assert other.generated.policies[0].sha256 in json.dumps(datasets.identity(other, "generated"))


def test_identities_that_had_no_policies_are_as_they_were(make_dataset):
    source = GeneratedSource(recipe="random-policy", version=1, seed=0, transitions=5)
    assert make_dataset(generated=source).identity("generated") == {
        "id": "hopper-medium-v2",
        "lineage": "generated",
        "recipe": "random-policy",
        "version": 1,
        "seed": 0,
        "transitions": 5,
        "environment": "Hopper-v4",
        "max_episode_steps": 1000,
    }


@pytest.mark.parametrize(
    ("recipe", "fields"),
    [
        ("policy-rollout", {}),
        ("stitched", {"policies": [{"id": "a", "sha256": "0" * 64}]}),
        ("random-policy", {"policies": [{"id": "a", "sha256": "0" * 64}]}),
        ("sac-replay", {}),
        ("random-policy", {"hyperparameters_sha256": "0" * 64}),
    ],
)
def test_a_recipe_and_its_fields_belong_together(recipe, fields):
    with pytest.raises(ValueError, match=r"takes \d policies|belongs to the recipe"):
        GeneratedSource.model_validate(
            {"recipe": recipe, "version": 1, "seed": 0, "transitions": 1, **fields}
        )


# -- what goes wrong ---------------------------------------------------------------------------------------


def test_a_missing_policy(ladder, make_policy, home):
    policy = make_policy()
    place_of(home).unlink()
    with pytest.raises(DataError, match=r"the policy toy-medium is missing: looked at .*policies"):
        datasets.build(ladder(policy), home=home)


def test_a_policy_with_other_bytes_than_the_specs(ladder, make_policy, home):
    spec = ladder(make_policy())
    make_policy(seed=1)
    with pytest.raises(DataError, match=r"is another policy than the spec's.*put the original back"):
        datasets.build(spec, home=home)


def test_a_policy_of_ones_own_may_have_a_shipped_ones_name(ladder, make_policy, home):
    name = policies.found(home)[0].stem
    wanted = make_policy(name)
    environment, sizes = ladder(wanted).environment, SIZES
    assert policies.wanted(wanted, home, environment, *sizes).sha256 == wanted.sha256
    place_of(home, name).unlink()
    with pytest.raises(DataError, match="is another policy than the spec's"):
        policies.wanted(wanted, home, environment, *sizes)


def test_a_policy_that_does_not_fit(ladder, make_policy, home):
    with pytest.raises(
        DataError, match=r"does not fit Hopper-v4: it takes 17 numbers and gives 6, .* shows 11 and wants 3"
    ):
        datasets.build(ladder(make_policy(sizes=(17, 6))), home=home)


def test_a_policy_of_another_environment(ladder, make_policy, home):
    """HalfCheetah and Walker2d have the same sizes."""
    policy = make_policy()
    card = shipped_card() | {"sha256": policy.sha256}
    policies.card_path(place_of(home)).write_text(json.dumps(card))
    with pytest.raises(DataError, match="was trained in HalfCheetah-v4, not in Hopper-v4"):
        datasets.build(ladder(policy), home=home)


def shipped_card():
    shipped = policies.folders(Path())[0] / "halfcheetah-expert.json"
    return json.loads(shipped.read_text())


@pytest.mark.parametrize("damage", ["cut", "head", "nothing", "pickle"])
def test_a_damaged_policy(ladder, make_policy, home, damage):
    policy = make_policy()
    place = place_of(home)
    content = place.read_bytes()
    place.write_bytes(
        {
            "cut": content[:-100],
            "head": b"\xff" * 20 + content[20:],
            "nothing": b"",
            "pickle": b"\x80\x04cos\nsystem\n(S'true'\ntR.",
        }[damage]
    )
    with pytest.raises(DataError, match="is damaged or no safetensors file"):
        datasets.build(ladder(policy), home=home)
    assert not any(home.glob("generated/hopper*"))


def test_files_that_are_no_policies(tmp_path):
    from safetensors.numpy import save_file

    place = tmp_path / "p.safetensors"
    for tensors, complaint in (
        ({}, "it holds nothing"),
        ({"a": np.zeros(2, np.float32)}, "it holds a"),
        ({"layers.0.weight": np.zeros((2, 3)), "layers.0.bias": np.zeros(3)}, "layer 0 of shape"),
        ({"layers.0.weight": np.zeros((2, 4)), "layers.0.bias": np.full(4, np.nan)}, "not finite"),
    ):
        save_file(tensors, place)
        with pytest.raises(DataError, match=complaint):
            policies.read(place)


def test_too_little_space_is_said_before_the_work(ladder, make_policy, home, monkeypatch):
    usage = shutil.disk_usage(".")
    monkeypatch.setattr(files.shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(DataError, match="needs 1,133,376 more bytes"):
        datasets.build(ladder(make_policy()), home=home)


@pytest.mark.parametrize("recipe", ["policy-rollout", "sac-replay"])
def test_an_unfinished_build_leaves_nothing(make_dataset, ladder, make_policy, home, monkeypatch, recipe):
    def fail(*arguments, **options):
        raise KeyboardInterrupt

    spec = ladder(make_policy())
    monkeypatch.setattr(rollouts, "collect", fail)
    if recipe == "sac-replay":
        source = GeneratedSource(
            recipe=recipe, version=2, seed=0, transitions=10, hyperparameters_sha256="0" * 64
        )
        spec = make_dataset(generated=source)
    with pytest.raises(KeyboardInterrupt):
        datasets.build(spec, home=home, train=fail if recipe == "sac-replay" else None)
    assert [path.name for path in (home / "generated").iterdir() if path.suffix != ".lock"] == []


def test_a_dataset_that_needs_training_says_so(make_dataset, home):
    source = GeneratedSource(
        recipe="sac-replay", version=2, seed=0, transitions=10, hyperparameters_sha256="0" * 64
    )
    with pytest.raises(DataError, match="needs training: run `harness data build hopper-medium-v2 "):
        datasets.build(make_dataset(generated=source), home=home)


# -- cards -------------------------------------------------------------------------------------------------


def test_the_card_says_what_is_in_the_file(ladder, make_policy, home):
    spec = ladder(make_policy())
    place = datasets.build(spec, home=home)
    rows = rows_of(place)
    card = json.loads(cards.path(place).read_text())
    assert card["content_hash"] == generated.hash_arrays(rows)
    assert card["identity"] == datasets.identity(spec, "generated")
    ends = np.flatnonzero(rows["terminals"] | rows["timeouts"])
    returns = [part.sum() for part in np.split(rows["rewards"].astype(float), ends + 1)[: len(ends)]]
    assert card["episodes"] == {
        "finished": len(ends),
        "terminal": int(rows["terminals"].sum()),
        "cut": int(rows["timeouts"].sum()),
        "rows after the last": 800 - ends[-1] - 1,
    }
    assert card["returns"]["mean"] == pytest.approx(np.mean(returns))
    assert card["returns"]["std"] == pytest.approx(np.std(returns))
    assert card["returns"]["p95"] == pytest.approx(np.percentile(returns, 95))
    assert card["lengths"]["max"] == 15
    assert card["normalised_returns"]["mean"] == pytest.approx(np.mean(returns))  # 0 and 100 in this spec
    assert set(card["made_with"]) >= {"gymnasium", "mujoco", "numpy", "harness"}
    page = cards.path(place).with_suffix(".md").read_text()
    assert page == cards.markdown(card)
    assert f"{card['returns']['mean']:,.1f}" in page
    assert spec.generated.policies[0].sha256 in page


def test_a_card_of_other_content_is_refused_and_a_lost_one_made_anew(ladder, make_policy, home):
    spec = ladder(make_policy())
    path = cards.path(datasets.build(spec, home=home))
    card = json.loads(path.read_text())
    path.write_text(json.dumps(card | {"content_hash": "0" * 64}))
    with pytest.raises(DataError, match=r"describes other content than .*: 0{64}, not"):
        datasets.load(spec, "generated", home)
    path.unlink()
    assert datasets.card(spec, home) == card
    assert json.loads(path.read_text()) == card
    datasets.load(spec, "generated", home)
    path.write_text("{}")
    assert datasets.card(spec, home) == card


@pytest.mark.parametrize(
    "change", [{"returns": {"mean": 1e9}}, {"episodes": None}, {"rows": None}, {"d4rl": 1}]
)
def test_a_card_that_says_otherwise_is_written_anew(ladder, make_policy, home, change):
    """What is printed is of the rows, whatever somebody wrote beside them."""
    spec = ladder(make_policy(), transitions=50)
    path = cards.path(datasets.build(spec, home=home))
    card = json.loads(path.read_text())
    path.write_text(json.dumps(card | change))
    assert datasets.card(spec, home) == card
    assert json.loads(path.read_text()) == card


def test_a_card_where_nothing_can_be_written(ladder, make_policy, home, monkeypatch):
    """It is shown, and data that are there are used: a folder that is only read may hold them."""
    spec = ladder(make_policy(), transitions=50)
    place = datasets.build(spec, home=home)
    path = cards.path(place)
    card = json.loads(path.read_text())
    path.write_text("{}")

    def refused(place, card):
        raise DataError(f"cannot write {place}: Read-only file system")

    monkeypatch.setattr(cards, "write", refused)
    assert datasets.card(spec, home) == card
    assert datasets.build(spec, home=home) == place


def test_a_lost_page_is_written_anew(ladder, make_policy, home):
    spec = ladder(make_policy(), transitions=50)
    place = datasets.build(spec, home=home)
    cards.page(place).unlink()
    datasets.build(spec, home=home)
    assert cards.page(place).is_file()


def test_a_lost_card_is_made_anew_with_the_versions_of_then(ladder, make_policy, home, monkeypatch):
    spec = ladder(make_policy())
    monkeypatch.setattr(cards, "versions", lambda: {"mujoco": "0.1"})
    place = datasets.build(spec, home=home)
    monkeypatch.undo()
    cards.path(place).unlink()
    assert datasets.card(spec, home)["made_with"] == {"mujoco": "0.1"}


def test_a_card_of_a_file_that_was_changed_is_not_shown(ladder, make_policy, home):
    spec = ladder(make_policy())
    with h5py.File(datasets.build(spec, home=home), "r+") as file:
        file["rewards"][3] += 1
    with pytest.raises(DataError, match="was changed: its rows hash to"):
        datasets.card(spec, home)


def test_an_open_episode_alone_has_no_returns(ladder, make_policy, home):
    card = datasets.card(_built(ladder(make_policy(), transitions=3), home), home)
    assert card["returns"] is None
    assert card["episodes"]["rows after the last"] == 3
    assert "| return |" not in cards.markdown(card)


def _built(spec, home):
    datasets.build(spec, home=home)
    return spec


# -- Minari ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["rollout", "random"])
def test_minari_reads_what_is_exported(ladder, make_policy, make_dataset, home, kind):
    import minari

    spec = ladder(make_policy(), transitions=305)
    if kind == "random":
        source = GeneratedSource(recipe="random-policy", version=1, seed=0, transitions=305)
        spec = make_dataset(steps=15, generated=source)
    rows = rows_of(datasets.build(spec, home=home))
    folder = datasets.export_to_minari(spec, "harness/hopper-medium-v2", home)
    assert folder.is_dir()
    assert "harness/hopper-medium-v2" in minari.list_local_datasets()
    dataset = minari.load_dataset("harness/hopper-medium-v2")
    episodes = list(dataset.iterate_episodes())
    ends = np.flatnonzero(rows["terminals"] | rows["timeouts"])
    assert 0 <= len(episodes) - len(ends) <= 1
    first = episodes[0]
    length = ends[0] + 1 if rows["terminals"][ends[0]] or kind == "rollout" else ends[0]
    np.testing.assert_array_equal(first.actions, rows["actions"][:length])
    np.testing.assert_allclose(first.rewards, rows["rewards"][:length])
    assert len(first.observations) == length + 1
    terminals = [bool(episode.terminations[-1]) for episode in episodes]
    assert terminals[: len(ends)] == rows["terminals"][ends].tolist()
    truncated = [bool(episode.truncations[-1]) for episode in episodes]
    assert truncated == [not terminal for terminal in terminals]
    if kind == "rollout":
        joined = np.concatenate([episode.observations[1:] for episode in episodes])
        np.testing.assert_array_equal(joined, rows["next_observations"])
        assert dataset.total_steps == 305
    assert datasets.export_to_minari(spec, "harness/hopper-medium-v2", home) == folder
    other = make_dataset(
        steps=15, generated=GeneratedSource(recipe="random-policy", version=1, seed=1, transitions=305)
    )
    datasets.build(other, home=home)
    with pytest.raises(DataError, match="Minari has another dataset 'harness/hopper-medium-v2' already"):
        datasets.export_to_minari(other, "harness/hopper-medium-v2", home)
    with pytest.raises(DataError, match="is no id that Minari takes"):
        datasets.export_to_minari(spec, "no version", home)


def test_exporting_is_silent_and_leaves_nothing_else(home, tmp_path, capfd, monkeypatch):
    halfcheetah = inventory.sized(Specs().dataset("halfcheetah-random-v2"), 50)
    datasets.build(halfcheetah, home=home)
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    capfd.readouterr()
    datasets.export_to_minari(halfcheetah, "harness/halfcheetah-random-v2", home)
    assert capfd.readouterr() == ("", "")
    assert list(here.iterdir()) == []


def test_processes_that_export_at_once_agree(ladder, make_policy, make_dataset, home):
    """Those with the same dataset, and those that only share the namespace."""
    spec = _built(ladder(make_policy(), transitions=600), home)
    source = GeneratedSource(recipe="random-policy", version=1, seed=1, transitions=100)
    other = _built(make_dataset(steps=15, generated=source), home)
    work = [(spec, "harness/one-v0"), (spec, "harness/one-v0"), (other, "harness/two-v0")]
    with ProcessPoolExecutor(3, multiprocessing.get_context("spawn")) as pool:
        running = [pool.submit(datasets.export_to_minari, each, name, home) for each, name in work]
        folders = [future.result() for future in running]
    assert folders[0] == folders[1] != folders[2]
    assert (folders[0].parent / "namespace_metadata.json").is_file()
    root = folders[0].parent.parent
    assert [place.name for place in root.iterdir() if place.suffix != ".lock"] == ["harness"]


def test_a_namespace_that_another_process_made_first(ladder, make_policy, home, monkeypatch, tmp_path):
    import minari.namespace

    def late(namespace):
        (tmp_path / "minari" / namespace).mkdir()
        raise ValueError(f"Namespace {namespace!r} already exists.")

    spec = _built(ladder(make_policy(), transitions=100), home)
    monkeypatch.setattr(minari.namespace, "create_namespace", late)
    assert datasets.export_to_minari(spec, "harness/hopper-medium-v2", home).is_dir()


def test_what_was_exported_needs_no_right_to_write(ladder, make_policy, home, monkeypatch):
    spec = _built(ladder(make_policy(), transitions=100), home)
    folder = datasets.export_to_minari(spec, "harness/hopper-medium-v2", home)

    def refused(path, waiting=None):
        raise DataError(f"cannot write {path}: Read-only file system")

    monkeypatch.setattr(files, "locked", refused)
    assert datasets.export_to_minari(spec, "harness/hopper-medium-v2", home) == folder


def test_minari_deletes_what_was_exported_and_its_namespace(ladder, make_policy, home):
    import minari.namespace

    spec = _built(ladder(make_policy(), transitions=100), home)
    datasets.export_to_minari(spec, "harness/hopper-medium-v2", home)
    minari.delete_dataset("harness/hopper-medium-v2")
    minari.namespace.delete_namespace("harness")
    assert minari.namespace.list_local_namespaces() == []


def test_minari_stays_where_it_was(ladder, make_policy, home, tmp_path):
    """Even if there is no place for the work."""
    spec = _built(ladder(make_policy(), transitions=100), home)
    (tmp_path / "minari").mkdir()
    (tmp_path / "minari" / ".harness%2Fhopper-medium-v2.new").write_text("no folder")
    with pytest.raises(DataError, match=r"cannot write .*: File exists"):
        datasets.export_to_minari(spec, "harness/hopper-medium-v2", home)
    assert os.environ["MINARI_DATASETS_PATH"] == str(tmp_path / "minari")


def test_what_a_killed_export_left_is_removed(ladder, make_policy, home, tmp_path):
    spec = _built(ladder(make_policy(), transitions=100), home)
    left = tmp_path / "minari" / ".harness%2Fhopper-medium-v2.new"
    left.mkdir(parents=True)
    (left / "half").write_text("of it")
    datasets.export_to_minari(spec, "harness/hopper-medium-v2", home)
    assert not left.exists()


def test_too_little_space_for_minari_is_said_before(ladder, make_policy, home, monkeypatch, tmp_path):
    spec = _built(ladder(make_policy(), transitions=300), home)
    usage = shutil.disk_usage(".")
    monkeypatch.setattr(files.shutil, "disk_usage", lambda path: usage._replace(free=100_000))
    with pytest.raises(DataError, match=r"no space left to write .*hopper-medium-v2, which needs"):
        datasets.export_to_minari(spec, "harness/hopper-medium-v2", home)
    assert not list((tmp_path / "minari").rglob("*.hdf5"))


@pytest.mark.parametrize("transitions", [3, 40, 3000, None])
def test_minari_takes_no_more_than_is_planned(ladder, make_policy, make_dataset, home, transitions):
    if transitions is None:  # long episodes without `next_observations`
        source = GeneratedSource(recipe="random-policy", version=1, seed=0, transitions=5000)
        wide = {"environment": "HalfCheetah-v4", "sizes": (17, 6)}
        spec = make_dataset(**wide, steps=2500, generated=source)
    else:
        spec = ladder(make_policy(), transitions=transitions)
    _built(spec, home)
    rows = generated.read(spec, home, datasets.identity(spec, "generated")).rows
    folder = datasets.export_to_minari(spec, "harness/hopper-medium-v2", home)
    size = sum(place.stat().st_size for place in folder.rglob("*") if place.is_file())
    needed = datasets.minari.needed_bytes(rows)
    assert 0.3 * needed < size < needed


def test_one_row_cannot_be_stitched(ladder, make_policy, home):
    spec = ladder(make_policy(), make_policy(), recipe="stitched", transitions=1)
    with pytest.raises(DataError, match="takes at least 2 rows"):
        datasets.build(spec, home=home)


def test_an_unfinished_export_leaves_nothing(ladder, make_policy, home, monkeypatch, tmp_path):
    import minari

    spec = _built(ladder(make_policy(), transitions=100), home)

    def fail(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(minari.dataset.minari_storage.MinariStorage, "update_metadata", fail)
    with pytest.raises(DataError, match="no space left"):
        datasets.export_to_minari(spec, "harness/hopper-medium-v2", home)
    assert not any(path.is_dir() and path.name != "harness" for path in (tmp_path / "minari").rglob("*"))
