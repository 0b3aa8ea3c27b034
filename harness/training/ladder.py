"""From a finished online training to what the ladder of datasets ships: policies, cards and recipes."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
import yaml

from algorithms import Sizes
from harness import files
from harness.datasets import generated, policies, rollouts
from harness.errors import DataError
from harness.results.records import digest
from harness.specs import Dataset, Environment, GeneratedSource, PolicyFile, Specs
from harness.training.online import EPOCH, Learner, Scored

ROLLOUT, REPLAY = 1_000_000, 1_000_000
"""Rows of medium and of expert data, and of full-replay data."""

EPISODES = 20
"""Of each kind, that a card records for `harness doctor --calibrate`."""

LAST = 10
"""Scorings at the end of training of which the expert is the best."""

LEVELS: tuple[policies.Level, ...] = get_args(policies.Level)
"""Of the policies of one environment."""

_VERSION = "-v2"  # of D4RL's MuJoCo datasets


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


def settings_hash(hyperparameters: Mapping[str, Any]) -> str:
    """SHA-256 (hex) of hyperparameters, by name."""
    return digest(dict(hyperparameters))


def learner(prefix: str, seed: int, specs: Specs, environment: Environment, sizes: Sizes) -> Learner:
    """The SAC behind an environment's datasets: its key decides its random numbers."""
    sac = specs.algorithm("sac")
    values = sac.in_key({name: h.value for name, h in sac.hyperparameters.items()})
    return Learner(f"sac/{prefix}/{seed}", "sac", values, sizes, environment)


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
    expert = max(scores[-LAST:], key=mean_return)
    if mean_return(expert) <= max(0.0, mean_return(scores[0])):
        raise DataError(
            f"the training learnt nothing: its best late return is {mean_return(expert):.1f}, "
            f"and {mean_return(scores[0]):.1f} before training"
        )
    medium = next(scored for scored in scores if mean_return(scored) >= mean_return(expert) / 3)
    end, share = f"a training of {scores[-1].step:,} updates", mean_return(medium) / mean_return(expert)
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
    """Write the policies of every member of an online training, their cards and the recipes that use them.

    Args:
        folder: of an `OnlineTrainer`.
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
    run, history = read_training(folder)
    written: list[Path] = []
    # the first epoch gathers and does not update; a training may be too old to say how long it was to be
    done, wanted = next(iter(history.values()))[-1].step, (run.get("epochs", 1) - 1) * EPOCH
    if done < wanted:
        raise DataError(
            f"{folder} was scored at {done:,} of {wanted:,} updates; the last policies are no experts yet: "
            f"`harness data train` goes on with --updates {wanted}, or ends it with --updates {done}"
        )
    for key in run["learners"]:
        prefix, _ = _environment_and_seed(key, folder)
        dataset = specs.dataset(f"{prefix}-medium{_VERSION}")
        places = {level: to / "policies" / f"{prefix}-{level}{policies.SUFFIX}" for level in LEVELS}
        cards = {}
        for level, place in places.items():
            if level not in levels:
                if not place.exists():
                    raise DataError(f"{place} is missing: make policies of all levels first")
                cards[level] = policies.card(place)  # before anything is written: it may be refused
        for rung in choose(history[key]):
            if rung.level in levels:
                place = places[rung.level]
                cards[rung.level] = _write_policy(folder, run, key, rung, dataset, place)
                written += [place, policies.card_path(place)]
        recipes = _recipes(cards["medium"], cards["expert"], seed)
        for name, source in recipes.items():
            spec = to / "datasets" / f"{prefix}-{name}{_VERSION}.yaml"
            if spec.exists():
                with files.atomic(spec) as temporary:
                    temporary.write_text(with_recipe(spec.read_text(encoding="utf-8"), source), "utf-8")
                written.append(spec)
    return written


def _environment_and_seed(key: str, where: Path | str) -> tuple[str, int]:
    """What the key of a member says, as `learner` writes it."""
    member = re.fullmatch(r"sac/([a-z0-9]+)/(\d+)", key)
    if member is None:
        raise DataError(f"{where}: the key {key!r} is not written sac/ENVIRONMENT/SEED")
    return member[1], int(member[2])


def _write_policy(
    folder: Path, run: Mapping[str, Any], key: str, rung: Rung, dataset: Dataset, place: Path
) -> policies.PolicyCard:
    """Write a checkpoint of a training as a policy, and its card."""
    about = run["learners"][key]
    there = about["environment"]
    if dataset.environment is None or dataset.environment.id != there["id"]:
        raise DataError(f"{folder}: {key} was trained in {there['id']}, not where {dataset.id} is from")
    limit = {"max_episode_steps": there["max_episode_steps"]}
    environment = dataset.environment.model_copy(update=limit)
    sha256 = save_policy(_checkpoint(folder / key / f"{rung.scored.step}.pt"), place)
    policy = policies.read(place)
    policies.check_fit(place, policy, environment, dataset.observation_size, dataset.action_size)
    card = policies.PolicyCard(
        id=place.stem,
        sha256=sha256,
        level=rung.level,
        rule=rung.rule,
        environment=environment,
        algorithm=about["algorithm"],
        key=key,
        steps=rung.scored.step,
        hyperparameters=about["hyperparameters"],
        hyperparameters_sha256=settings_hash(about["hyperparameters"]),
        source_sha256=run["source_sha256"],
        trained_with=run["trained_with"],
        training_returns=tuple(rung.scored.returns),
        recorded=policies.Recorded(
            seed=0,
            versions=policies.versions(),
            returns=rollouts.evaluate(policy, environment, EPISODES, 0),
        ),
        reference=dataset.reference,
    )
    files.write_json(policies.card_path(place), card.model_dump(mode="json"))
    return card


def _checkpoint(place: Path) -> dict[str, torch.Tensor]:
    try:
        state: dict[str, torch.Tensor] = torch.load(place, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can fail in any way inside the unpickler
        raise DataError(f"the policy {place} is missing or damaged: {error}") from error
    return state


def save_policy(state: Mapping[str, torch.Tensor], place: Path) -> str:
    """Write `Algorithm.policy_state` of one member with a `TanhGaussianActor`; returns the file's SHA-256.

    Raises:
        DataError: it is of another network, or cannot be written.
    """
    pattern = re.compile(r"actor\.network\.layers\.(\d+)\.(weight|bias)")
    layers = {
        (int(m[1]), m[2]): tensor[0] for name, tensor in state.items() if (m := pattern.fullmatch(name))
    }
    depth = len(layers) // 2
    if len(layers) != len(state) or set(layers) != {(i, p) for i in range(depth) for p in ("weight", "bias")}:
        raise DataError(f"{place} cannot be written: a policy of {', '.join(sorted(state))} is no plain MLP")
    return policies.write(
        place,
        [layers[i, "weight"].numpy() for i in range(depth)],
        [layers[i, "bias"].numpy()[0] for i in range(depth)],
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
            seed=_environment_and_seed(card.key, card.id)[1],
            transitions=rows,
            hyperparameters_sha256=card.hyperparameters_sha256,
        )

    return {
        "medium": rolled("policy-rollout", medium),
        "expert": rolled("policy-rollout", expert),
        "medium-expert": rolled("stitched", medium, expert),
        # the first epoch gathers and does not update
        "medium-replay": replayed(medium, medium.steps + EPOCH),
        "full-replay": replayed(expert, REPLAY),
    }


def read_training(folder: Path) -> tuple[dict[str, Any], dict[str, list[Scored]]]:
    """``run.json`` of an `OnlineTrainer`'s folder, and its history: key -> scorings.

    Raises:
        DataError: the folder holds no such training, or it is damaged.
    """
    run = files.read_json(folder / "run.json") or {}
    kinds = {"learners": dict, "source_sha256": str, "trained_with": dict}
    whole = all(isinstance(run.get(name), kind) for name, kind in kinds.items())
    if not (whole and run["learners"] and isinstance(run.get("epochs", 1), int)):
        raise DataError(
            f"{folder} holds no online training: {folder / 'run.json'} is missing or damaged; "
            "`harness data train` makes one"
        )
    try:
        content = json.loads((folder / "history.json").read_text(encoding="utf-8"))
        history = {key: [Scored(**each) for each in content[key]] for key in run["learners"]}
        if not all(math.isfinite(sum(map(mean_return, scores))) and scores for scores in history.values()):
            raise ValueError("a member was never scored, or scored by what is no number")
    except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError) as error:
        raise DataError(f"{folder / 'history.json'} is missing or damaged: {error}") from error
    return run, history


def mean_return(scored: Scored) -> float:
    """Of the episodes of one scoring."""
    return sum(scored.returns) / len(scored.returns)
