"""From an online training to policies, cards and recipes."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from algorithms import Sizes
from harness.datasets import policies, rollouts
from harness.errors import DataError
from harness.specs import Environment, GeneratedSource, Specs
from harness.training import ladder
from harness.training.ladder import choose, export, save_policy, with_recipe
from harness.training.online import (
    EPOCH,
    Learner,
    OnlineTrainer,
    Scored,
    end,
    gather,
    replay_rows,
    seconds_per_epoch,
)

HOPPER = Environment(id="Hopper-v4", max_episode_steps=60)
SIZES = Sizes(11, 3)


def learner(key="sac/hopper/0", **changes):
    values = {name: h.value for name, h in Specs().algorithm("sac").hyperparameters.items()}
    values |= {"batch_size": 8, "actor_hidden_sizes": "8", "critic_hidden_sizes": "8"} | changes
    return Learner(key, "sac", values, SIZES, HOPPER)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A training of two epochs, whose history is made up to be one of fifteen scorings."""
    folder = tmp_path_factory.mktemp("trained")
    online = OnlineTrainer([learner()], folder, epochs=2, score_every=1, episodes=2)
    assert online.train()
    steps = [(EPOCH if step >= 4 else 0) for step in range(15)]
    returns = [[float(10 * step), float(10 * step + 2)] for step in range(15)]
    history = [{"step": step, "returns": values} for step, values in zip(steps, returns, strict=True)]
    (folder / "history.json").write_text(json.dumps({"sac/hopper/0": history}))
    return folder


@pytest.fixture
def target(tmp_path):
    """A folder laid out like specs/ with hopper's datasets."""
    (tmp_path / "specs" / "datasets").mkdir(parents=True)
    from harness.specs.catalogue import shipped_folder

    for path in (shipped_folder() / "datasets").glob("*hopper*"):
        (tmp_path / "specs" / "datasets" / path.name).write_text(path.read_text())
    return tmp_path / "specs"


def scored(*means):
    return [Scored(1000 * i, [mean - 1, mean + 1]) for i, mean in enumerate(means)]


def test_expert_is_the_best_late_scoring_and_medium_the_first_at_a_third():
    means = [1, 50, 29, 30, 10, 99, *[80] * 6, 90, 85, 70]
    medium, expert = choose(scored(*means))
    assert (expert.level, expert.scored.step) == ("expert", 5000)  # the tenth from the end
    assert (medium.level, medium.scored.step) == ("medium", 1000)
    medium, expert = choose(scored(1, 99, *means[2:5], *[20] * 4, *means[6:]))
    assert expert.scored.returns == [89, 91]
    assert medium.scored.step == 1000
    assert "17,000 updates" in expert.rule


@pytest.mark.parametrize(
    ("means", "complaint"),
    [
        ([1] * 9, "scored 9 times; an expert takes at least 10"),
        ([5] * 12, "learnt nothing"),
        ([-2] * 12, "nothing"),
    ],
)
def test_what_gives_no_policies(means, complaint):
    with pytest.raises(DataError, match=complaint):
        choose(scored(*means))


def test_export_writes_policies_cards_and_recipes(trained, target, monkeypatch):
    monkeypatch.setattr(ladder, "EPISODES", 3)
    before = (target / "datasets" / "hopper-medium-v2.yaml").read_text().partition("generated:\n")[0]
    written = export(trained, Specs(), target)
    assert sorted(path.relative_to(target).as_posix() for path in written) == [
        *(
            f"datasets/hopper-{rung}-v2.yaml"
            for rung in ("expert", "full-replay", "medium-expert", "medium-replay", "medium")
        ),
        "policies/hopper-expert.json",
        "policies/hopper-expert.safetensors",
        "policies/hopper-medium.json",
        "policies/hopper-medium.safetensors",
    ]
    place = target / "policies" / "hopper-medium.safetensors"
    card = policies.card(place)
    assert (card.level, card.steps, card.key) == ("medium", EPOCH, "sac/hopper/0")
    assert card.training_returns == (50.0, 52.0)  # a third of the expert's mean of 141
    assert card.hyperparameters["batch_size"] == 8
    assert card.source_sha256 == json.loads((trained / "run.json").read_text())["source_sha256"]
    policy = policies.read(place)
    again = rollouts.evaluate(policy, card.environment, 3, card.recorded.seed)
    assert again == card.recorded.returns
    assert len(again.deterministic) == 3
    assert again.stochastic != again.deterministic
    assert rollouts.evaluate(policy, card.environment, 2, 0).stochastic == again.stochastic[:2]

    state = torch.load(trained / "sac/hopper/0" / f"{EPOCH}.pt", weights_only=True)
    np.testing.assert_array_equal(
        policy.weights[0].astype(np.float32), state["actor.network.layers.0.weight"][0].numpy()
    )

    text = (target / "datasets" / "hopper-medium-v2.yaml").read_text()
    assert text.startswith(before)
    alone = Specs.__new__(Specs)  # the shipped folder has the same ids, so this one stands alone
    alone.folders, alone._loaded, alone._documents = (target,), {}, {}
    sources = {
        rung: alone.dataset(f"hopper-{rung}-v2").generated
        for rung in ("medium", "expert", "medium-expert", "medium-replay", "full-replay")
    }
    assert sources["medium"].policies[0].sha256 == card.sha256
    assert [policy.id for policy in sources["medium-expert"].policies] == ["hopper-medium", "hopper-expert"]
    assert sources["medium-expert"].transitions == 2_000_000
    assert sources["medium-replay"].transitions == EPOCH + EPOCH
    assert sources["full-replay"].transitions == 1_000_000
    assert sources["full-replay"].hyperparameters_sha256 == card.hyperparameters_sha256

    assert export(trained, Specs(), target) == written  # once more changes nothing
    assert (target / "datasets" / "hopper-medium-v2.yaml").read_text() == text


def test_a_level_exported_alone_leaves_the_other_and_its_recipes(trained, target, tmp_path, monkeypatch):
    monkeypatch.setattr(ladder, "EPISODES", 2)
    with pytest.raises(
        DataError, match=r"hopper-medium\.safetensors is missing: make policies of all levels"
    ):
        export(trained, Specs(), target, levels=["expert"])
    assert not (target / "policies").exists()  # nothing half-written
    export(trained, Specs(), target)
    before = {path: path.read_bytes() for path in target.rglob("*") if path.is_file()}

    longer = tmp_path / "longer"
    assert OnlineTrainer([learner("sac/hopper/3")], longer, epochs=2, score_every=1, episodes=2).train()
    history = [{"step": EPOCH, "returns": [float(step), float(step)]} for step in range(15)]
    (longer / "history.json").write_text(json.dumps({"sac/hopper/3": history}))
    card = target / "policies" / "hopper-medium.json"
    card.write_text("{")
    with pytest.raises(DataError, match=r"hopper-medium\.json, the card of .*, is missing or damaged"):
        export(longer, Specs(), target, levels=["expert"])
    card.write_bytes(before[card])
    assert {path: path.read_bytes() for path in before} == before
    export(longer, Specs(), target, levels=["expert"])
    changed = {
        path.relative_to(target).as_posix() for path, was in before.items() if path.read_bytes() != was
    }
    assert changed == {
        "datasets/hopper-expert-v2.yaml",
        "datasets/hopper-full-replay-v2.yaml",
        "datasets/hopper-medium-expert-v2.yaml",
        "policies/hopper-expert.json",
        "policies/hopper-expert.safetensors",
    }
    hashes = [
        policies.card(target / "policies" / f"hopper-{each}.safetensors").sha256 for each in ladder.LEVELS
    ]
    text = (target / "datasets" / "hopper-medium-expert-v2.yaml").read_text()
    assert all(each in text for each in hashes)
    # the whole training is the expert's, the beginning that ends at medium is medium's own
    assert "seed: 3" in (target / "datasets" / "hopper-full-replay-v2.yaml").read_text()
    assert "seed: 0" in (target / "datasets" / "hopper-medium-replay-v2.yaml").read_text()


def test_a_recipe_takes_the_place_of_the_one_there_was():
    source = GeneratedSource(recipe="random-policy", version=1, seed=0, transitions=5)
    text = "id: a\ngenerated:\n  recipe: x\n  policies:\n    - id: b\n# kept\nd4rl:\n  url: u\n"
    new = with_recipe(text, source)
    assert new.startswith("id: a\n# kept\nd4rl:\n  url: u\ngenerated:\n  recipe: random-policy\n")
    assert with_recipe(new, source) == new
    assert with_recipe("id: a", source).startswith("id: a\ngenerated:\n")
    for old in (
        "generated:  # mine\n  recipe: x\n",
        "generated: {recipe: x,\n  version: 1}\n",
        "generated: {\n  recipe: x\n}\n",
        "generated:\n  recipe: x\n# why\n\n  version: 1\n",
    ):
        assert with_recipe(f"id: a\n{old}# kept\nd4rl:\n  url: u\n", source) == new


def test_folders_that_hold_no_training(tmp_path, trained, target):
    with pytest.raises(DataError, match=r"holds no online training: .*run\.json is missing"):
        export(tmp_path, Specs(), target)
    run = json.loads((trained / "run.json").read_text())
    (tmp_path / "run.json").write_text(json.dumps(run))
    with pytest.raises(DataError, match=r"history\.json is missing or damaged"):
        export(tmp_path, Specs(), target)
    scores = {"step": EPOCH, "returns": [1.0]}
    for wrong in ([], [scores | {"returns": []}], [scores | {"returns": None}], [{"step": EPOCH}]):
        (tmp_path / "history.json").write_text(json.dumps({"sac/hopper/0": wrong}))
        with pytest.raises(DataError, match=r"history\.json is missing or damaged"):
            export(tmp_path, Specs(), target)
    for wrong in ({"learners": {}}, {"learners": []}, {"trained_with": None}, {"epochs": None}):
        (tmp_path / "run.json").write_text(json.dumps(run | wrong))
        with pytest.raises(DataError, match=r"run\.json is missing or damaged"):
            export(tmp_path, Specs(), target)
    (tmp_path / "history.json").write_text(json.dumps({"x": [scores]}))
    run["learners"] = {"x": run["learners"]["sac/hopper/0"]}
    (tmp_path / "run.json").write_text(json.dumps(run))
    with pytest.raises(DataError, match="'x' is not written sac/ENVIRONMENT/SEED"):
        export(tmp_path, Specs(), target)


def test_an_unfinished_training_gives_no_policies(tmp_path, target):
    online = OnlineTrainer([learner()], tmp_path, epochs=3, score_every=1, episodes=2)
    assert not online.train(stop=lambda: online._epoch == 2)
    with pytest.raises(DataError, match=r"was scored at 1,000 of 2,000 updates; .* no experts yet"):
        export(tmp_path, Specs(), target)
    assert not list((target / "policies").glob("*"))
    end(tmp_path, 2)
    with pytest.raises(DataError, match="scored 2 times; an expert takes at least 10"):
        export(tmp_path, Specs(), target)


def test_a_policy_of_another_shape_is_not_written(tmp_path):
    state = {"actor.network.norms.0.weight": torch.zeros(1, 1, 4)}
    with pytest.raises(DataError, match="is no plain MLP"):
        save_policy(state, tmp_path / "p.safetensors")


def test_a_training_is_not_continued_as_another(trained):
    with pytest.raises(DataError, match="trains sac/hopper/0 with other hyperparameters"):
        OnlineTrainer([learner(discount=0.5)], trained, epochs=2)
    with pytest.raises(DataError, match="has 2 epochs already, not 1"):
        OnlineTrainer([learner()], trained, epochs=1)


def test_what_was_gathered_is_read_from_the_checkpoint(trained):
    rows = replay_rows(trained, "sac/hopper/0", SIZES)
    untrained = torch.load(trained / "sac/hopper/0" / "0.pt", weights_only=True)
    first = gather(learner(), {name: tensor.numpy() for name, tensor in untrained.items()}, 0)
    assert rows.keys() == first.keys()
    for name, array in first.items():
        np.testing.assert_array_equal(rows[name][:EPOCH], array, err_msg=name)
        assert rows[name].dtype == array.dtype
    assert replay_rows(trained / "nowhere", "sac/hopper/0", SIZES) is None
    with pytest.raises(DataError, match="trains sac/hopper/0, not b; name another folder"):
        replay_rows(trained, "b", SIZES)


def test_an_epoch_is_timed():
    assert 0 < seconds_per_epoch([learner(), learner()], updates=3) < 100
