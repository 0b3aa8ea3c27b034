"""How figures look: sizes, colours and type."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import HarnessError

WIDTHS = {"single": 3.3, "double": 6.9}  # inches: a column and the page of a two-column paper
_CENTIMETRE = 1 / 2.54
_POINTS = 72  # of an inch
_LETTER = 0.56  # of the size of type: the width of a letter
_STYLE = Path(__file__).parents[1] / "templates" / "figures.mplstyle"
_COLORBLIND = (  # seaborn's palette of that name
    *("#0173b2", "#de8f05", "#029e73", "#d55e00", "#cc78bc"),
    *("#ca9161", "#fbafe4", "#949494", "#ece133", "#56b4e9"),
)


@dataclass(frozen=True)
class Look:
    """How figures look.

    Attributes:
        width: in inches.
        scale: of all type: 1 for a paper, 2 for a talk.
        palette: seaborn's name of it.
    """

    width: float = WIDTHS["single"]
    scale: float = 1.0
    palette: str = "colorblind"

    @classmethod
    def of(cls, width: str = "single", style: str = "paper", palette: str = "colorblind") -> Look:
        """The look that options ask for: a width in centimetres or by name, ``paper`` or ``talk``.

        Raises:
            HarnessError: the width is none, or there is no such palette.
        """
        inches = WIDTHS.get(width)
        if inches is None:
            if not re.fullmatch(r"\d+(\.\d+)?", width) or not 4 <= float(width) <= 100:
                raise HarnessError(f"a width is single, double or from 4 to 100 (centimetres), not {width!r}")
            inches = float(width) * _CENTIMETRE
        look = cls(inches, 2.0 if style == "talk" else 1.0, palette)
        look.colours(1)
        return look

    def colours(self, count: int) -> Sequence[Any]:
        """So many of the palette's colours, from its beginning again where it has fewer.

        Raises:
            HarnessError: there is no such palette.
        """
        if self.palette == "colorblind":  # at hand: loading seaborn takes a second
            return [_COLORBLIND[place % len(_COLORBLIND)] for place in range(count)]
        import seaborn as sns

        try:
            found: Sequence[Any] = sns.color_palette(self.palette, count)
        except ValueError as error:
            raise HarnessError(
                f"seaborn has no palette {self.palette!r}; colorblind, deep and tab10 are some"
            ) from error
        return found

    @property
    def size(self) -> float:
        """Of type, in points."""
        return 7 * self.scale

    @property
    def letters(self) -> float:
        """How many letters the figure's width has room for."""
        return self.width * _POINTS / (_LETTER * self.size)

    def wrapped(self, text: str, part: float = 1.0) -> str:
        """Text broken at spaces and hyphens into lines that a part of the figure's width has room for."""
        return textwrap.fill(text, int(part * self.letters))

    @property
    def settings(self) -> dict[Any, Any]:
        """Matplotlib's."""
        import matplotlib as mpl

        line = 0.6 * self.scale
        return mpl.rc_params_from_file(_STYLE, use_default_template=False) | {
            "font.size": self.size,
            **dict.fromkeys(
                ("legend.fontsize", "legend.title_fontsize", "xtick.labelsize", "ytick.labelsize"),
                0.93 * self.size,
            ),
            **dict.fromkeys(("axes.linewidth", "xtick.major.width", "ytick.major.width"), line),
            "grid.linewidth": 0.8 * line,
            "lines.linewidth": 1.8 * line,
            "lines.markersize": 3 * self.scale,
        }
