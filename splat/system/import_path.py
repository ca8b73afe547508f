"""Objects at an import path, `module:name` or `file.py:name`."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

FROM_FILE = "splat_plugin_"
"""Start of the name of a module that was loaded from a file."""
IMPORT_PATH = re.compile(r"(.+\.py|[A-Za-z_][\w.]*):[A-Za-z_]\w*")
"""What `file.py:name` and `module:name` look like."""
VOUCHED = "SPLAT_PLUGINS"
"""Environment variable in which a process is told for what the user vouched (`vouchers`)."""
_vouched: list[str] = json.loads(os.environ.get(VOUCHED) or "[]")


def place_of(kind: type[Any]) -> str:
    """The import path of a class, which `where_and_name` takes apart again."""
    module = kind.__module__
    if module.startswith(FROM_FILE):
        return f"{sys.modules[module].__file__}:{kind.__qualname__}"
    return f"{module}:{kind.__qualname__}"


def vouch(place: str) -> None:
    """Let run folders name what lies in the module or file of an import path, in this process and
    in those it starts: the user named it here, or wrote it."""
    if not is_vouched(place):
        _vouched.append(_where(place))


def is_vouched(place: str) -> bool:
    """Whether the user vouched for the module or file of an import path."""
    return _where(place) in _vouched


def vouchers() -> tuple[tuple[str, str], ...]:
    """Environment variables with which a process that this one starts trusts what it trusts."""
    return ((VOUCHED, json.dumps(_vouched)),)


def loaded_module(place: str) -> ModuleType | None:
    """The module of an import path where this process has imported it already; None: it has not."""
    where = _where(place)
    if not where.endswith(".py"):
        return sys.modules.get(where)
    module = sys.modules.get(f"{FROM_FILE}{Path(where).stem}")
    return module if module is not None and module.__file__ == where else None


def _where(place: str) -> str:
    where = place.rpartition(":")[0] or place
    return str(Path(where).resolve()) if where.endswith(".py") else where


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
    return file_of(place) is not None


def file_of(place: str) -> Path | None:
    """The file of a module of ours, likewise; None: there is none."""
    _, room, *names = place.partition(":")[0].split(".")
    spec = importlib.util.find_spec(f"splat.{room}")
    if spec is None or not names:
        return None if spec is None or spec.origin is None else Path(spec.origin)
    for folder in spec.submodule_search_locations or ():
        base = Path(folder, *names)
        for file in (base.with_suffix(".py"), base / "__init__.py"):
            if file.is_file():
                return file
    return None


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
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
