"""What the source of an algorithm says about it, read without running it, so without loading torch."""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import harness
from harness.errors import SpecError
from harness.specs.text import shown

_ROOTS = (
    "Algorithm",
    "Hyperparameters",
)  # the bases of all; what they say is said of every algorithm
_SCAFFOLDING = ("base", "hyperparameters", "networks", "optimisers", "randomness")


@dataclass(frozen=True)
class Described:
    """A method, function or hyperparameter and what its docstring or comment says."""

    name: str
    text: str


@dataclass(frozen=True)
class Part:
    """A class, or the functions of a file, that an algorithm consists of.

    Attributes:
        name: of the class; None for functions.
        module: the file's name without ``.py``.
        text: the class's docstring; empty for functions.
        members: its public methods, or the functions, in the order of the source.
    """

    name: str | None
    module: str
    text: str
    members: tuple[Described, ...]


@dataclass(frozen=True)
class FieldSource:
    """The declaration of a hyperparameter.

    Attributes:
        name: of the field.
        comment: beside it, or above it if there is none beside: its symbol and meaning; may be empty.
        shared: whether all members of a population have the same value.
        allowed: the values that it may have, in words.
    """

    name: str
    comment: str
    shared: bool
    allowed: str


@dataclass(frozen=True)
class AlgorithmSource:
    """What the files of an algorithm say.

    Attributes:
        name: of the class.
        text: its docstring.
        parts: the classes it derives from, the most general first, itself, and then what these use.
        fields: its hyperparameters by name, its own last.
    """

    name: str
    text: str
    parts: tuple[Part, ...]
    fields: Mapping[str, FieldSource]


def algorithms_folder() -> Path:
    """Where the algorithms' files lie: beside this package, in a checkout as in a wheel."""
    return Path(harness.__file__).parents[1] / "algorithms"


def read_algorithm(folder: Path, algorithm_id: str) -> AlgorithmSource:
    """What ``<folder>/<algorithm_id>.py`` says, and the files of the folder that it imports.

    Raises:
        SpecError: a file is missing or no Python, or no class is registered under that name.
    """
    files = _Files(folder)
    module = files.module(algorithm_id)
    for name, node in module.classes.items():
        if algorithm_id in _registered(node):
            lineage = list(files.lineage(module, name))
            settings = _settings(files, lineage)
            return AlgorithmSource(
                name,
                ast.get_docstring(node) or "",
                (*_classes(lineage), *_helpers(files, lineage)),
                {f.name: f for owner, each in reversed(settings) for f in owner.fields(each)},
            )
    raise SpecError(f"{shown(module.path)}:1:1: no class here has the decorator @register({algorithm_id!r})")


@dataclass(frozen=True)
class _Module:
    """One parsed file."""

    path: Path
    text: str
    tree: ast.Module

    @cached_property
    def classes(self) -> dict[str, ast.ClassDef]:
        return {node.name: node for node in self.tree.body if isinstance(node, ast.ClassDef)}

    @cached_property
    def functions(self) -> dict[str, ast.FunctionDef]:
        return {node.name: node for node in self.tree.body if isinstance(node, ast.FunctionDef)}

    @cached_property
    def imported(self) -> dict[str, str]:
        """Name -> module of the same folder that it comes from."""
        return {
            alias.asname or alias.name: node.module.rpartition(".")[2]
            for node in self.tree.body
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("algorithms.")
            for alias in node.names
        }

    @cached_property
    def comments(self) -> dict[int, tuple[bool, str]]:
        """Line -> whether code stands before the comment, and its text."""
        tokens = tokenize.generate_tokens(io.StringIO(self.text).readline)
        return {
            token.start[0]: (bool(token.line[: token.start[1]].strip()), token.string.lstrip("# ").rstrip())
            for token in tokens
            if token.type == tokenize.COMMENT
        }

    def fields(self, node: ast.ClassDef) -> Iterator[FieldSource]:
        """The hyperparameters that a class declares."""
        for field in node.body:
            if (
                isinstance(field, ast.AnnAssign)
                and isinstance(field.target, ast.Name)
                and isinstance(field.value, ast.Call)
                and isinstance(field.value.func, ast.Name)
            ):
                yield FieldSource(
                    field.target.id,
                    self.comment(field),
                    field.value.func.id != "per_member",
                    _allowed(ast.unparse(field.annotation), field.value),
                )

    def comment(self, node: ast.stmt) -> str:
        """The comment beside a statement, else the one that fills the lines above it."""
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1):
            if line in self.comments:
                return self.comments[line][1]
        above: list[str] = []
        line = node.lineno - 1
        while line in self.comments and not self.comments[line][0]:
            above.insert(0, self.comments[line][1])
            line -= 1
        return " ".join(above)


class _Files:
    """The files of a folder, each parsed when first asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._modules: dict[str, _Module] = {}

    def module(self, name: str) -> _Module:
        """The file of that name.

        Raises:
            SpecError: it is missing or no Python.
        """
        if name not in self._modules:
            path = self.folder / f"{name}.py"
            try:
                text = path.read_text(encoding="utf-8")
                self._modules[name] = _Module(path, text, ast.parse(text))
            except OSError as error:
                raise SpecError(f"{shown(path)}:1:1: cannot be read: {error.strerror}") from None
            except SyntaxError as error:
                place = f"{error.lineno or 1}:{error.offset or 1}"
                raise SpecError(f"{shown(path)}:{place}: no valid Python: {error.msg}") from None
        return self._modules[name]

    def find(self, module: _Module, name: str) -> tuple[_Module, str] | None:
        """The file that defines what a name of a file means, if it is one of the folder."""
        if name in module.classes or name in module.functions:
            return module, name
        return self.find(self.module(module.imported[name]), name) if name in module.imported else None

    def lineage(self, module: _Module, name: str) -> Iterator[tuple[_Module, ast.ClassDef]]:
        """A class and what it derives from, nearest first, without the roots."""
        found = self.find(module, name)
        if found is None or name in _ROOTS or name not in found[0].classes:
            return
        node = found[0].classes[name]
        above = [
            each
            for base in node.bases
            if isinstance(base, ast.Name)
            for each in self.lineage(found[0], base.id)
        ]
        yield found[0], node
        # what two bases share comes after both
        yield from [each for index, each in enumerate(above) if each not in above[index + 1 :]]


def _registered(node: ast.ClassDef) -> list[str]:
    return [
        str(argument.value)
        for decorator in node.decorator_list
        if isinstance(decorator, ast.Call) and ast.unparse(decorator.func).endswith("register")
        for argument in decorator.args
        if isinstance(argument, ast.Constant)
    ]


def _settings(
    files: _Files, lineage: list[tuple[_Module, ast.ClassDef]]
) -> list[tuple[_Module, ast.ClassDef]]:
    """The hyperparameter classes of an algorithm, nearest first, the base of all last."""
    found = files.find(files.module("base"), "Hyperparameters")
    root = [(found[0], found[0].classes[found[1]])] if found else []
    for module, node in lineage:
        for statement in node.body:
            if not isinstance(statement, ast.Assign | ast.AnnAssign) or not isinstance(
                statement.value, ast.Name
            ):
                continue
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            if [ast.unparse(target) for target in targets] == ["Hyperparameters"]:
                return [*files.lineage(module, statement.value.id), *root]
    return root


def _classes(lineage: list[tuple[_Module, ast.ClassDef]]) -> Iterator[Part]:
    """The classes of an algorithm, the most general first, each without what a nearer one replaces."""
    parts: list[Part] = []
    told: set[str] = set()
    for module, node in lineage:
        methods = _public(node)
        parts.append(
            _part(module, node, [Described(*item) for item in methods.items() if item[0] not in told])
        )
        told |= {name for name in methods if not _extends(node, name)}
    yield from (part for part in reversed(parts) if part.members)


def _extends(node: ast.ClassDef, name: str) -> bool:
    """Whether a class's method calls the one that it overrides, which then still says something of it."""
    return any(
        isinstance(each, ast.Attribute) and each.attr == name and ast.unparse(each.value) == "super()"
        for method in node.body
        if isinstance(method, ast.FunctionDef) and method.name == name
        for each in ast.walk(method)
    )


def _part(module: _Module, node: ast.ClassDef, methods: list[Described]) -> Part:
    return Part(node.name, module.path.stem, ast.get_docstring(node) or "", tuple(methods))


def _public(node: ast.ClassDef | ast.Module) -> dict[str, str]:
    """Name -> docstring of public methods or functions that have one."""
    return {
        each.name: text
        for each in node.body
        if isinstance(each, ast.FunctionDef) and not each.name.startswith("_")
        if (text := ast.get_docstring(each))
    }


def _helpers(files: _Files, lineage: list[tuple[_Module, ast.ClassDef]]) -> Iterator[Part]:
    """Functions and classes outside the algorithm's classes that these, or each other, use."""
    waiting: list[tuple[_Module, ast.AST]] = list(lineage)
    seen = {(module.path, node.name) for module, node in lineage}
    functions: dict[str, list[Described]] = {}
    classes: list[Part] = []
    while waiting:
        module, node = waiting.pop(0)
        for name in [each.id for each in ast.walk(node) if isinstance(each, ast.Name)]:
            found = files.find(module, name)
            if found is None or found[0].path.stem in _SCAFFOLDING or (found[0].path, name) in seen:
                continue
            owner = found[0]
            seen.add((owner.path, name))
            if name in owner.functions:
                waiting.append((owner, owner.functions[name]))
                if (text := ast.get_docstring(owner.functions[name])) and not name.startswith("_"):
                    functions.setdefault(owner.path.stem, []).append(Described(name, text))
            elif name in owner.classes and not name.endswith("Hyperparameters"):
                methods = [Described(*item) for item in _public(owner.classes[name]).items()]
                classes.append(_part(owner, owner.classes[name], methods))
                waiting.append((owner, owner.classes[name]))
    yield from classes
    yield from (Part(None, module, "", tuple(found)) for module, found in functions.items())


def _allowed(kind: str, call: ast.Call) -> str:
    """The values that a field may have, from the call that declares it."""
    if ast.unparse(call.func) == "layer_sizes":
        return "widths, as 256-256"
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    if "choices" in given:
        try:
            return ", ".join(map(str, ast.literal_eval(given["choices"])))
        except ValueError:  # no literal
            return f"one of {ast.unparse(given['choices'])}"
    if kind in ("bool", "str"):
        return {"bool": "true, false", "str": "any text"}[kind]
    if "minimum" in given and "maximum" in given:
        bounds = [f"{ast.unparse(given[name])}" for name in ("minimum", "maximum")]
        return f"{'whole, ' if kind == 'int' else ''}{' to '.join(bounds)}"
    bounds = [
        f"{sign} {ast.unparse(given[name])}"
        for name, sign in (("above", ">"), ("minimum", "≥"), ("maximum", "≤"))
        if name in given
    ]
    number = {"int": "whole"}.get(kind, "any")
    if not bounds:
        return number
    return f"{number}, {', '.join(bounds)}" if kind == "int" else ", ".join(bounds)
