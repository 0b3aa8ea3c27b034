"""Pickles of scores are read, and those that would run anything are refused without running it."""

import pickle
import pickletools
from collections import OrderedDict

import numpy as np
import pytest

from harness.errors import DataError
from harness.sources.unpickling import load, plain


def written(folder, content):
    path = folder / "scores.pickle"
    path.write_bytes(content)
    return path


class Calls:
    """Says how it is unpickled, as a hostile pickle may."""

    def __init__(self, *reduced):
        self.reduced = reduced

    def __reduce__(self):
        return self.reduced


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_what_scores_are_made_of_is_read(tmp_path, protocol):
    array = np.arange(6.0).reshape(2, 3)
    content = {
        "IQL": [np.float64(1.5), np.int64(2), 3, 4.5, None, True, (1, 2)],
        "arrays": [array, np.asfortranarray(array), array.astype(">i4"), np.array([], dtype=np.float32)],
    }
    found = load(written(tmp_path, pickle.dumps(content, protocol)))
    assert found["IQL"] == content["IQL"]
    for ours, theirs in zip(found["arrays"], content["arrays"], strict=True):
        np.testing.assert_array_equal(plain(ours), theirs)
        assert plain(ours).dtype == theirs.dtype


@pytest.mark.parametrize(
    ("hostile", "named"),
    [
        (Calls(print, ("hello",)), "builtins.print"),
        (Calls(eval, ("open('ran', 'w')",)), "builtins.eval"),
        (Calls(open, ("ran", "w")), "open"),
        (Calls(np.save, ("ran.npy", 1)), "numpy"),
        (Calls(np.lib.format.open_memmap, ("ran",)), "numpy"),
        (OrderedDict(a=1), "collections.OrderedDict"),
        (np.array([Calls(print, ())], dtype=object), "'O8'"),
        (np.array(["text"]), "'U4'"),
        (np.zeros(2, dtype=[("a", "f8")]), "'V8'"),
        (np.ma.zeros(2), "numpy.ma"),
    ],
)
def test_anything_else_is_refused_unrun(tmp_path, monkeypatch, hostile, named):
    monkeypatch.chdir(tmp_path)
    path = written(tmp_path, pickle.dumps({"IQL": hostile}))
    with pytest.raises(DataError, match=r"is refused: .*nothing of it was run") as refused:
        load(path)
    assert named in str(refused.value)
    assert [each.name for each in tmp_path.iterdir()] == ["scores.pickle"]


def _opcodes(*parts):
    return b"\x80\x02" + b"".join(parts) + b"."


@pytest.mark.parametrize(
    "content",
    [
        # a state for a name, which would change what it stands for
        _opcodes(b"cnumpy\ndtype\n", b"}", b"b"),
        # calling NumPy's array class itself
        _opcodes(b"cnumpy\nndarray\n", b"(K\x05t", b"R"),
        # an array of something that is not NumPy's array
        _opcodes(b"cnumpy.core.multiarray\n_reconstruct\n", b"(cnumpy\ndtype\n", b"K\x00K\x01t", b"R"),
        # numbers without a type
        _opcodes(b"cnumpy.core.multiarray\nscalar\n", b"(K\x01K\x02t", b"R"),
        # an array of 10^12 elements in eight bytes
        _opcodes(
            b"cnumpy._core.numeric\n_frombuffer\n",
            b"(C\x08abcdefgh",
            b"cnumpy\ndtype\nX\x02\x00\x00\x00f8\x85R",
            b"\x8a\x06\x00\x10\xa5\xd4\xe8\x00\x85",
            b"X\x01\x00\x00\x00Ct",
            b"R",
        ),
        # another encoding than the one in which old pickles keep bytes
        _opcodes(b"c_codecs\nencode\n", b"(X\x01\x00\x00\x00aX\x05\x00\x00\x00rot13t", b"R"),
    ],
)
def test_numpys_names_do_nothing_else(tmp_path, content):
    pickletools.dis(content, out=(tmp_path / "valid").open("w"))
    with pytest.raises(DataError, match=r"is refused: .*nothing of it was run"):
        load(written(tmp_path, content))


@pytest.mark.parametrize(
    "content",
    [b"", b"no pickle", pickle.dumps([1.0] * 9)[:-3], _opcodes(b"R"), _opcodes(b"Pid\n"), _opcodes(b"h\x07")],
)
def test_a_damaged_pickle_is_a_sentence(tmp_path, content):
    with pytest.raises(DataError, match="is no whole pickle of"):
        load(written(tmp_path, content))
