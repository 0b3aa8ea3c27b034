"""The files of sources on this machine: fetched or taken, and held to their hashes before they are opened."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from harness import files
from harness.counting import count
from harness.datasets.download import Progress, download
from harness.errors import DataError, SpecError
from harness.home import default_home
from harness.specs.csv_file import read_records
from harness.specs.sources import ScoreSource, SourceFile
from harness.specs.text import shown

_LISTING_BYTES = 10_000_000


@dataclass(frozen=True)
class Pinned:
    """One file of a source, and the hash that it must have.

    Attributes:
        source: whose file it is.
        file: what its spec says; of one of many files alike, of all of them.
        path: in the repository.
        sha256: None where only git's hash is known.
    """

    source: ScoreSource
    file: SourceFile
    path: str
    sha256: str | None

    @property
    def urls(self) -> tuple[str, ...]:
        """Where it is fetched from; nowhere if it lies beside the source's YAML."""
        return self.source.urls(self.file, self.path)

    def place(self, home: Path | None) -> Path:
        """Where it lies on this machine once it is there."""
        return folder(self.source, home) / self.path

    def problem(self, place: Path) -> str | None:
        """Why a file is not this one; None if it is."""
        if self.sha256 is not None:
            name, wanted, found = "SHA-256", self.sha256, files.sha256(place)
        else:
            name, wanted, found = "git blob", self.file.git_blob or "", _git_blob(place)
        return None if found == wanted else f"{place} has the {name} {found}, not {wanted}"


def folder(source: ScoreSource, home: Path | None = None) -> Path:
    """Where the files of a source lie: in the data folder, or beside its YAML where it has no repository."""
    return (home or default_home()) / "sources" / source.id if source.repository else source.folder


def pinned(source: ScoreSource) -> list[Pinned]:
    """All files of a source.

    Raises:
        SpecError: a listing of its is wrong.
    """
    return [each for file in source.files for each in _pinned(source, file)]


def _pinned(source: ScoreSource, file: SourceFile) -> Iterator[Pinned]:
    if file.listing is None:
        yield Pinned(source, file, file.path, file.sha256)
        return
    listing = source.folder / file.listing
    for record in read_records(listing, ("path", "sha256"), limit=_LISTING_BYTES):
        path, sha256 = record.fields["path"], record.fields["sha256"]
        if path.startswith("/") or ".." in path.split("/"):
            raise SpecError(record.problem("should be a path inside the repository", "path"))
        yield Pinned(source, file, path, sha256)


def missing(source: ScoreSource, home: Path | None = None) -> list[Pinned]:
    """The files of a source that are not on this machine."""
    return [each for each in pinned(source) if not each.place(home).is_file()]


def whole(source: ScoreSource, file: SourceFile, home: Path | None = None) -> list[Pinned] | None:
    """The files behind one entry of a source, each compared with its hash; None if one is not here.

    Raises:
        DataError: one has another hash.
    """
    found = list(_pinned(source, file))
    if not all(each.place(home).is_file() for each in found):
        return None
    for each in found:
        if problem := each.problem(each.place(home)):
            raise DataError(f"{problem}; delete it and run `harness sources pull {source.id}` again")
    return found


def pull(
    source: ScoreSource,
    home: Path | None = None,
    *,
    progress: Callable[[Pinned], Progress] | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> list[Path]:
    """Download what of a source is not here; nothing that has another hash is kept.

    Returns:
        the files that came.

    Raises:
        DataError: a server refuses, keeps failing or serves something else, or there is no network.
        SpecError: the source has neither repository nor URL, and its files are not beside its YAML.
    """
    came = []
    for each in missing(source, home):
        if not each.urls:
            raise SpecError(f"{shown(each.place(home))} is not there, and {source.id} has no other place")

        def check(part: Path, each: Pinned = each) -> None:
            if problem := each.problem(part):
                raise DataError(problem)

        came.append(
            download(
                each.urls,
                each.place(home),
                size=each.file.size,
                begins=b"",
                check=check,
                progress=progress and progress(each),
                say=say,
            )
        )
    return came


def take(source: ScoreSource, given: Path, home: Path | None = None) -> list[Path]:
    """Copy files of a source that are on this machine: one file, or a folder laid out like the repository.

    Returns:
        where they lie now.

    Raises:
        DataError: nothing given is a file of the source, or one has another hash.
    """
    if given.is_dir():
        here = [(each, given / each.path) for each in pinned(source) if (given / each.path).is_file()]
        if not here:
            raise DataError(f"{given} has none of the files of {source.id}, as {pinned(source)[0].path}")
    elif given.is_file():
        here = [(_matching(source, given), given)]
    else:
        raise DataError(f"{given}: there is no such file or folder")
    for each, place in here:
        if problem := each.problem(place):
            raise DataError(f"{problem}; it is not the file that {source.id} is about")
    taken = []
    for each, place in here:
        with files.atomic(each.place(home)) as temporary:
            shutil.copyfile(place, temporary)
        taken.append(each.place(home))
    return taken


def _matching(source: ScoreSource, given: Path) -> Pinned:
    """Which of a source's files a file is."""
    known = pinned(source)
    found = next((each for each in known if each.problem(given) is None), None)
    if found is None:
        hashes = " or ".join(each.sha256 or f"git blob {each.file.git_blob}" for each in known[:3])
        some = f"one of {count(len(known), 'file')}" if len(known) > 3 else hashes
        raise DataError(
            f"{given} has the SHA-256 {files.sha256(given)}, and {source.id} pins {some}; "
            "it is not the file that the source is about"
        )
    return found


def _git_blob(place: Path) -> str:
    """Git's hash of a file's content."""
    digest = hashlib.sha1(b"blob %d\0" % place.stat().st_size, usedforsecurity=False)
    with place.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
