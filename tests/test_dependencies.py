"""The oldest versions that splat asks for have no published hole that its use would open.

Services that know of holes (pip-audit asks one) cannot be reached from everywhere, so those that
concern what splat calls are listed here, with the version that mended each.
"""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

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
