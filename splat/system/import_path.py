"""Objects at an import path, `module:name` or `file.py:name`."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

FROM_FILE = "splat_plugin_"
"""Start of the name of a module that was loaded from a file."""


def place_of(kind: type[Any]) -> str:
    """The import path of a class, which `where_and_name` takes apart again."""
    module = kind.__module__
    if module.startswith(FROM_FILE):
        return f"{sys.modules[module].__file__}:{kind.__qualname__}"
    return f"{module}:{kind.__qualname__}"


def where_and_name(place: str, what: str, wanted: str) -> tuple[str, str]:
    """Module or file, and name, of an import path.

    ValueError where one is missing; its sentence calls the path a `what`, and what it is to name a
    `wanted`, such as Class.
    """
    where, _, name = place.rpartition(":")
    if not where or not name:
        raise ValueError(
            f"{what} {place!r} names no {wanted.lower()}; expected module:{wanted} or"
            f" path/to/file.py:{wanted}"
        )
    return where, name


def module_of(where: str, what: str = "plugin") -> ModuleType:
    """A module by its name, which may lie in this folder, or by the path of its .py file.

    A file is loaded once. Raises ValueError or FileNotFoundError, in which it is called a `what`.
    """
    return _from_file(Path(where), what) if where.endswith(".py") else _from_name(where, what)


def object_at(place: str) -> Any | None:
    """The object at `module:name`, or the module where no name is given; None: there is no such
    module. A module that is there and cannot be imported raises what it raises."""
    where, _, name = place.partition(":")
    try:
        module = importlib.import_module(where)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{where}.".startswith(f"{error.name}."):
            return None
        raise
    return getattr(module, name) if name else module


def is_there(place: str) -> bool:
    """Whether a module of ours, at `splat.ROOM.…` or `splat.ROOM.…:name`, has a file; neither it
    nor its packages are loaded to find out."""
    _, room, *names = place.partition(":")[0].split(".")
    package = importlib.util.find_spec(f"splat.{room}")
    folders = [] if package is None else [*(package.submodule_search_locations or ())]
    files = [Path(folder, *names) for folder in folders]
    return any(
        file.with_suffix(".py").is_file() or Path(file, "__init__.py").is_file() for file in files
    )


def _from_name(name: str, what: str) -> ModuleType:
    # The folder one works in is looked at last, and for as long as this import only.
    sys.path.append(str(Path.cwd()))
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ValueError(
            f"{what} module {name!r} cannot be imported ({error}); expected a module that is"
            " installed or lies in this folder, or the path of a .py file"
        ) from error
    finally:
        sys.path.remove(str(Path.cwd()))


def _from_file(path: Path, what: str) -> ModuleType:
    path = path.resolve()
    name = f"{FROM_FILE}{path.stem}"
    known_module = sys.modules.get(name)
    if known_module is not None and known_module.__file__ == str(path):
        return known_module
    if not path.is_file():
        raise FileNotFoundError(f"{what} file {path} does not exist; check its path")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
