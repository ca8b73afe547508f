"""What another package brings by entry points: a method, a part, a reader and a format."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from splat.cli.composed import read
from splat.recipes.catalog import METHODS

SOMEBODY = '''
from dataclasses import dataclass, replace
from splat.core.strategy import Strategy, Wrapper

@dataclass(frozen=True)
class Still(Strategy):
    """Nothing ever moves."""
    cap: int = 500
    def refine(self, step):
        return None

@dataclass(frozen=True)
class Patient(Wrapper):
    """What it stands behind waits."""
    until: int = 5
    def altered(self, step, edit):
        return edit if step.number >= self.until else None
'''
READER = """
from dataclasses import replace
from pathlib import Path
from splat import datasets

EXPECTS = "elsewhere.txt (somebody)"

def load(path, images=None):
    file = path / "elsewhere.txt"
    if not file.is_file():
        return None
    return replace(datasets.colmap.load(Path(file.read_text()), images), format="somebody")
"""
FORMAT = """
import torch
from splat.formats import ply
from splat.types import Drawing

def write(gaussians, path, drawing=Drawing(), settings=None):
    torch.save(vars(gaussians), path)

def size(n, sh_degree, settings):
    return 1000 + n * 4 * (11 + 3 * (sh_degree + 1) ** 2)

def read(path):
    from splat.types import Gaussians
    return Gaussians(**torch.load(path, weights_only=True))
"""
POINTS = """
[splat.strategies]
still = somebody:Still
patient = somebody:Patient
mcmc = somebody:Still
broken = somebody_who_is_gone:Nobody
[splat.readers]
somebody = somebody_reader
[splat.formats]
.torch = somebody_format
"""
USE = """
import sys
from pathlib import Path
import splat
from splat.cli import main
scene, out = sys.argv[1:]
assert main(["strategies", "list"]) == 0
try:
    splat.load(out)
except ValueError as error:
    assert "elsewhere.txt (somebody)" in str(error), error
place = Path(out, "scene")
place.mkdir()
(place / "elsewhere.txt").write_text(scene)
assert splat.load(place, allow_outside=True).format == "somebody"
short = ["--steps", "8", "--allow-outside", "--max-side", "0", "--quiet", "--no-pictures"]
assert main(["train", str(place), "--out", f"{out}/run", *short, "still", "+", "patient"]) == 0
assert main(["resume", f"{out}/run", "--steps", "10", "--quiet"]) == 0
assert main(["convert", f"{out}/run/point_cloud.ply", f"{out}/a.torch"]) == 0
assert main(["convert", f"{out}/a.torch", f"{out}/b.ply"]) == 0
assert len(splat.read(f"{out}/b.ply")) == len(splat.read(f"{out}/run/point_cloud.ply")) > 0
"""


def test_what_a_package_brings_is_listed_trains_reads_and_writes(
    tiny_folder: Path, tmp_path: Path
) -> None:
    site = tmp_path / "site"
    for name, text in (("", SOMEBODY), ("_reader", READER), ("_format", FORMAT)):
        (site / f"somebody{name}.py").parent.mkdir(exist_ok=True)
        (site / f"somebody{name}.py").write_text(text)
    info = site / "somebody-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: somebody\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(POINTS)
    out = tmp_path / "out"
    out.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", USE, tiny_folder, out], capture_output=True, text=True, cwd=out,
        env={**os.environ, "PYTHONPATH": str(site)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["still", "Nothing", "ever", "moves."] in lines
    assert ["patient", "What", "it", "stands", "behind", "waits."] in lines
    assert "ours is taken" in done.stderr and "somebody_who_is_gone" not in done.stdout


@pytest.mark.parametrize("recipe", ["mcmc", "adc + protect"])
def test_ours_are_strings_until_they_are_asked_for(recipe: str) -> None:
    code = (
        "import sys; from splat.recipes.recipe import strategy_from_text as p;"
        f" p({recipe!r}); print([m for m in sys.modules if m.startswith('splat.strategies.')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd="/")
    wanted = [f"splat.strategies.{name}" for name in recipe.split(" + ")]
    assert done.stdout.strip() == str(wanted), done.stdout + done.stderr


@pytest.mark.parametrize("words", ["train --help", "strategies list", "--help"])
def test_what_is_said_of_methods_needs_neither_them_nor_torch(words: str) -> None:
    code = (
        "import sys, splat.cli\n"
        f"try: splat.cli.main({words.split()!r})\nexcept SystemExit: pass\n"
        "print({'torch', 'numpy', 'cv2', 'splat.core'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd="/")
    assert done.stdout.splitlines()[-1] == "set()", done.stdout[-2000:] + done.stderr
    if words.startswith(("train", "strat")):
        assert all(name in done.stdout for name in METHODS), done.stdout
        assert "Improved-GS (Deng et al. 2025)" in " ".join(done.stdout.split())


def test_ones_own_goes_before_ours_of_the_same_name(tmp_path: Path) -> None:
    own = tmp_path / "mcmc.py"
    text = "from dataclasses import dataclass\nfrom splat.core import Strategy\n\n"
    text += "@dataclass(frozen=True)\nclass Mcmc(Strategy):\n    cap: int = 1234\n"
    own.write_text(text + "    def refine(self, step):\n        return None\n")
    for arguments in ([f"{own}:Mcmc"], ["--plugin", f"{own}:Mcmc"]):
        method = read(["scene", *arguments]).method
        assert type(method).__module__ == "splat_plugin_mcmc" and method.cap == 1234
