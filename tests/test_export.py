"""Files of Gaussians: what is written is read back, by us and by others; bad files are named."""

from __future__ import annotations

import errno
import logging
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from formats import assert_refused
from plyfile import PlyData, PlyElement
from torch.nn.functional import normalize

from splat import formats
from splat.core.frame import gaussians_to_frame
from splat.formats import ply
from splat.formats.point_cloud import read_points
from splat.system.files import replacing
from splat.types import Drawing, Frame, Gaussians


def some(n: int = 50, degree: int | None = 3, seed: int = 0) -> Gaussians:
    draw = torch.Generator().manual_seed(seed)
    k = () if degree is None else ((degree + 1) ** 2,)
    return Gaussians(
        means=torch.randn(n, 3, generator=draw) * 10,
        quats=torch.randn(n, 4, generator=draw),
        scales=torch.rand(n, 3, generator=draw) + 1e-3,
        opacities=torch.rand(n, generator=draw) * 0.98 + 0.01,
        colors=torch.randn(n, *k, 3, generator=draw),
        sh_degree=degree,
    )


def assert_same(found: Gaussians, expected: Gaussians) -> None:
    close = torch.testing.assert_close
    close(found.means, expected.means, rtol=0, atol=0)
    close(found.quats, normalize(expected.quats, dim=1), rtol=1e-6, atol=1e-7)
    close(found.scales, expected.scales, rtol=1e-6, atol=0)
    close(found.opacities, expected.opacities, rtol=1e-6, atol=1e-7)
    close(found.colors, expected.colors, rtol=0, atol=0)
    assert found.sh_degree == expected.sh_degree


def columns(path: Path) -> dict[str, np.ndarray]:
    rows = PlyData.read(path, mmap=False)["vertex"].data
    return {name: rows[name] for name in rows.dtype.names}


def save(
    table: dict[str, np.ndarray], path: Path, byte_order: str = "<", text: bool = False
) -> Path:
    kinds = [(name, values.dtype) for name, values in table.items()]
    rows = np.empty(len(next(iter(table.values()))), kinds)
    for name, values in table.items():
        rows[name] = values
    PlyData([PlyElement.describe(rows, "vertex")], text=text, byte_order=byte_order).write(path)
    return path


def test_more_rows_than_one_part(tmp_path: Path) -> None:
    gaussians = some(20_000, degree=1)
    formats.write(gaussians, tmp_path / "scene.ply")
    assert_same(formats.read(tmp_path / "scene.ply"), gaussians)


def test_plain_colours_become_the_constant_coefficient(tmp_path: Path) -> None:
    gaussians = some(degree=None)
    formats.write(gaussians, tmp_path / "scene.ply")
    found = formats.read(tmp_path / "scene.ply")
    assert found.sh_degree == 0
    drawn = 0.5 + 0.28209479177387814 * found.colors[:, 0]
    torch.testing.assert_close(drawn, gaussians.colors)


def test_bands_beyond_the_degree_are_not_written(tmp_path: Path) -> None:
    gaussians = some(degree=3)
    part = Gaussians(**{**vars(gaussians), "sh_degree": 1})
    formats.write(part, tmp_path / "scene.ply")
    torch.testing.assert_close(formats.read(tmp_path / "scene.ply").colors, gaussians.colors[:, :4])


def test_header_bytes(tmp_path: Path) -> None:
    formats.write(some(7, degree=1), tmp_path / "scene.ply", drawing=Drawing(antialiased=True))
    names = "x y z nx ny nz f_dc_0 f_dc_1 f_dc_2".split() + [f"f_rest_{i}" for i in range(9)]
    names += "opacity scale_0 scale_1 scale_2 rot_0 rot_1 rot_2 rot_3".split()
    header = (
        "ply\nformat binary_little_endian 1.0\nelement vertex 7\ncomment SplatRenderMode: mip\n"
        + "".join(f"property float {name}\n" for name in names)
        + "end_header\n"
    ).encode()
    data = (tmp_path / "scene.ply").read_bytes()
    assert data[: len(header)] == header
    assert len(data) == len(header) + 7 * 4 * (17 + 9)


@pytest.mark.parametrize("degree", [1, 2, 3])
def test_every_coefficient_has_its_column(tmp_path: Path, degree: int) -> None:
    k = (degree + 1) ** 2
    # Coefficient j of channel c holds 100 c + j: no two columns agree.
    colors = (torch.arange(k)[:, None] + 100 * torch.arange(3)[None]).float().expand(2, k, 3)
    formats.write(Gaussians(**{**vars(some(2, degree)), "colors": colors}), tmp_path / "a.ply")
    table = columns(tmp_path / "a.ply")
    for channel in range(3):
        assert table[f"f_dc_{channel}"][1] == 100 * channel
        for j in range(1, k):
            assert table[f"f_rest_{channel * (k - 1) + j - 1}"][1] == 100 * channel + j
    torch.testing.assert_close(formats.read(tmp_path / "a.ply").colors, colors)


def test_others_read_the_encoded_values(tmp_path: Path) -> None:
    gaussians = some(20)
    formats.write(gaussians, tmp_path / "a.ply")
    table = columns(tmp_path / "a.ply")
    opacities = gaussians.opacities.double()
    expected = {
        "x": gaussians.means[:, 0],
        "nz": torch.zeros(20),
        "opacity": (opacities / (1 - opacities)).log(),
        "scale_2": gaussians.scales[:, 2].log(),
        "rot_0": gaussians.quats[:, 0] / gaussians.quats.norm(dim=1),
        "rot_3": gaussians.quats[:, 3] / gaussians.quats.norm(dim=1),
    }
    for name, values in expected.items():
        np.testing.assert_allclose(table[name], values.numpy(), rtol=1e-5, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("degree", [0, 3])
def test_agrees_with_gsplat(tmp_path: Path, degree: int) -> None:
    exporter = pytest.importorskip("gsplat.exporter")
    gaussians = some(30, degree)
    data = exporter.export_splats(
        means=gaussians.means,
        scales=gaussians.scales.log(),
        quats=normalize(gaussians.quats, dim=1),
        opacities=gaussians.opacities.logit(),
        sh0=gaussians.colors[:, :1],
        shN=gaussians.colors[:, 1:],
        format="ply",
    )
    (tmp_path / "gsplat.ply").write_bytes(data)
    assert_same(formats.read(tmp_path / "gsplat.ply"), gaussians)
    formats.write(gaussians, tmp_path / "ours.ply")
    ours, theirs = columns(tmp_path / "ours.ply"), columns(tmp_path / "gsplat.ply")
    assert set(theirs) == set(ours) - {"nx", "ny", "nz"}
    for name, values in theirs.items():
        np.testing.assert_allclose(ours[name], values, rtol=1e-5, atol=1e-6, err_msg=name)


def test_files_are_in_the_frame_of_the_input(tmp_path: Path) -> None:
    trained, frame = some(), Frame((1.0, -20.0, 300.0), 0.25)
    formats.write(trained, tmp_path / "a.ply", frame)
    found = formats.read(tmp_path / "a.ply")
    close = torch.testing.assert_close
    close(found.means, trained.means / 0.25 + torch.tensor([1.0, -20.0, 300.0]))
    close(found.scales, trained.scales / 0.25)
    close(found.quats, normalize(trained.quats, dim=1))
    close(found.colors, trained.colors)
    back = gaussians_to_frame(found, frame)
    close(back.means, trained.means, rtol=1e-5, atol=1e-5)
    close(back.scales, trained.scales)


def test_extreme_values_stay_finite(tmp_path: Path) -> None:
    opacities = torch.tensor([0.0, 1e-12, 0.5, 1 - 1e-7, 1.0])
    scales = torch.zeros(5, 3)
    extreme = {
        **vars(some(5)),
        "opacities": opacities,
        "scales": scales,
        "quats": torch.zeros(5, 4),
    }
    formats.write(Gaussians(**extreme), tmp_path / "a.ply")
    assert all(np.isfinite(values).all() for values in columns(tmp_path / "a.ply").values())
    found = formats.read(tmp_path / "a.ply")
    torch.testing.assert_close(
        found.opacities, opacities.clamp(1e-6, 1 - 1e-6), rtol=1e-3, atol=1e-7
    )
    assert found.scales.max() < 1e-20
    torch.testing.assert_close(found.quats, torch.tensor([1.0, 0, 0, 0]).expand(5, 4))


@pytest.mark.parametrize("kind", ["big-endian", "text", "extra", "double", "no normals"])
def test_variants_of_the_format(tmp_path: Path, kind: str) -> None:
    gaussians = some(12, degree=2)
    formats.write(gaussians, tmp_path / "a.ply")
    table = columns(tmp_path / "a.ply")
    if kind == "extra":
        table = {"id": np.arange(12, dtype=np.int32), **table, "red": np.zeros(12, np.uint8)}
    if kind == "double":
        table = {name: values.astype(np.float64) for name, values in table.items()}
    if kind == "no normals":
        table = {name: table[name] for name in reversed(table) if name not in ("nx", "ny", "nz")}
    order = ">" if kind == "big-endian" else "<"
    path = save(table, tmp_path / "b.ply", order, text=kind == "text")
    found = formats.read(path)
    torch.testing.assert_close(found.colors, gaussians.colors)
    torch.testing.assert_close(found.means, gaussians.means)
    torch.testing.assert_close(found.opacities, gaussians.opacities)


def test_broken_rows_are_left_out_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    formats.write(some(10), tmp_path / "a.ply")
    table = columns(tmp_path / "a.ply")
    table["x"][2], table["f_rest_7"][4], table["scale_1"][6] = math.nan, math.inf, 1000
    table["opacity"][8] = math.inf  # opaque, not broken
    table["rot_2"][9] = math.nan
    path = save(table, tmp_path / "b.ply")
    with caplog.at_level(logging.WARNING):
        found = formats.read(path)
    assert len(found) == 6 and found.opacities.max() == 1
    assert "4 of 10 Gaussians" in caplog.text and "b.ply" in caplog.text


def test_no_gaussians_at_all(tmp_path: Path) -> None:
    nothing = {name: values[:0] for name, values in _one(tmp_path).items()}
    with pytest.raises(ValueError, match=r"a\.ply: there are no Gaussians"):
        formats.read(save(nothing, tmp_path / "a.ply"))


def _one(folder: Path) -> dict[str, np.ndarray]:
    formats.write(some(1), folder / "one.ply")
    return columns(folder / "one.ply")


def bad_files(folder: Path) -> dict[str, tuple[Path, str]]:
    """A file and words of its message, by what is wrong with it."""
    good = folder / "good.ply"
    formats.write(some(10), good)
    table, data = columns(good), good.read_bytes()

    def raw(name: str, content: bytes) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    def without(name: str, *dropped: str) -> Path:
        return save({k: v for k, v in table.items() if k not in dropped}, folder / name)

    packed = (
        b"ply\nformat binary_little_endian 1.0\nelement chunk 0\nproperty float min_x\nend_header\n"
    )
    faces = b"ply\nformat ascii 1.0\nelement face 0\nproperty float x\nend_header\n"
    return {
        "empty": (raw("empty.ply", b""), "is empty"),
        "no ply": (raw("no.ply", b"\x89PNG\r\n\x1a\n"), "not with 'ply'"),
        "rows cut off": (raw("cut.ply", data[:-100]), "is cut off: it has 9 rows, expected 10"),
        "header cut off": (raw("head.ply", data[:200]), "broken or cut off"),
        "compressed": (raw("packed.ply", packed), "packed.ply has no element 'vertex'"),
        "no vertices": (raw("faces.ply", faces), "no element 'vertex'"),
        "odd harmonics": (without("odd.ply", "f_rest_44"), "44 columns f_rest_*"),
        "no scales": (
            without("flat.ply", "scale_1", "scale_2"),
            "lacks the columns scale_1, scale_2",
        ),
        "points": (save({k: table[k] for k in "xyz"}, folder / "xyz.ply"), "is a point cloud"),
    }


def test_bad_files_say_what_is_wrong(tmp_path: Path) -> None:
    for what, (path, words) in bad_files(tmp_path).items():
        assert_refused(path, words, what)


@pytest.mark.parametrize("name", ["scene.obj", "scene", "scene.ply.gz"])
def test_unknown_suffix(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=r"known format of Gaussians; use one of: \.ply"):
        formats.write(some(), tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_point_clouds(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    draw = np.random.default_rng(0)
    xyz = {name: draw.normal(size=5) for name in "xyz"}
    rgb = draw.integers(0, 256, (3, 5)).astype(np.uint8)
    whole = dict(zip(("red", "green", "blue"), rgb, strict=True))
    parts = {name: (values / 255).astype(np.float32) for name, values in whole.items()}
    for i, colors in enumerate((whole, parts)):
        path = save({**xyz, **colors}, tmp_path / f"{i}.ply")
        points = read_points(path)
        np.testing.assert_allclose(points.positions, np.stack(list(xyz.values()), 1), rtol=1e-6)
        np.testing.assert_allclose(points.colors, rgb.T / 255, atol=1e-6)
        assert not ply.holds_gaussians(path)
    xyz["y"][3] = math.nan
    points = read_points(save(xyz, tmp_path / "grey.ply"))
    assert len(points.positions) == 4 and (points.colors == 0.5).all()
    assert "no colours" in caplog.text and "1 of 5 points" in caplog.text


def test_gaussians_as_points(tmp_path: Path) -> None:
    gaussians = some(10)
    formats.write(gaussians, tmp_path / "a.ply")
    points = read_points(tmp_path / "a.ply")
    assert ply.holds_gaussians(tmp_path / "a.ply")
    torch.testing.assert_close(points.positions, gaussians.means)
    drawn = (0.5 + 0.28209479177387814 * gaussians.colors[:, 0]).clamp(0, 1)
    torch.testing.assert_close(points.colors, drawn)


def test_a_failed_write_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "scene.ply"
    path.write_text("old")
    with pytest.raises(OSError, match=r"the disk is full: .*scene.ply was not written"):
        with replacing(path) as draft:
            draft.write_text("half")
            raise OSError(errno.ENOSPC, "No space left on device")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
