"""Files of every format become the same scores, and what cannot be used of them is said."""

import hashlib
import json
import pickle

import numpy as np
import pytest

from harness.errors import DataError, SpecError
from harness.sources import files
from harness.sources.scores import at_hand, chosen
from harness.specs import Specs

NESTED = {"IQL": {"hopper-medium-v2": [[1.0, 2.0], [3.0, 4.0, 5.0]]}}
LEVELS = ["algorithm", "dataset", "seed", "evaluation"]
HEADER = "dataset,algorithm,setting,seed,step,score\n"


def only(specs, **options):
    [curves] = at_hand(specs, ["mine"], **options).curves
    return curves


@pytest.mark.parametrize(
    ("form", "content"),
    [("pickle", pickle.dumps(NESTED)), ("json", json.dumps(NESTED).encode())],
)
def test_nested_files(source, form, content):
    curves = only(
        source(content, form=form, levels=LEVELS, keys={"protocol": {"steps": 1000, "evaluate_every": 500}})
    )
    assert (curves.dataset, curves.algorithm, curves.label) == ("hopper-medium-v2", "iql", "IQL")
    # seeds with more evaluations are as long as the shortest
    np.testing.assert_array_equal(curves.scores, [[1, 2], [3, 4]])
    assert curves.steps.tolist() == [500, 1000]


def test_settings_and_phases(source):
    nested = {"IQL": {"hopper-medium-v2": {"3": {"0.7": [[[1.0], [2.0], 0.1]]}}}}
    levels = ["algorithm", "dataset", "setting", "setting", "seed", ["offline", "online", None]]
    specs = source(pickle.dumps(nested), form="pickle", levels=levels)
    found = at_hand(specs, ["mine"]).curves
    assert [(each.setting, each.phase, each.scores.tolist()) for each in found] == [
        ("3|0.7", "offline", [[1.0]]),
        ("3|0.7", "online", [[2.0]]),
    ]


def test_a_table_of_scores(source):
    text = (
        HEADER
        + "hopper-medium-v2,IQL,,1,20,0.4\nhopper-medium-v2,IQL,,0,20,0.2\nhopper-medium-v2,IQL,,0,10,0.1\n"
    )
    curves = only(source((text + "hopper-medium-v2,IQL,,1,10,0.3\n").encode(), scale="fraction"))
    np.testing.assert_allclose(curves.scores, [[30, 40], [10, 20]])
    assert (curves.seeds, curves.steps.tolist()) == ((1, 0), [10, 20])


def test_many_files_by_their_names(source, tmp_path):
    below = tmp_path / "mine" / "sources" / "runs"
    listing = ["path,sha256"]
    for seed in (1, 2):
        path = below / f"IQL_hopper-medium-v2_{seed}_2022" / "environment.csv"
        path.parent.mkdir(parents=True)
        path.write_text(f"1,1000,{seed * 1000.0}\n")
        listing.append(
            f"runs/{path.parent.name}/environment.csv,{hashlib.sha256(path.read_bytes()).hexdigest()}"
        )
    (below.parent / "listing.csv").write_text("\n".join(listing))
    file = {
        "path": "runs/{algorithm}_{dataset}_{seed}_*/environment.csv",
        "format": "csv",
        "listing": "listing.csv",
        "columns": {"step": 1, "score": 2},
        "scale": "return",
    }
    specs = source(b"", keys={"files": [file]})
    curves = only(specs)
    reference = specs.dataset("hopper-medium-v2").reference
    np.testing.assert_allclose(
        curves.scores[:, 0], [reference.normalise(1000.0), reference.normalise(2000.0)]
    )
    assert curves.seeds == (1, 2)
    path.write_text("1,1000,9\n")
    with pytest.raises(DataError, match="has the SHA-256"):
        at_hand(specs, ["mine"])


def test_printed_pages(source):
    page = """# Offline
## Last Scores
### Gym
| **Task**|IQL| BC |
|---|---|---|
|hopper-medium-v2| **67.53 ± 3.78** |53.51 ± 1.76|
| **average** |1.0|2.0|
## Visual
|hopper-medium-v2|9.9 ± 9.9|9.9 ± 9.9|
"""
    printed = {"sections": {"Last Scores": "last"}, "seeds": 4, "ddof": 0}
    found = at_hand(source(page.encode(), form="markdown", printed=printed), ["mine"]).summaries
    assert [(each.algorithm, each.which, each.mean, each.std, each.n) for each in found] == [
        ("iql", "last", 67.53, 3.78, 4),
        ("bc", "last", 53.51, 1.76, 4),
    ]


def test_what_is_left_out_is_said(source):
    rows = [
        "hopper-medium-v0,IQL,,0,10,1",
        "atlantis-v2,IQL,,0,10,1",
        "hopper-medium-v2,IQL,a,0,10,nan",
        "hopper-medium-v2,IQL,b,0,10,1",
    ]
    found = at_hand(source((HEADER + "\n".join(rows)).encode()), ["mine"])
    assert [(each.dataset, each.setting) for each in found.curves] == [("hopper-medium-v2", "b")]
    assert found.notes == (
        "mine: left out, since no dataset here has that name: atlantis-v2",
        "mine: N/C, another D4RL version than any table's here: hopper-medium-v0",
        "mine: hopper-medium-v2, IQL, a is left out: 1 score of it not finite",
    )


def test_scores_on_other_data_do_not_compare(source):
    specs = source((HEADER + "hopper-medium-v2,IQL,,0,10,1").encode(), keys={"lineage": "generated"})
    found = at_hand(specs, ["mine"])
    assert not found.curves
    assert found.notes == ("mine: N/C, generated data, not d4rl: hopper-medium-v2",)
    assert only(specs, lineage="generated").dataset == "hopper-medium-v2"


@pytest.mark.parametrize(
    ("content", "form", "more", "says"),
    [
        (b"{", "json", {"levels": LEVELS}, "is no valid JSON"),
        (
            b'{"IQL": [1]}',
            "json",
            {"levels": LEVELS},
            "IQL should have the key of each dataset, and is a list",
        ),
        (b'{"IQL": {"d": [["x"]]}}', "json", {"levels": LEVELS}, "should be scores, and is none"),
        (b"a,b\n1,2\n", "csv", {}, "has no column for dataset and algorithm and score"),
        ((HEADER + "d,IQL,,0,1,x").encode(), "csv", {}, "record 1 has no number"),
        (
            b"# nothing",
            "markdown",
            {"printed": {"sections": {"L": "last"}, "seeds": 4, "ddof": 0}},
            "no table",
        ),
        (b"\xff\xfe", "csv", {}, "is no CSV file"),
    ],
)
def test_a_file_that_is_not_what_its_spec_says(source, content, form, more, says):
    with pytest.raises(DataError, match=says):
        at_hand(source(content, form=form, **more), ["mine"])


def test_a_hostile_pickle_is_a_sentence(source):
    class Hostile:
        def __reduce__(self):
            return print, ("ran",)

    specs = source(pickle.dumps(Hostile()), form="pickle", levels=LEVELS)
    with pytest.raises(DataError, match=r"is refused: the pickle holds builtins.print"):
        at_hand(specs, ["mine"])


def test_another_hash_is_never_opened(source, monkeypatch):
    specs = source(b"{}", form="json", levels=LEVELS, pin="0" * 64)
    with pytest.raises(DataError, match=r"has the SHA-256 .* not 0000"):
        at_hand(specs, ["mine"])


def test_taking_files_from_this_machine(source, tmp_path):
    content = pickle.dumps(NESTED)
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    remote = {"repository": "https://github.com/some/where", "commit": "a" * 40}
    file = {"path": "deep/scores.pickle", "format": "pickle", "git_blob": blob, "levels": LEVELS}
    specs = source(b"", keys={**remote, "files": [file]})
    mine, home = specs.source("mine"), tmp_path / "home"
    assert mine.urls(mine.files[0], "deep/scores.pickle") == (
        f"https://raw.githubusercontent.com/some/where/{'a' * 40}/deep/scores.pickle",
    )
    assert at_hand(specs, ["mine"], home).notes == (
        "mine: deep/scores.pickle is not here; `harness sources pull mine`",
    )
    given = tmp_path / "given" / "deep"
    given.mkdir(parents=True)
    (given / "scores.pickle").write_bytes(content)
    for place in (given / "scores.pickle", given.parent):
        assert files.take(mine, place, home) == [home / "sources" / "mine" / "deep" / "scores.pickle"]
    assert only(specs, home=home).scores.tolist() == [[1, 2], [3, 4]]
    (given / "scores.pickle").write_bytes(b"other")
    for place in (given / "scores.pickle", given.parent):
        with pytest.raises(DataError, match="not the file that"):
            files.take(mine, place, home)
    with pytest.raises(DataError, match="none of the files"):
        files.take(mine, tmp_path / "home", home)
    with pytest.raises(DataError, match="no such file or folder"):
        files.take(mine, tmp_path / "nowhere", home)


def test_without_network(source, tmp_path):
    file = {"path": "s.csv", "format": "csv", "sha256": "0" * 64, "url": "http://nowhere.invalid/s.csv"}
    remote = {"repository": "https://nowhere.invalid/some/where", "commit": "a" * 40}
    mine = source(b"", keys={**remote, "files": [file]}).source("mine")
    with pytest.raises(
        DataError, match=r"cannot download http://nowhere.invalid/s.csv: the connection failed"
    ):
        files.pull(mine, tmp_path / "home")


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"path": "../x.csv"}, "is no path inside the repository"),
        ({"git_blob": "a" * 40}, "takes one of sha256, git_blob and listing"),
        ({"format": "pickle"}, "'levels' is missing"),
        ({"format": "markdown"}, "printed belongs to the format 'markdown'"),
        ({"sha256": "abc"}, "sha256"),
    ],
)
def test_a_wrong_spec_is_told_with_its_place(source, more, says):
    specs = source(b"", keys={"files": [{"path": "s.csv", "format": "csv", "sha256": "0" * 64, **more}]})
    with pytest.raises(SpecError, match=says) as wrong:
        specs.source("mine")
    assert "mine.yaml:" in str(wrong.value)


def test_shipped_sources_are_pointers(tmp_path):
    specs = Specs()
    for name in chosen(specs, []):
        source = specs.source(name)
        assert source.repository
        assert source.commit
        assert source.licence in ("Apache-2.0", "MIT")
        assert all(each.urls and (each.sha256 or each.file.git_blob) for each in files.pinned(source))
        assert len(files.missing(source, tmp_path)) == len(files.pinned(source))
