"""One's own files: three formats, mapped fields, next observations row by row, and what is refused."""

from __future__ import annotations

import hashlib
import os
import zipfile

import h5py
import numpy as np
import pytest

from harness import datasets, plugs
from harness.datasets import fields, readers
from harness.errors import DataError, HarnessError, SpecError, UnknownNameError
from harness.planning.validation import validate_sources
from harness.specs import Specs

HEAD = """
id: {name}
domain: toy
observation_size: 4
action_size: 2
reference: {{minimum: 0, maximum: 1, source: a test}}
"""
MAPPED = "fields: {observations: obs, next_observations: next_obs, actions: a, rewards: r, terminals: done}"
OURS = {"obs": "observations", "next_obs": "next_observations", "a": "actions", "r": "rewards"}


def steps(count=60, seed=0):
    """Rows in order: episodes of 20, the second of which is cut."""
    random = np.random.default_rng(seed)
    ends = np.arange(1, count + 1) % 20 == 0
    obs = random.standard_normal((count + 1, 4)).astype(np.float32)
    cut = ends & (np.arange(count) // 20 == 1)
    nexts = obs[1:].copy()
    nexts[ends] = random.standard_normal((ends.sum(), 4))
    return {
        "obs": obs[:-1],
        "next_obs": nexts,
        "a": random.uniform(-1, 1, (count, 2)).astype(np.float32),
        "r": random.standard_normal(count),
        "done": ends & ~cut,
        "cut": cut,
    }


def write(place, arrays):
    """A file of the format that its name says."""
    place.parent.mkdir(parents=True, exist_ok=True)
    match place.suffix:
        case ".npz":
            np.savez_compressed(place, **arrays)
        case ".hdf5":
            with h5py.File(place, "w") as file:
                for name, array in arrays.items():
                    file.create_dataset(name, data=array)
        case ".parquet":
            import pyarrow as pa
            from pyarrow import parquet

            columns = {name: list(array) if array.ndim > 1 else array for name, array in arrays.items()}
            parquet.write_table(pa.table(columns), place)
    return place


@pytest.fixture
def folder(tmp_path):
    """A folder of specs; called with the lines of a dataset's block, it gives the dataset."""

    def dataset(block, name="my-v0", text=HEAD):
        place = tmp_path / "specs" / "datasets" / f"{name}.yaml"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(f"{text.format(name=name)}{block}\n")
        return Specs([tmp_path / "specs"]).dataset(name)

    dataset.files = tmp_path / "specs" / "files"
    return dataset


@pytest.mark.parametrize("suffix", ["npz", "hdf5", "parquet"])
def test_next_observations_of_shuffled_rows_are_their_own(folder, suffix):
    rows = steps()
    order = np.random.default_rng(1).permutation(60)
    write(folder.files / f"x.{suffix}", {name: array[order] for name, array in rows.items()})
    data = datasets.load(folder(f"file: {{path: ../files/x.{suffix}, {MAPPED}}}"), "file")
    for theirs, ours in OURS.items():
        np.testing.assert_array_equal(getattr(data, ours), rows[theirs][order].astype(np.float32))
    np.testing.assert_array_equal(data.terminals, rows["done"][order])
    assert not data.ordered
    np.testing.assert_array_equal(data.next_actions, data.actions)


@pytest.mark.parametrize("told", [True, False])
def test_rows_in_order_know_what_was_done_next_but_at_the_end_of_an_episode(folder, told):
    rows = steps()
    write(folder.files / "x.npz", rows)
    cuts = ", timeouts: cut" if told else ""
    data = datasets.load(folder(f"file: {{path: ../files/x.npz, {MAPPED[:-1]}{cuts}}}}}"), "file")
    assert data.ordered
    assert len(data) == 60
    ends = rows["done"] | rows["cut"]
    following = np.flatnonzero(~ends)
    np.testing.assert_array_equal(data.next_actions[following], rows["a"][following + 1])
    np.testing.assert_array_equal(data.next_actions[ends], rows["a"][ends])


def test_without_next_observations_rows_are_paired_and_cuts_must_be_known(folder):
    rows = steps()
    write(folder.files / "x.npz", rows)
    mapped = "observations: obs, actions: a, rewards: r, terminals: done"
    data = datasets.load(
        folder(f"file: {{path: ../files/x.npz, fields: {{{mapped}, timeouts: cut}}}}"), "file"
    )
    kept = np.flatnonzero(~rows["cut"])[:-1]
    np.testing.assert_array_equal(data.observations, rows["obs"][kept])
    np.testing.assert_array_equal(data.next_observations, rows["obs"][kept + 1])
    with pytest.raises(DataError, match=r"x\.npz has neither next_observations nor timeouts"):
        datasets.load(folder(f"file: {{path: ../files/x.npz, fields: {{{mapped}}}}}"), "file")


def test_the_hash_names_the_content_and_is_compared_before_anything_is_read(folder, monkeypatch):
    place = write(folder.files / "x.npz", steps())
    sha256 = hashlib.sha256(place.read_bytes()).hexdigest()
    pinned = f"file: {{path: ../files/x.npz, sha256: {sha256}, {MAPPED}}}"
    spec = folder(pinned)
    assert datasets.identity(spec, "file")["sha256"] == sha256
    assert "path" not in datasets.identity(spec, "file")
    datasets.load(spec, "file")
    monkeypatch.setattr(fields, "read", lambda *_: pytest.fail("was read"))
    write(place, steps(seed=1))
    with pytest.raises(DataError, match=f"has SHA-256 .* but the spec says {sha256}"):
        datasets.load(spec, "file")
    with pytest.raises(DataError, match="but the spec says 5; is it the right file"):
        datasets.load(folder(f"file: {{path: ../files/x.npz, size: 5, {MAPPED}}}"), "file")


def test_files_of_two_datasets_whose_urls_end_alike_do_not_meet(folder, server, tmp_path):
    content = write(tmp_path / "x.npz", steps()).read_bytes()
    places = []
    for name in ("one-v0", "two-v0"):
        server.content = content
        spec = folder(f"file: {{url: '{server.url.replace('.hdf5', '.npz')}', {MAPPED}}}", name)
        places.append(datasets.pull(spec, "file"))
    assert [place.name for place in places] == ["one-v0.npz", "two-v0.npz"]
    assert len(server.requests) == 2


def test_a_file_that_is_not_there_says_where_it_was_looked_for(folder):
    spec = folder(f"file: {{path: ../files/x.npz, {MAPPED}}}")
    for ask in (datasets.load, datasets.pull):
        with pytest.raises(DataError, match=r"my-v0 \(file\) is missing: looked at .*specs/files/x.npz"):
            ask(spec, "file")
    message = datasets.missing_message([(spec, "file")])
    assert "What to do:\n  put the file of my-v0 there, or correct its path" in message
    url = folder(f"file: {{url: 'http://127.0.0.1/x.npz', {MAPPED}}}")
    with pytest.raises(DataError, match="run `harness data pull my-v0 --data file`"):
        datasets.load(url, "file")


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ("file: {path: x.npz, url: 'http://a/x.npz'}", "7:7: file: takes either path or url"),
        ("file: {format: npz}", "takes either path or url"),
        ("file: {path: x.bin}", "'x.bin' does not end in .npz, .hdf5, .h5, .parquet; say its format"),
        (
            "file: {path: x.npz, fields: {reward: r}}",
            "7:30: file.fields.reward: no field named 'reward'; did you",
        ),
        ("file: {url: 'ftp://a/x.npz'}", "is no URL of a file"),
        ("file: {url: []}", "should be a URL or a list of URLs"),
        ("flie: {path: x.npz}", "7:1: flie: unknown key; did you mean 'file'?"),
    ],
)
def test_a_wrong_block_is_pointed_at(folder, block, message):
    with pytest.raises(SpecError) as caught:
        folder(block)
    assert message in str(caught.value)
    assert "my-v0.yaml:7:" in str(caught.value)


def test_a_url_may_end_in_a_question(folder):
    spec = folder("file: {url: 'http://a/x.npz?download=true'}")
    assert spec.file.stored_as == "npz"
    assert datasets.path(spec, "file").name == "my-v0.npz"


def bad(**changes):
    rows = steps()
    named = {"observations": "obs", "actions": "a", "rewards": "r", "terminals": "done", "timeouts": "cut"}
    arrays = {ours: rows[theirs] for ours, theirs in named.items()}
    return {name: array for name, array in (arrays | changes).items() if array is not None}


N = 60
REFUSED = [
    ({"actions": None}, "lacks actions; it has observations, rewards, terminals, timeouts"),
    ({"terminals": np.array([b"False"] * N)}, "terminals hold values of .*not numbers"),
    ({"rewards": np.zeros(N, complex)}, "rewards hold values of .*complex128, not numbers"),
    ({"observations": np.zeros(N, [("x", "f4"), ("y", "f4")])}, "observations hold .*, not numbers"),
    ({"actions": np.zeros((N - 1, 2))}, r"actions have shape \(59, 2\), but there are 60 rewards"),
    ({"rewards": np.zeros((N, 2))}, r"rewards have shape \(60, 2\)"),
    ({"observations": np.zeros((N, 2, 2))}, r"observations have shape \(60, 2, 2\)"),
    ({"rewards": np.float32(1)}, r"have shape"),
    ({"terminals": np.full(N, 2)}, "terminals are 0 or 1, or true or false, but 2 stands there"),
    ({"timeouts": np.full(N, np.nan)}, "timeouts are 0 or 1, or true or false, but nan stands there"),
]


@pytest.mark.parametrize("suffix", ["npz", "hdf5"])
@pytest.mark.parametrize(("changes", "message"), REFUSED)
def test_what_is_no_number_of_the_right_shape_is_refused(tmp_path, suffix, changes, message):
    place = write(tmp_path / f"x.{suffix}", bad(**changes))
    with pytest.raises(DataError, match=message) as caught:
        fields.read(place, suffix, {}, {})
    assert str(place) in str(caught.value)


@pytest.mark.parametrize("kind", [bool, np.uint8, np.int64, np.float32])
def test_flags_are_truths_or_numbers(tmp_path, kind):
    place = write(tmp_path / "x.npz", bad(terminals=steps()["done"].astype(kind)[:, None]))
    np.testing.assert_array_equal(fields.read(place, "npz", {}, {})["terminals"], steps()["done"])


def test_objects_in_an_npz_are_not_unpickled(tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "sprung"),)

    place = write(tmp_path / "x.npz", bad(rewards=np.array([Trap()] * N)))
    with pytest.raises(DataError, match="rewards hold values of NumPy's type object"):
        fields.read(place, "npz", {}, {})
    assert not (tmp_path / "sprung").exists()


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_array_that_stands_twice_in_a_file_is_refused(tmp_path):
    place = write(tmp_path / "x.npz", bad())
    with zipfile.ZipFile(place, "a") as archive:
        archive.writestr("rewards.npy", archive.read("rewards.npy"))
    with pytest.raises(DataError, match="holds 'rewards' twice; keep one of them"):
        fields.read(place, "npz", {}, {})


def test_a_file_that_says_more_than_memory_holds_is_refused_before_it_is_read(tmp_path):
    place = write(tmp_path / "x.npz", {name: array for name, array in bad().items() if name != "rewards"})
    head = np.lib.format.header_data_from_array_1_0(np.zeros(1, np.float32)) | {"shape": (10**12,)}
    with zipfile.ZipFile(place, "a") as archive, archive.open("rewards.npy", "w") as file:
        np.lib.format.write_array_header_1_0(file, head)
    with h5py.File(tmp_path / "x.hdf5", "w") as file:
        for name, width in (("observations", 4), ("actions", 2), ("rewards", 0), ("terminals", 0)):
            file.create_dataset(name, (10**12, width) if width else (10**12,), "f4", chunks=True)
    assert (tmp_path / "x.hdf5").stat().st_size < 10_000
    with pytest.raises(DataError, match=r"1,000,000,000,000 rows would take [\d,.]+ GB"):
        fields.read(tmp_path / "x.hdf5", "hdf5", {}, {})
    with pytest.raises(DataError, match=r"shape|would take"):
        fields.read(place, "npz", {}, {})


@pytest.mark.parametrize("kind", ["external", "virtual", "unwritten", "half written", "linked"])
def test_values_outside_the_file_are_not_read(tmp_path, kind):
    rows = bad()
    secret = tmp_path / "secret"
    secret.write_bytes(rows.pop("rewards").astype("f8").tobytes())
    place = write(tmp_path / "x.hdf5", rows)
    with h5py.File(place, "a") as file:
        match kind:
            case "external":
                file.create_dataset("rewards", (N,), "f8", external=[(str(secret), 0, 8 * N)])
            case "virtual":
                layout = h5py.VirtualLayout((N,), "f8")
                layout[:] = h5py.VirtualSource("elsewhere.hdf5", "rewards", (N,))
                file.create_virtual_dataset("rewards", layout)
            case "unwritten":
                file.create_dataset("rewards", (N,), "f8")
            case "half written":
                file.create_dataset("rewards", (N,), "f8", chunks=(10,))[:30] = 1
            case "linked":
                file["rewards"] = h5py.ExternalLink("elsewhere.hdf5", "rewards")
    message = {
        "external": "rewards lie in other files",
        "virtual": "rewards lie in other files",
        "linked": "lacks rewards",
    }.get(kind, "rewards say 60 rows, but not all of them were written")
    with pytest.raises(DataError, match=message):
        fields.read(place, "hdf5", {}, {})


def test_parquet_takes_lists_of_equally_many_numbers(tmp_path):
    import pyarrow as pa
    from pyarrow import parquet

    def refused(message, **columns):
        good = {"observations": [[1.0, 2.0]] * 3, "actions": [[0.5]] * 3, "rewards": [1.0] * 3}
        place = tmp_path / "x.parquet"
        parquet.write_table(pa.table(good | {"terminals": [False] * 3} | columns), place)
        with pytest.raises(DataError, match=message):
            fields.read(place, "parquet", {}, {})

    refused("the lists of observations have different lengths", observations=[[1.0, 2.0], [1.0], [1.0]])
    refused(
        "the lists of observations have different lengths", observations=[[1.0, 2.0], [1.0], [1.0, 2.0, 3.0]]
    )
    refused("rewards lacks values", rewards=[1.0, None, 2.0])
    refused("rewards hold values of parquet's type string", rewards=["1", "2", "3"])
    refused("observations hold values of parquet's type struct", observations=[{"x": 1.0}] * 3)


@pytest.mark.parametrize(
    ("stored_as", "content"), [("npz", b"PK\3\4none"), ("parquet", b"PAR1none"), ("hdf5", b"")]
)
def test_a_file_of_another_format_is_said_to_be(tmp_path, stored_as, content):
    place = tmp_path / "x"
    place.write_bytes(content)
    with pytest.raises(DataError, match=f"{place} is damaged or no "):
        fields.read(place, stored_as, {}, {})


@pytest.mark.parametrize("error", [AttributeError, SystemError, IndexError, AssertionError])
def test_whatever_a_library_raises_over_damaged_bytes_is_a_sentence(tmp_path, error):
    message = f"{tmp_path} is damaged or no HDF5 file: x y$"
    with pytest.raises(DataError, match=message), fields.damaged(tmp_path, "HDF5"):
        raise error("x\ny")


def test_values_that_are_not_finite_and_no_rows_are_refused_at_loading(folder):
    spec = folder("file: {path: ../files/x.npz}")
    rows = bad()
    rows["observations"][3, 1] = np.nan
    write(folder.files / "x.npz", rows)
    with pytest.raises(DataError, match="observations of my-v0 hold values that are not finite"):
        datasets.load(spec, "file")
    assert datasets.card(spec, lineage="file")["values"]["observations"]["rows not finite"] == 1
    write(folder.files / "x.npz", {name: array[:0] for name, array in rows.items()})
    with pytest.raises(DataError, match="holds no rows"):
        datasets.load(spec, "file")


def test_a_mapping_that_names_nothing_in_the_file_is_pointed_at(folder):
    write(folder.files / "x.npz", steps())
    spec = folder(f"file: {{path: ../files/x.npz, {MAPPED.replace('rewards: r', 'rewards: rew')}}}")
    with pytest.raises(DataError) as caught:
        datasets.load(spec, "file")
    assert "datasets/my-v0.yaml:7:" in str(caught.value)
    assert "file.fields.rewards: " in str(caught.value)
    assert "has no 'rew'; it has obs, next_obs, a, r, done, cut" in str(caught.value)


READER = """
import numpy as np
from harness.datasets import readers
from harness.specs.models import Source

class Ones(Source):
    rows: int

class Reader(readers.Reader[Ones]):
    Source = Ones

    def path(self, dataset, source, home):
        return home

    def obtain(self, dataset, source, home, progress=None, say=readers.silent):
        return home

    def rows(self, dataset, source, home, *, verify=False):
        obs = np.ones((source.rows, dataset.observation_size))
        return {"observations": obs, "next_observations": obs, "actions": np.ones((source.rows, 2)),
                "rewards": np.ones(source.rows), "terminals": np.zeros(source.rows, bool)}
"""


def test_a_reader_beside_the_datasets_is_found_and_its_code_is_run_only_to_read(folder, tmp_path):
    (tmp_path / "specs" / "datasets").mkdir(parents=True)
    (tmp_path / "specs" / "datasets" / "ones.py").write_text(
        f"{READER}\nopen({str(tmp_path / 'ran')!r}, 'w')\n"
    )
    spec = folder("ones: {rows: 5}")
    specs = Specs([tmp_path / "specs"])
    assert spec.identity("ones") == {"id": "my-v0", "lineage": "ones", "rows": 5}
    assert specs.lineage("ones") == "ones"
    assert not (tmp_path / "ran").exists()
    plugs.use(specs.folders)
    assert len(datasets.load(spec, "ones")) == 5
    assert (tmp_path / "ran").exists()
    wrong = folder("ones: {rows: many}")
    with pytest.raises(HarnessError, match=r"my-v0: ones\.rows: .* integer"):
        datasets.load(wrong, "ones")
    [line] = validate_sources(Specs([tmp_path / "specs"]), ["my-v0"])
    assert "datasets/my-v0.yaml:7:14: ones.rows: " in line


def test_unknown_lineages_name_the_known_ones(folder):
    with pytest.raises(UnknownNameError, match="no lineage named 'xy'; known: d4rl, file, generated, minari"):
        Specs().lineage("xy")
    with pytest.raises(UnknownNameError, match="no reader of lineage named 'rlds'"):
        readers.reader("rlds")
