"""Trained policies that come with the project: safetensors files, each with a card, and acting with them.

A file holds the weights of one tanh-Gaussian policy: ``layers.<i>.weight`` (in, out) and ``layers.<i>.bias``
(out), float32, mean and ln σ from the last one. Its metadata may name what stands between the layers,
``activation``, and the least that ln σ is, ``log_std_minimum``; else these are ReLU and -20. Loading one
executes nothing.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from harness import files
from harness.errors import DataError
from harness.results.provenance import cpu_model
from harness.specs.catalogue import shipped_folder
from harness.specs.models import Environment, Id, Model, PolicyFile, ReferenceScores

SUFFIX = ".safetensors"
Level = Literal["medium", "expert"]
Array = NDArray[Any]


class Returns(Model):
    """Raw returns of whole episodes, one by one."""

    stochastic: tuple[float, ...] = Field(min_length=2, description="actions drawn from the policy")
    deterministic: tuple[float, ...] = Field(min_length=2, description="actions tanh μ(s)")


class Recorded(Model):
    """What `evaluate` measured when the policy was exported: what it must measure ever after."""

    seed: int = Field(ge=0)
    versions: dict[str, str] = Field(description="of `versions`, at that time")
    returns: Returns


class PolicyCard(Model):
    """What is known of a policy file; lies beside it as JSON."""

    id: Id
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="of the policy file")
    level: Level
    rule: str = Field(description="how this checkpoint was chosen")
    environment: Environment
    algorithm: str
    key: str = Field(description="of the training run's random numbers")
    seed: int = Field(default=0, ge=0, description="of the training run")
    steps: int = Field(ge=0, description="updates")
    hyperparameters: dict[str, bool | int | float | str]
    hyperparameters_sha256: str
    source_sha256: str = Field(description="of the algorithm's source")
    trained_with: dict[str, str] = Field(description="versions and machine of the training")
    training_returns: tuple[float, ...] = Field(description="of the episodes by which it was chosen")
    recorded: Recorded
    reference: ReferenceScores | None = None


def _gelu(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """JAX's approximation of it."""
    return np.asarray(0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))))


ACTIVATIONS: dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "relu": lambda x: np.maximum(x, 0.0),
    "gelu_tanh": _gelu,
}


@dataclass(frozen=True, eq=False)
class Policy:
    """tanh(N(μ(s), σ(s)²)), μ and ln σ from one network.

    Attributes:
        sha256: Of the file.
        weights: (in, out) of each layer.
        biases: (out,) of each layer.
        activation: Of the hidden layers, a name of `ACTIVATIONS`.
        log_std_minimum: The least that ln σ is.
    """

    sha256: str
    weights: tuple[NDArray[np.float64], ...]
    biases: tuple[NDArray[np.float64], ...]
    activation: str = "relu"
    log_std_minimum: float = -20.0

    def act(self, observations: Array, noise: Array | None = None) -> NDArray[np.float32]:
        """Actions in [-1, 1].

        Products are in float64 and only the result is rounded, so that the processor's matrix kernels, and
        how many observations come at once, all but never show in the actions.

        Args:
            observations: (n, S).
            noise: Standard normal, (n, A); None: the policy without its noise, tanh μ(s).

        Returns:
            (n, A).
        """
        hidden = observations.astype(np.float32).astype(np.float64)
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            hidden = ACTIVATIONS[self.activation](hidden @ weight + bias)
        mean, log_std = np.split(hidden @ self.weights[-1] + self.biases[-1], 2, axis=-1)
        if noise is not None:
            mean = mean + np.exp(np.clip(log_std, self.log_std_minimum, 2)) * noise
        return np.tanh(mean).astype(np.float32)


def folders(home: Path) -> tuple[Path, ...]:
    """Where policies lie: beside the shipped specs, then in the data folder."""
    return (shipped_folder() / "policies", home / "policies")


def wanted(
    policy: PolicyFile, home: Path, environment: Environment, observation_size: int, action_size: int
) -> Policy:
    """The policy that a dataset's spec asks for.

    Args:
        policy: Its name and hash.
        home: The data folder.
        environment: Where it is to act, for messages.
        observation_size: S of that environment.
        action_size: A of that environment.

    Raises:
        DataError: There is no such file, it is another one or damaged, or it does not fit the environment.
    """
    places = [folder / (policy.id + SUFFIX) for folder in folders(home)]
    there = [place for place in places if place.is_file()]
    if not there:
        raise DataError(
            f"the policy {policy.id} is missing: looked at {' and '.join(map(str, places))}; "
            "install this project again, or put a file that `harness data policies` made there"
        )
    # a policy of one's own may have a shipped one's name
    place = next((place for place in there if files.sha256(place) == policy.sha256), there[0])
    loaded = read(place)
    if loaded.sha256 != policy.sha256:
        raise DataError(
            f"{place} is another policy than the spec's: its SHA-256 is {loaded.sha256}, "
            f"not {policy.sha256}; put the original back"
        )
    check_fit(place, loaded, environment, observation_size, action_size)
    match files.read_json(card_path(place)):
        case {"environment": {"id": str(trained_in)}} if trained_in != environment.id:
            raise DataError(
                f"{place} was trained in {trained_in}, not in {environment.id}; name another policy, or one "
                "without a card if that is meant"
            )
    return loaded


def read(place: Path) -> Policy:
    """Read a policy file.

    Raises:
        DataError: It cannot be read, is damaged, or holds no such network.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        content = place.read_bytes()
        tensors = load(content)
    except OSError as error:
        raise DataError(f"cannot read {place}: {error.strerror or error}") from error
    # a type that NumPy lacks is a KeyError
    except (SafetensorError, KeyError, ValueError) as error:
        raise DataError(
            f"{place} is damaged or no safetensors file: {error}; put the original back"
        ) from error
    depth = len(tensors) // 2
    names = [f"layers.{layer}.{part}" for layer in range(depth) for part in ("weight", "bias")]
    if not depth or set(tensors) != set(names):
        raise DataError(f"{place} is no policy: it holds {', '.join(sorted(tensors)) or 'nothing'}")
    weights = [tensors[f"layers.{layer}.weight"] for layer in range(depth)]
    biases = [tensors[f"layers.{layer}.bias"] for layer in range(depth)]
    inputs: int | None = None
    for layer, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        chained = weight.ndim == 2 and bias.shape == weight.shape[1:] and inputs in (None, len(weight))
        if not chained or (layer == depth - 1 and len(bias) % 2):
            raise DataError(f"{place} is no policy: layer {layer} of shape {weight.shape} does not fit")
        if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
            raise DataError(f"{place} is damaged: layer {layer} holds values that are not finite")
        inputs = weight.shape[1]
    said = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")]).get("__metadata__", {})
    if (activation := said.get("activation", "relu")) not in ACTIVATIONS:
        raise DataError(f"{place} is no policy: its activation {activation!r} is not known")
    return Policy(
        hashlib.sha256(content).hexdigest(),
        tuple(weight.astype(np.float64) for weight in weights),
        tuple(bias.astype(np.float64) for bias in biases),
        activation,
        float(said.get("log_std_minimum", -20.0)),
    )


def check_fit(
    name: str | Path, policy: Policy, environment: Environment, observation: int, action: int
) -> None:
    """See to it that a policy takes what an environment shows and gives what it wants.

    Raises:
        DataError: The sizes differ.
    """
    own = (len(policy.weights[0]), len(policy.biases[-1]) // 2)
    if own != (observation, action):
        raise DataError(
            f"{name} does not fit {environment.id}: it takes {own[0]} numbers and gives {own[1]}, "
            f"but the environment shows {observation} and wants {action}"
        )


def write(
    place: Path, weights: list[Array], biases: list[Array], metadata: dict[str, str] | None = None
) -> str:
    """Write a policy file; for its metadata see the module.

    Returns:
        Its SHA-256.

    Raises:
        DataError: It cannot be written.
    """
    from safetensors.numpy import save

    tensors = {
        f"layers.{layer}.{part}": np.ascontiguousarray(array, np.float32)
        for part, arrays in (("weight", weights), ("bias", biases))
        for layer, array in enumerate(arrays)
    }
    with files.atomic(place) as temporary:
        temporary.write_bytes(save(tensors, metadata))
    return files.sha256(place)


def card_path(place: Path) -> Path:
    """Where the card of a policy file lies."""
    return place.with_suffix(".json")


def card(place: Path) -> PolicyCard:
    """The card of a policy file, held to the file.

    Raises:
        DataError: The card is missing or wrong, or of other bytes than the file's.
    """
    path = card_path(place)
    if not place.exists():  # as a link to what is gone
        raise DataError(f"{place}, which {path.name} describes, is missing; put the original back")
    content = files.read_json(path)
    if content is None:
        raise DataError(f"{path}, the card of {place.name}, is missing or damaged; put the original back")
    try:
        found = PolicyCard.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise DataError(f"{path} is no policy's card: {where}: {first['msg']}") from error
    if found.sha256 != (sha256 := files.sha256(place)):
        raise DataError(
            f"{place} is not the file that its card describes: its SHA-256 is {sha256}, not {found.sha256}; "
            "put the original back"
        )
    return found


def found(home: Path) -> list[Path]:
    """All policy files here, in the order of their names; of two of one name the shipped one."""
    places: dict[str, Path] = {}
    for folder in folders(home):
        for place in sorted(folder.glob("*" + SUFFIX)):
            places.setdefault(place.stem, place)
    return [places[name] for name in sorted(places)]


def versions() -> dict[str, str]:
    """What could move the return of a given policy: packages and the processor."""
    packages = ("gymnasium", "mujoco", "numpy")
    return {
        **{package: importlib.metadata.version(package) for package in packages},
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu": cpu_model(),
    }
