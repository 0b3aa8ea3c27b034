"""Populations that gather their own data."""

from __future__ import annotations

import json
import multiprocessing
from dataclasses import replace

import numpy as np
import pytest
import torch

from algorithms import Sizes
from harness.errors import DataError
from harness.specs import Environment, Specs
from harness.training import online as module
from harness.training.engine import Engine
from harness.training.online import (
    EPOCH,
    FIELDS,
    GrowingReplay,
    Learner,
    OnlineTrainer,
    gather,
    replay_rows,
    score,
)

HOPPER = Environment(id="Hopper-v4", max_episode_steps=60)


def learner(key="a"):
    values = {name: h.value for name, h in Specs().algorithm("sac").hyperparameters.items()}
    values |= {"batch_size": 8, "actor_hidden_sizes": "8", "critic_hidden_sizes": "8"}
    return Learner(key, "sac", values, Sizes(11, 3), HOPPER)


def trainer(folder, keys="ab", epochs=3, **options):
    options = {"score_every": 2, "episodes": 2} | options
    return OnlineTrainer([learner(key) for key in keys], folder, epochs=epochs, **options)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Two members trained in one go."""
    online = trainer(tmp_path_factory.mktemp("whole"))
    assert online.train()
    return online


def gathered(online, key):
    return replay_rows(online._folder, key, Sizes(11, 3))


def assert_same(one, other):
    for name in FIELDS:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def test_what_was_gathered_are_episodes_in_one_piece(whole):
    rows = gathered(whole, "a")
    assert {len(array) for array in rows.values()} == {3 * EPOCH}
    ends = rows["terminals"] | rows["timeouts"]
    assert not (rows["terminals"] & rows["timeouts"]).any()
    assert ends[EPOCH - 1 :: EPOCH].all()  # an epoch begins with a reset
    np.testing.assert_array_equal(
        rows["observations"][1:][~ends[:-1]], rows["next_observations"][:-1][~ends[:-1]]
    )
    assert (rows["observations"][1:][ends[:-1]] != rows["next_observations"][:-1][ends[:-1]]).any(1).all()
    lengths = np.diff(np.flatnonzero(ends), prepend=-1)
    assert lengths.max() == HOPPER.max_episode_steps
    assert rows["terminals"].any()
    assert np.abs(rows["actions"]).max() <= 1


def test_members_and_epochs_differ(whole):
    a, b = gathered(whole, "a"), gathered(whole, "b")
    assert not np.array_equal(a["actions"], b["actions"])
    assert not np.array_equal(a["actions"][:EPOCH], a["actions"][EPOCH : 2 * EPOCH])


def test_going_on_gives_what_one_go_gives(whole, tmp_path):
    stops = iter([False, True])
    first = trainer(tmp_path)
    assert not first.train(stop=lambda: next(stops))
    second = trainer(tmp_path)
    assert second.train()
    for key in "ab":
        assert_same(gathered(second, key), gathered(whole, key))
        assert second.history[key] == whole.history[key]


def test_a_checkpoint_holds_what_was_gathered_and_no_room_for_more(tmp_path):
    assert not trainer(tmp_path, keys="a", epochs=100).train(stop=lambda: True)
    rows = EPOCH * 4 * (2 * (11 + 3) + 2)
    assert rows < (tmp_path / "checkpoint.pt").stat().st_size < 2 * rows


def test_captured_updates_do_what_eager_ones_do(whole, tmp_path, capture, monkeypatch):
    monkeypatch.setattr(module, "capture_for", lambda device: capture)
    captured = trainer(tmp_path)
    assert captured.train()
    for key in "ab":
        assert_same(gathered(captured, key), gathered(whole, key))
        assert captured.history[key] == whole.history[key]


def test_a_training_that_goes_on_elsewhere_says_both(tmp_path, monkeypatch):
    assert not trainer(tmp_path, keys="a", epochs=2).train(stop=lambda: True)
    now = module.provenance
    monkeypatch.setattr(module, "provenance", lambda *a: now(*a) | {"device": "Some GPU"})
    assert trainer(tmp_path, keys="a", epochs=2).train()
    found = json.loads((tmp_path / "run.json").read_text())["trained_with"]
    assert found["device"] == "cpu \u2192 Some GPU"
    assert found["torch"] == torch.__version__


def test_a_member_does_not_feel_the_others(whole, tmp_path):
    alone = trainer(tmp_path, keys="b", epochs=2, workers=2)
    alone.train()
    ours, theirs = gathered(alone, "b"), gathered(whole, "b")
    np.testing.assert_array_equal(ours["actions"][:EPOCH], theirs["actions"][:EPOCH])
    # the products of one and of two members round differently, and a step amplifies that
    np.testing.assert_allclose(
        ours["actions"][EPOCH : EPOCH + 5], theirs["actions"][EPOCH : EPOCH + 5], atol=1e-3
    )


def test_policies_and_scores_are_kept(whole):
    folder = whole._folder
    history = json.loads((folder / "history.json").read_text())
    assert [entry["step"] for entry in history["a"]] == [0, 2 * EPOCH]
    for entry in history["a"]:
        state = torch.load(folder / "a" / f"{entry['step']}.pt", weights_only=True)
        arrays = {name: tensor.numpy() for name, tensor in state.items()}
        assert score(learner(), arrays, entry["step"], 2) == entry["returns"]


def test_gathering_depends_on_nothing_but_its_arguments(whole):
    state = {n: t.numpy() for n, t in torch.load(whole._folder / "a" / "0.pt", weights_only=True).items()}
    assert_same(gather(learner(), state, 0), {n: a[:EPOCH] for n, a in gathered(whole, "a").items()})


def test_asked_once_an_epoch_whether_to_stop(tmp_path):
    """A signal between two questions would end a training that was not saved."""
    asked = []
    online = trainer(tmp_path, keys="a", epochs=2)
    assert online.train(stop=lambda: asked.append(online._epoch))
    assert asked == [1, 2]


def test_a_full_disk_is_said_in_words(tmp_path, monkeypatch):
    def full(*arguments):
        try:
            raise OSError(28, "No space left on device")
        finally:  # as torch does, on the way out
            raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0")

    online = trainer(tmp_path, keys="a", epochs=1)
    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(
        DataError, match=r"no space left to write .*\.pt.*everything up to the last one is kept"
    ):
        online.train()


def test_a_worker_that_dies_is_an_error_in_words(tmp_path):
    online = trainer(tmp_path, keys="a", epochs=2)

    def kill(_):
        [worker] = multiprocessing.active_children()
        worker.kill()
        worker.join()

    with pytest.raises(DataError, match=r"acts in Hopper-v4 died, .*; run the same command again"):
        online.train(kill)


@pytest.mark.parametrize(
    "change", [{"reward_scale": 5.0}, {"reward_shift": -1.0}, {"normalize_observations": True}]
)
def test_what_needs_all_data_beforehand_is_refused(tmp_path, change):
    who = learner()
    who = replace(who, hyperparameters={**who.hyperparameters, **change})
    with pytest.raises(DataError, match="gathered while training"):
        OnlineTrainer([who], tmp_path, epochs=1)


def test_a_damaged_checkpoint_and_one_of_others_are_refused(tmp_path):
    online = trainer(tmp_path, keys="a", epochs=1)
    online.train()
    with pytest.raises(DataError, match="trains a, not b, a: name the same ones in the same order"):
        trainer(tmp_path, keys="ba", epochs=1)
    good = (tmp_path / "run.json").read_text()
    run = json.loads(good)
    run["learners"]["a"]["hyperparameters"]["batch_size"] = 9
    (tmp_path / "run.json").write_text(json.dumps(run))
    with pytest.raises(DataError, match="trains a with other hyperparameters than the specs say now"):
        trainer(tmp_path, keys="a", epochs=1)
    (tmp_path / "run.json").write_text(good.replace(run["source_sha256"], "0" * 64))
    with pytest.raises(DataError, match=r"begun by other code of sac \(commit .*\); check that code out"):
        trainer(tmp_path, keys="a", epochs=1)
    del run["learners"]
    (tmp_path / "run.json").write_text(json.dumps(run))
    with pytest.raises(DataError, match=r"run\.json is missing or damaged"):
        trainer(tmp_path, keys="a", epochs=1)
    (tmp_path / "checkpoint.pt").write_bytes(b"nonsense")
    with pytest.raises(DataError, match=r"cannot read .*checkpoint\.pt: .*; if the file is damaged, move"):
        trainer(tmp_path, keys="a", epochs=1)


def test_what_is_said_of_an_environment_is_no_matter_of_a_training(tmp_path):
    """Trainings that were begun when all of it was written down go on, too."""
    assert not trainer(tmp_path, keys="a", epochs=2).train(stop=lambda: True)
    run = json.loads((tmp_path / "run.json").read_text())
    assert run["learners"]["a"]["environment"] == {"id": "Hopper-v4", "max_episode_steps": 60}
    run["learners"]["a"]["environment"] |= {"comparable": True, "note": "in other words"}
    (tmp_path / "run.json").write_text(json.dumps(run))
    assert trainer(tmp_path, keys="a", epochs=2).train()


def test_a_member_that_diverges_is_named(tmp_path, monkeypatch):
    online = trainer(tmp_path, epochs=2)
    advance = Engine.advance

    def diverge(engine, done, end):
        done = advance(engine, done, end)
        next(iter(engine.metrics.values()))[1] = float("nan")
        return done

    monkeypatch.setattr(Engine, "advance", diverge)
    with pytest.raises(DataError, match=r"^b diverged: \w+ is not finite after 1 epochs; .*without the env"):
        online.train()


def test_a_growing_replay_keeps_members_apart():
    replay = GrowingReplay(2, 10, [2, 1])

    def some(count, value):
        shapes = [(count, 2), (count, 1), (count,), (count, 2), (count,), (count, 1)]
        return [np.full(shape, value, np.float32) for shape in shapes]

    replay.append(0, some(3, 1.0))
    replay.append(1, some(2, 2.0))
    replay.append(0, some(4, 3.0))
    assert (replay.offset, replay.length) == ([0, 10], [7, 2])
    assert replay.rows(0)[:, 0].tolist() == [1.0] * 3 + [3.0] * 4
    assert replay.batch(torch.tensor([[6], [11]])).reward.tolist() == [[3.0], [2.0]]
