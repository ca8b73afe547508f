"""A method is what one can delete: without its file or folder all others import, list and train."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOM = Path(__file__).parent.parent / "strategies"
UNITS = sorted(
    path.stem
    for path in ROOM.iterdir()
    if (path.suffix == ".py" and path.stem != "__init__") or (path / "__init__.py").is_file()
)
WITHOUT = """
import importlib, os, pkgutil, sys, traceback
import scipy.signal, splat.api, splat.cli.composed  # once for all; no method comes with them
from splat.recipes import catalog
assert not [name for name in sys.modules if name.startswith("splat.strategies")]

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if f"{name}.".startswith(self.gone + "."):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

def there(place):
    # Not by importing it: a file that was really deleted is no failure.
    module = place.partition(":")[0].removeprefix("splat.strategies.").replace(".", "/")
    if module.startswith("splat/"):
        return True
    return any(os.path.exists(f"{ROOM}/{module}{end}") for end in (".py", "/__init__.py"))

def stands_without(unit, scene, out):
    blocked = Blocked()
    blocked.gone = gone = f"splat.strategies.{unit}"
    sys.meta_path.insert(0, blocked)
    import splat.strategies
    for found in pkgutil.iter_modules(splat.strategies.__path__):
        if found.name != unit:
            importlib.import_module(f"splat.strategies.{found.name}")
    for verb, (place, _) in splat.cli.VERBS.items():
        if place.startswith("splat.strategies.") and not place.startswith(gone + "."):
            importlib.import_module(place)
    places = {name: place for name, place in catalog.places().items() if there(place)}
    lost = {name for name, place in places.items() if place.startswith((gone + ".", gone + ":"))}
    assert lost or unit == "acoustic", "no name of the catalog is gone"
    assert {*catalog.methods(), *catalog.parts()} == {*places} - lost
    asked = splat.cli.composed.read([scene, "--steps", "2", "--max-side", "0"])
    splat.api.train(splat.api.load(scene), asked.method, asked.training, lpips=None)

scene, out, ROOM, *units = sys.argv[1:]
for unit in units:
    child = os.fork()
    if not child:
        try:
            stands_without(unit, scene, os.path.join(out, unit))
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        sys.exit(f"with strategies/{unit} gone")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_all_else_stands_without_a_method(tiny_folder: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, tiny_folder, tmp_path, ROOM, *UNITS],
        capture_output=True, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
