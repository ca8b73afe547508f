"""Options of a method or part read out of its source, so that help need not load it, nor torch.

Of the class only fields are made, with their annotations, defaults and docstrings, and what a
single expression gives; the expressions are evaluated with what the module defines and imports,
which is read likewise. Where a source cannot be read so (`Unreadable`), the class itself is to be
loaded, and says the same.
"""

from __future__ import annotations

import ast
import builtins
import sys
import types
from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from importlib import import_module
from typing import Any

from splat.options.parse import FIELD_DOCS
from splat.recipes import catalog
from splat.recipes.caps import with_suitable_cap
from splat.system.devices import Device
from splat.system.import_path import file_of, is_there
from splat.system.text import docs_of_fields

_LOADED = ("splat.system", "splat.scene", "splat.math")
"""Modules of ours that are loaded as they are, since they load little."""


class Unreadable(Exception):
    """Source that does not say what is asked for without being run."""


def usual_cap(device: Device) -> int:
    """Most rows of the method where none is named, on a device."""
    name = catalog.usual_recipe_of_files().partition(" ")[0]
    try:
        kind: Any = sketch_of(catalog.places()[name])
    except Unreadable:
        kind = catalog.kind_of(name)
    method = with_suitable_cap(kind(), device)
    return int(method.cap) if hasattr(method, "cap") else 0


@cache
def sketch_of(place: str) -> type[Any]:
    """A dataclass with the options of the method or part at `splat.room.module:Class`, under its
    name; raises `Unreadable`."""
    where, _, name = place.partition(":")
    try:
        made = _Module.of(where)[name]
    except KeyError as error:
        raise Unreadable(f"{place} is not there") from error
    if not isinstance(made, type):
        raise Unreadable(f"{place} is no class")
    return made


class Sketched(Mapping[str, Any]):
    """As `Offered`, of what sources say of each method (`splat.recipes.sketch`), for help.

    Raises `Unreadable` where methods of other packages are installed, which have to be loaded.
    """

    def __init__(self, device: Device, budget: int = 0) -> None:
        if catalog.installed():
            raise Unreadable("methods of other packages are loaded to be asked")
        self._device, self._budget = device, budget

    def __getitem__(self, name: str) -> Any:
        if name not in catalog.METHODS:
            raise KeyError(name)
        return with_suitable_cap(self.kind_of(name)(), self._device, self._budget)

    def __iter__(self) -> Iterator[str]:
        return (name for name, (place, _) in catalog.METHODS.items() if is_there(place))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def kind_of(self, name: str) -> type[Any]:
        """The options of a method or part; raises `Unreadable`."""
        places = {**catalog.METHODS, **catalog.PARTS}
        if name not in places:
            raise Unreadable(f"{name} is no method or part of ours")
        return sketch_of(places[name][0])


class _Module(Mapping[str, Any]):
    """What a module names at its top, made out of its source when it is asked for."""

    def __init__(self, where: str) -> None:
        self.where = where
        file = file_of(where)
        try:
            tree = ast.parse(b"" if file is None else file.read_bytes())
        except (OSError, SyntaxError) as error:
            raise Unreadable(f"{where} cannot be read") from error
        self._said = dict(_named(tree.body))
        self._made: dict[str, Any] = {}

    @staticmethod
    @cache
    def of(where: str) -> _Module:
        return _Module(where)

    def __getitem__(self, name: str) -> Any:
        if name not in self._made:
            if name not in self._said:
                raise KeyError(name)
            self._made[name] = self._make(self._said[name], name)
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._said)

    def __len__(self) -> int:
        return len(self._said)

    def __getattr__(self, name: str) -> Any:
        """What stands behind a dot, where one imports the module and not its names."""
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    def _make(self, node: ast.AST, name: str) -> Any:
        if isinstance(node, ast.ClassDef):
            return self._class(node)
        if isinstance(node, ast.FunctionDef):
            return self._function(node)
        if isinstance(node, ast.ImportFrom):
            original = next(a.name for a in node.names if (a.asname or a.name) == name)
            return _imported(node.module or "", original)
        if isinstance(node, ast.Import):
            alias = next(a for a in node.names if (a.asname or _top(a.name)) == name)
            return _module(alias.name if alias.asname else name)
        if isinstance(node, ast.expr):
            return self._value(node)
        raise Unreadable(f"{self.where}.{name} is not said in an expression")

    def _value(self, node: ast.expr, more: Mapping[str, Any] | None = None) -> Any:
        names = self if more is None else ChainMap({**more}, self)  # type: ignore[arg-type]
        code = compile(ast.Expression(node), self.where, "eval")
        try:
            return eval(code, {"__builtins__": builtins}, names)
        except Unreadable:
            raise
        except Exception as error:
            raise Unreadable(f"{self.where}: {ast.unparse(node)}") from error

    def _function(self, node: ast.FunctionDef) -> Callable[..., Any]:
        """A function, or a method, that is one expression; another is refused once it is called."""
        *before, last = node.body
        only_docs = all(isinstance(each, ast.Expr) for each in before)
        parameters = [each.arg for each in node.args.args]

        def called(*given: Any) -> Any:
            if not only_docs or not isinstance(last, ast.Return) or last.value is None:
                raise Unreadable(f"{self.where}.{node.name} is more than an expression")
            return self._value(last.value, dict(zip(parameters, given, strict=True)))

        return called

    def _later(self, node: ast.expr, _: object) -> Any:
        return self._value(node)

    def _class(self, node: ast.ClassDef) -> type[Any]:
        own: dict[str, Any] = {"__module__": __name__, "__doc__": ast.get_docstring(node)}
        decorators = [self._value(each) for each in node.decorator_list]
        types_of_fields: dict[str, Any] = {}
        for each in node.body:
            if isinstance(each, ast.FunctionDef) and _is_property(each):
                own[each.name] = property(self._function(each))
            if isinstance(each, ast.Assign):
                for name, value in _targets(each.targets[0], each.value):
                    own[name] = property(partial(self._later, value))
            if not isinstance(each, ast.AnnAssign) or not isinstance(each.target, ast.Name):
                continue
            field = each.target.id
            if decorators and not ast.unparse(each.annotation).startswith("ClassVar"):
                types_of_fields[field] = self._value(each.annotation)
                if each.value is not None:
                    own[field] = self._value(each.value)
            elif isinstance(each.value, ast.Constant):
                own[field] = each.value.value
        own["__annotations__"] = types_of_fields
        own[FIELD_DOCS] = docs_of_fields(node)
        bases = tuple(self._value(each) for each in node.bases)
        made: Any = types.new_class(node.name, bases, {}, lambda space: space.update(own))
        for decorate in reversed(decorators):
            made = decorate(made)
        return made  # type: ignore[no-any-return]


def _named(body: list[ast.stmt]) -> Iterator[tuple[str, ast.AST]]:
    """What the statements of a module name, and where; imports for type checkers too."""
    for line in body:
        if isinstance(line, ast.Import):
            yield from ((alias.asname or _top(alias.name), line) for alias in line.names)
        elif isinstance(line, ast.ImportFrom):
            yield from ((alias.asname or alias.name, line) for alias in line.names)
        elif isinstance(line, ast.ClassDef | ast.FunctionDef):
            yield line.name, line
        elif isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
            yield line.target.id, line if line.value is None else line.value
        elif isinstance(line, ast.Assign):
            for target in line.targets:
                yield from _targets(target, line.value)
        elif isinstance(line, ast.If) and ast.unparse(line.test).endswith("TYPE_CHECKING"):
            yield from _named(line.body)


def _targets(target: ast.expr, value: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    if isinstance(target, ast.Name):
        yield target.id, value
    elif isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        for name, part in zip(target.elts, value.elts, strict=True):
            yield from _targets(name, part)


def _imported(where: str, name: str) -> Any:
    source = _module(where)
    if isinstance(source, _Module) and name not in source:
        return _module(f"{where}.{name}")
    try:
        return getattr(source, name)
    except AttributeError as error:
        raise Unreadable(f"{where}.{name} is not there") from error


def _module(where: str) -> Any:
    """A module as it is where it loads little, else as its source says; raises `Unreadable`."""
    if _top(where) == "splat" and not f"{where}.".startswith(tuple(f"{each}." for each in _LOADED)):
        return _Module.of(where)
    if _top(where) not in {*sys.stdlib_module_names, "tyro", "splat"}:
        raise Unreadable(f"{where} is not loaded for help")
    return import_module(where)


def _top(where: str) -> str:
    return where.partition(".")[0]


def _is_property(node: ast.FunctionDef) -> bool:
    return any(isinstance(each, ast.Name) and each.id == "property" for each in node.decorator_list)
