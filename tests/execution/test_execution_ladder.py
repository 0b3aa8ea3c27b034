"""Replay data that are trained for, and the calibration of the shipped policies."""

from __future__ import annotations

import io
import json
import shutil
import signal

import h5py
import numpy as np
import pytest
import torch
from gymnasium.wrappers import TransformReward
from rich.console import Console

from harness import datasets, environments, files
from harness.datasets import cards, navigation, policies, rollouts
from harness.errors import DataError, HarnessError, StoppedError
from harness.execution import calibration, gathering
from harness.execution.calibration import calibrate, welch
from harness.execution.data import obtain, prepare
from harness.execution.population import LeasedPopulation
from harness.execution.progress import Reporter
from harness.results.store import Store
from harness.specs import Dataset, Environment, GeneratedSource, ReferenceScores, Specs

HOPPER = Environment(id="Hopper-v4", max_episode_steps=60)
EVERY = 100


@pytest.fixture
def small(monkeypatch):
    """SAC with networks of eight units that gathers hundreds; the hash of its hyperparameters."""
    algorithm, protocol = Specs.algorithm, Specs.protocol
    tiny = {"batch_size": 8, "actor_hidden_sizes": "8", "critic_hidden_sizes": "8"}

    def smaller(self, name):
        spec = algorithm(self, name)
        values = {
            each: h.model_copy(update={"value": tiny.get(each, h.value)})
            for each, h in spec.hyperparameters.items()
        }
        return spec.model_copy(update={"hyperparameters": values})

    def shorter(self, name):
        spec = protocol(self, name)
        if spec.gather is None:
            return spec
        gather = spec.gather.model_copy(update={"every": EVERY, "warmup": EVERY})
        changes = {"interactions": 600, "gather": gather, "evaluate_every": 200, "episodes": 2}
        return spec.model_copy(update=changes)

    monkeypatch.setattr(Specs, "algorithm", smaller)
    monkeypatch.setattr(Specs, "protocol", shorter)
    return gathering.hyperparameters_hash(Specs())


def dataset(sha256, transitions, identifier="hopper-medium-replay-v2", environment=HOPPER, seed=0):
    return Dataset(
        id=identifier,
        domain="mujoco",
        environment=environment,
        observation_size=11,
        action_size=3,
        reference=ReferenceScores(minimum=0, maximum=100, source="a test"),
        generated=GeneratedSource(
            recipe="sac-replay",
            version=2,
            seed=seed,
            transitions=transitions,
            hyperparameters_sha256=sha256,
        ),
    )


@pytest.fixture
def console():
    return io.StringIO()


@pytest.fixture
def reporter(console):
    with Reporter(Console(file=console, width=200)) as reporter:
        yield reporter


def rows_of(place):
    with h5py.File(place) as file:
        return {name: np.asarray(file[name]) for name in file}


def interrupt(monkeypatch, at):
    """Ctrl-C when training reaches a step; once."""
    progressed, left = LeasedPopulation.progressed, [at]

    def after(self, step):
        progressed(self, step)
        if left and step >= left[0]:
            left.clear()
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(LeasedPopulation, "progressed", after)


@pytest.mark.slow
def test_replay_data_are_stopped_and_resumed(small, tmp_path, reporter, console, monkeypatch):
    """As is a longer dataset of the same environment, which goes on from a shorter one's end."""
    whole = rows_of(obtain(dataset(small, 390), "generated", tmp_path / "whole", reporter))
    spec = dataset(small, 290)
    interrupt(monkeypatch, 200)
    with pytest.raises(StoppedError, match=r"is not finished; what was done is kept in .*, and the same"):
        obtain(spec, "generated", tmp_path, reporter)
    assert not datasets.available(spec, "generated", tmp_path)
    console.truncate(0)
    rows = rows_of(obtain(spec, "generated", tmp_path, reporter))
    assert "SAC has up to 90 of 290 interactions to go, about" in " ".join(console.getvalue().split())
    assert {len(array) for array in rows.values()} == {290}
    ends = rows["terminals"] | rows["timeouts"]
    assert not (rows["terminals"] & rows["timeouts"]).any()
    np.testing.assert_array_equal(
        rows["observations"][1:][~ends[:-1]], rows["next_observations"][:-1][~ends[:-1]]
    )
    assert len(datasets.load(spec, "generated", tmp_path)) > 200
    card = datasets.card(spec, tmp_path)
    assert card["training"]["updates when last scored"] == 100
    assert card["training"]["torch"] == torch.__version__
    assert "| mean return then |" in cards.markdown(card)
    longer = rows_of(obtain(dataset(small, 390), "generated", tmp_path, reporter))
    for name in rows:
        np.testing.assert_array_equal(rows[name], whole[name][:290], err_msg=name)
        np.testing.assert_array_equal(longer[name], whole[name], err_msg=name)

    # what has been gathered already takes no training
    console.truncate(0)
    again = rows_of(obtain(dataset(small, 100), "generated", tmp_path, reporter))
    np.testing.assert_array_equal(again["actions"], rows["actions"][:100])
    assert "SAC has" not in console.getvalue()


def test_replay_data_of_a_training_that_is_there(small, tmp_path, reporter, console):
    trained = tmp_path / "sac"
    gathering.train([dataset(small, 1)], 3, 220, trained, reporter)
    with gathering.opened(trained) as store:
        [(key, state)] = store.runs().items()
        content = gathering.archived(store, key)
        assert (state.status, state.dataset, state.seed) == ("finished", "hopper-v4", 3)
        assert [each.updates for each in gathering.scored(store, key, EVERY)] == [0, 100, 300]
    assert len(content["rewards"]) == 400  # 220 updates in whole hundreds, and the first hundred without
    console.truncate(0)
    spec = dataset(small, 150, seed=3)
    rows = rows_of(obtain(spec, "generated", tmp_path, reporter, trained))
    np.testing.assert_array_equal(rows["actions"], content["actions"][:150])
    gathering.train([dataset(small, 1)], 3, 300, trained, reporter)
    assert "SAC has" not in console.getvalue()
    for other, have in (
        (dataset(small, 401, seed=3), 400),
        (dataset(small, 100), 0),
        (dataset(small, 100, seed=3, environment=HOPPER.model_copy(update={"max_episode_steps": 30})), 0),
    ):
        with pytest.raises(DataError, match=f"has {have} transitions of SAC in Hopper-v4, seed"):
            obtain(other, "generated", tmp_path / "other", reporter, trained)


@pytest.mark.slow
def test_environments_of_one_prefix_do_not_share_a_training(small, tmp_path, reporter):
    """As AntMaze's mazes, whose datasets' names begin alike; those of equal sizes train together."""
    longer = HOPPER.model_copy(update={"max_episode_steps": 70})
    names = ("maze-umaze-v2", "maze-large-v2")
    specs = [dataset(small, 200, n, e) for n, e in zip(names, (HOPPER, longer), strict=True)]
    one, other = (rows_of(obtain(each, "generated", tmp_path, reporter)) for each in specs)
    assert not np.array_equal(one["actions"], other["actions"])
    gathering.train(specs, 0, 100, tmp_path / "both", reporter)
    with Store.open(tmp_path / "both" / "runs.db") as store:
        states = store.runs().values()
        assert [state.status for state in states] == ["finished"] * 2
        assert len({state.population for state in states}) == 1


def test_a_stop_at_the_very_end_stops_what_would_come_after(small, tmp_path, reporter, monkeypatch):
    interrupt(monkeypatch, 100)
    with pytest.raises(StoppedError, match="what was done is kept"):
        obtain(dataset(small, 100), "generated", tmp_path, reporter)
    assert obtain(dataset(small, 100), "generated", tmp_path, reporter).exists()


def test_a_run_that_diverges_fails_alone(small, tmp_path, reporter, monkeypatch):
    from harness.training.engine import Engine

    advance = Engine.advance

    def diverge(engine, done, end):
        done = advance(engine, done, end)
        next(iter(engine.metrics.values()))[1] = float("nan")
        return done

    monkeypatch.setattr(Engine, "advance", diverge)
    longer = HOPPER.model_copy(update={"max_episode_steps": 70})
    both = [dataset(small, 1), dataset(small, 1, environment=longer)]
    with pytest.raises(DataError, match=r"Hopper-v4, seed 0: training diverged: .*; what the others did is"):
        gathering.train(both, 0, 100, tmp_path, reporter)
    with Store.open(tmp_path / "runs.db") as store:
        assert sorted(state.status for state in store.runs().values()) == ["failed", "finished"]


def test_data_are_not_begun_after_a_stop(small, tmp_path, reporter):
    random = dataset(small, EVERY, "hopper-random-v2").model_copy(
        update={"generated": GeneratedSource(recipe="random-policy", version=1, seed=0, transitions=500)}
    )
    others = [random.model_copy(update={"id": f"hopper-random-v{i}"}) for i in range(2)]
    asked = iter([False])
    with pytest.raises(StoppedError, match="stopped before hopper-random-v1 was there; the same command"):
        prepare(others, "generated", tmp_path, reporter, stop=lambda: next(asked, True))
    assert [datasets.available(each, "generated", tmp_path) for each in others] == [True, False]


def test_a_training_of_other_sizes_than_its_environments(small, tmp_path, reporter):
    wrong = dataset(small, 100).model_copy(update={"observation_size": 17})
    with pytest.raises(HarnessError, match=r"says 17 .*Hopper-v4 .*11"):
        gathering.train([wrong], 0, 1, tmp_path, reporter)


def test_a_training_asks_for_the_device_that_was_named(small, tmp_path, reporter, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    hopper = dataset(small, 100)
    with pytest.raises(HarnessError, match="no CUDA device"):
        obtain(hopper, "generated", tmp_path, reporter, device="cuda")
    with pytest.raises(HarnessError, match="no CUDA device"):
        gathering.train([hopper], 0, 1, tmp_path, reporter, "cuda")


def test_replay_data_that_cannot_be_had(small, tmp_path, reporter):
    with pytest.raises(DataError, match=r"SHA-256 0{64}, but specs/algorithms/sac.yaml has"):
        obtain(dataset("0" * 64, 100), "generated", tmp_path, reporter)
    with pytest.raises(DataError, match=r"nowhere holds no runs of SAC"):
        obtain(dataset(small, 100), "generated", tmp_path, reporter, tmp_path / "nowhere")
    bare = dataset(small, 100).model_copy(update={"environment": None})
    with pytest.raises(DataError, match="names no environment"):
        obtain(bare, "generated", tmp_path, reporter)


def test_too_little_space_for_checkpoints_is_said_before_the_training(small, tmp_path, reporter, monkeypatch):
    usage = shutil.disk_usage(".")
    # enough for the dataset, not for what training keeps
    monkeypatch.setattr(files.shutil, "disk_usage", lambda path: usage._replace(free=4_000_000))
    with pytest.raises(DataError, match=r"which needs 4,800,000 more bytes"):
        obtain(dataset(small, 20_000), "generated", tmp_path, reporter)


# -- calibration -------------------------------------------------------------------------------------------


@pytest.fixture
def policy(tmp_path, monkeypatch):
    """A tiny policy with its card, the only one there is; returns the path."""
    monkeypatch.setattr(policies, "folders", lambda home: (home / "policies",))
    random = np.random.default_rng(0)
    place = tmp_path / "policies" / "hopper-medium.safetensors"
    weights = [random.normal(0, 0.5, (11, 8)), random.normal(0, 0.5, (8, 6))]
    sha256 = policies.write(place, weights, [np.zeros(8), np.zeros(6)])
    returns = rollouts.evaluate(policies.read(place), HOPPER, 6, 0)
    card = policies.PolicyCard(
        id="hopper-medium",
        sha256=sha256,
        level="medium",
        rule="made up",
        environment=HOPPER,
        algorithm="sac",
        key="sac/hopper/0",
        steps=1,
        hyperparameters={},
        hyperparameters_sha256="",
        source_sha256="",
        trained_with={},
        training_returns=(),
        recorded=policies.Recorded(seed=0, versions=policies.versions(), returns=returns),
        reference=ReferenceScores(minimum=0, maximum=100, source="a test"),
    )
    policies.card_path(place).write_text(card.model_dump_json(by_alias=True))
    return place


def change(place, edit):
    path = policies.card_path(place)
    card = json.loads(path.read_text())
    edit(card)
    path.write_text(json.dumps(card))


def only(home):
    [finding] = calibrate(home)
    return finding.level, finding.text


def test_the_same_returns_as_recorded(policy, tmp_path):
    level, text = only(tmp_path)
    assert level == "ok"
    assert text.startswith("every return as recorded: stochastic ")


def test_returns_that_moved_are_caught(policy, tmp_path):
    change(policy, lambda card: card["recorded"]["versions"].update(mujoco="1.0"))

    def shift(card):
        returns = card["recorded"]["returns"]
        returns["deterministic"] = [value + 500 for value in returns["deterministic"]]

    change(policy, shift)
    level, text = only(tmp_path)
    assert level == "FAIL"
    assert text.startswith("returns have moved")
    assert "mujoco 1.0 → " in text


@pytest.mark.parametrize(("version", "expected"), [("1.0", "ok"), (None, "warn")])
def test_other_digits_with_the_same_distribution(policy, tmp_path, version, expected):
    def jitter(card):
        returns = card["recorded"]["returns"]
        returns["stochastic"] = [value * 1.001 for value in returns["stochastic"]]
        if version:
            card["recorded"]["versions"]["mujoco"] = version

    change(policy, jitter)
    level, text = only(tmp_path)
    assert level == expected
    assert "no shift shown" in text


def test_an_environment_that_moves_scores_is_caught(policy, tmp_path, monkeypatch):
    """As an upgrade would: the same policy in a heavier world."""
    make = environments.make

    def heavier(environment):
        env = make(environment)
        env.unwrapped.model.opt.gravity[2] *= 3
        return env

    monkeypatch.setattr(environments, "make", heavier)
    level, text = only(tmp_path)
    assert level == "FAIL"
    assert "the same versions and processor" in text


def test_a_wrapper_that_moves_scores_is_caught(policy, tmp_path, monkeypatch):
    """Data are made without wrappers; scores are not."""
    make = environments.make
    monkeypatch.setattr(environments, "make", lambda which: TransformReward(make(which), lambda r: r + 10))
    level, text = only(tmp_path)
    assert level == "FAIL"
    assert text.startswith("returns have moved")


@pytest.mark.parametrize("kind", ["stochastic", "deterministic"])
def test_returns_that_are_no_numbers_are_caught(policy, tmp_path, monkeypatch, kind):
    """Nothing is known of them, whatever the other kind gives."""
    change(policy, lambda card: card["recorded"]["versions"].update(mujoco="1.0"))
    if kind == "stochastic":
        monkeypatch.setattr(rollouts, "returns", lambda *_, noisy: (float("nan"),) * 6)
    else:
        monkeypatch.setattr(calibration, "_scored", lambda *_: (float("nan"),) * 6)
    assert only(tmp_path)[0] == "FAIL"


def test_a_policy_that_does_not_fit_its_cards_environment(policy, tmp_path):
    change(policy, lambda card: card["environment"].update(id="HalfCheetah-v4"))
    level, text = only(tmp_path)
    assert level == "FAIL"
    assert "does not fit HalfCheetah-v4: it takes 11 numbers and gives 3" in text


def test_cards_and_files_that_do_not_fit(policy, tmp_path):
    good = policies.card_path(policy).read_text()
    change(policy, lambda card: card.update(sha256="0" * 64))
    assert only(tmp_path)[0] == "FAIL"
    assert "is not the file that its card describes" in only(tmp_path)[1]
    change(policy, lambda card: card.pop("level"))
    assert "is no policy's card: level" in only(tmp_path)[1]
    policies.card_path(policy).unlink()
    assert "is missing or damaged" in only(tmp_path)[1]
    policies.card_path(policy).write_text(good)
    assert only(tmp_path)[0] == "ok"
    policy.unlink()
    policy.symlink_to(tmp_path / "gone")
    assert "is missing; put the original back" in only(tmp_path)[1]


def test_without_policies_there_is_nothing_to_compare(tmp_path, monkeypatch):
    monkeypatch.setattr(policies, "folders", lambda home: (home / "policies",))
    assert only(tmp_path)[0] == "warn"


def test_the_shipped_policies_give_the_returns_recorded_with_them(tmp_path):
    """What `harness doctor --calibrate` says of this checkout."""
    assert [finding for finding in calibrate(tmp_path) if finding.level == "FAIL"] == []


def test_no_shipped_dataset_promises_a_policy_that_is_not_there(tmp_path):
    specs = Specs()
    for name in specs.ids("datasets"):
        spec = specs.dataset(name)
        place = (spec.environment, spec.observation_size, spec.action_size)
        if spec.generated and spec.generated.recipe == "ant-navigate":
            place = (navigation.ANT, *navigation.SIZES)
        for wanted in spec.generated.policies if spec.generated else ():
            assert policies.wanted(wanted, tmp_path, *place).sha256 == wanted.sha256


def test_welch_of_samples_that_do_not_vary():
    assert welch((1.0, 1.0), (1.0, 1.0)) == 1
    assert welch((1.0, 1.0), (2.0, 2.0)) == 0
    assert welch((1.0, 2.0, 3.0), (1.1, 2.1, 2.9)) > 0.8
    assert calibration.ALPHA < 0.05
