"""What the text of one cell says, and what is not certain enough to be read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.authoring.scores import Score, commas, number, score
from harness.authoring.tex import shown

READ = {
    r"$81.7 \pm 20.8$": ("81.7", "20.8"),
    r"81.7{\scriptsize $\pm$20.8}": ("81.7", "20.8"),
    "81.7 (20.8)": ("81.7", "20.8"),
    r"81.7$_{\pm 20.8}$": ("81.7", "20.8"),
    r"$81.7^{\pm20.8}$": ("81.7", "20.8"),
    r"$\mathbf{81.7}_{20.8}$": ("81.7", "20.8"),
    r"81.7 ($\pm$ 20.8)": ("81.7", "20.8"),
    r"78.3 ($\pm$61.7)": ("78.3", "61.7"),
    r"\textbf{81.7} $\pm$ \textbf{20.8}": ("81.7", "20.8"),
    r"\num{81.7(208)}": ("81.7", "20.8"),
    r"\num{81.7 +- 20.8}": ("81.7", "20.8"),
    r"81.7\,\% $\pm$ 2.0\,\%": ("81.7", "2.0"),
    r"\phantom{0}8.6 $\pm$ 0.2$^\dagger$": ("8.6", "0.2"),
    r"81.7\textsuperscript{1}": ("81.7", ""),
    r"$-$8.9 $\pm$ 6.1": ("-8.9", "6.1"),
    r"--8.9": ("-8.9", ""),
    r"{-}8.9": ("-8.9", ""),
    r".5": ("0.5", ""),
    r"\textcolor{white}{0}8.6 $\pm$ {\color{white}0}0.2": ("8.6", "0.2"),
    r"$3\,042.5$": ("3042.5", ""),
    r"$\mathbf{81}.\mathbf{7}$": ("81.7", ""),
    r"\makecell{81.7\\($\pm$20.8)}": ("81.7", "20.8"),
    r"[81.7 $\pm$ 20.8]": ("81.7", "20.8"),
    r"\colorbox{red!10}{81.7} \cite{someone2020}": ("81.7", ""),
}
UNCERTAIN = [
    "81.7 20.8",
    "81.7 / 20.8",
    "81.7 (3)",
    "66.3 (64.1)",
    r"\rank{1}81.7",
    r"81.7\unknown",
    "≈ 81.7",
    "> 80",
    "10^{3}",
    "1.2e3",
    "81.7 ± -2.0",
    "81.7 ± 2.0 ± 3.0",
    r"$81.7^{+2.1}_{-1.9}$",
    "81.7 [83.0, 90.0]",
    "81.7 [90.0, 70.0]",
    "1,234",
    "81 .7",
    "81.7² 3",
    "81.7 (2.0%)",
    "12:30",
    "+3.2",
    r"\sout{81.7}",
    "0x1f",
    "٣",
    "1٣",
    "81.7 ± ",
    r"82{\scriptsize 3}",
    r"{81\scriptsize 20.8}",
    r"81.7\raisebox{0.5ex}{\tiny 1}",
    r"81.7\href{a}{1}",
    r"81.7\rlap{1}",
    r"81.7{}1",
    "81.7$1$",
    "81.7$^12$",
    "1^{st}",
    r"\#1",
    r"79--83\%",
    "81.7 →",
    "→ 81.7",
]


@pytest.mark.parametrize("text", READ)
def test_a_deviation_is_read_however_it_is_written(text):
    found = score(shown(text)[0], "unknown")
    assert found is not None
    assert (found.mean, found.std) == READ[text]


@pytest.mark.parametrize("text", UNCERTAIN)
def test_what_is_not_certain_is_not_read(text):
    assert score(shown(text)[0], "unknown") is None


def test_the_rest_of_what_a_cell_may_say():
    assert score("81.7 ± 2.0 → 90.1 ± 3.0", "unknown") == Score("90.1", "3.0", "", "", "81.7", "2.0")
    assert score("81.7 ± 2.0 [79.1, 83.2]", "unknown") == Score("81.7", "2.0", "79.1", "83.2")
    assert score("81.7 [79, 83]", "unknown") == Score("81.7", "", "79", "83")
    assert score("82.1 (+16.8%)", "unknown") == Score("82.1", change="+16.8")
    assert score("82.1 ↓16.8%", "unknown") == Score("82.1", change="-16.8")
    assert score("82.1 (↑3.0)", "unknown") == Score("82.1", note="printed beside it: (↑3.0)")
    assert score("OOM", "unknown") == Score(note="printed: OOM")
    for missing in ("", "-", "–", "—", "N/A", "nan", "$-$"):
        assert score(shown(missing)[0], "unknown") == Score()


@pytest.mark.parametrize(
    ("texts", "meaning"),
    [
        (["81,7", "20,8"], "point"),
        (["1,234.5"], "thousands"),
        (["1,234", "81.7"], "thousands"),
        (["1,234"], "unknown"),
        (["k=1,2,5", "1,234"], "unknown"),
        (["81,7", "81.7"], "unknown"),
        (["0,234", "81.7"], "unknown"),
        (["[79,1, 83,2]", "81.7"], "thousands"),
        (["81.7 (79.1, 83.2)"], "thousands"),
    ],
)
def test_all_cells_together_tell_what_commas_are(texts, meaning):
    assert commas(texts) == meaning


def test_commas_are_read_as_the_table_has_them():
    assert score("81,7 ± 20,8", "point") == Score("81.7", "20.8")
    assert score("1,234.5 ± 3.0", "thousands") == Score("1234.5", "3.0")
    assert score("1,23 ± 3.0", "thousands") is None
    assert score("0,234", "thousands") is None
    assert (
        score(shown(r"\num{1,234}")[0], "thousands") is None
    )  # 1.234 to siunitx, unless it is set up otherwise
    assert score("1,234", "point") is None
    assert score("0,234", "point") == Score("0.234")
    assert score("81,7 ± 20,8", "unknown") is None


@given(st.text(alphabet="0123456789.,±+-–()[]{}^_ %→\\$&*", max_size=20))
def test_whatever_is_read_are_digits_that_are_printed(text):
    found = score(text, commas([text]))
    for part in (
        (found.mean, found.std, found.low, found.high, found.before_mean, found.before_std) if found else ()
    ):
        assert not part or number(part, "unknown") == part
        assert not part or "".join(c for c in part if c.isdigit()).lstrip("0") in "".join(
            c for c in text if c.isdigit()
        )


PIECES = [
    "81",
    "7",
    "2.5",
    ".",
    " ",
    "{",
    "}",
    "$",
    "^",
    "_",
    "±",
    "(",
    ")",
    r"\scriptsize ",
    r"\textbf{",
    r"\rlap{",
]


@given(st.lists(st.sampled_from(PIECES), max_size=8).map("".join))
def test_digits_of_a_number_stand_side_by_side_in_latex(text):
    found = score(shown(text)[0], "unknown")
    for part in (found.mean, found.std) if found else ():
        assert all(digits in text for digits in part.removeprefix("0.").split("."))
