"""From runs of SAC to policies, cards and recipes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from algorithms import Member, Sizes, algorithm_class
from harness.datasets import policies, rollouts
from harness.errors import DataError
from harness.execution import artefacts, gathering, ladder
from harness.execution.gathering import Scored
from harness.execution.ladder import choose, export, save_policy, with_recipe
from harness.results.models import GATHERED
from harness.results.records import EvaluationRecord
from harness.results.store import Store
from harness.specs import Environment, GeneratedSource, Specs
from harness.training.archive import archive

HOPPER = Environment(id="Hopper-v4", max_episode_steps=60)
SIZES = Sizes(11, 3)
RETURNS = [[float(10 * step), float(10 * step + 2)] for step in range(15)]


def run_of(seed=0, returns=RETURNS, dataset=None):
    """A run of SAC with small networks, in Hopper or behind a dataset, evaluated every 500 interactions."""
    specs = Specs()
    sac = specs.algorithm("sac")
    tiny = {"batch_size": 8, "actor_hidden_sizes": "8", "critic_hidden_sizes": "8"}
    values = {
        name: h.model_copy(update={"value": tiny.get(name, h.value)})
        for name, h in sac.hyperparameters.items()
    }
    specs.algorithm = lambda _: sac.model_copy(update={"hyperparameters": values})
    changes = {"interactions": 500 * (len(returns) - 1), "evaluate_every": 500, "episodes": 2}
    protocol = specs.protocol(gathering.PROTOCOL).model_copy(update=changes)
    hopper = specs.dataset("hopper-medium-v2").model_copy(update={"environment": HOPPER})
    return gathering.planned(specs.dataset(dataset) if dataset else hopper, seed, protocol, specs)


def policy(step, seed=0, dataset=None, sizes=SIZES):
    member = Member(f"policy {seed} {step}", run_of(dataset=dataset).record.hyperparameters)
    return algorithm_class("sac")([member], sizes).policy_state()


def trained_in(folder, seed=0, returns=RETURNS, *, finish=True, dataset=None, sizes=SIZES):
    """A folder as `harness data train` leaves it, with made-up evaluations, 500 interactions apart."""
    run = run_of(seed, returns, dataset)
    key, steps = run.record.key, run.cell.protocol.evaluations()
    with Store.open(folder / "runs.db", create=True) as store:
        store.register([run.record])
        store.claim([key])
        store.record_fingerprint([key], {"algorithm_source": "5" * 64, "device": "cpu"}, "p")
        store.record_evaluations(
            [EvaluationRecord(key, step, each, [1, 1]) for step, each in zip(steps, returns, strict=True)]
        )
        if finish:
            content = archive(
                torch.zeros(3, 2 * sum(sizes) + 2),
                torch.zeros(3, dtype=torch.bool),
                sizes,
                {s: policy(s, seed, dataset, sizes) for s in steps},
            )
            left = artefacts.write(store.location.folder("artefacts"), key, GATHERED, content)
            store.finish([key], 1.0, 1.0, {key: [left]})
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return trained_in(tmp_path_factory.mktemp("trained"))


@pytest.fixture
def target(tmp_path):
    """A folder laid out like specs/ with hopper's datasets."""
    (tmp_path / "specs" / "datasets").mkdir(parents=True)
    from harness.specs.catalogue import shipped_folder

    for path in (shipped_folder() / "datasets").glob("*hopper*"):
        (tmp_path / "specs" / "datasets" / path.name).write_text(path.read_text())
    return tmp_path / "specs"


def scored(*means):
    return [Scored(1000 * i, 1000 * i, [mean - 1, mean + 1]) for i, mean in enumerate(means)]


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
    assert (card.level, card.steps, card.seed) == ("medium", 1500, 0)  # 2500 interactions, 1000 before
    assert card.key == run_of().record.key
    assert card.training_returns == (50.0, 52.0)  # a third of the expert's mean of 141
    assert card.hyperparameters["batch_size"] == 8
    assert card.source_sha256 == "5" * 64
    assert card.environment == HOPPER
    written_policy = policies.read(place)
    again = rollouts.evaluate(written_policy, card.environment, 3, card.recorded.seed)
    assert again == card.recorded.returns
    assert len(again.deterministic) == 3
    assert again.stochastic != again.deterministic
    assert rollouts.evaluate(written_policy, card.environment, 2, 0).stochastic == again.stochastic[:2]

    state = policy(2500)
    np.testing.assert_array_equal(
        written_policy.weights[0].astype(np.float32), state["actor.network.layers.0.weight"][0].numpy()
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
    assert [each.id for each in sources["medium-expert"].policies] == ["hopper-medium", "hopper-expert"]
    assert sources["medium-expert"].transitions == 2_000_000
    assert sources["medium-replay"].transitions == 1500 + 1000
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

    returns = [[float(step), float(step)] for step in range(15)]
    longer = trained_in(tmp_path / "longer", 3, returns)
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


def test_folders_that_hold_no_policies(tmp_path, trained, target):
    with pytest.raises(DataError, match=r"holds no runs of SAC"):
        export(tmp_path, Specs(), target)
    unfinished = trained_in(tmp_path / "unfinished", finish=False)
    with pytest.raises(
        DataError, match=r"hopper-v4, seed 0, is not finished, .* no experts yet; `harness da"
    ):
        export(unfinished, Specs(), target)
    short = trained_in(tmp_path / "short", returns=RETURNS[:3])
    with pytest.raises(DataError, match="scored 3 times; an expert takes at least 10"):
        export(short, Specs(), target)
    damaged = trained_in(tmp_path / "damaged")
    [place] = damaged.rglob("*.gathered.safetensors")
    place.write_bytes(place.read_bytes()[:-1] + b"x")
    with pytest.raises(DataError, match="has changed since it was written"):
        export(damaged, Specs(), target)
    assert not list((target / "policies").glob("*"))


def test_a_policy_of_another_shape_is_not_written(tmp_path):
    state = {"actor.network.norms.0.weight": torch.zeros(1, 1, 4)}
    with pytest.raises(DataError, match="is no plain MLP"):
        save_policy(state, tmp_path / "p.safetensors")


ANT = "antmaze-giant-navigate-singletask-task3-v0"


def test_data_of_an_ant_that_navigates_train_it_on_open_ground_with_ogbenchs_settings():
    record = run_of(dataset=ANT).record
    assert record.configuration["environment"] == {"id": "harness/ogbench-ant", "max_episode_steps": 1000}
    settings = {"activation": "gelu_tanh", "actor_learning_rate": 1e-4, "entropy_per_dimension": -0.5}
    assert settings.items() <= record.hyperparameters.items()
    assert record.key == run_of(dataset=ANT.replace("giant", "large")).record.key
    protocol = Specs().protocol("sac-ogbench")
    assert (protocol.interactions, protocol.gather.every, protocol.gather.warmup) == (400_000, 1, 10_000)


def test_the_ants_expert_is_its_last_policy_and_goes_into_both_mazes_recipes(tmp_path, monkeypatch):
    monkeypatch.setattr(ladder, "EPISODES", 2)
    monkeypatch.setattr(gathering, "ANT", Environment(id="harness/ogbench-ant", max_episode_steps=20))
    sizes, folder = Sizes(29, 8), tmp_path / "trained"
    trained_in(folder, returns=RETURNS[:3], dataset=ANT, sizes=sizes)
    specs = tmp_path / "specs" / "datasets"
    specs.mkdir(parents=True)
    for size in ("large", "giant"):
        (specs / f"_ogbench-antmaze-{size}.yaml").write_text("ogbench: {}\n")
    written = [path.name for path in export(folder, Specs(), tmp_path / "specs")]
    assert written == [
        "ogbench-ant-expert.safetensors",
        "ogbench-ant-expert.json",
        "_ogbench-antmaze-large.yaml",
        "_ogbench-antmaze-giant.yaml",
    ]
    place = tmp_path / "specs" / "policies" / written[0]
    card, read = policies.card(place), policies.read(place)
    assert (card.level, card.steps, card.reference) == (
        "expert",
        0,
        None,
    )  # 1,000 interactions, none learnt from
    assert card.rule == "last policy of a training of 0 updates"
    assert card.training_returns == (20.0, 22.0)
    assert (read.activation, read.log_std_minimum) == ("gelu_tanh", -5)
    assert (len(read.weights[0]), len(read.biases[-1])) == (29, 16)
    for size, rows in (("large", 1_001_000), ("giant", 1_000_500)):
        text = (specs / f"_ogbench-antmaze-{size}.yaml").read_text()
        assert f"recipe: ant-navigate\n  version: 1\n  seed: 0\n  transitions: {rows}\n" in text
        assert f"sha256: {card.sha256}" in text
