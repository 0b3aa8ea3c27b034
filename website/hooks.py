"""MkDocs' hooks: the site's pages that lie outside ``docs/``, and links to files there."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from harness.specs import Specs
from website.pages import pages

_ROOT = Path(__file__).parents[1]
_HOME = "README.md"
_OUTSIDE = (_HOME, "CHANGELOG.md", "CONTRIBUTING.md", "benchmarks/README.md", "reports/**/*.md")
_LINK = re.compile(r"(?<=\]\()(?P<path>[^):#]+)(?P<anchor>#[^)]*)?(?=\))")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made, and those that lie beside ``docs/``."""
    for uri, text in pages(Specs()).items():
        files.append(File.generated(config, uri, content=text))
    for path in (found for pattern in _OUTSIDE for found in _ROOT.glob(pattern)):
        files.append(_file(config, path))
    config.nav = [_unfolded(entry, files) for entry in config.nav or ()]
    return files


def _unfolded(entry: Any, files: Files) -> Any:
    """An entry of the navigation; one that names a folder becomes a section of the folder's pages."""
    match entry:
        case {**titled} if isinstance(folder := next(iter(titled.values())), str) and folder.endswith("/"):
            uris = [file.src_uri for file in files if file.src_uri.startswith(folder)]
            return {next(iter(titled)): sorted(uris, key=lambda uri: (not uri.endswith("README.md"), uri))}
    return entry


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files, **_: Any) -> str:
    """Let links lead to where files are on the site; those that are no pages are added to it."""
    here = _in_checkout(page.file.src_uri)

    def led(match: re.Match[str]) -> str:
        path = Path(os.path.normpath(here.parent / match["path"]))
        uri = _on_site(path)
        if files.get_file_from_path(uri) is None and path.suffix != ".md" and path.is_file():
            files.append(_file(config, path))
        return os.path.relpath(uri, Path(page.file.src_uri).parent) + (match["anchor"] or "")

    return _LINK.sub(led, markdown)


def _file(config: MkDocsConfig, path: Path) -> File:
    return File.generated(config, _on_site(path), abs_src_path=str(path))


def _on_site(path: Path) -> str:
    """Where a file of the checkout is on the site: ``docs/`` and what lies beside it share one root."""
    uri = path.relative_to(_ROOT).as_posix()
    return "index.md" if uri == _HOME else uri.removeprefix("docs/")


def _in_checkout(uri: str) -> Path:
    if uri == "index.md":
        return _ROOT / _HOME
    beside = _ROOT / uri
    return beside if beside.exists() else _ROOT / "docs" / uri
