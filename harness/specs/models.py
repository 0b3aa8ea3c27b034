"""What the YAML files under ``specs/`` may say.

Every model refuses unknown keys and is immutable. Numbers that papers printed live in CSV files
(``specs/published``), not here.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    create_model,
    model_validator,
)

from harness.errors import UnknownNameError
from harness.specs.rows import TOTAL, Row
from harness.specs.text import short

ScoreRule = Literal["last", "mean_last", "best"]
Value = bool | int | float | str
#: No run is longer, in steps or interactions, nor is one evaluated more often, nor over more episodes.
MAX_LENGTH, MAX_EVALUATIONS, MAX_EPISODES = 10**12, 1_000_000, 100_000
Hyperparameters = dict[str, Value]

_ID = re.compile(r"[a-z0-9]+([._+-][a-z0-9]+)*")


def check_id(text: str) -> str:
    """The text, if it can be an id.

    Raises:
        ValueError: It cannot.
    """
    if not _ID.fullmatch(text):
        raise ValueError("an id is lower-case letters and digits, joined by single '-', '_', '.' or '+'")
    return text


Id = Annotated[str, AfterValidator(check_id)]

#: Where a dataset's data come from; `harness.specs.Specs.lineages` names those there are.
Lineage = Id


def _check_seeds(seeds: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(seeds)) != len(seeds) or min(seeds) < 0:
        raise ValueError("seeds are distinct and not negative")
    return seeds


Length = Annotated[int, Field(gt=0, le=MAX_LENGTH)]
Episodes = Annotated[int, Field(gt=0, le=MAX_EPISODES)]
Seeds = Annotated[tuple[int, ...], Field(min_length=1), AfterValidator(_check_seeds)]


class Model(BaseModel):
    """Base of all spec models: unknown keys are errors, instances are immutable."""

    # built when first used: a command needs few of the models
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, defer_build=True)


class LocatedError(ValueError):
    """What a check of a whole model found wrong, and where below the model that stands.

    Attributes:
        location: keys and indices from the model down to the wrong value.
        key: whether the key is wrong and not its value.
    """

    def __init__(self, location: tuple[str | int, ...], message: str, *, key: bool = False) -> None:
        super().__init__(message)
        self.location, self.key = location, key


def _one_of(expected: str, model: type[Model]) -> WrapValidator:
    """Reads a mapping as the one model of a union, so that one sentence says what the union may be."""

    def read(value: object, others: ValidatorFunctionWrapHandler) -> object:
        mapping = isinstance(value, dict)
        try:
            return model.model_validate(value, strict=True) if mapping else others(value)
        except ValidationError:
            got = "another mapping" if mapping else short(value)
            raise ValueError(f"{expected}, got {got}") from None

    return WrapValidator(read)


class Paper(Model):
    """Where numbers or an algorithm come from."""

    title: str
    authors: str
    year: int
    arxiv: str | None = None
    venue: str | None = None
    table: str | None = None
    code: str | None = Field(default=None, description="URL of the authors' code, with the commit read")


# -- datasets ----------------------------------------------------------------------------------------------


class ReferenceScores(Model):
    """Raw returns that mean 0 and 100 on the normalised scale."""

    minimum: float
    maximum: float
    source: str

    @model_validator(mode="after")
    def _ordered(self) -> ReferenceScores:
        if not self.minimum < self.maximum:
            raise ValueError(f"minimum {self.minimum} must be below maximum {self.maximum}")
        return self

    def normalise(self, value: float) -> float:
        """The normalised score of a raw return: 0 is the minimum, 100 the maximum (D4RL, 2020)."""
        return 100.0 * (value - self.minimum) / (self.maximum - self.minimum)

    def raw(self, score: float) -> float:
        """The raw return of a normalised score."""
        return self.minimum + score / 100 * (self.maximum - self.minimum)


class Environment(Model):
    """Where policies are evaluated: an id of Gymnasium's, this project's (``harness/...``) or the user's."""

    id: str
    module: str | None = Field(
        default=None,
        alias="import",
        pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$",
        description="imported before the environment is made: of a spec folder's code/, or installed",
    )
    kwargs: dict[str, Any] = Field(default={}, description="what the environment is made with")
    max_episode_steps: int | None = Field(
        default=None, gt=0, description="None: the limit that the id is registered with"
    )
    rescale_actions: bool = Field(
        default=False,
        description="map the actions of data and environment from the bounds of its space to [-1, 1]",
    )
    scored_by_success: bool = Field(
        default=False,
        description="an episode counts as what its last step says is info['success'], not as its return",
    )
    note: str | None = Field(
        default=None, description="how it differs from the environment that the published scores come from"
    )
    comparable: bool = Field(
        default=True, description="false: the difference is not shown not to matter, so scores are N/C"
    )

    def __hash__(self) -> int:
        return hash(self.model_dump_json())  # a mapping, as kwargs, has no hash

    @property
    def identity(self) -> dict[str, Any]:
        """What makes it another environment; what is not said, or besides, is no part of that.

        Neither is the module: the id names what it registers.
        """
        named = self.model_dump(exclude={"module", "note", "comparable"})
        return {name: value for name, value in named.items() if value or name == "id"}


class D4RLStatistics(Model):
    """What others found in an original file, to compare with; None where no source tells."""

    episodes: int | None = Field(
        default=None, gt=0, description="in the file; one that the file's end leaves open counts"
    )
    return_mean: float | None = Field(default=None, description="over finished episodes, as all that follow")
    return_std: float | None = Field(default=None, ge=0, description="with ddof 0")
    return_min: float | None = None
    return_max: float | None = None
    source: str = Field(min_length=1, description="repository, file and commit, or the page, of every figure")

    @model_validator(mode="after")
    def _possible(self) -> D4RLStatistics:
        for low, high in (
            ("return_min", "return_mean"),
            ("return_mean", "return_max"),
            ("return_min", "return_max"),
        ):
            below, above = getattr(self, low), getattr(self, high)
            if below is not None and above is not None and below > above:
                raise LocatedError((low,), f"{low} {below} must not be above {high} {above}")
        match (self.return_std, self.return_min, self.return_max):
            case (float(std), float(least), float(most)) if std > most - least:
                raise LocatedError(
                    ("return_std",), f"return_std {std} is more than from return_min to return_max"
                )
        return self


def _urls(value: object) -> object:
    urls = (value,) if isinstance(value, str) else value
    if not isinstance(urls, tuple) or not urls or not all(isinstance(url, str) for url in urls):
        raise ValueError("should be a URL or a list of URLs")
    for url in urls:
        if not re.match(r"https?://[^/]+/.*[^/]$", url):
            raise ValueError(f"{url!r} is no URL of a file, which begins with http:// or https://")
    return urls


#: One or several URLs of the same bytes, tried in order.
Urls = Annotated[tuple[str, ...], BeforeValidator(_urls)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Source(Model):
    """One lineage's block of a dataset: where its data come from."""

    @property
    def local(self) -> bool:
        """Whether the data are had in moments without a download."""
        return False

    def identity(self, dataset: Dataset) -> dict[str, Any]:
        """What makes the data what they are, beside the dataset's id and the lineage, as plain values.

        Part of every run's key. Where a file lies or is fetched from is no part of it, and neither is what
        only describes it.
        """
        return self.model_dump(exclude={"url", "path", "size", "format"}, exclude_defaults=True)


class PublishedSource(Source):
    """A file that others publish under a name of its own."""

    url: Urls
    rows: int | None = Field(default=None, gt=0, description="rows in the file; None where no source tells")
    size: int | None = Field(default=None, gt=0, description="bytes; None where no source tells")
    sha256: Sha256 | None = None

    def identity(self, dataset: Dataset) -> dict[str, Any]:
        """The file's name."""
        return {"file": self.name}

    @property
    def name(self) -> str:
        """The file's name."""
        return self.url[0].rpartition("/")[2]


class D4RLSource(PublishedSource):
    """An original HDF5 file."""

    statistics: D4RLStatistics | None = Field(default=None, description="None where no source tells")


class GoalTask(Model):
    """A goal on the ground: data are relabelled to pay for it, whatever they were gathered for."""

    goal: tuple[float, float] = Field(description="(x, y), the first two numbers of an observation, there")
    radius: float = Field(default=0.5, gt=0, description="how near is near enough")


class OGBenchSource(PublishedSource):
    """OGBench's file of a maze, without rewards, which serves all tasks there: its training file."""

    episodes: int | None = Field(default=None, gt=0, description="in the file; None where no source tells")

    def identity(self, dataset: Dataset) -> dict[str, Any]:
        """The file's name, and the goal."""
        return super().identity(dataset) | _goal(dataset)


def _goal(dataset: Dataset) -> dict[str, Any]:
    """The goal of a dataset's task, as keys name it; nothing where it has none."""
    task = dataset.goal_task
    return {"goal_task": task.model_dump(mode="json", exclude_defaults=True)} if task else {}


class MinariSource(Source):
    """A dataset of the Minari registry, for example ``mujoco/hopper/medium-v0``."""

    id: str

    def identity(self, dataset: Dataset) -> dict[str, Any]:
        """The id in the registry."""
        return {"minari": self.id}


class PolicyFile(Model):
    """A trained policy that acts for a recipe; the hash pins its bytes."""

    id: Id = Field(description="name of the file in specs/policies, without .safetensors")
    sha256: Sha256


class GeneratedSource(Source):
    """A dataset made here; the recipe and its fields are its identity."""

    @property
    def local(self) -> bool:
        """Whether it is made in moments; the data of a whole training of SAC are not."""
        return self.recipe != "sac-replay"

    recipe: Literal[
        "random-policy", "maze2d-waypoints", "policy-rollout", "stitched", "sac-replay", "ant-navigate"
    ]
    version: int = Field(ge=1, description="raised when the recipe's code changes the data it makes")
    seed: int = Field(ge=0)
    transitions: int = Field(gt=0, description="rows written, as D4RL counts them; of 'stitched', at most")
    policies: tuple[PolicyFile, ...] = Field(
        default=(),
        description="who acts: one for 'policy-rollout' and 'ant-navigate', two, in order, for 'stitched'",
    )
    hyperparameters_sha256: Sha256 | None = Field(
        default=None, description="of SAC's hyperparameters, for 'sac-replay'"
    )

    @model_validator(mode="after")
    def _complete(self) -> GeneratedSource:
        wanted = {"policy-rollout": 1, "ant-navigate": 1, "stitched": 2}.get(self.recipe, 0)
        if len(self.policies) != wanted:
            raise ValueError(f"the recipe {self.recipe!r} takes {wanted} policies, got {len(self.policies)}")
        if (self.hyperparameters_sha256 is not None) != (self.recipe == "sac-replay"):
            raise ValueError("hyperparameters_sha256 belongs to the recipe 'sac-replay', and it to that")
        return self

    def identity(self, dataset: Dataset) -> dict[str, Any]:
        """The recipe, without fields that it has no use for, and the environment."""
        named = self.model_dump(exclude={"policies"}, exclude_none=True)
        if self.policies:
            named["policies"] = " ".join(f"{policy.id}@{policy.sha256}" for policy in self.policies)
        if dataset.environment:
            there = dataset.environment.identity
            named["environment"] = there.pop("id")
            # however an environment's actions are scaled for algorithms, or its episodes are scored, data
            # have its own
            unlike = ("rescale_actions", "scored_by_success")
            named |= {name: value for name, value in there.items() if name not in unlike}
        return named | _goal(dataset)


#: What a file with a row per step can tell.
FIELDS = ("observations", "next_observations", "actions", "rewards", "terminals", "timeouts")
Format = Literal["npz", "hdf5", "parquet"]
#: Suffix of a file's name -> its format.
FORMATS: dict[str, Format] = {
    ".npz": "npz",
    ".hdf5": "hdf5",
    ".h5": "hdf5",
    ".parquet": "parquet",
}


class FileSource(Source):
    """A file of one's own, of a row per step."""

    @property
    def local(self) -> bool:
        """Whether the file lies here."""
        return self.path is not None

    path: str | None = Field(default=None, description="relative to the YAML file that names it")
    url: Urls | None = None
    format: Format | None = Field(default=None, description="default: as the file's name ends")
    size: int | None = Field(default=None, gt=0, description="bytes")
    sha256: Sha256 | None = Field(default=None, description="names the content, and so is part of runs' keys")
    fields: dict[str, str] = Field(default={}, description="our name -> the file's, where it is another")
    _places: dict[str, str] = PrivateAttr(default={})

    @model_validator(mode="after")
    def _somewhere(self) -> FileSource:
        if (self.path is None) == (self.url is None):
            raise ValueError("takes either path or url")
        if self.format is None and self.suffix not in FORMATS:
            raise ValueError(f"{self.name!r} does not end in {', '.join(FORMATS)}; say its format")
        for name in self.fields:
            if name not in FIELDS:
                raise LocatedError(("fields", name), str(UnknownNameError("field", name, FIELDS)), key=True)
        return self

    @property
    def name(self) -> str:
        """The file's name, where it lies or where it is fetched from."""
        where = self.path or re.sub("[?#].*", "", (self.url or ("",))[0])
        return where.rpartition("/")[2]

    @property
    def suffix(self) -> str:
        """How the file's name ends, with the dot."""
        return PurePosixPath(self.name).suffix.lower()

    @property
    def stored_as(self) -> Format:
        """The format, as given or as the file's name ends."""
        return self.format or FORMATS[self.suffix]

    def place(self, name: str) -> str:
        """Where the YAML maps a field, as ``file:line:column: ``; empty where it does not."""
        return self._places.get(name, "")

    def located(self, folder: Path, places: Mapping[str, str]) -> FileSource:
        """The same with the path below a folder, and with `place` known."""
        found = self.model_copy(update={"path": self.path and os.path.normpath(folder / self.path)})
        found._places = dict(places)
        return found


class OtherSource(Source):
    """A block of a lineage that is not the project's own; its reader knows what may stand in it."""

    model_config = ConfigDict(extra="allow")


#: The project's own lineages, in the order in which they are listed.
LINEAGES = ("d4rl", "minari", "ogbench", "generated", "file")


class Dataset(Model):
    """One dataset, whatever its lineage; which lineages exist is said by which sources are there."""

    id: Id
    domain: Id = Field(description="of similar datasets, as mujoco or antmaze")
    environment: Environment | None = Field(default=None, description="None: cannot be evaluated yet")
    observation_size: int = Field(gt=0)
    action_size: int = Field(gt=0)
    reference: ReferenceScores
    goal_task: GoalTask | None = Field(
        default=None, description="what pays in data without rewards, of lineage ogbench or made alike"
    )
    d4rl: D4RLSource | None = None
    minari: MinariSource | None = None
    ogbench: OGBenchSource | None = None
    generated: GeneratedSource | None = None
    file: FileSource | None = None

    @model_validator(mode="after")
    def _goal_known(self) -> Self:
        made_alike = self.generated is not None and self.generated.recipe == "ant-navigate"
        if (self.ogbench is not None or made_alike) != (self.goal_task is not None):
            message = "'goal_task' goes with data of OGBench or made alike, and these have no rewards without"
            raise LocatedError(("goal_task",), message, key=self.goal_task is not None)
        return self

    @property
    def sources(self) -> dict[str, Source]:
        """Its sources by lineage."""
        return {name: value for name, value in self if isinstance(value, Source)}

    def source(self, lineage: Lineage) -> Source | None:
        """The source of that lineage, or None if this dataset has none."""
        return self.sources.get(lineage)

    def identity(self, lineage: Lineage) -> dict[str, Any]:
        """What makes the data of that lineage what it is: part of every run's key.

        Known without the data and without the code of the lineage's reader.
        """
        source = self.source(lineage)
        named: dict[str, Any] = {"id": self.id, "lineage": lineage}
        return named | (source.identity(self) if source else {})


@functools.cache
def dataset_model(lineages: tuple[str, ...] = ()) -> type[Dataset]:
    """`Dataset`, with blocks of further lineages."""
    blocks: Any = dict.fromkeys(lineages, (OtherSource | None, None))
    return create_model("Dataset", __base__=Dataset, **blocks) if lineages else Dataset


# -- transforms of data ------------------------------------------------------------------------------------


class RewardTransform(Model):
    """r ← scale · r + shift."""

    scale: float = Field(default=1.0, gt=0)
    shift: float = 0.0


class Mix(Model):
    """Transitions of another dataset in the place of some of the row's own."""

    dataset: Id
    ratio: float = Field(ge=0, le=1, description="the other dataset's share of the mixture")


#: The input whose run says which transitions are trusted, where 'trust' is by selector.
SELECTOR = "selector"


class Trust(Model):
    """A column ``trust``: 1 for the transitions that are chosen, else 0."""

    by: Literal["return", "success", "selector"] = Field(
        description="return: of a trajectory, undiscounted; success: whether its last reward is above 0; "
        "selector: what the run that the input 'selector' names makes of each transition"
    )
    above: float | None = Field(default=None, description="trajectories of a higher return; 'return' only")
    top: float | None = Field(
        default=None, gt=0, le=1, description="or this share of them, those of the highest; 'return' only"
    )
    allow_empty: bool = Field(
        default=False, description="with 'above': go on where no return is as high, and trust nothing"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Trust:
        given = [name for name in ("above", "top") if getattr(self, name) is not None]
        if self.by == "return" and not given:
            raise LocatedError(("by",), "by return, one of 'above' and 'top' says which returns are trusted")
        if len(given) > 1 or (given and self.by != "return"):
            why = "either 'above' or 'top'" if self.by == "return" else f"by {self.by} there is no threshold"
            raise LocatedError((given[-1],), why, key=True)
        if self.allow_empty and self.above is None:
            raise LocatedError(
                ("allow_empty",), "only a threshold 'above' can leave nothing that is trusted", key=True
            )
        return self


class Transform(Model):
    """One change of a dataset before it is trained on; a mapping with exactly one of these keys."""

    standardise: float | None = Field(
        default=None, gt=0, description="o ← (o - mean) / (standard deviation + this), per dimension"
    )
    reward: RewardTransform | None = Field(default=None, description="r ← scale · r + shift")
    return_range: float | None = Field(
        default=None, gt=0, description="r ← r · this / (largest - smallest return)"
    )
    standardise_rewards: Literal[True] | None = Field(
        default=None, description="r ← (r - mean) / standard deviation, with ddof 1"
    )
    clip_actions: float | None = Field(default=None, gt=0, le=1, description="a ← a clipped to ± this")
    best_trajectories: int | None = Field(
        default=None, gt=0, description="keep so many, those of the highest returns"
    )
    drop: float | None = Field(default=None, ge=0, lt=1, description="drop so large a share of transitions")
    mix: Mix | None = None
    trust: Trust | None = None
    goal_task: GoalTask | None = Field(
        default=None, description="r ← 0 and terminal where an observation is at the goal, else r ← -1"
    )

    @model_validator(mode="after")
    def _one(self) -> Self:
        if len(self.model_fields_set) != 1 or getattr(self, *self.model_fields_set) is None:
            raise ValueError(f"should have exactly one of the keys {', '.join(type(self).model_fields)}")
        return self

    @property
    def neutral(self) -> bool:
        """Whether it changes nothing, and so is no part of a key."""
        return (
            self.drop == 0
            or self.reward == RewardTransform()
            or (self.mix is not None and not self.mix.ratio)
        )

    def __str__(self) -> str:
        ((name, value),) = self.model_dump(exclude_defaults=True).items()
        inner = value.items() if isinstance(value, dict) else ()
        return f"{name} {' '.join(f'{key} {each}' for key, each in inner) or value}"

    @property
    def asks_selector(self) -> bool:
        """Whether another run, the input `SELECTOR`, has a say."""
        return self.trust is not None and self.trust.by == "selector"

    @property
    def column(self) -> str | None:
        """The name of the column that it adds, if it does."""
        return "trust" if self.trust else None

    def configuration(self, identity: Callable[[str], Mapping[str, Any]]) -> dict[str, Any]:
        """How a run's configuration names it: other datasets by their `identity`, asked for by id."""
        named: dict[str, Any] = self.model_dump(exclude_defaults=True)
        if self.mix:
            named["mix"]["dataset"] = identity(self.mix.dataset)
        return named


#: Transforms in the order in which they are made.
Transforms = tuple[Transform, ...]


# -- algorithms --------------------------------------------------------------------------------------------


class Hyperparameter(Model):
    """A default value and where it comes from."""

    value: Value
    source: str = Field(description="paper and table, or file of the authors' code")
    note: str | None = None
    neutral: Value | None = Field(
        default=None, description="the value that changes nothing: with it a run's key does not name this"
    )

    def in_key(self, value: object) -> bool:
        """Whether a run with this value is another one than a run of code without this hyperparameter."""
        same_kind = isinstance(value, bool) == isinstance(self.neutral, bool)
        return not (same_kind and value == self.neutral)


class Overrides(Model):
    """What holds on some datasets only: any hyperparameter by its name, and the transforms of the data."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Value]
    data: Transforms | None = Field(default=None, description="in the place of all those set elsewhere")

    @property
    def hyperparameters(self) -> Hyperparameters:
        """The hyperparameters alone."""
        return self.model_extra or {}


class Algorithm(Model):
    """Every hyperparameter of an algorithm, so that a run's configuration resolves without its code."""

    id: Id
    title: str
    paper: Paper
    hyperparameters: dict[str, Hyperparameter]
    data: Transforms | None = Field(default=None, description="of the data before they are trained on")
    per_dataset: dict[str, Overrides] = Field(
        default={}, description="dataset id or glob -> overrides; later entries win"
    )

    def in_key(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Those of a run's hyperparameters that its key names: all but neutral ones."""
        return {name: value for name, value in values.items() if self.hyperparameters[name].in_key(value)}

    @model_validator(mode="after")
    def _overrides_known(self) -> Algorithm:
        for pattern, overrides in self.per_dataset.items():
            for name in overrides.hyperparameters:
                if name not in self.hyperparameters:
                    raise LocatedError(
                        ("per_dataset", pattern, name),
                        str(UnknownNameError(f"hyperparameter of {self.id}", name, self.hyperparameters)),
                        key=True,
                    )
        return self


# -- protocols and presets ---------------------------------------------------------------------------------


class BestTrajectories(Model):
    """The trajectories of highest return of a dataset."""

    best_trajectories: int = Field(gt=0)


class ExplorationNoise(Model):
    """Gaussian noise added to a policy's actions."""

    noise: float = Field(ge=0, description="standard deviation, where actions lie in [-1, 1]")
    clip: float | None = Field(default=None, gt=0, description="the most that it may be; None: as drawn")


class Gather(Model):
    """How an online run gathers transitions, and what it learns from."""

    every: int = Field(default=1, gt=0, description="interactions at a time, then as many updates")
    warmup: int = Field(default=0, ge=0, description="interactions before the first update")
    keep: Annotated[
        Literal["all", "none"] | BestTrajectories,
        _one_of("should be all, none or {best_trajectories: NUMBER}", BestTrajectories),
    ] = Field(default="all", description="what of the dataset is learned from beside what is gathered")
    mix: tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=0)]] | None = Field(
        default=None, description="rows of the dataset and gathered rows in each batch; None: as they come"
    )
    capacity: int | None = Field(
        default=None,
        gt=0,
        description="rows of the buffer, of which the oldest are overwritten, those of the dataset first; "
        "None: as many as come",
    )
    explore: Annotated[
        Literal["deterministic", "sample"] | ExplorationNoise,
        _one_of("should be deterministic, sample or {noise: NUMBER}, perhaps with clip", ExplorationNoise),
    ] = Field(default="sample", description="how the policy acts; sample: as the algorithm explores")
    overlap: bool = Field(
        default=True,
        description="an action is chosen before the updates that precede it, so that environments step "
        "meanwhile; false: after them, by the policy that they lead to",
    )
    reproduce_defects: bool = Field(
        default=False, description="gather as SSAR's code does, whatever goes wrong there"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Gather:
        if self.capacity is not None and self.mix is not None:
            raise LocatedError(
                ("capacity",), "a capacity is of the one buffer that there is without 'mix'", key=True
            )
        if self.reproduce_defects and self.overlap:
            raise LocatedError(
                ("reproduce_defects",),
                "evaluations disturb only what is done after them: it goes with 'overlap: false'",
                key=True,
            )
        return self

    @property
    def configuration(self) -> dict[str, Any]:
        """Part of every run's key: what is said or usual, but for options at values that change nothing."""
        neutral = {"overlap": True, "reproduce_defects": False}
        dumped = self.model_dump(exclude_none=True)
        return {name: value for name, value in dumped.items() if value != neutral.get(name)}


class Protocol(Model):
    """How long to train, when to evaluate, and which score counts.

    An offline protocol counts updates (``steps``), an online one interactions with the environment: after the
    first ``gather.warmup`` of them, each is followed by one update. Runs whose states alone are of use, since
    others read them, need no evaluations.
    """

    id: Id
    description: str
    steps: Length | None = Field(default=None, description="updates of the critic")
    interactions: Length | None = Field(default=None, description="steps in the environment; online only")
    gather: Gather | None = Field(default=None, description="online only")
    evaluate_every: int | None = Field(
        default=None, gt=0, description="steps or interactions; None: runs are never evaluated"
    )
    episodes: Episodes | None = Field(
        default=None, description="episodes of one evaluation; None: runs are never evaluated"
    )
    seeds: Seeds
    score: ScoreRule = "last"
    last_k: int = Field(default=10, gt=0, description="evaluations that 'mean_last' averages")
    archive: bool = Field(
        default=False,
        description="online only: a run leaves what it gathered, and the policies it was evaluated by",
    )

    @property
    def episodes_scored(self) -> int:
        """Episodes of one seed behind its score by the rule; of the best evaluation, its own."""
        return (self.episodes or 0) * (self.last_k if self.score == "mean_last" else 1)

    @model_validator(mode="after")
    def _consistent(self) -> Protocol:
        if self.steps is not None and self.interactions is not None:
            raise LocatedError(
                ("interactions",), "either 'steps' (offline) or 'interactions' (online), not both", key=True
            )
        if self.steps is None and self.interactions is None:
            message = "one of 'steps' (offline) and 'interactions' (online) is missing here"
            raise LocatedError(("steps",), message, key=True)
        if self.gather is not None and not self.online:
            raise LocatedError(("gather",), "only an online run, one with 'interactions', gathers", key=True)
        if self.online and self.gather is None:
            raise LocatedError(
                ("interactions",),
                "an online run says how it gathers: 'gather' is missing, {} for one update per interaction",
                key=True,
            )
        if self.archive and not self.online:
            raise LocatedError(("archive",), "only an online run gathers what could be archived", key=True)
        if self.gather is not None and self.gather.warmup >= self.length:
            raise LocatedError(
                ("gather", "warmup"), f"warmup {self.gather.warmup} must be below {self.duration}"
            )
        for name, other in (("evaluate_every", "episodes"), ("episodes", "evaluate_every")):
            if getattr(self, name) is None and getattr(self, other) is not None:
                message = f"{other!r} without {name!r}: a protocol has both, or neither and no evaluations"
                raise LocatedError((other,), message, key=True)
        if self.interval > self.length:
            raise LocatedError(
                ("evaluate_every",), f"evaluate_every {self.evaluate_every} is beyond {self.duration}"
            )
        if self.excessive:
            raise LocatedError(("evaluate_every",), self.excessive)
        return self

    @property
    def online(self) -> bool:
        """Whether a run gathers transitions while it trains."""
        return self.interactions is not None

    @property
    def length(self) -> int:
        """Steps of an offline run, interactions of an online one."""
        length = self.interactions if self.steps is None else self.steps
        assert length is not None  # noqa: S101 - one of both is there
        return length

    @property
    def unit(self) -> str:
        """What `length` counts: ``steps`` or ``interactions``."""
        return "interactions" if self.online else "steps"

    @property
    def duration(self) -> str:
        """The length with its unit, for readers."""
        return f"{self.length:,} {self.unit}"

    @property
    def excessive(self) -> str:
        """Why no run is so long, or evaluated so often; empty where one may be."""
        if self.length > MAX_LENGTH:
            return f"{self.duration} are more than {MAX_LENGTH:,}"
        if self.length // self.interval > MAX_EVALUATIONS:
            return f"{self.duration} have more than {MAX_EVALUATIONS:,} evaluations, {self.interval:,} apart"
        return ""

    @property
    def interval(self) -> int:
        """Steps or interactions between evaluations; where there are none, the whole length."""
        return self.evaluate_every or self.length

    def evaluations(self) -> range | tuple[int, ...]:
        """When a run is evaluated, if ever: every ``evaluate_every``, at the end, and at 0 where online.

        Where an online one reproduces defects, not before its first update.
        """
        every = self.evaluate_every
        if every is None:
            return ()
        first = 0 if self.online else every
        if self.gather and self.gather.reproduce_defects:
            first = min((self.gather.warmup // every + 1) * every, self.length)
        regular = range(first, self.length + 1, every)
        return regular if regular[-1] == self.length else (*regular, self.length)

    @property
    def configuration(self) -> dict[str, Any]:
        """What of the protocol decides how a run trains: part of every run's key."""
        fields = {self.unit, "evaluate_every", "episodes"}
        gather = {"gather": self.gather.configuration} if self.gather else {}
        return self.model_dump(include=fields, exclude_none=True) | gather


class Dependency(Model):
    """A value that another column's training arrives at, on the same dataset.

    It is the mean, over all seeds that the table's protocol wants, of a metric at the last step.
    """

    column: Id
    metric: str = Field(min_length=1)


def _parts(value: object) -> object:
    names = value if isinstance(value, list | tuple) else ()
    if value == "all" or (names and all(isinstance(name, str) for name in names)):
        return value
    raise ValueError("should be 'all', or a list of names of the algorithm's networks and optimisers")


class StateDependency(Model):
    """The state that another column's run of the same seed ends with, on the same dataset."""

    table: Id | None = Field(default=None, description="whose column it is; None: the reader's own table")
    column: Id
    state: Annotated[Literal["all"] | tuple[str, ...], BeforeValidator(_parts)] = Field(
        default="all", description="all, or names of networks and optimisers as the algorithm's code has them"
    )


#: What a column may set a hyperparameter to.
Setting = Annotated[
    Value | Dependency,
    _one_of("should be text, a number, true or false, or {column: ID, metric: NAME}", Dependency),
]
Settings = dict[str, Setting]


class ColumnOverrides(Model):
    """As `Overrides`, and a hyperparameter may depend on another column."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Setting]
    data: Transforms | None = Field(default=None, description="in the place of all those set elsewhere")
    start: StateDependency | None = Field(default=None, description="in the place of the column's")
    inputs: dict[str, StateDependency] | None = Field(
        default=None, description="in the place of all the column's"
    )

    @property
    def hyperparameters(self) -> Settings:
        """The hyperparameters alone."""
        return self.model_extra or {}


class Column(Model):
    """One column of a table: an algorithm with its settings, what others come to, or printed numbers."""

    id: Id
    label: str
    algorithm: Id | None = None
    mean_of: Annotated[tuple[Id, ...], Field(min_length=2)] | None = Field(
        default=None, description="columns of the same table; this one shows their mean and is not trained"
    )
    best_of: Annotated[tuple[Id, ...], Field(min_length=2)] | None = Field(
        default=None,
        description="columns of the same table; this one shows the one of the highest mean score",
    )
    per: Literal["dataset", "domain"] | None = Field(
        default=None, description="whether 'best_of' chooses for each dataset, or one for all of a domain"
    )
    printed_only: bool = Field(default=False, description="true: what the paper printed; nothing runs")
    datasets: tuple[str, ...] | None = Field(
        default=None, description="ids or globs of the rows that it is run on; None: all"
    )
    protocol: Id | dict[str, Id] | None = Field(
        default=None, description="instead of the group's or table's, everywhere or by dataset id or glob"
    )
    hyperparameters: Settings = Field(default={}, description="override the algorithm's defaults")
    data: Transforms | None = Field(default=None, description="in the place of the algorithm's")
    per_dataset: dict[str, ColumnOverrides] = Field(default={}, description="dataset id or glob -> overrides")
    start: StateDependency | None = Field(default=None, description="where training begins, not at random")
    inputs: dict[str, StateDependency] = Field(
        default={}, description="name that the algorithm knows it by -> state of another run, which it reads"
    )
    change_from: Id | None = Field(
        default=None, description="the column that the per cents printed beside this one's numbers refer to"
    )
    restates: Id | None = Field(
        default=None, description="the column whose printed numbers this one has from a second source"
    )
    note: str | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Column:
        given = [key for key in ("algorithm", "mean_of", "best_of", "printed_only") if getattr(self, key)]
        if not given:
            raise ValueError(
                "one of 'algorithm', 'mean_of', 'best_of' and 'printed_only: true' is missing here"
            )
        if len(given) > 1:
            raise LocatedError((given[1],), f"a column that has {given[0]!r} has no {given[1]!r}", key=True)
        for key in ("datasets", "protocol", "hyperparameters", "data", "per_dataset", "start", "inputs"):
            if getattr(self, key) and self.algorithm is None:
                message = f"a column with {given[0]!r} runs nothing, so it has no {key!r}"
                raise LocatedError((key,), message, key=True)
        if (self.per is None) == (self.best_of is not None):
            message = "'best_of' and 'per' go together: per: dataset, or per: domain"
            raise LocatedError(("best_of" if self.best_of else "per",), message, key=True)
        named: dict[tuple[str, ...], Mapping[str, StateDependency]] = {("inputs",): self.inputs}
        named |= {
            ("per_dataset", glob, "inputs"): some.inputs or {} for glob, some in self.per_dataset.items()
        }
        for location, inputs in named.items():
            if "start" in inputs:
                raise LocatedError((*location, "start"), "an input cannot be named 'start'", key=True)
        return self

    @property
    def parts(self) -> tuple[str, ...]:
        """The columns that its numbers are made of; none where they are its own."""
        return self.mean_of or self.best_of or ()

    def made_of(self, names: Sequence[str]) -> str:
        """What its numbers are made of, in words, by the names of its `parts`."""
        if self.mean_of:
            return f"the mean of {' and '.join(names)}, seed by seed"
        where = "on the dataset" if self.per == "dataset" else "over the domain's datasets that are shown"
        return f"whichever of {', '.join(names)} has the highest mean {where}, chosen by the scores shown"

    @property
    def reads_states(self) -> bool:
        """Whether its runs on some dataset begin with, or read, states of other runs."""
        layers: list[Column | ColumnOverrides] = [self, *self.per_dataset.values()]
        return any(some.start or some.inputs for some in layers)

    def runs_on(self, dataset: str) -> bool:
        """Whether something is to be trained for it on a dataset."""
        rows = ("*",) if self.datasets is None else self.datasets
        return self.algorithm is not None and any(fnmatchcase(dataset, pattern) for pattern in rows)


class AtMost(Model):
    """How much of a table is kept, whatever it has: what can be trained before what cannot."""

    datasets: int | None = Field(default=None, gt=0)
    columns: int | None = Field(default=None, gt=0)


class PresetSettings(Model):
    """What a preset keeps of a table, and how it is run otherwise."""

    lineage: Lineage | None = None
    transitions: int | None = Field(default=None, gt=0, description="rows of generated datasets")
    datasets: tuple[str, ...] | None = Field(default=None, description="ids kept, in this order")
    columns: tuple[Id, ...] | None = Field(default=None, description="column ids kept, in this order")
    at_most: AtMost | None = Field(default=None, description="instead of naming datasets or columns")
    seeds: Seeds | None = None
    steps: Length | None = Field(default=None, description="of offline protocols")
    interactions: Length | None = Field(default=None, description="of online protocols")
    gather: Gather | None = Field(default=None, description="of online protocols; what is not said stays")
    evaluate_every: int | None = Field(default=None, gt=0)
    episodes: Episodes | None = Field(default=None)


class Preset(PresetSettings):
    """A smaller or other way to run a table; its numbers never pass for the table's own."""

    id: Id
    description: str
    label: str = Field(description="named in every verdict, for example 'smoke protocol'")
    extra_columns: tuple[Column, ...] = ()
    database: str | None = Field(default=None, description="its own results file")
    tables: dict[str, PresetSettings] = Field(
        default={},
        description="table id or glob -> other settings; no rows and columns but theirs are kept",
    )

    def of(self, table: str) -> Preset:
        """The preset as it is for a table; of the settings for globs that match, later ones win."""
        matching = [own for pattern, own in self.tables.items() if fnmatchcase(table, pattern)]
        if not matching:
            return self
        chosen: dict[str, Any] = {"datasets": None, "columns": None, "at_most": None, "extra_columns": ()}
        for own in matching:
            chosen |= {name: getattr(own, name) for name in own.model_fields_set}
        return self.model_copy(update=chosen)


# -- tables ------------------------------------------------------------------------------------------------


class Group(Model):
    """Consecutive rows of a table and the labels of what sums them up."""

    id: Id
    label: str
    datasets: tuple[Id, ...] = Field(min_length=1)
    protocol: Id | None = Field(default=None, description="of these rows; None: the table's")
    average: str | None = Field(default=None, description="label of the average row; None: no such row")
    sum: str | None = Field(default=None, description="label of the row of sums; None: no such row")

    @property
    def summaries(self) -> tuple[Row, ...]:
        """The rows below the group's own."""
        average = [Row(self.id, self.average, "average", self.datasets)] if self.average else []
        total = [Row(self.sum_id, self.sum, "sum", self.datasets)] if self.sum else []
        return (*average, *total)

    @property
    def sum_id(self) -> str:
        """Id of the row of sums."""
        return f"{self.id}:sum"


class Published(Model):
    """The numbers that the paper printed and how its standard deviations were taken."""

    file: str = Field(description="CSV beside this file's folder: ../published/<table>.csv")
    seeds: int = Field(gt=0)
    ddof: Literal[0, 1] = Field(description="where a cell of the CSV does not say otherwise")
    rounding: Literal["rounded", "cut off", "unknown"] = Field(
        default="unknown", description="what was done to the digits that are not printed; unknown: either"
    )
    rows: Literal["all", "averages"] = Field(default="all", description="averages: no other row was printed")


class Footnote(Model):
    """What a reader must know about the printed numbers, shown with the rows and columns it is about."""

    text: str
    rows: tuple[str, ...] = Field(default=(), description="datasets, groups or 'total'; empty: any")
    columns: tuple[Id, ...] = Field(default=(), description="empty: any")


def _footnote(value: object) -> object:
    return {"text": value} if isinstance(value, str) else value


class PaperFigure(Model):
    """A figure of the paper that shows what the table's runs did over training, a panel for each quantity."""

    id: Id
    title: str
    draws: tuple[str, ...] = Field(min_length=1, description="'score' and names of metrics")
    columns: tuple[Id, ...] = Field(default=(), description="empty: all")


class Verdict(Model):
    """The tests behind the verdicts."""

    alpha: float = Field(default=0.05, gt=0, lt=1, description="false-discovery rate over the table")
    margin: float = Field(default=5.0, gt=0, description="points of normalised score that count as equal")
    average_margin: float = Field(default=2.0, gt=0, description="the same for averages over rows")

    @property
    def of_averages(self) -> Verdict:
        """The tests behind the verdicts on averages: their margin in the place of the cells'."""
        return self.model_copy(update={"margin": self.average_margin})


class Table(Model):
    """A paper's table: rows, columns, protocol and the numbers it printed."""

    id: Id
    version: int = Field(ge=1, description="raised by any change that moves numbers; shown in every table")
    title: str
    paper: Paper
    lineage: Lineage = Field(description="of the data behind the printed numbers")
    transitions: int | None = Field(
        default=None, gt=0, description="rows of generated datasets, in the place of what their specs say"
    )
    protocol: Id = Field(description="where neither the group nor the column has one of its own")
    groups: tuple[Group, ...] = Field(min_length=1)
    total: str | None = Field(default=None, description="label of the average over all rows")
    columns: tuple[Column, ...] = Field(min_length=1)
    published: Published | None = None
    verdict: Verdict = Verdict()
    footnotes: tuple[Annotated[Footnote, BeforeValidator(_footnote)], ...] = ()
    figures: tuple[PaperFigure, ...] = ()

    @model_validator(mode="after")
    def _distinct(self) -> Table:
        for what, ids in (
            ("figure", [figure.id for figure in self.figures]),
            ("column", [column.id for column in self.columns]),
            ("group", [group.id for group in self.groups]),
            ("dataset", [dataset for group in self.groups for dataset in group.datasets]),
        ):
            for index, name in enumerate(ids):
                if name in ids[:index]:
                    raise ValueError(f"{what} {name!r} appears twice")
        return self

    def protocol_of(self, column: Column, dataset: str) -> str:
        """Id of a cell's protocol: the column's, else its group's, else the table's; later globs win."""
        own = column.protocol if isinstance(column.protocol, dict) else {"*": column.protocol}
        matching = [name for pattern, name in own.items() if name and fnmatchcase(dataset, pattern)]
        groups = [group.protocol for group in self.groups if dataset in group.datasets and group.protocol]
        return [self.protocol, *groups, *matching][-1]

    @property
    def protocols(self) -> dict[str, list[tuple[str, str]]]:
        """Ids of the protocols, each with its cells (dataset id, column id) that are trained."""
        found: dict[str, list[tuple[str, str]]] = {}
        for dataset in self.datasets:
            for column in self.columns:
                if column.runs_on(dataset):
                    found.setdefault(self.protocol_of(column, dataset), []).append((dataset, column.id))
        return found

    @property
    def printed_rows(self) -> tuple[str, ...]:
        """Ids of all rows that a paper may have printed, whether they are shown or not."""
        below = [row for group in self.groups for row in (group.id, group.sum_id)]
        return (*self.datasets, *below, TOTAL)

    @property
    def summaries(self) -> tuple[Row, ...]:
        """The rows that sum up others, in the table's order."""
        total = [Row(TOTAL, self.total, "total", self.datasets)] if self.total else []
        return (*(summary for group in self.groups for summary in group.summaries), *total)

    @property
    def datasets(self) -> tuple[str, ...]:
        """Dataset ids of all rows, in order."""
        return tuple(dataset for group in self.groups for dataset in group.datasets)
