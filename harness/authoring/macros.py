"""What LaTeX's own macros, and those of the packages that tables use, print."""

from __future__ import annotations

from collections.abc import Mapping


def _by_name(names: Mapping[str, str]) -> dict[str, str]:
    return {name: value for value, several in names.items() for name in several.split()}


#: Name -> its arguments: 's' a star, 'o' one in brackets and 'p' one in parentheses, which may be left out;
#: '-' one that is not printed, 'k' one that is printed, 'b' one that is printed in bold.
ARGUMENTS: Mapping[str, str] = _by_name(
    {
        "b": "textbf mathbf boldsymbol bm pmb symbf",
        "k": "textit emph underline uline uuline ul mathit mathrm text textrm textsf texttt textsc "
        "textnormal textup textmd textsl mbox hbox fbox ensuremath mathsf mathtt mathcal "
        "mathnormal operatorname smash hl rlap llap mathrlap mathllap mathclap "
        "mathbin mathrel mathord mathop centerline overline dashuline",
        "sok": "makecell thead Centerstack",
        "ok": "shortstack hyperref",
        "-k": "href hyperlink",
        "--k": "multicolumn",
        "o-o-ok": "multirow",
        "o-k": "textcolor colorbox rotatebox",
        "o--k": "fcolorbox",
        "-ok": "scalebox",
        "s--k": "resizebox",
        "-ook": "raisebox",
        "ook": "makebox framebox",
        "ooo-k": "parbox",
        "o-": "color pagecolor arrayrulecolor footnote footnotetext",
        "o-oo": "cellcolor rowcolor columncolor",
        "-": "Xhline hlineB phantom hphantom vphantom label ref tnote cline hhline noalign pagebreak",
        "s-": "hspace vspace",
        "soo-": "cite citep citet citealp citealt citeauthor citeyear citeyearpar parencite textcite "
        "autocite footcite Citet Citep",
        "o": "footnotemark addlinespace toprule midrule bottomrule hline hdashline endhead "
        "endfirsthead endfoot endlastfoot",
        "-o": "cdashline cdashlinelr",
        "op-": "cmidrule",
        "o--": "rule",
        "--": "Xcline fontsize setlength",
        "---": "specialrule",
        "": "tiny scriptsize footnotesize small normalsize large Large LARGE huge rm sf tt sc sl "
        "it em rmfamily sffamily ttfamily scshape itshape slshape upshape normalfont "
        "selectfont displaystyle textstyle scriptstyle scriptscriptstyle centering "
        "raggedright raggedleft arraybackslash hfill hfil hss strut relax xspace unskip "
        "ignorespaces noindent protect left right big Big bigl bigr Bigl Bigr limits nolimits "
        "leavevmode morecmidrules par null nobreak allowbreak unboldmath ! / - ( ) [ ]",
    }
)
BOLD = ("bf", "bfseries", "boldmath")
UNBOLD = ("mdseries", "normalfont", "rm", "unboldmath")
#: Name -> the characters that it prints.
SYMBOLS: Mapping[str, str] = _by_name(
    {
        "±": "pm textpm",
        "∓": "mp",
        "→": "to rightarrow longrightarrow Rightarrow Longrightarrow textrightarrow",
        "↑": "uparrow Uparrow textuparrow nearrow",
        "↓": "downarrow Downarrow textdownarrow searrow",
        "*": "ast textasteriskcentered",
        "†": "dagger textdagger dag",
        "‡": "ddagger textdaggerdbl ddag",
        "≈": "approx sim textasciitilde",
        "…": "ldots dots cdots textellipsis",
        "⋆": "star",
        "★": "bigstar",
        "§": "S",
        "¶": "P",
        "•": "bullet",
        "°": "circ",
        "×": "times",
        "·": "cdot",
        "≤": "leq le",
        "≥": "geq ge",
        "∞": "infty",
        "✓": "checkmark",
        "—": "textemdash",
        "–": "textendash",
        "-": "textminus",
        "|": "mid vert",
        "[": "lbrack",
        "]": "rbrack",
        "%": "% percent",
        "&": "&",
        "_": "_",
        "#": "#",
        "$": "$",
        "{": "{ lbrace",
        "}": "} rbrace",
        "ø": "o",
        "Ø": "O",
        "ß": "ss",
        "ł": "l",
        "\u2009": ", thinspace",
    }
) | dict.fromkeys(
    (
        *("\\", "newline", "tabularnewline", ";", ":", " ", ">", "quad", "qquad", "enspace", "space"),
        *("thickspace", "medspace"),
    ),
    " ",
)
ACCENTS: Mapping[str, str] = {
    "'": "\u0301",
    "`": "\u0300",
    "^": "\u0302",
    '"': "\u0308",
    "~": "\u0303",
    "c": "\u0327",
    "v": "\u030c",
}
#: Environments that may stand within a cell -> their arguments.
ENVIRONMENTS: Mapping[str, str] = _by_name(
    {"o-": "tabular array", "ooo-": "minipage", "": "center small scriptsize footnotesize"}
)
