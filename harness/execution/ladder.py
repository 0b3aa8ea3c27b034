"""From finished runs of SAC to what the ladder of datasets ships: policies, cards and recipes."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import torch
import yaml

from harness import files
from harness.datasets import generated, policies, rollouts
from harness.datasets.navigation import ANT
from harness.environments.ogbench import LAYOUTS
from harness.errors import DataError
from harness.execution.gathering import Scored, archived, fingerprint, opened, scored
from harness.results.records import digest
from harness.results.store import Store
from harness.specs import Dataset, Environment, GeneratedSource, PolicyFile, Specs
from harness.training.archive import policies_of

ROLLOUT, REPLAY = 1_000_000, 1_000_000
"""Rows of medium and of expert data, and of full-replay data."""

NAVIGATION = 1_000_000
"""Rows of the data of an ant that navigates, where OGBench's own number is not known."""

WARMUP = 1000
"""Interactions before the first update."""

EPISODES = 20
"""Of each kind, that a card records for `harness doctor --calibrate`."""

LAST = 10
"""Scorings at the end of training of which the expert is the best."""

LEVELS: tuple[policies.Level, ...] = get_args(policies.Level)
"""Of the policies of one environment."""

_VERSION = "-v2"  # of D4RL's MuJoCo datasets
_ANT_EXPERT = "ogbench-ant-expert"


@dataclass(frozen=True)
class Rung:
    """A checkpoint that became a policy.

    Attributes:
        level: which.
        scored: the checkpoint.
        rule: how it was chosen.
    """

    level: policies.Level
    scored: Scored
    rule: str


def choose(scores: Sequence[Scored]) -> list[Rung]:
    """Medium and expert among the scored checkpoints of one training.

    D4RL's medium policies were trained to about a third of the expert's performance; how the checkpoints were
    picked is not said. Here the expert is the best of the last `LAST` scorings, and medium the first
    checkpoint whose mean return reaches a third of the expert's.

    Raises:
        DataError: there is too little to choose from, or nothing was learnt.
    """
    if len(scores) < LAST:
        raise DataError(f"the training was scored {len(scores)} times; an expert takes at least {LAST}")
    expert = max(scores[-LAST:], key=lambda scored: scored.mean)
    if expert.mean <= max(0.0, scores[0].mean):
        raise DataError(
            f"the training learnt nothing: its best late return is {expert.mean:.1f}, "
            f"and {scores[0].mean:.1f} before training"
        )
    medium = next(scored for scored in scores if scored.mean >= expert.mean / 3)
    end, share = f"a training of {scores[-1].updates:,} updates", medium.mean / expert.mean
    first = f"first scoring of {end} that reaches a third of the expert's mean return (it has {share:.0%})"
    return [
        Rung("medium", medium, first),
        Rung("expert", expert, f"highest mean return of the last {LAST} scorings of {end}"),
    ]


def export(
    folder: Path,
    specs: Specs,
    to: Path,
    seed: int = 0,
    levels: Collection[policies.Level] = LEVELS,
) -> list[Path]:
    """Write the policies of every run of SAC in a folder, their cards and the recipes that use them.

    Args:
        folder: of `harness.execution.gathering.train`.
        specs: where the datasets are described; they say which datasets an environment has.
        to: a folder laid out like ``specs/``. Policies and cards go to ``policies/``; the spec of a dataset
            that lies in ``datasets/`` gets its ``generated`` block, in place of the one it has.
        seed: of the datasets' rollouts.
        levels: which policies to write; recipes name the ones of the other levels that `to` holds already.

    Returns:
        The files that were written.

    Raises:
        DataError: the folder holds no such training, the training is too short or not finished, or `to` lacks
            a policy of another level or has a damaged one.
    """
    written: list[Path] = []
    with opened(folder) as store:
        states, configurations = store.runs(), store.configurations()
        for state in states.values():
            if state.status != "finished":
                raise DataError(
                    f"{folder}: the run in {state.dataset}, seed {state.seed}, is not finished, so its last "
                    "policies are no experts yet; `harness data train` goes on with it"
                )
        for key, state in states.items():
            written += _export(
                store, key, state.seed, configurations[state.configuration_key], specs, to, seed, levels
            )
    return written


def _export(
    store: Store,
    key: str,
    trained: int,
    configuration: Mapping[str, Any],
    specs: Specs,
    to: Path,
    seed: int,
    levels: Collection[policies.Level],
) -> list[Path]:
    """One run's; `trained` is its seed."""
    about = _About(key, trained, configuration, fingerprint(store, key))
    if about.environment.id == ANT.id:
        return _export_ant(store, about, specs, to, seed)
    dataset = _medium(configuration, specs)
    prefix = dataset.id.removesuffix(f"-medium{_VERSION}")
    places = {level: to / "policies" / f"{prefix}-{level}{policies.SUFFIX}" for level in LEVELS}
    cards, written = {}, []
    for level, place in places.items():
        if level not in levels:
            if not place.exists():
                raise DataError(f"{place} is missing: make policies of all levels first")
            cards[level] = policies.card(place)  # before anything is written: it may be refused
    known = _policies(store, key)
    for rung in choose(about.scored(store)):
        if rung.level in levels:
            place = places[rung.level]
            cards[rung.level] = _write_policy(about, rung, known[rung.scored.step], dataset, place)
            written += [place, policies.card_path(place)]
    for name, source in _recipes(cards["medium"], cards["expert"], seed).items():
        written += _write_recipe(to / "datasets" / f"{prefix}-{name}{_VERSION}.yaml", source)
    return written


def _export_ant(store: Store, about: _About, specs: Specs, to: Path, seed: int) -> list[Path]:
    """The ant that navigates in OGBench's mazes: as there, the policy with which training ended."""
    last = about.scored(store)[-1]
    mazes = {size: specs.dataset(f"antmaze-{size}-navigate-singletask-task1-v0") for size in LAYOUTS}
    place = to / "policies" / f"{_ANT_EXPERT}{policies.SUFFIX}"
    rung = Rung("expert", last, f"last policy of a training of {last.updates:,} updates")
    card = _write_policy(about, rung, _policies(store, about.key)[last.step], mazes["large"], place)
    written = [place, policies.card_path(place)]
    for size, dataset in mazes.items():
        assert dataset.ogbench is not None  # noqa: S101 - the shipped ones have it
        recipe = GeneratedSource(
            recipe="ant-navigate",
            version=generated.VERSIONS["ant-navigate"],
            seed=seed,
            transitions=dataset.ogbench.rows or NAVIGATION,
            policies=(PolicyFile(id=card.id, sha256=card.sha256),),
        )
        written += _write_recipe(to / "datasets" / f"_ogbench-antmaze-{size}.yaml", recipe)
    return written


def _policies(store: Store, key: str) -> dict[int, dict[str, torch.Tensor]]:
    """The policies that a finished run was evaluated by, by their steps."""
    content = archived(store, key)
    assert content is not None  # noqa: S101 - a finished run has left it
    return policies_of(content)


def _write_recipe(spec: Path, source: GeneratedSource) -> list[Path]:
    """Write the recipe into a dataset's spec, if it is there."""
    if not spec.exists():
        return []
    with files.atomic(spec) as temporary:
        temporary.write_text(with_recipe(spec.read_text(encoding="utf-8"), source), "utf-8")
    return [spec]


class _About(NamedTuple):
    """What a card says of a policy's training."""

    key: str
    seed: int
    configuration: Mapping[str, Any]
    fingerprint: Mapping[str, str]

    @property
    def environment(self) -> Environment:
        """Where it was trained."""
        return Environment.model_validate(self.configuration["environment"])

    def scored(self, store: Store) -> list[Scored]:
        """Its evaluations, in order."""
        return scored(store, self.key, self.configuration["protocol"]["gather"]["warmup"])


def _medium(configuration: Mapping[str, Any], specs: Specs) -> Dataset:
    """The medium dataset of the environment that a run was trained in.

    Raises:
        DataError: there is none.
    """
    there = configuration["environment"]["id"]
    for name in specs.ids("datasets"):
        if name.endswith(f"-medium{_VERSION}"):
            dataset = specs.dataset(name)
            if dataset.environment and dataset.environment.id == there:
                return dataset
    raise DataError(
        f"no dataset named X-medium{_VERSION} is from {there}, so policies from there have no use"
    )


def _write_policy(
    about: _About, rung: Rung, state: Mapping[str, torch.Tensor], dataset: Dataset, place: Path
) -> policies.PolicyCard:
    """Write a policy of a run, and its card; reference scores are of the environment that they are for."""
    assert dataset.environment is not None  # noqa: S101 - found by it
    environment, hyperparameters = about.environment, dict(about.configuration["hyperparameters"])
    sha256 = save_policy(state, place, hyperparameters)
    policy = policies.read(place)
    policies.check_fit(place, policy, environment, dataset.observation_size, dataset.action_size)
    card = policies.PolicyCard(
        id=place.stem,
        sha256=sha256,
        level=rung.level,
        rule=rung.rule,
        environment=environment,
        algorithm=about.configuration["algorithm"],
        key=about.key,
        seed=about.seed,
        steps=rung.scored.updates,
        hyperparameters=hyperparameters,
        hyperparameters_sha256=digest(hyperparameters),
        source_sha256=about.fingerprint.get("algorithm_source", ""),
        trained_with=dict(about.fingerprint),
        training_returns=tuple(rung.scored.returns),
        recorded=policies.Recorded(
            seed=0,
            versions=policies.versions(),
            returns=rollouts.evaluate(policy, environment, EPISODES, 0),
        ),
        reference=dataset.reference if dataset.environment.id == environment.id else None,
    )
    files.write_json(policies.card_path(place), card.model_dump(mode="json", by_alias=True))
    return card


def save_policy(
    state: Mapping[str, torch.Tensor], place: Path, hyperparameters: Mapping[str, Any] | None = None
) -> str:
    """Write `Algorithm.policy_state` of one member with a `TanhGaussianActor`; returns the file's SHA-256.

    Args:
        state: of the member.
        place: of the file.
        hyperparameters: of the training, of which the file holds those that shape the policy.

    Raises:
        DataError: it is of another network, or cannot be written.
    """
    pattern = re.compile(r"actor\.network\.layers\.(\d+)\.(weight|bias)")
    layers = {
        (int(m[1]), m[2]): tensor[0] for name, tensor in state.items() if (m := pattern.fullmatch(name))
    }
    depth, given = len(layers) // 2, hyperparameters or {}
    if len(layers) != len(state) or set(layers) != {(i, p) for i in range(depth) for p in ("weight", "bias")}:
        raise DataError(f"{place} cannot be written: a policy of {', '.join(sorted(state))} is no plain MLP")
    return policies.write(
        place,
        [layers[i, "weight"].numpy() for i in range(depth)],
        [layers[i, "bias"].numpy()[0] for i in range(depth)],
        {name: str(given[name]) for name in ("activation", "log_std_minimum") if name in given} or None,
    )


def with_recipe(text: str, source: GeneratedSource) -> str:
    """A dataset's YAML with this ``generated`` block, in place of the one it may have."""
    # indented lines, the end of what braces hold, and comments and empty lines between them
    block_of_old = r"^generated:.*\n(?:(?:#.*\n|\n)*[ \t}\]].*\n)*"
    without = re.sub(block_of_old, "", text if text.endswith("\n") else text + "\n", flags=re.M)
    block = {"generated": source.model_dump(mode="json", exclude_defaults=True)}
    return without + str(yaml.safe_dump(block, sort_keys=False, width=200))


def _recipes(
    medium: policies.PolicyCard, expert: policies.PolicyCard, seed: int
) -> dict[str, GeneratedSource]:
    """Of the datasets of one environment, by the part of their names after the environment's."""

    def rolled(recipe: Literal["policy-rollout", "stitched"], *cards: policies.PolicyCard) -> GeneratedSource:
        return GeneratedSource(
            recipe=recipe,
            version=generated.VERSIONS[recipe],
            seed=seed,
            transitions=ROLLOUT * len(cards),
            policies=tuple(PolicyFile(id=card.id, sha256=card.sha256) for card in cards),
        )

    def replayed(card: policies.PolicyCard, rows: int) -> GeneratedSource:
        return GeneratedSource(
            recipe="sac-replay",
            version=generated.VERSIONS["sac-replay"],
            seed=card.seed,
            transitions=rows,
            hyperparameters_sha256=card.hyperparameters_sha256,
        )

    return {
        "medium": rolled("policy-rollout", medium),
        "expert": rolled("policy-rollout", expert),
        "medium-expert": rolled("stitched", medium, expert),
        "medium-replay": replayed(medium, medium.steps + WARMUP),
        "full-replay": replayed(expert, REPLAY),
    }
