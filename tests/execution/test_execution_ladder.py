"""Replay data that are trained for, and the calibration of the shipped policies."""

from __future__ import annotations

import io
import json
import shutil
import signal
from dataclasses import replace

import h5py
import numpy as np
import pytest
import torch
from gymnasium.wrappers import TransformReward
from rich.console import Console

from algorithms import Sizes
from harness import datasets, environments, files
from harness.datasets import cards, policies, rollouts
from harness.errors import DataError, HarnessError, StoppedError
from harness.execution import calibration, gathering
from harness.execution.calibration import calibrate, welch
from harness.execution.data import obtain, prepare
from harness.execution.progress import Reporter
from harness.specs import Dataset, Environment, GeneratedSource, ReferenceScores, Specs
from harness.training import ladder
from harness.training.online import EPOCH, OnlineTrainer, gather

HOPPER = Environment(id="Hopper-v4", max_episode_steps=60)


@pytest.fixture
def small(monkeypatch):
    """SAC with networks of eight units; the hash of its hyperparameters."""

    def learner(*arguments):
        who = ladder.learner(*arguments)
        tiny = {"batch_size": 8, "actor_hidden_sizes": "8", "critic_hidden_sizes": "8"}
        return replace(who, hyperparameters={**who.hyperparameters, **tiny})

    monkeypatch.setattr(gathering, "learner", learner)
    return ladder.settings_hash(learner("hopper", 0, Specs(), HOPPER, (11, 3)).hyperparameters)


def dataset(sha256, transitions, identifier="hopper-medium-replay-v2"):
    return Dataset(
        id=identifier,
        domain="mujoco",
        environment=HOPPER,
        observation_size=11,
        action_size=3,
        reference=ReferenceScores(minimum=0, maximum=100, source="a test"),
        generated=GeneratedSource(
            recipe="sac-replay", version=1, seed=0, transitions=transitions, hyperparameters_sha256=sha256
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


@pytest.mark.slow
def test_replay_data_are_stopped_and_resumed(small, tmp_path, reporter, console, monkeypatch):
    spec = dataset(small, 2 * EPOCH - 10)
    train = OnlineTrainer.train

    def interrupted(self, report, stop):
        def after(epoch):
            report(epoch)
            signal.raise_signal(signal.SIGINT)

        return train(self, after, stop)

    monkeypatch.setattr(OnlineTrainer, "train", interrupted)
    with pytest.raises(StoppedError, match=r"is kept in .*, and the same command goes on"):
        obtain(spec, "generated", tmp_path, reporter)
    assert not datasets.available(spec, "generated", tmp_path)
    said = " ".join(console.getvalue().split())
    assert "SAC has 2 of 2 epochs to train, about 0.0 h here" in said
    assert "Ctrl-C saves" in said
    assert "stopping after this epoch" in said

    monkeypatch.setattr(OnlineTrainer, "train", train)
    console.truncate(0)
    rows = rows_of(obtain(spec, "generated", tmp_path, reporter))
    assert "SAC has 1 of 2 epochs" in " ".join(console.getvalue().split())
    assert {len(array) for array in rows.values()} == {2 * EPOCH - 10}
    assert len(datasets.load(spec, "generated", tmp_path)) > EPOCH
    card = datasets.card(spec, tmp_path)
    assert card["episodes"]["finished"] > 30
    assert card["training"]["updates when last scored"] == 0
    assert card["training"]["torch"] == torch.__version__
    assert "| mean return then |" in cards.markdown(card)
    [folder] = (tmp_path / "online").iterdir()
    who = gathering.learner("hopper", 0, Specs(), HOPPER, Sizes(11, 3))
    untrained = torch.load(folder / who.key / "0.pt", weights_only=True)
    first = gather(who, {name: tensor.numpy() for name, tensor in untrained.items()}, 0)
    for name in first:
        np.testing.assert_array_equal(rows[name][:EPOCH], first[name], err_msg=name)

    # what a training has gathered already needs no other
    console.truncate(0)
    shorter = dataset(small, EPOCH)
    for trained in (None, folder):
        home = tmp_path if trained is None else tmp_path / "other"
        again = rows_of(obtain(shorter, "generated", home, reporter, trained))
        np.testing.assert_array_equal(again["actions"], rows["actions"][:EPOCH])
    assert "SAC has" not in console.getvalue()

    # neither is a training of another environment taken for this one's
    run = json.loads((folder / "run.json").read_text())
    run["learners"][who.key]["environment"]["max_episode_steps"] = 30
    (folder / "run.json").write_text(json.dumps(run))
    with pytest.raises(DataError, match="with other environment than the specs say now"):
        obtain(shorter, "generated", tmp_path / "third", reporter, folder)


@pytest.mark.slow
def test_several_environments_train_in_one_population(small, tmp_path, reporter, console):
    hopper = dataset(small, EPOCH)
    other = dataset(small, EPOCH, "walker2d-medium-v2")  # as long as Hopper's here
    gathering.train([hopper, other], 3, 100, tmp_path / "sac", reporter)
    assert "SAC has 2 of 2 epochs" in " ".join(console.getvalue().split())
    content = torch.load(tmp_path / "sac" / "checkpoint.pt", weights_only=True)
    assert content["keys"] == ["sac/hopper/3", "sac/walker2d/3"]
    assert content["epoch"] == 2
    console.truncate(0)
    run = json.loads((tmp_path / "sac" / "run.json").read_text())
    assert run["epochs"] == 2
    # as an interrupted longer training would leave it; to ask for fewer updates is to end it
    (tmp_path / "sac" / "run.json").write_text(json.dumps(run | {"epochs": 9}))
    gathering.train([hopper, other], 3, 1000, tmp_path / "sac", reporter)
    assert "SAC has" not in console.getvalue()
    assert json.loads((tmp_path / "sac" / "run.json").read_text()) == run


def test_a_trainings_folder_keeps_its_name(small, tmp_path, reporter, monkeypatch):
    """By another name, hours of training would begin anew."""
    monkeypatch.setattr(gathering, "_train", lambda *_: None)
    with pytest.raises(DataError, match="has 0 transitions of sac/hopper/0") as raised:
        obtain(dataset(small, EPOCH), "generated", tmp_path, reporter)
    assert "/online/hopper-0-254429a8d98a " in str(raised.value)


def test_a_training_that_is_finished_is_held_to_what_is_asked_for(small, tmp_path, reporter, monkeypatch):
    hopper = dataset(small, EPOCH)
    learner = gathering.learner
    gathering.train([hopper], 0, 1, tmp_path, reporter)

    def other(*arguments):
        who = learner(*arguments)
        return replace(who, hyperparameters={**who.hyperparameters, "batch_size": 9})

    monkeypatch.setattr(gathering, "learner", other)
    with pytest.raises(DataError, match="trains sac/hopper/0 with other hyperparameters than the specs"):
        gathering.train([hopper], 0, 1, tmp_path, reporter)


def test_a_stop_in_the_last_epoch_stops_what_would_come_after(small, tmp_path, reporter, monkeypatch):
    spec, train = dataset(small, EPOCH), OnlineTrainer.train

    def interrupted(self, report, stop):
        signal.raise_signal(signal.SIGINT)
        return train(self, report, stop)

    monkeypatch.setattr(OnlineTrainer, "train", interrupted)
    with pytest.raises(StoppedError, match="is trained to the end; what was done is kept"):
        obtain(spec, "generated", tmp_path, reporter)
    monkeypatch.setattr(OnlineTrainer, "train", None)
    assert obtain(spec, "generated", tmp_path, reporter).exists()


def test_data_are_not_begun_after_a_stop(small, tmp_path, reporter):
    random = dataset(small, EPOCH, "hopper-random-v2").model_copy(
        update={"generated": GeneratedSource(recipe="random-policy", version=1, seed=0, transitions=500)}
    )
    others = [random.model_copy(update={"id": f"hopper-random-v{i}"}) for i in range(2)]
    asked = iter([False])
    with pytest.raises(StoppedError, match="stopped before hopper-random-v1 was there; the same command"):
        prepare(others, "generated", tmp_path, reporter, stop=lambda: next(asked, True))
    assert [datasets.available(each, "generated", tmp_path) for each in others] == [True, False]


def test_a_gpu_that_is_too_small_is_said_in_words(small, tmp_path, reporter, monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory, say")

    monkeypatch.setattr(gathering, "seconds_per_epoch", full)
    with pytest.raises(DataError, match="CUDA out of memory, say; what was saved is kept, and --device cpu"):
        gathering.train([dataset(small, EPOCH)], 0, 1, tmp_path, reporter)


def test_environments_that_cannot_share_a_population(small, tmp_path, reporter):
    hopper = dataset(small, EPOCH)
    longer = dataset(small, EPOCH, "walker2d-medium-v2").model_copy(update={"observation_size": 17})
    with pytest.raises(DataError, match=r"Hopper-v4 \(11, 3\), Hopper-v4 \(17, 3\); train these apart"):
        gathering.train([hopper, longer], 0, 1, tmp_path, reporter)
    with pytest.raises(DataError, match="name one dataset of each environment"):
        gathering.train([hopper, hopper], 0, 1, tmp_path, reporter)


def test_a_training_of_other_sizes_than_its_environments(small, tmp_path, reporter):
    wrong = dataset(small, EPOCH).model_copy(update={"observation_size": 17})
    with pytest.raises(HarnessError, match=r"the spec says 17 .* but Hopper-v4 has 11 and 3"):
        gathering.train([wrong], 0, 1, tmp_path, reporter)


def test_a_training_asks_for_the_device_that_was_named(small, tmp_path, reporter, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    hopper = dataset(small, EPOCH)
    with pytest.raises(HarnessError, match="no CUDA device"):
        obtain(hopper, "generated", tmp_path, reporter, device="cuda")
    with pytest.raises(HarnessError, match="no CUDA device"):
        gathering.train([hopper], 0, 1, tmp_path, reporter, "cuda")
    used = []
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr(gathering, "seconds_per_epoch", lambda learners, device: used.append(device) or 0.0)
    monkeypatch.setattr(OnlineTrainer, "__init__", lambda *arguments, device, **rest: used.append(device))
    monkeypatch.setattr(OnlineTrainer, "train", lambda *arguments: True)
    gathering.train([hopper], 0, 1, tmp_path, reporter, "auto")
    assert used == ["cuda", "cuda"]


def test_replay_data_that_cannot_be_had(small, tmp_path, reporter):
    with pytest.raises(DataError, match=r"SHA-256 0{64}, but specs/algorithms/sac.yaml has"):
        obtain(dataset("0" * 64, EPOCH), "generated", tmp_path, reporter)
    with pytest.raises(DataError, match=r"has 0 transitions of sac/hopper/0, but .* takes 1,000"):
        obtain(dataset(small, EPOCH), "generated", tmp_path, reporter, tmp_path / "nowhere")
    bare = dataset(small, EPOCH).model_copy(update={"environment": None})
    with pytest.raises(DataError, match="names no environment"):
        obtain(bare, "generated", tmp_path, reporter)


def test_too_little_space_for_checkpoints_is_said_before_the_training(small, tmp_path, reporter, monkeypatch):
    usage = shutil.disk_usage(".")
    # enough for the dataset, not for what training keeps
    monkeypatch.setattr(files.shutil, "disk_usage", lambda path: usage._replace(free=2_200_000))
    with pytest.raises(DataError, match=r"checkpoint\.pt, which needs 2,400,000 more bytes"):
        obtain(dataset(small, 10 * EPOCH), "generated", tmp_path, reporter)


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
    policies.card_path(place).write_text(card.model_dump_json())
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
        for wanted in spec.generated.policies if spec.generated else ():
            sizes = (spec.observation_size, spec.action_size)
            assert policies.wanted(wanted, tmp_path, spec.environment, *sizes).sha256 == wanted.sha256


def test_welch_of_samples_that_do_not_vary():
    assert welch((1.0, 1.0), (1.0, 1.0)) == 1
    assert welch((1.0, 1.0), (2.0, 2.0)) == 0
    assert welch((1.0, 2.0, 3.0), (1.1, 2.1, 2.9)) > 0.8
    assert calibration.ALPHA < 0.05
