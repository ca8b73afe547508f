"""USD of strangers: it is read in a process of its own, which opens nothing but the file."""

from __future__ import annotations

import os
import sys
import zipfile
from pathlib import Path

import pytest

from splat import formats
from splat.formats import usd_table

pytest.importorskip("pxr", reason="usd-core, for USD, is not installed")
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="pipes with names are of POSIX")

_ONE = """#usda 1.0
def ParticleField3DGaussianSplat "g"
{
    point3f[] positions = [(0, 0, 0)]
    float3[] scales = [(1, 1, 1)]
}
"""
_SUBLAYER = """#usda 1.0
(
    subLayers = [@PLACE@]
)
"""
_REFERENCE = """#usda 1.0
def "q" (
    references = @PLACE@
)
{
}
"""
_VARIANT = """#usda 1.0
def "q" (
    variants = {
        string v = "a"
    }
    prepend variantSets = "v"
)
{
    variantSet "v" = {
        "a" (
            payload = @PLACE@
        ) {
        }
    }
}
"""
_EXPRESSION = """#usda 1.0
(
    expressionVariables = {
        string X = "PLACE"
    }
    subLayers = [@`"${X}"`@]
)
"""
_CLIPS = """#usda 1.0
def ParticleField3DGaussianSplat "g" (
    clips = {
        dictionary default = {
            asset[] assetPaths = [@PLACE@]
            asset manifestAssetPath = @PLACE@
            string primPath = "/g"
            double2[] active = [(0, 0)]
            double2[] times = [(0, 0)]
        }
    }
)
{
}
"""


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What no stage is to open, in the folder where one works: a pipe, at which one would hang."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    os.mkfifo(folder / "x.usda")
    monkeypatch.chdir(folder)
    return folder / "x.usda"


def packed(path: Path, **layers: str) -> Path:
    """A package of texts, the first of which is its root."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in layers.items():
            archive.writestr(f"{name}.usda", text)
    return path


@pytest.mark.parametrize("text", [_SUBLAYER, _REFERENCE, _VARIANT, _EXPRESSION])
def test_nothing_out_of_the_file_is_followed(tmp_path: Path, elsewhere: Path, text: str) -> None:
    """However deep in a package it is named."""
    path = packed(
        tmp_path / "a.usdz",
        a=_SUBLAYER.replace("PLACE", "./b.usda"),
        b=text.replace("PLACE", str(elsewhere)),
    )
    with pytest.raises(ValueError, match=r"a\.usdz: refers to .*flatten it"):
        formats.read_columns(path)


def test_nor_by_a_name_that_is_found_where_one_works(tmp_path: Path, elsewhere: Path) -> None:
    text = _SUBLAYER.replace("PLACE", elsewhere.name)
    (tmp_path / "a.usda").write_text(text)
    for path in (tmp_path / "a.usda", packed(tmp_path / "a.usdz", a=text)):
        with pytest.raises(ValueError, match=r"a\.usd.: refers to 'x\.usda'"):
            formats.read_columns(path)


def test_no_values_are_taken_of_clips(tmp_path: Path, elsewhere: Path) -> None:
    (tmp_path / "a.usda").write_text(_CLIPS.replace("PLACE", str(elsewhere)))
    with pytest.raises(ValueError, match=r"a\.usda: takes values of /g from clips"):
        formats.read_columns(tmp_path / "a.usda")


def test_a_package_of_several_layers_is_read(tmp_path: Path) -> None:
    above = _SUBLAYER.replace("PLACE", "./b.usda")
    above += _REFERENCE.replace("PLACE", "b.usda").replace("#usda 1.0", "").replace("@)", "@</g>)")
    above = above.replace("references = @b.usda@", "references = @b.usda@</g>")
    found = formats.read_columns(packed(tmp_path / "a.usdz", a=above, b=_ONE))
    assert found.means.tolist() == [[0, 0, 0], [0, 0, 0]]


def test_rows_that_are_shown_again_and_again_are_counted(tmp_path: Path) -> None:
    """Two megabytes that stand for gigabytes, as all rows get the harmonics that one has."""
    text = _ONE.replace("(0, 0, 0)", ", ".join(["(0, 0, 0)"] * 200_000))
    text = text.replace("    float3[] scales = [(1, 1, 1)]\n", "")
    coefficients = ", ".join(["(0, 0, 0)"] * 16)
    more = f"    float3[] radiance:sphericalHarmonicsCoefficients = [{coefficients}]\n}}\n"
    text += _ONE.replace('"g"', '"one"').replace("#usda 1.0", "").replace("}\n", more)
    text += "".join(f'def "p{i}" (\n    references = </g>\n)\n{{\n}}\n' for i in range(100))
    (tmp_path / "a.usda").write_text(text)
    with pytest.raises(ValueError, match=r"a\.usda: claims 1\.\d+ GB for 4,\d+,001 Gaussians"):
        formats.read_columns(tmp_path / "a.usda")


def test_what_ends_usd_core_does_not_end_us(tmp_path: Path) -> None:
    """Prims in one another are more than its stack holds."""
    deep = 100_000
    (tmp_path / "a.usda").write_text("#usda 1.0\n" + 'def "a" {\n' * deep + "}\n" * deep)
    with pytest.raises(ValueError, match=r"a\.usda: ends usd-core \(SIG"):
        formats.read_columns(tmp_path / "a.usda")


def test_what_takes_usd_core_long_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each prim refers twice to the one before: 2^30 of them."""
    monkeypatch.setattr(usd_table, "_SECONDS", 2.0)
    text = _ONE.replace('"g"', '"p0"')
    for i in range(1, 31):
        inner = (f'def "{n}" (\nreferences = </p{i - 1}>\n) {{\n}}\n' for n in "ab")
        text += f'def "p{i}" {{\n{"".join(inner)}}}\n'
    (tmp_path / "a.usda").write_text(text)
    with pytest.raises(ValueError, match=r"a\.usda: takes usd-core more than 2 s"):
        formats.read_columns(tmp_path / "a.usda")


@pytest.mark.skipif(sys.platform != "linux", reason="memory is bounded on Linux")
def test_what_takes_usd_core_much_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usd_table, "allowance", lambda size, fold: 1 << 27)
    text = '#usda 1.0\ndef "a" {\n float[] x = [' + "1," * 4_000_000 + "1]\n}\n"
    (tmp_path / "a.usda").write_text(text)
    with pytest.raises(ValueError, match=r"a\.usda: takes usd-core more than 0\.134 GB of memory"):
        formats.read_columns(tmp_path / "a.usda")
