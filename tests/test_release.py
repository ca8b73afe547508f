"""What `.ci/wheels` does beside compiling: tags, licences, the bill of materials."""

from __future__ import annotations

import base64
import csv
import hashlib
import importlib
import io
import json
import re
import sys
import sysconfig
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

FOLDER = Path(__file__).parents[1] / ".ci" / "release"
if not FOLDER.is_dir():
    pytest.skip("an sdist has no .ci", allow_module_level=True)
INFO = "splat_toolkit-0.1.0.dist-info"
EPOCH = 1_700_000_000


@pytest.fixture
def release(monkeypatch: pytest.MonkeyPatch) -> dict[str, ModuleType]:
    """The modules of `.ci/release`, which are no package."""
    monkeypatch.syspath_prepend(str(FOLDER))
    names = ("targets", "toolchain", "contents")
    found = {name: importlib.import_module(name) for name in names}
    for name in names:
        monkeypatch.delitem(sys.modules, name)
    return found


def built(
    folder: Path, tag: str, python: str = "cp312-abi3", module: str = "splat/_cpu.abi3.so"
) -> Path:
    """A wheel as the build leaves it."""
    files = {
        "splat/__init__.py": "x = 1\n",
        module: "\x7fELF",
        f"{INFO}/METADATA": "Name: splat-toolkit\nLicense-File: LICENSE\nRequires-Dist: torch\n",
        f"{INFO}/WHEEL": f"Wheel-Version: 1.0\nTag: {python}-{tag}\n\n",
        f"{INFO}/licenses/LICENSE": "Apache",
        f"{INFO}/RECORD": "",
    }
    path = folder / f"splat_toolkit-0.1.0-{python}-{tag}.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path


def test_a_wheel_is_completed_with_licences_and_a_bill(
    release: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents, (target, *_) = release["contents"], release["targets"].TARGETS
    linked = [
        contents.Part("nanobind", "3.1.0", "BSD-3-Clause", "Redistribution ...", "pkg:pypi/a@1"),
        contents.Part("a (b)", "2", "Apache-2.0 WITH LLVM-exception", "Apache ...", "pkg:pypi/b@2"),
    ]
    monkeypatch.setattr(contents, "parts", lambda target: linked)
    assert target.host == "linux-x86_64"
    once = contents.completed(built(tmp_path, "linux_x86_64"), tmp_path, target, EPOCH)
    assert once.name == "splat_toolkit-0.1.0-cp312-abi3-manylinux_2_28_x86_64.whl"
    (tmp_path / "again").mkdir()
    again = contents.completed(
        built(tmp_path / "again", "linux_x86_64"), tmp_path / "again", target, EPOCH
    )
    assert once.read_bytes() == again.read_bytes()
    with zipfile.ZipFile(once) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
        assert {entry.date_time for entry in archive.infolist()} == {(2023, 11, 14, 22, 13, 20)}
    assert b"\nTag: cp312-abi3-manylinux_2_28_x86_64\n" in files[f"{INFO}/WHEEL"]
    lines = files[f"{INFO}/METADATA"].decode().splitlines()
    named = [line.removeprefix("License-File: ") for line in lines if "License-File" in line]
    assert named == ["LICENSE", "third-party/nanobind.txt", "third-party/a-b.txt"]
    assert all(files[f"{INFO}/licenses/{name}"] for name in named)
    rows = list(csv.reader(io.StringIO(files[f"{INFO}/RECORD"].decode())))
    assert {row[0] for row in rows} == set(files) and rows[-1] == [f"{INFO}/RECORD", "", ""]
    for name, digest, size in rows[:-1]:
        expected = base64.urlsafe_b64encode(hashlib.sha256(files[name]).digest()).rstrip(b"=")
        assert digest == f"sha256={expected.decode()}" and int(size) == len(files[name])
    bill = json.loads(files[f"{INFO}/sboms/splat-toolkit.cdx.json"])
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    module, *components = bill["components"]
    digest = hashlib.sha256(files["splat/_cpu.abi3.so"]).hexdigest()
    assert module["hashes"] == [{"alg": "SHA-256", "content": digest}]
    licences = [component["licenses"][0] for component in components]
    assert licences[0] == {"license": {"id": "BSD-3-Clause"}}
    assert licences[1] == {"expression": "Apache-2.0 WITH LLVM-exception"}
    known = {bill["metadata"]["component"]["bom-ref"]}
    known |= {component["bom-ref"] for component in bill["components"]}
    for depends in bill["dependencies"]:
        assert {depends["ref"], *depends["dependsOn"]} <= known


@pytest.mark.parametrize(
    ("system", "python", "right"),
    [
        ("linux-aarch64", "cp310-cp310", "_cpu.cpython-310-aarch64-linux-gnu.so"),
        ("macos-arm64", "cp311-cp311", "_cpu.cpython-311-darwin.so"),
        ("windows-x86_64", "cp310-cp310", "_cpu.cp310-win_amd64.pyd"),
        ("windows-x86_64", "cp312-abi3", "_cpu.pyd"),
    ],
)
def test_a_module_is_named_as_the_python_of_its_system_looks_for_it(
    release: dict[str, Any], tmp_path: Path, system: str, python: str, right: str
) -> None:
    (target,) = release["targets"].of_names([system])

    def check(name: str) -> None:
        wheel = built(tmp_path, target.platform, python, f"splat/{name}")
        release["contents"]._check_modules(wheel, zipfile.ZipFile(wheel).namelist(), target)

    check(right)
    with pytest.raises(SystemExit, match=r"holds splat/_cpu.*x86_64-linux-gnu.so; expected"):
        check("_cpu.cpython-310-x86_64-linux-gnu.so")


def test_names_that_pythons_dll_exports(release: dict[str, Any]) -> None:
    exports = release["toolchain"]._exports(Path(sysconfig.get_path("include")))
    assert {"  PyObject_Call", "  PyExc_TypeError DATA", "  _Py_Dealloc"} <= set(exports)
    assert len(exports) == len(set(exports)) > 500


def test_every_system_has_tags_of_its_own(release: dict[str, Any]) -> None:
    found = release["targets"].TARGETS
    for column in ("name", "triple", "host", "platform"):
        assert len({getattr(target, column) for target in found}) == len(found)
    with pytest.raises(SystemExit, match="there is no target 'amiga'; there are linux-x86_64"):
        release["targets"].of_names(["amiga"])


def test_the_workflow_calls_scripts_that_are_there() -> None:
    workflow = FOLDER.parents[1] / ".github" / "workflows" / "ci.yml"
    called = [line.split()[-1] for line in workflow.read_text().splitlines() if "run: .ci/" in line]
    assert called == [".ci/run", ".ci/wheels", ".ci/wheels-check"]
    assert all((FOLDER.parents[1] / script).stat().st_mode & 0o111 for script in called)


def test_a_wheel_with_cuda_kernels_holds_both_modules(
    release: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cards = importlib.import_module("cards")
    monkeypatch.delitem(sys.modules, "cards")
    wheel = built(tmp_path, "linux_x86_64")
    with pytest.raises(SystemExit, match=r"holds .*_cpu.* expected _cpu and _gpu, both abi3"):
        cards._module(wheel, tmp_path)
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr("splat/_gpu.abi3.so", "\x7fELF")
        archive.writestr("splat/_gpu.pyi", "")
    assert cards._module(wheel, tmp_path).read_text() == "\x7fELF"
    other = wheel.rename(tmp_path / wheel.name.replace("cp312-abi3", "cp311-cp311"))
    with pytest.raises(SystemExit, match="is not tagged cp312-abi3"):
        cards._module(other, tmp_path)


def test_the_cards_are_those_that_kernels_are_built_for(release: dict[str, Any]) -> None:
    lists = (FOLDER.parents[1] / "cuda" / "CMakeLists.txt").read_text()
    real = {int(card) for card in re.findall(r"(\d+)-real", lists)}
    cards = importlib.import_module("cards")
    assert real == cards.CARDS and {120} == cards.PTX and "120-virtual" in lists
