"""Which dataset or algorithm a printed name means, where that is certain."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations, permutations, product

# how papers write the parts of D4RL's names
_SPELLINGS: Mapping[str, Sequence[str]] = {
    "halfcheetah": ("halfcheetah", "cheetah", "hc"),
    "walker2d": ("walker2d", "walker"),
    "random": ("random", "rand", "r"),
    "medium": ("medium", "med", "m"),
    "expert": ("expert", "exp", "e"),
    "replay": ("replay", "rep", "r"),
    "full": ("full", "f"),
    "umaze": ("umaze", "u"),
    "large": ("large", "l"),
    "play": ("play", "p"),
    "diverse": ("diverse", "div", "d"),
    "human": ("human", "h"),
    "cloned": ("cloned", "c"),
    "antmaze": ("antmaze", "am"),
}
_AROUND = re.compile(r"\b(d4rl|gym|mujoco|adroit|dataset|datasets|task|tasks|environment|env)\b")
_PIECES = 4  # of a name that is spread over group, row and heading
_SUMMARY = re.compile(r"\b(averages?|avg|mean|total|sum|overall|aggregate)\b")
_WHOLE = re.compile(r"\b(total|overall|all)\b")
_PARTLY = re.compile(r"\b(w/o|without|excl\w*|except\w*)(?!\w)")
_AVERAGE = re.compile(r"\b(averages?|avg|mean)\b")
# what is printed beside scores
_MEASURE = re.compile(
    r"\b(time|hours?|params?|parameters|size|rank|ranking|improvements?|gains?|p-values?|seeds?|steps?|episodes"
    r"|wins?|median|iqm|std|se|missing|differences?|diff|delta|samples?|trajectories)\b"
)
_CHANGED = re.compile(
    r"%|\b(ratios?|noisy|noise|reduced|sparse|delayed|fractions?|subsets?|corrupt\w*|mix\w*)\b"
)
# of whole groups, where a word such as steps or seeds is no measure
_COST = re.compile(r"\b(time(?!\s?steps?)|runtime|hours?|memory|params?|parameters|rank|ranking|p-values?)\b")
_CITATION = re.compile(
    r"\[\s*\d+(?:\s*[,–-]\s*\d+)*\s*\]|\((?:[^()]*\b)?(?:19|20)\d\d[a-z]?\)|\(ours\)|\bours:", re.IGNORECASE
)
_MARKS = "*†‡§¶⋆★♯#\u2217"
_MARK = re.compile(rf"(?:\^\{{\(?(?:[{_MARKS},\s]+|\d|[a-z])\)?\}}|[{_MARKS}]|\s)+$")


def plain(text: str) -> str:
    """A label as people read it: without citations and marks."""
    return " ".join(_MARK.sub("", _CITATION.sub("", text)).split())


def mark(text: str) -> str:
    """The mark behind a label; empty where there is none."""
    found = _MARK.search(_CITATION.sub("", text))
    return re.sub(r"[\^{}\s]", "", found[0]) if found else ""


@dataclass(frozen=True)
class Named:
    """What a name means.

    Attributes:
        ids: of the datasets that it may be; one where it is certain.
        unversioned: whether the id has a version that the name lacks.
    """

    ids: tuple[str, ...]
    unversioned: bool = False


@dataclass(frozen=True)
class Names:
    """The names there are.

    Attributes:
        datasets: ids, each with its domain.
        algorithms: ids, each with its title.
    """

    datasets: Mapping[str, str]
    algorithms: Mapping[str, str]

    def dataset(self, pieces: Sequence[str]) -> Named:
        """The datasets that a row may mean.

        Args:
            pieces: its name, from the heading of its group to its own label, which is always part of it.
                Where one of them has a version, no other is meant.
        """
        versions = set(re.findall(r"\bv\d\b", " ".join(pieces).lower()))
        *outer, inner = [_AROUND.sub(" ", plain(piece).lower()) for piece in pieces]
        outer = [piece for piece in dict.fromkeys(outer) if _letters(piece)][-_PIECES + 1 :]
        for more in range(len(outer) + 1):
            meant = {
                name: None
                for chosen in combinations(outer, more)
                for order in permutations((*chosen, inner))
                for name in _spelled(tuple(self.datasets)).get(_letters("".join(order)), ())
                if not versions or name.rpartition("-")[2] in versions
            }
            if meant:
                return Named(tuple(meant), not versions and bool(re.search(r"-v\d+$", next(iter(meant)))))
        return Named(())

    def domain(self, text: str) -> str:
        """The one word of a text that begins datasets' names, as AntMaze in a caption; else empty."""
        words = set(re.findall(r"[a-z0-9]+", text.lower().replace("-", "")))
        found = words & {name.partition("-")[0] for name in self.datasets}
        return found.pop() if len(found) == 1 else ""

    def algorithm(self, label: str) -> str | None:
        """The id of the algorithm that a label names; None where there is none that it certainly does."""
        label = plain(label)
        if not re.fullmatch(r"[\w\s()&./+-]*[\w)]", label):  # CQL+ and CQL' are others than CQL
            return None
        wanted = _letters(label)
        known = (
            name for name, title in self.algorithms.items() if wanted in (_letters(name), _letters(title))
        )
        return next(known, None)


@lru_cache(maxsize=8)
def _spelled(names: tuple[str, ...]) -> dict[str, list[str]]:
    """Every way of writing datasets' names, letters and digits alone -> the ids that it may mean."""
    found: dict[str, list[str]] = {}
    for name in names:
        parts = [
            (part, "") if re.fullmatch(r"v\d+", part) else _SPELLINGS.get(part, (part,))
            for part in re.split(r"[-_.+]", name)
        ]
        for text in {"".join(spelling) for spelling in product(*parts)}:
            found.setdefault(text, []).append(name)
    return found


def _letters(text: str) -> str:
    """Letters and digits of a text, in lower case."""
    return "".join(c for c in text.lower() if c.isalnum())


def is_summary(label: str) -> bool:
    """Whether a row's label says that it sums up others."""
    return bool(_SUMMARY.search(_words(label))) and not _MEASURE.search(_words(label))


def is_of_all(label: str) -> bool:
    """Whether a summary's label says that it is over all rows."""
    return bool(_WHOLE.search(_words(label)))


def is_of_some(label: str) -> bool:
    """Whether a summary's label says that it leaves rows out."""
    return bool(_PARTLY.search(_words(label)))


def is_average(label: str) -> bool:
    """Whether a summary's label says that it is an average."""
    return bool(_AVERAGE.search(_words(label)))


def is_other(label: str) -> bool:
    """Whether a heading is that of something else than an algorithm's scores."""
    words = _words(label)
    return bool(
        _SUMMARY.search(words) or _MEASURE.search(words) or words[:1] in ("#", "δ", "∆") or words == "n"
    )


def is_cost(label: str) -> bool:
    """Whether the heading of a group says that its numbers are no scores."""
    return bool(_COST.search(_words(label)))


def _words(label: str) -> str:
    return plain(label).lower().replace(".", " ")


def of_part(label: str) -> bool:
    """Whether the label of rows says that they are of changed data, or of a part of them."""
    return bool(_CHANGED.search(label.lower()))


def slug(label: str, taken: Iterable[str]) -> str:
    """An id made of a label, other than those that are taken."""
    spelled = "".join(
        f" {unicodedata.name(c, '').rpartition(' ')[2]} "
        if unicodedata.name(c, "").startswith("GREEK")
        else c
        for c in plain(label).replace("%", " percent ")
    )
    ascii_only = unicodedata.normalize("NFKD", spelled.lower()).encode("ascii", "ignore").decode().lower()
    base = re.sub(r"[^a-z0-9_]+", "-", ascii_only).strip("-_")
    base = re.sub(r"[-_]*_[-_]*", "_", base) or "column"
    return distinct(base, taken)


def distinct(name: str, taken: Iterable[str]) -> str:
    """The name, or with a number behind it if it is taken."""
    taken = set(taken)
    return next(each for each in (name, *(f"{name}-{n}" for n in range(2, 10_000))) if each not in taken)


def without_summary(label: str) -> str:
    """What a summary's label says of the rows that it is about; may be empty."""
    return re.sub(r"(?i)\b(averages?|avg|mean|total|sum|overall)\b\.?", "", plain(label)).strip(" -:()/")
