"""The source code that an algorithm's class reaches, as a hash: what runs that go on are held to.

It is found by reading files. A name is followed to where it is defined, in the modules of this package, in
those beside a further folder of algorithms and in the installed package that an algorithm comes from; torch
and the standard library are not followed. Comments, docstrings, layout and what is not reached make no
difference. Where the program itself computes names, everything that they might mean counts.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import algorithms
from algorithms.registry import algorithm_class

#: By these a program gets at what its text does not name.
_DYNAMIC = {"globals", "eval", "exec", "__import__", "import_module", "__subclasses__", "__init_subclass__"}
#: Decorators of this package that only note a class, which concerns no other.
_HARMLESS = {"algorithms.base.register"}


def source_hash(algorithm_id: str) -> str:
    """SHA-256 (hex) of all source code that the class of an algorithm reaches.

    Raises:
        KeyError: there is no such algorithm.
        AlgorithmError: see `algorithm_class`.
    """
    cls = algorithm_class(algorithm_id)
    reached = _Reached(cls.__module__.partition(".")[0])
    reached.target(f"{cls.__module__}.{cls.__name__}")
    digest = hashlib.sha256()
    for name, text in sorted(reached.texts.items()):
        digest.update(f"{name}\0{text}\0".encode())
    return digest.hexdigest()


@dataclass(frozen=True)
class _Module:
    """One file: how each of its names is bound, and what else happens when it is imported."""

    name: str
    path: Path
    tree: ast.Module

    @cached_property
    def defined(self) -> dict[str, list[ast.stmt]]:
        """Name -> the statements that define it."""
        found: dict[str, list[ast.stmt]] = {}
        for statement in self.tree.body:
            for name in _defines(statement):
                found.setdefault(name, []).append(statement)
        return found

    @cached_property
    def imported(self) -> dict[str, str]:
        """Name -> full name of what it means, of all that is not imported by a function or class alone."""
        return dict(pair for s in self.tree.body if not _defines(s) for pair in self.imports(s))

    @cached_property
    def loose(self) -> list[ast.stmt]:
        """Statements that neither define nor import, and so may change anything."""
        return [s for s in self.tree.body if not (_defines(s) or _silent(s) or _only_imports(s))]

    @property
    def names(self) -> set[str]:
        """All that it binds."""
        return {*self.defined, *self.imported}

    def imports(self, node: ast.AST) -> Iterator[tuple[str, str]]:
        """Name -> full name of what it means, of all import statements in a piece of code."""
        package = self.name.split(".")[: None if self.path.stem == "__init__" else -1]
        for each in ast.walk(node):
            if isinstance(each, ast.ImportFrom):
                above = package[: len(package) - each.level + 1] if each.level else []
                origin = [*above, each.module] if each.module else above
                yield from ((a.asname or a.name, ".".join([*origin, a.name])) for a in each.names)
            elif isinstance(each, ast.Import):
                for alias in each.names:
                    top = alias.name.partition(".")[0]
                    yield (alias.asname, alias.name) if alias.asname else (top, top)

    def decorated(self) -> Iterator[tuple[str, str]]:
        """Name of a definition -> full name of a decorator of it."""
        for name, statements in self.defined.items():
            for decorator in getattr(statements[0], "decorator_list", ()):
                root, *rest = next(_names(decorator), ("",))
                yield name, ".".join([self.imported.get(root, f"{self.name}.{root}"), *rest])


class _Reached:
    """Follows names from file to file.

    Args:
        package: the top package of the algorithm, which may be an installed one.

    Attributes:
        texts: full name -> the source of what it means.
    """

    def __init__(self, package: str) -> None:
        self.texts: dict[str, str] = {}
        self._package = package
        self._modules: dict[str, _Module | None] = {}
        self._seen: set[tuple[str, ...]] = set()

    def use(self, module: _Module, *parts: str) -> None:
        """Add what a dotted name means in a module, and all that this reaches."""
        if (module.name, *parts) in self._seen:
            return
        self._seen.add((module.name, *parts))
        name = parts[0]
        full = f"{module.name}.{name}"
        if name in module.defined:
            if full not in self.texts:
                self.texts[full] = _text(module.defined[name])
                self._follow(module, module.defined[name])
        elif name in module.imported:
            self.texts[full] = module.imported[name]
            self.target(f"{module.imported[name]}.{'.'.join(parts[1:])}".rstrip("."))
        elif "*" in module.imported:  # perhaps from there
            self.target(module.imported["*"].removesuffix(".*"))

    def target(self, full: str) -> None:
        """Add what a full name means: something of a module, or all of one."""
        if found := self._owner(full):
            module, below = found
            for parts in [below] if below else [[name] for name in module.names]:
                self.use(module, *parts)

    def _follow(self, module: _Module, code: Sequence[ast.stmt]) -> None:
        """Add all that statements of a module name."""
        for statement in code:
            own = {} if _only_imports(statement) else dict(module.imports(statement))
            for parts in _names(statement):
                if parts[0] in own:
                    self.target(".".join([own[parts[0]], *parts[1:]]))
                else:
                    self.use(module, *parts)
                if _DYNAMIC.intersection(parts) or parts[:2] == ("sys", "modules"):
                    for path in module.path.parent.glob("*.py"):
                        self.target(".".join([*module.name.split(".")[:-1], path.stem]))

    def _module(self, name: str) -> _Module | None:
        """The module of a full name, if it is one to follow; with it comes what its import does."""
        if name not in self._modules:
            path = self._path(name)
            module = _Module(name, path, ast.parse(path.read_bytes())) if path else None
            self._modules[name] = module
            if module:
                self._imported(module)
        return self._modules[name]

    def _imported(self, module: _Module) -> None:
        if module.loose:
            self.texts[module.name] = _text(module.loose)
            self._follow(module, module.loose)
        named = {a.name for s in ast.walk(module.tree) if isinstance(s, ast.Import) for a in s.names}
        for target in (*named, *module.imported.values()):
            self._owner(target)
        for name, decorator in module.decorated():
            if decorator not in _HARMLESS and self._owner(decorator):
                self.use(module, name)

    def _owner(self, full: str) -> tuple[_Module, list[str]] | None:
        """The module that a full name leads to, and what is left of the name; None if it is not followed."""
        parts = full.split(".")
        for length in range(len(parts), 0, -1):
            if module := self._module(".".join(parts[:length])):
                return module, parts[length:]
        return None

    def _path(self, name: str) -> Path | None:
        """The file of a module that is to be followed."""
        top, *below = name.split(".")
        own = top == algorithms.__name__
        for folder in algorithms.__path__ if own else self._folder(top):
            place = Path(folder, *below)
            for file in (place / "__init__.py", place.with_suffix(".py")):
                if file.is_file():
                    return file
        return None

    def _folder(self, top: str) -> list[str]:
        """Where another package or module lies, if it is the algorithm's or beside a folder of algorithms."""
        try:
            spec = importlib.util.find_spec(top)
        except (ImportError, ValueError):
            return []
        place = Path((spec and spec.origin) or "")
        beside = [Path(folder).parent for folder in algorithms.__path__[1:]]
        if top != self._package and not any(place.is_relative_to(folder) for folder in beside):
            return []
        return [str(place.parent if place.stem == "__init__" else place)]


def _defines(statement: ast.stmt) -> list[str]:
    """The names that a statement defines, if that is all that it does."""
    match statement:
        case ast.ClassDef(name=name) | ast.FunctionDef(name=name):
            return [name]
        case ast.Assign(targets=targets):
            names = [name for target in targets for name in getattr(target, "elts", [target])]
        case ast.AnnAssign(target=target) | ast.AugAssign(target=target):
            names = [target]
        case _:
            names = []
    return [name.id for name in names] if all(isinstance(name, ast.Name) for name in names) else []


def _only_imports(statement: ast.stmt) -> bool:
    """Whether it is an import, or a block that only the type checker reads."""
    typing = isinstance(statement, ast.If) and "TYPE_CHECKING" in ast.dump(statement.test)
    return typing or isinstance(statement, ast.Import | ast.ImportFrom)


def _silent(node: object) -> bool:
    """Whether it is a statement that does nothing, as a docstring is."""
    constant = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return constant or isinstance(node, ast.Pass)


def _names(node: ast.AST) -> Iterator[tuple[str, ...]]:
    """The names in a piece of code, ``("a", "b")`` of ``a.b``; also those of methods, after an empty one."""
    dotted: list[str] = []
    inner = node
    while isinstance(inner, ast.Attribute):
        dotted.insert(0, inner.attr)
        inner = inner.value
    if isinstance(inner, ast.Name):
        yield (inner.id, *dotted)
        return
    if dotted or isinstance(node, ast.FunctionDef):
        yield ("", *dotted, getattr(node, "name", ""))
    for child in ast.iter_child_nodes(node):
        yield from _names(child)


def _text(node: object) -> str:
    """A piece of code without its layout, in the same words whichever Python reads it."""
    match node:
        case list():
            return f"[{', '.join(_text(each) for each in node if not _silent(each))}]"
        case ast.Constant(value=value):
            return repr(value)
        case ast.AST():
            fields = ((name, value) for name, value in ast.iter_fields(node) if value not in (None, []))
            return f"{type(node).__name__}({', '.join(f'{name}={_text(value)}' for name, value in fields)})"
    return repr(node)
