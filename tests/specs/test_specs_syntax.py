"""What YAML means here, and what is refused, by libyaml and where PyYAML was built without it."""

import math
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import SpecError
from harness.specs import syntax
from harness.specs.catalogue import shipped_folder

PATH = Path("p.yaml")
MEANINGS = {
    **dict.fromkeys(["true", "True", "TRUE"], True),
    **dict.fromkeys(["false", "False", "FALSE"], False),
    **dict.fromkeys(["", "~", "null", "Null", "NULL"]),
    **{
        text: text for text in ("yes", "no", "on", "Off", "y", "nULL", "tRUE", "<<", "=", "a#b", "../a", ".c")
    },
    **{
        text: text for text in ("1_000", "1:30", "2020-01-01", "0b11", "0ox", "9a3f", ".", "+.nan", "1e", "٣")
    },
    "0": 0,
    "-0": 0,
    "+1": 1,
    "12": 12,
    "010": 10,
    "0o17": 15,
    "0x1F": 31,
    "-12": -12,
    "1.5": 1.5,
    "1.": 1.0,
    ".5": 0.5,
    "-.5": -0.5,
    "+1.5e3": 1500.0,
    "1e-3": 0.001,
    "1.e+3": 1000.0,
    "1E5": 1e5,
    ".inf": math.inf,
    "-.INF": -math.inf,
    ".nan": math.nan,
    "1e400": math.inf,
    "'1'": "1",
    '"no"': "no",
    "|-\n  1": "1",
    "!!str 1": "1",
    "!!int 1": 1,
    "!!float 1": 1.0,
    "[1, a]": (1, "a"),
    "{a: 1}": {"a": 1},
    "{a}": {"a": None},
    "{1: b, ~: c}": {"1": "b", "~": "c"},
    "{<<: {b: 1}}": {"<<": {"b": 1}},
    "http://x": "http://x",
    "[http://x]": ("http://x",),
}
REFUSED = [
    ("a: 1\nb: {c: 1, c: 2}", "2:11: b.c: the key stands twice, first at p.yaml:2:5"),
    ("a: !!int x", "1:4: a: 'x' is no value of type !!int"),
    ("a: !!bool 1", "1:4: a: '1' is no value of type !!bool"),
    ("a: !!timestamp 2020-01-01", "1:4: a: '2020-01-01' is no value of type !!timestamp"),
    ("a: !!python/name:os.system x", "1:4: a: 'x' is no value of type !!python/name:os.system"),
    ("a: !!set {x}", "1:4: a: there is no type !!set here"),
    ("a: [!x []]", "1:5: a.0: there is no type !x here"),
    ('a: "\\0"', "1:4: a: text may not hold the character U+0000"),
    ("a: \0", "1:4: no valid YAML: character U+0000 is not allowed"),
    ("a: x\u2028b: y", "1:5: no valid YAML: character U+2028 is not allowed"),
    ("a: " + "9" * 5000, "1:4: a: '99"),
    ("a: 9223372036854775808", "1:4: a: '9223372036854775808' has more than 64 bits"),
    ("a: 0x" + "f" * 5000, "1:4: a: '0xff"),
    ("a: " + "[" * 100_000, "1:103: lists and mappings are nested too deeply"),
    ("- " * 100_000, "1:201: lists and mappings are nested too deeply"),
]


@pytest.fixture(params=["libyaml", "python"])
def parse(request, monkeypatch):
    if request.param == "python":
        monkeypatch.setattr(syntax, "_Loader", syntax._core_schema(yaml.BaseLoader))
    return lambda text: syntax.parse.__wrapped__(PATH, text)


@pytest.mark.parametrize(("text", "meaning"), MEANINGS.items())
def test_what_values_mean(parse, text, meaning):
    assert repr(parse(f"a: {text}\n").data["a"]) == repr(meaning)  # repr tells 1 from 1.0 and from True


def test_every_value_and_key_has_its_place(parse):
    found = parse("é: 1\nb:  [x,\n  &l {c: }]\nd: *l\n")
    assert {key: (place.line, place.column) for key, place in found.values.items()} == {
        (): (1, 1),
        ("é",): (1, 4),
        ("b",): (2, 5),
        ("b", 0): (2, 6),
        ("b", 1): (3, 3),
        ("b", 1, "c"): (3, 7),
        ("d",): (3, 3),
        ("d", "c"): (3, 7),
    }
    assert found.keys["d", "c"] == found.values["d", "c"]
    assert (found.keys["b",].line, found.keys["b",].column) == (2, 1)


@pytest.mark.parametrize(("text", "problem"), REFUSED, ids=range(len(REFUSED)))
def test_what_is_refused(parse, text, problem):
    with pytest.raises(SpecError) as caught:
        parse(text)
    assert str(caught.value).startswith(f"p.yaml:{problem}")


def bomb(levels):
    """Lists of ten, each of which but the innermost has the one before ten times."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, levels)]
    return "\n".join(lines)


def test_what_aliases_repeat_is_counted(parse):
    assert len(parse(bomb(4)).values) == 1 + 11 + 111 + 1111 + 11111
    for levels in (5, 9, 200):
        with pytest.raises(SpecError, match=r"^p.yaml:1:\d+: a4\.[0-9.]*: more than 50,000 values"):
            parse(bomb(levels))


def test_shipped_files_are_far_from_the_limits():
    for path in shipped_folder().rglob("*.yaml"):
        assert len(syntax.parse(path, path.read_text(encoding="utf-8")).values) < syntax.MAX_VALUES / 50


@settings(max_examples=200)
@given(
    st.lists(
        st.builds(
            lambda indent, key, value: f"{' ' * indent}{key}{value}",
            st.integers(0, 3),
            st.sampled_from(["a: ", "b: ", "'c': ", "1: ", "- ", "- a: ", "? ", ""]),
            st.sampled_from([*MEANINGS, "&x y", "*x", "!t x", "# c", ">-\n  d", "[a", "a b"]),
        ),
        min_size=1,
        max_size=5,
    ).map("\n".join)
)
def test_both_parsers_read_the_same(text):
    found = []
    for base in (yaml.CBaseLoader, yaml.BaseLoader):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(syntax, "_Loader", syntax._core_schema(base))
            try:
                parsed = syntax.parse.__wrapped__(PATH, text)
            except SpecError:
                return  # each has its own words, and libyaml allows a little more
            found.append((repr(parsed.data), parsed.values, parsed.keys))
    assert found[0] == found[1]
