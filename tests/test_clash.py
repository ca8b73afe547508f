"""Two other packages on PyPI are imported as `splat`: what is said where one is here, too.

A folder is laid out as pip leaves it, out of links to our files, and asked by a Python of its own
that knows of no other folder.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import splat
from splat.cli import doctor
from splat.system.clash import OTHERS, beside, overwritten, sentence

ROOT = Path(__file__).resolve().parent.parent
WITHOUT_SITES = (sys.executable, "-I", "-S", "-X", "utf8", "-c")


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A folder of installed packages in which ours is."""
    package = tmp_path / "site" / "splat"
    package.mkdir(parents=True)
    for path in (ROOT / "splat").iterdir():
        (package / path.name).symlink_to(path)
    for room in ("strategies", "datasets", "viewer"):
        (package / room).symlink_to(ROOT / room)
    return package.parent


def asked(site: Path, code: str) -> subprocess.CompletedProcess[str]:
    words = [*WITHOUT_SITES, f"import sys; sys.path.insert(0, {str(site)!r})\n{code}"]
    return subprocess.run(words, capture_output=True, text=True)


def record(site: Path, name: str, version: str) -> None:
    (site / f"{name}-{version}.dist-info").mkdir()


@pytest.mark.parametrize("other", sorted(OTHERS))
def test_importing_says_what_is_installed_beside(installed: Path, other: str) -> None:
    record(installed, "splat_toolkit", "0.1.0")
    alone = asked(installed, "import splat; print(splat._DISTRIBUTION)")
    assert alone.stdout == "splat-toolkit\n" and alone.stderr == ""
    record(installed, other, "1.14")
    said = asked(installed, "import splat; print(splat._DISTRIBUTION)")
    assert said.returncode == 0 and said.stdout == "splat-toolkit\n"
    assert f"pip uninstall {other}`" in said.stderr
    assert "pip install --force-reinstall --no-deps splat-toolkit" in said.stderr


def test_the_command_says_whose_files_are_in_place_of_ours(installed: Path) -> None:
    command = "from splat.cli import main; raise SystemExit(main(['--version']))"
    theirs = installed / "splat" / "__init__.py"
    theirs.unlink()
    gone = asked(installed, command)
    assert gone.returncode == 1 and gone.stderr.count("\n") == 1
    assert "has been uninstalled: run `pip install --force-reinstall" in gone.stderr
    theirs.write_text("VERSION = '1.14'\n")
    unknown = asked(installed, command)
    assert unknown.returncode == 1 and f"{theirs} is not of splat-toolkit" in unknown.stderr
    record(installed, "splat64", "0.50.1")
    said = asked(installed, command)
    assert said.returncode == 1 and said.stderr.startswith("splat: splat64 (which takes game")
    assert "Traceback" not in said.stderr and said.stdout == ""


def test_ours_are_not_taken_for_others(tmp_path: Path) -> None:
    assert overwritten(splat) is None
    package = tmp_path / "splat" / "__init__.py"
    for name in ("splat_toolkit-0.1.0.dist-info", "splat-1.14.txt", "splatter-1.0.dist-info"):
        (tmp_path / name).mkdir()
    assert beside(str(package)) == () and beside(None) == ()
    record(tmp_path, "Splat", "1.14")
    (tmp_path / "splat64-0.50.1-py3.10.egg-info").mkdir()
    assert beside(str(package)) == ("splat", "splat64")
    assert sentence(("splat",)).count(". ") == 0  # one sentence


def test_doctor_names_the_command_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "beside", lambda package: ())
    command = tmp_path / "splat"
    command.write_bytes(b"\x7fELF of Debian's package")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = doctor._name()
    assert found.state == "missing" and f"{command}, which is another program's" in found.found
    command.write_text("from splat.cli import main\n")
    assert doctor._name().state == "good"
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert "not on PATH" in doctor._name().found
    monkeypatch.setattr(doctor, "beside", lambda package: ("splat64",))
    assert "pip uninstall splat64" in doctor._name().found
