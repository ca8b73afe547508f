"""What another package brings by entry points: a method, a part, a reader and a format."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from splat.cli.composed import read
from splat.recipes.catalog import METHODS

PAGE = Path(__file__).parent.parent / "docs/architecture.md"
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
unseen = mine:Unseen
mcmc = somebody:Still
broken = somebody_who_is_gone:Nobody
[splat.readers]
somebody = somebody_reader
poses = poses
[splat.formats]
.torch = somebody_format
.table = table
"""
USE = r"""
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
trained = splat.read(f"{out}/run/point_cloud.ply")
assert len(splat.read(f"{out}/b.ply")) == len(trained) > 0
ours = splat.load(scene)
views = [*ours.train, *ours.test]
place = Path(out, "posed")
place.mkdir()
(place / "images").symlink_to(views[0].image.parent)
def line(view):
    K, pose = view.camera.K.tolist(), view.camera.world_to_camera.inverse().flatten().tolist()
    return " ".join(map(str, [view.image.name, K[0][0], K[1][1], K[0][2], K[1][2], *pose]))
(place / "poses.txt").write_text("\n".join(map(line, views)))
theirs = splat.load(place)
assert theirs.format == "mine" and len(theirs.train) == len(ours.train)
for one, other in zip(theirs.train, ours.train):
    assert (one.camera.world_to_camera - other.camera.world_to_camera).abs().max() < 1e-5
    assert one.camera.K.equal(other.camera.K) and one.image.name == other.image.name
assert main(["train", str(place), "--out", f"{out}/run", "--overwrite", *short, "unseen"]) == 0
assert main(["convert", f"{out}/b.ply", f"{out}/c.table"]) == 0
again = splat.read(f"{out}/c.table")
assert (again.means - trained.means).abs().max() < 1e-6
whole = Path(out, "c.table").read_bytes()
for data, said in ((b"", "no Gaussians"), (whole[:-1], "56 for each"), (b"x" * 56, "")):
    Path(out, "d.table").write_bytes(data)
    try:
        assert len(splat.read(f"{out}/d.table")) == 1
    except ValueError as error:
        assert "d.table" in str(error) and said and said in str(error), error
Path(out, "d.table").write_bytes(whole + b"\xff" * 56)
assert len(splat.read(f"{out}/d.table")) == len(trained), "a row of NaN stays"
"""


def test_what_a_package_brings_is_listed_trains_reads_and_writes(
    tiny_folder: Path, tmp_path: Path
) -> None:
    site = tmp_path / "site"
    for name, text in (("", SOMEBODY), ("_reader", READER), ("_format", FORMAT)):
        (site / f"somebody{name}.py").parent.mkdir(exist_ok=True)
        (site / f"somebody{name}.py").write_text(text)
    examples = re.findall(r"```python\n# (\w+\.py): .*?```", PAGE.read_text(), re.DOTALL)
    assert examples == ["mine.py", "poses.py", "table.py"]
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
        (site / block[2:].partition(":")[0]).write_text(block)
        assert len(block.splitlines()) < 40
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
