from __future__ import annotations

import hashlib
import json

import pytest

from harness.specs import Specs


@pytest.fixture
def source(tmp_path):
    """Writes a source whose file lies beside its YAML, in a folder of specs; gives the specs.

    ``content`` is the file's; ``more`` are further keys of its entry in the YAML, ``keys`` of the source.
    """

    def write(content: bytes, name="scores.csv", *, form="csv", keys=None, pin=None, **more):
        folder = tmp_path / "mine" / "sources"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
        file = {
            "path": name,
            "format": form,
            "sha256": pin or hashlib.sha256(content).hexdigest(),
            **more,
        }
        spec = {
            "id": "mine",
            "title": "mine",
            "licence": "MIT",
            "files": [file],
            "algorithms": {"IQL": "iql"},
            **(keys or {}),
        }
        text = "".join(f"{key}: {json.dumps(value)}\n" for key, value in spec.items())
        (folder / "mine.yaml").write_text(text, encoding="utf-8")
        return Specs([tmp_path / "mine"])

    return write
