"""The fast YAML parser agrees with the slow one, or leaves the text to it."""

from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from harness.errors import SpecError
from harness.specs import quick, syntax
from harness.specs.catalogue import shipped_folder

PATH = Path("p.yaml")
SHIPPED = sorted(shipped_folder().rglob("*.yaml"))

# what YAML 1.1 and 1.2, or the two parsers, may see differently
SCALARS = [
    *["yes", "no", "on", "Off", "y", "true", "True", "TRUE", "false", "null", "Null", "~", "nULL", "tRUE"],
    *[
        "0",
        "-0",
        "+1",
        "12",
        "010",
        "0o17",
        "0b11",
        "0x1F",
        "1_000",
        "1:30",
        "190:20:30",
        "00",
        "0b1z",
        "0ox",
    ],
    *[
        "1.5",
        "1.",
        ".5",
        "-.5",
        "+1.5e3",
        "1e3",
        "1e-3",
        "1.e+3",
        "1E5",
        "1e",
        "e1",
        "1.5e",
        ".",
        "-",
        "--",
        "...",
    ],
    *[
        ".inf",
        "-.inf",
        ".nan",
        "inf",
        "nan",
        "-0.0",
        "0.1e1_0",
        "1__0",
        "_1",
        "1e400",
        "٣",
        "9a3f",
        "12e4",
        "1e4a",
    ],
    *[
        "2020-01-01",
        "2020-1-1 1:1:1",
        "<<",
        "=",
        "<",
        "../a",
        "./b",
        ".c",
        "...",
        "256-256",
        "a b",
        "a#b",
        "a #b",
    ],
    *[
        "a:b",
        "http://x",
        "a: b",
        "'it''s'",
        '"a\\tb"',
        '"x\\',
        "'",
        '"',
        "é",
        "\U0001f600",
        "- a",
        "? a",
        ": a",
    ],
    *["[a, b]", "[a:b]", "[http://x]", "{a: 1}", "{a:1}", '{"a":1}', "{a}", "[a", "[]", "{}", "[a, ]", "[,]"],
    *[
        "[a: b]",
        "[? a]",
        "[-1, - 1]",
        "{a: , b: }",
        "&a x",
        "*a",
        "!t x",
        "! x",
        "!!str 1",
        "|",
        ">-",
        "|2",
        "@a",
    ],
    *[
        "%a",
        "`a",
        "a\tb",
        "\ta",
        "",
        " ",
        "#",
        "# c",
        "a\u00a0b",
        "a\u2028b",
        "\x85",
        "\x07",
        "\ufeff",
        "---",
        "--- a",
    ],
]
LINES = st.builds(
    lambda indent, key, colon, value: " " * indent + key + colon + value,
    st.integers(0, 3),
    st.sampled_from(["a", "b", "c", "'a'", "1", "<<", "- a", "- ", "", "  x"]),
    st.sampled_from([": ", ":", "", ":   ", ": >-\n  ", ": |\n   "]),
    st.sampled_from(SCALARS),
)


def slowly(text):
    try:
        return syntax.parse(PATH, text)
    except SpecError:
        return None


def agree(text):
    found = quick.parse(PATH, text)
    if found is not None:
        wanted = slowly(text)
        assert wanted is not None, "the slow parser refuses what the fast one reads"
        assert repr(found.data) == repr(wanted.data)  # repr tells 1 from 1.0 and from True
        assert (found.values, found.keys) == (wanted.values, wanted.keys)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_files_are_read_quickly_and_the_same(path):
    text = path.read_text(encoding="utf-8")
    assert quick.parse(PATH, text) is not None
    agree(text)


@pytest.mark.parametrize("scalar", SCALARS)
@pytest.mark.parametrize(
    "around", ["a: {}\n", "a:\n  - {}\n  - b\n", "a: [b, {}, c]\n", "{}: a\n", "a: {{b: {}}}\n"]
)
def test_a_scalar_means_the_same(scalar, around):
    agree(around.format(scalar))


@settings(max_examples=300)
@given(st.lists(LINES, min_size=1, max_size=5).map("\n".join))
@example("a:\n- b\n-\n- c:\n    d\nb: x\n\n  y\n")
@example("a: >-\n  x\n   y\n\n  z\nb: |+\n  x\n\n\nc: |-\n  x\n")
@example("a: 'x\n\n  y'\nb: \"x\\\n  y\"\n# end")
@example("a: 1\na: 2\n")
@example("a: &x {b: [1, 2], c: }\nd: *x\ne: [*x, &y ~, *y]\nf: &z\n  g: *x\nh: *z\ni: *y\n")
@example("a: &x {b: *x}\n")
@example("a: &x 1\nb: &x 2\nc: *x\n")
@example("&x a: 1\nb: *x\n")
@example("a: &x b\n*x : 1\n")
@example("%YAML 1.1\n---\na: yes\n")
@example("a: 1\n...\n")
@example("? a\n: 1\n")
def test_texts_mean_the_same(text):
    agree(text)


@pytest.mark.parametrize(
    "text",
    [
        *["a: |#\n  b\n", "a: >#\n  b\n", "a: |-#\n  b\n", "a: >2+#\n  b\n"],
        *["a: *x\n", "a: 0x1f\n", "a: 010\n", "a: 1\n---\nb: 1\n", "- a\n", "a: [1\n", "a:\t1\n", "# c\n"],
        "a: " + "[" * 3000,
        "a: " + "1" * 5000,
    ],
)
def test_what_is_not_ordinary_is_left(text):
    assert quick.parse(PATH, text) is None


@pytest.mark.parametrize("number", ["9" * 5000, "0x" + "f" * 5000])
def test_a_number_too_long_to_be_written_again_is_refused(number):
    with pytest.raises(SpecError, match=r"^p.yaml:1:4: a: '.* is no value of type"):
        syntax.parse(PATH, f"a: {number}\n")
