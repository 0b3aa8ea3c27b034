"""What the YAML files under ``specs/sources`` may say: where public scores are, and how to read them.

A source is a pointer, never the file: repository, commit, path and hash, and what the file's keys mean.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, PrivateAttr, model_validator

from harness.specs.models import Id, LocatedError, Model, Paper, Sha256, Urls

#: What the keys of a nested file stand for, from the outside in; a list names the parts of a sequence, null
#: those that are no scores.
Level = Literal["algorithm", "dataset", "setting", "seed", "evaluation"] | tuple[str | None, ...]
NAMES = ("dataset", "algorithm", "seed", "step", "score", "setting")
_GITHUB = re.compile(r"https://github\.com/([\w.-]+/[\w.-]+?)(\.git)?/?", re.ASCII)


def _inside(path: str) -> str:
    if not path or path.startswith(("/", "~")) or ".." in path.split("/") or "\\" in path:
        raise ValueError(f"{path!r} is no path inside the repository")
    return path


class PrintedScores(Model):
    """How a Markdown page of ``mean ± std`` was made: a row each dataset, a column each algorithm."""

    sections: dict[str, Literal["last", "best"]] = Field(
        min_length=1, description="heading -> which evaluation its tables show"
    )
    seeds: int = Field(gt=1)
    ddof: Literal[0, 1]


class SourceFile(Model):
    """One file, or many alike, and how to read it."""

    path: Annotated[str, AfterValidator(_inside)] = Field(
        description="in the repository, or beside this YAML where there is none; of many files a pattern: "
        "{algorithm}, {dataset} and {seed} are read from it, * is anything"
    )
    format: Literal["pickle", "json", "csv", "markdown"]
    sha256: Sha256 | None = None
    git_blob: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")] | None = Field(
        default=None, description="git's own hash of the content, where the SHA-256 is not known"
    )
    listing: str | None = Field(
        default=None, description="CSV beside this YAML with path and sha256 of each of many files"
    )
    size: int | None = Field(default=None, gt=0, description="bytes")
    url: Urls | None = Field(default=None, description="default: at the commit in the repository on GitHub")
    levels: tuple[Level, ...] = Field(default=(), description="pickle and json: what the keys stand for")
    columns: dict[Literal["dataset", "algorithm", "seed", "step", "score", "setting"], str | int] = Field(
        default={}, description="csv: header of each, or its position in a file without a header"
    )
    scale: Literal["normalised", "fraction", "return"] = Field(
        default="normalised", description="normalised: 100 is an expert; fraction: 1 is; return: raw"
    )
    printed: PrintedScores | None = Field(default=None, description="markdown: how its numbers were made")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        pins = [self.sha256, self.git_blob, self.listing]
        if sum(pin is not None for pin in pins) != 1:
            raise ValueError("takes one of sha256, git_blob and listing")
        if self.format in ("pickle", "json") and not self.levels:
            raise LocatedError(("levels",), "'levels' is missing: what the file's keys stand for")
        if (self.format == "markdown") != (self.printed is not None):
            raise ValueError("printed belongs to the format 'markdown', and it to that")
        return self


class SourceProtocol(Model):
    """How the scores were made, as far as the source tells."""

    steps: int | dict[str, int] | None = Field(
        default=None, description="of training, by the source's name of the algorithm where they differ"
    )
    evaluate_every: int | None = Field(default=None, gt=0, description="steps between two scores of a run")
    episodes: int | dict[str, int] | None = Field(
        default=None, description="of one evaluation, by glob of datasets where they differ"
    )
    note: str | None = None

    def episodes_of(self, dataset: str) -> int | None:
        """Episodes of an evaluation on a dataset; later globs win; None where the source does not tell."""
        if not isinstance(self.episodes, dict):
            return self.episodes
        found = [number for glob, number in self.episodes.items() if fnmatchcase(dataset, glob)]
        return found[-1] if found else None

    def steps_of(self, algorithm: str) -> int | None:
        """Steps behind a run's last score; None where the source does not tell."""
        return self.steps.get(algorithm) if isinstance(self.steps, dict) else self.steps


class ScoreSource(Model):
    """Public scores behind the numbers that papers copy."""

    id: Id
    title: str
    repository: str | None = Field(default=None, description="URL; None: the files lie beside this YAML")
    commit: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")] | None = None
    licence: str
    lineage: Id = Field(default="d4rl", description="of the data that the runs were trained on")
    paper: Paper | None = None
    files: tuple[SourceFile, ...] = Field(min_length=1)
    algorithms: dict[str, Id] = Field(min_length=1, description="the source's name -> an algorithm's id")
    datasets: dict[str, Id] = Field(default={}, description="the source's name -> id, where it is another")
    settings: dict[str, tuple[str, ...]] = Field(
        default={}, description="algorithm's id -> hyperparameters that its settings are, in their order"
    )
    protocol: SourceProtocol = SourceProtocol()
    caveats: tuple[str, ...] = ()
    _folder: Path = PrivateAttr(default=Path())

    @model_validator(mode="after")
    def _pinned(self) -> Self:
        if (self.repository is None) != (self.commit is None):
            raise ValueError("a repository is named with its commit")
        if self.repository and not _GITHUB.fullmatch(self.repository):
            for index, file in enumerate(self.files):
                if file.url is None:
                    raise LocatedError(
                        ("files", index), "the repository is not on GitHub, so 'url' is missing"
                    )
        return self

    def located(self, folder: Path) -> ScoreSource:
        """The same with the folder that its YAML lies in."""
        found = self.model_copy()
        found._folder = folder
        return found

    @property
    def folder(self) -> Path:
        """Where the YAML lies."""
        return self._folder

    def urls(self, file: SourceFile, path: str) -> tuple[str, ...]:
        """Where a file is fetched from; nowhere if it lies beside the YAML."""
        if file.url:
            return file.url
        match = _GITHUB.fullmatch(self.repository or "")
        return (f"https://raw.githubusercontent.com/{match[1]}/{self.commit}/{path}",) if match else ()
