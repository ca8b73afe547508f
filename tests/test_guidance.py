"""Depth and normals that come with photos: how they are read, and what is learned from them."""

from __future__ import annotations

import json
import struct
import zlib
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from scenes import HEIGHT, WIDTH, shots, write_colmap
from steps import model_of, step_of
from torch import Tensor

from splat import api, datasets
from splat.core.step import Step
from splat.core.strategy import Fixed
from splat.guidance import GivenDepth, GivenNormal, fitted_line, given_terms, normals_of_depth
from splat.guidance.align import visible
from splat.guidance.shape import rays
from splat.guidance.terms import decayed
from splat.loop import Run, train
from splat.options import Options
from splat.photos import exr
from splat.photos.given_maps import given_depth, given_normal, resized_depth
from splat.photos.lens import distort
from splat.photos.loader import Loader
from splat.render import renderer_for
from splat.training.prepare import prepare
from splat.types import Batch, Camera, DepthFile, Gaussians, Lens, Needs, NormalFile, View

CAMERA = Camera(torch.eye(4), torch.tensor([[30.0, 0, 8], [0, 32.0, 6], [0, 0, 1]]), 16, 12)
UNMOVED = {"frame": api.checkpoint.Frame((0.0, 0.0, 0.0), 1.0)}


def plane_depth(camera: Camera, normal: Tensor, offset: float) -> Tensor:
    """Camera z where rays meet normal . x = offset, camera axes; float64."""
    K = camera.K.double()
    x = (torch.arange(camera.width).double() + 0.5 - K[0, 2]) / K[0, 0]
    y = (torch.arange(camera.height).double() + 0.5 - K[1, 2]) / K[1, 1]
    normal = normal.double()
    slope = x[None] * normal[0] + y[:, None] * normal[1] + normal[2]
    return offset / slope


def looked(number: int = 0, **given: Any) -> Step:
    """A step whose picture and photo have these maps."""
    names = {"depth": "drawn", "normal": "drawn_normal", "alpha": "alpha"}
    step = step_of(model_of(1), number + 1)
    shown = {field: given[name] for field, name in names.items() if name in given}
    rendered = replace(step.rendered, **{"alpha": torch.ones(12, 16), **shown})
    pixels = torch.zeros(12, 16, 3, dtype=torch.uint8)
    known = {k: given[k] for k in ("depth", "normal", "mask") if k in given}
    return replace(step, batch=Batch(CAMERA, pixels, **known), rendered=rendered)


@pytest.mark.parametrize("kind", ["one side", "both sides", "anywhere"])
def test_a_line_is_found_among_outliers(kind: str) -> None:
    draw = torch.Generator().manual_seed(len(kind))
    x = 1 + 3 * torch.rand(2000, generator=draw)
    y = 0.7 * x + 2.5
    wrong = torch.randperm(2000, generator=draw)[:400]
    off = 5 * torch.rand(400, generator=draw)
    sign = torch.randn(400, generator=draw).sign()
    y[wrong] = {"one side": y[wrong] + off, "both sides": y[wrong] + sign * off, "anywhere": off}[
        kind
    ]
    line = fitted_line(x, y)
    assert line is not None
    assert line == pytest.approx((0.7, 2.5), abs=1e-3)
    assert line == fitted_line(x.clone(), y.clone())


def test_no_line_is_found_where_there_is_none() -> None:
    one = torch.ones(50)
    assert fitted_line(one, torch.rand(50)) is None
    assert fitted_line(one[:1], one[:1]) is None
    assert fitted_line(torch.arange(3.0), torch.arange(3.0), torch.zeros(3)) is None


def test_weights_count() -> None:
    # Of two lines the one with more weight, though fewer points, has the least sum.
    x = torch.arange(9.0)
    y = torch.where(x < 5, 2 * x, 100 - x)
    weight = torch.where(x < 5, 1.0, 50.0)
    assert fitted_line(x, y, weight) == pytest.approx((-1, 100), abs=1e-5)


@pytest.mark.parametrize("kind", ["affine", "inverse"])
@pytest.mark.parametrize("to", ["points", "drawn"])
def test_given_depth_is_aligned_whatever_its_scale_and_shift(kind: Any, to: str) -> None:
    draw = torch.Generator().manual_seed(3)
    true = plane_depth(CAMERA, torch.tensor([0.3, 0.2, 1.0]), 2.0)
    numbers = 1 / true if kind == "inverse" else true
    given = (numbers - 0.1) / 3.7
    given[0, :5] = 0  # not known
    wrong = torch.rand(12, 16, generator=draw) < 0.2
    off = torch.where(wrong, true * (1 + torch.rand(12, 16, generator=draw)), true)
    batch = Batch(CAMERA, torch.zeros(12, 16, 3, dtype=torch.uint8), depth=given)
    points = (rays(CAMERA) * off[..., None]).reshape(-1, 3) if to == "points" else None
    drawn = torch.full_like(true, 7.0) if to == "points" else off
    found = GivenDepth(1.0, kind, points=points).target(batch, drawn, given != 0)
    assert found is not None
    torch.testing.assert_close(found[given != 0], true[given != 0], rtol=1e-3, atol=0)
    # A map that grows where depth falls is of another kind, and teaches nothing.
    turned = replace(batch, depth=-given)
    assert GivenDepth(1.0, kind).target(turned, drawn, given != 0) is None
    few = torch.zeros(12, 16, dtype=torch.bool)
    few[:2] = True
    assert GivenDepth(1.0, kind).target(batch, off, few) is None


def test_points_that_a_camera_sees() -> None:
    depth = torch.full((12, 16), 5.0)
    depth[2, 3] = 0
    mask = torch.ones(12, 16, dtype=torch.uint8)
    mask[2, 9] = 0
    batch = Batch(CAMERA, torch.zeros(12, 16, 3, dtype=torch.uint8), mask, depth=depth)

    def at(row: float, column: float, z: float) -> list[float]:
        return [(column + 0.5 - 8) / 30 * z, (row + 0.5 - 6) / 32 * z, z]

    points = torch.tensor(
        [at(4, 5, 2.0), at(4.3, 5.3, 2.2), at(4.2, 5, 3.0), at(2, 3, 1.0), at(2, 9, 1.0),
         at(4, 16, 1.0), [0.0, 0.0, -1.0], at(11, 15, 4.0)]
    )  # fmt: skip
    seen = visible(batch, points)
    # The third is behind the first, the fourth where nothing is known, the fifth masked out.
    assert seen.pixels.tolist() == [4 * 16 + 5, 4 * 16 + 5, 11 * 16 + 15]
    assert seen.depth.tolist() == pytest.approx([2.0, 2.2, 4.0]) and set(seen.given.tolist()) == {5}


def test_the_depth_term_and_its_gradient() -> None:
    draw = torch.Generator().manual_seed(0)
    drawn = (1 + torch.rand(12, 16, generator=draw, dtype=torch.float64)).requires_grad_()
    depth = 1 + torch.rand(12, 16, generator=draw, dtype=torch.float64)
    depth[3:5] = 0
    alpha = torch.ones(12, 16, dtype=torch.float64)
    alpha[:, :2] = 0.4
    mask = torch.ones(12, 16, dtype=torch.uint8)
    mask[7] = 0
    term = GivenDepth(0.5, "metric", steps=100)

    def value(shown: Tensor, number: int = 0) -> Tensor:
        return term(looked(number, drawn=shown, depth=depth, alpha=alpha, mask=mask))

    counts = (depth != 0) & (alpha > 0.5) & (mask != 0)
    apart = (0.1 * (1 + (drawn / depth).log().abs() / 0.1).log())[counts]
    torch.testing.assert_close(value(drawn), 0.5 * apart.sum() / (12 * 16))
    late, first = value(drawn, 50).item(), value(drawn).item()
    assert late == pytest.approx(0.1 * first)
    assert torch.autograd.gradcheck(value, drawn, fast_mode=True)
    (slope,) = torch.autograd.grad(value(drawn), drawn)
    assert (slope[~counts] == 0).all() and (slope[counts] != 0).all()
    # What is drawn nowhere has a depth of 0, and leaves no infinities.
    (slope,) = torch.autograd.grad(value(drawn * 0), drawn)
    assert (slope == 0).all()


def test_scale_and_shift_are_constants_of_the_gradient() -> None:
    drawn = plane_depth(CAMERA, torch.tensor([0.3, 0.2, 1.0]), 2.0)
    drawn = (drawn * (1 + 0.1 * torch.rand(12, 16).double())).requires_grad_()
    given = plane_depth(CAMERA, torch.tensor([0.3, 0.2, 1.0]), 2.0) * 0.25 - 0.1
    step = looked(drawn=drawn, depth=given)
    aligned = GivenDepth().target(step.batch, drawn.detach(), given != 0)
    one = GivenDepth(kind="affine")(step)
    other = GivenDepth(kind="metric")(looked(drawn=drawn, depth=aligned))
    torch.testing.assert_close(one, other)
    (a,), (b,) = (torch.autograd.grad(term, drawn) for term in (one, other))
    torch.testing.assert_close(a, b)


def test_the_normal_term_and_its_gradient() -> None:
    draw = torch.Generator().manual_seed(1)
    drawn = torch.randn(12, 16, 3, generator=draw, dtype=torch.float64, requires_grad=True)
    normal = torch.nn.functional.normalize(
        torch.randn(12, 16, 3, generator=draw, dtype=torch.float64), dim=2
    )
    normal[2] = 0
    term = GivenNormal(0.3, steps=0)

    def value(shown: Tensor) -> Tensor:
        return term(looked(drawn_normal=shown, normal=normal))

    cosine = torch.nn.functional.cosine_similarity(drawn, normal, dim=2)
    expected = 0.3 * (1 - cosine)[(normal != 0).any(2)].sum() / (12 * 16)
    torch.testing.assert_close(value(drawn), expected)
    assert torch.autograd.gradcheck(value, drawn, fast_mode=True)
    (slope,) = torch.autograd.grad(value(drawn * 0), drawn)
    assert torch.isfinite(slope).all()


def test_photos_without_maps_have_no_terms() -> None:
    step = looked(drawn=torch.ones(12, 16), drawn_normal=torch.ones(12, 16, 3))
    assert float(GivenDepth()(step)) == float(GivenNormal()(step)) == 0
    assert decayed(1.0, 100, 100) == pytest.approx(0.01) == decayed(1.0, 500, 100)
    view = View("a", CAMERA, Path("a.png"), depth=DepthFile(Path("a.npy"), "inverse"))
    both = replace(view, normal=NormalFile(Path("n.npy")))
    assert list(given_terms([view], 0.2, 0.1, 9)) == ["given_depth"]
    assert given_terms([view], 0.2, 0.1, 9)["given_depth"] == GivenDepth(0.2, "inverse", 9)
    assert list(given_terms([view, both], 0, 0.1, 9)) == ["given_normal"]
    assert given_terms([replace(view, depth=None)], 1, 1, 9) == {}


def test_depth_reaches_gaussians_through_the_picture() -> None:
    """Along the ray and through opacity, against finite differences of the whole chain."""
    behind = plane_depth(CAMERA, torch.tensor([0.0, 0.0, 1.0]), 3.0)
    term = GivenDepth(1.0, "metric", steps=1)
    start = torch.tensor([2.0, 2.6, 0.7, 0.8], dtype=torch.float64)

    def value(x: Tensor) -> Tensor:
        means = torch.stack([torch.zeros_like(x[:2]), torch.zeros_like(x[:2]), x[:2]], 1)
        two = Gaussians(
            means, torch.eye(4, dtype=x.dtype)[:1].expand(2, 4), torch.full((2, 3), 0.4).to(x),
            x[2:], torch.full((2, 3), 0.5).to(x),
        )  # fmt: skip
        drawn = renderer_for("cpu")(two, CAMERA, Needs(depth=True))
        return term(replace(looked(depth=behind.to(x)), rendered=drawn))

    x = start.clone().requires_grad_()
    (slope,) = torch.autograd.grad(value(x), x)
    for i in range(4):
        step = torch.zeros_like(start)
        step[i] = 1e-5
        numeric = (value(start + step) - value(start - step)) / 2e-5
        assert float(slope[i]) == pytest.approx(float(numeric), rel=1e-4, abs=1e-8)
        assert abs(float(slope[i])) > 1e-4


def test_normals_of_a_plane_are_its_own() -> None:
    normal = torch.nn.functional.normalize(torch.tensor([0.3, -0.2, -1.0]), dim=0)
    depth = plane_depth(CAMERA, normal, -2.0)
    turn = torch.linalg.matrix_exp(torch.tensor([[0, 0.3, 0.1], [-0.3, 0, -0.5], [-0.1, 0.5, 0]]))
    pose = torch.eye(4)
    pose[:3, :3] = turn
    camera = replace(CAMERA, world_to_camera=pose)
    everywhere = torch.ones(12, 16, dtype=torch.bool)
    found, known = normals_of_depth(depth.float(), camera, everywhere)
    assert known[1:-1, 1:-1].all() and not known[0].any() and not known[:, -1].any()
    expected = (turn.T @ normal).expand(10, 14, 3)
    torch.testing.assert_close(found[1:-1, 1:-1], expected, atol=1e-4, rtol=0)
    # An edge belongs to no surface.
    depth[:, 8:] += 1
    _, known = normals_of_depth(depth.float(), camera, everywhere)
    assert not known[:, 7:9].any() and known[1:-1, 1:7].all()
    free = depth.clone().requires_grad_()
    weights = torch.randn(12, 16, 3, dtype=torch.float64)

    def value(depth: Tensor) -> Tensor:
        found, known = normals_of_depth(depth, camera, everywhere)
        return (found * weights * known[..., None]).sum()

    assert torch.autograd.gradcheck(value, free, atol=1e-4, fast_mode=True)


# Reading.


def view_of(path: Path, kind: Any = "metric", scale: float = 1.0, **more: Any) -> View:
    return View("a.png", CAMERA, Path("a.png"), depth=DepthFile(path, kind, scale), **more)


def saved(path: Path, values: np.ndarray) -> Path:
    """By the name: .npy, .npz, .png or .exr (ZIP, half where the values are)."""
    if path.suffix == ".png":
        path.write_bytes(cv2.imencode(".png", values)[1].tobytes())
    elif path.suffix == ".npz":
        np.savez(path, values)
    elif path.suffix == ".exr":
        path.write_bytes(open_exr(values))
    else:
        np.save(path, values)
    return path


def open_exr(values: np.ndarray, name: bytes = b"Z") -> bytes:
    """One channel, scan lines, ZIP."""
    height, width = values.shape
    kind = 1 if values.dtype == np.float16 else 2

    def entry(key: bytes, of: bytes, value: bytes) -> bytes:
        return key + b"\0" + of + b"\0" + struct.pack("<i", len(value)) + value

    window = struct.pack("<4i", 0, 0, width - 1, height - 1)
    channels = name + b"\0" + struct.pack("<iIii", kind, 0, 1, 1) + b"\0"
    head = b"\x76\x2f\x31\x01" + struct.pack("<I", 2)
    head += entry(b"channels", b"chlist", channels) + entry(b"compression", b"compression", b"\3")
    head += entry(b"dataWindow", b"box2i", window) + entry(b"displayWindow", b"box2i", window)
    head += entry(b"lineOrder", b"lineOrder", b"\0")
    head += entry(b"pixelAspectRatio", b"float", struct.pack("<f", 1))
    head += entry(b"screenWindowCenter", b"v2f", struct.pack("<2f", 0, 0))
    head += entry(b"screenWindowWidth", b"float", struct.pack("<f", 1)) + b"\0"
    chunks = []
    for row in range(0, height, 16):
        raw = np.frombuffer(values[row : row + 16].tobytes(), np.uint8)
        stored = np.concatenate([raw[0::2], raw[1::2]]).astype(np.int64)
        stored[1:] = np.diff(stored) + 128
        packed = zlib.compress((stored & 255).astype(np.uint8).tobytes())
        packed = packed if len(packed) < len(raw) else raw.tobytes()
        chunks.append(struct.pack("<ii", row, len(packed)) + packed)
    table, at = b"", len(head) + 8 * len(chunks)
    for chunk in chunks:
        table += struct.pack("<Q", at)
        at += len(chunk)
    return head + table + b"".join(chunks)


@pytest.mark.parametrize("ending", [".png", ".npy", ".npz", ".exr"])
def test_depth_is_read_with_its_unit(tmp_path: Path, ending: str) -> None:
    counts = np.arange(12 * 16, dtype=np.uint16).reshape(12, 16) * 7
    values = counts if ending == ".png" else counts.astype(np.float32)
    if ending != ".png":
        values[0, :3] = np.nan, np.inf, -4
    path = saved(tmp_path / f"a{ending}", values)
    found = given_depth(view_of(path, scale=0.001), 16, 12, scale=2.0)
    assert found is not None and found.dtype == np.float32
    expected = counts * 0.002
    expected[0, :3] = 0 if ending != ".png" else expected[0, :3]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    raw = given_depth(view_of(path, "affine", 0.001), 16, 12, scale=2.0)
    assert raw is not None
    np.testing.assert_array_equal(raw[1:], counts[1:])


def test_open_exr_is_read_as_others_read_it(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    for kind in (np.float32, np.float16):
        values = np.cumsum(draw.random((37, 21)), 1).astype(kind)
        path = saved(tmp_path / "a.exr", values)
        np.testing.assert_array_equal(exr.read(path)["Z"], values.astype(np.float32))
    mitsuba = pytest.importorskip("mitsuba")
    path.write_bytes(open_exr(values, b"Y"))
    bitmap = np.array(mitsuba.Bitmap(str(path)))
    np.testing.assert_array_equal(bitmap.reshape(37, 21), exr.read(path)["Y"])


def test_unknown_depth_does_not_bleed_when_it_is_resized() -> None:
    depth = np.full((4, 4), 2.0, np.float32)
    depth[0, 0] = 0  # a quarter of the first pixel
    depth[2:, 2:] = [[0, 4], [0, 0]]  # three quarters of the last
    found = resized_depth(depth, 2, 2)
    np.testing.assert_allclose(found, [[2, 2], [2, 0]])
    larger = resized_depth(found, 6, 6)
    assert set(np.unique(larger)) == {0, 2} and larger[0, 0] == 2 and larger[5, 5] == 0


def test_depth_is_undistorted_with_its_photo(tmp_path: Path) -> None:
    """A map at half the photo's size holds the column of the photo at each pixel."""
    camera = CAMERA.resized(160, 120)
    lens = Lens("radial", (-1.5, 0.0))
    columns = np.arange(80, dtype=np.float32)[None].repeat(60, 0) * 2 + 1
    view = View("a.png", camera, Path("a.png"), lens=lens)
    view = replace(view, depth=DepthFile(saved(tmp_path / "a.npy", columns), "affine"))
    found = given_depth(view, 80, 60)
    assert found is not None
    K = camera.K.double()
    x, y = (2 * 10.5 - K[0, 2]) / K[0, 0], (2 * 20.5 - K[1, 2]) / K[1, 1]
    u, _ = distort(lens, np.array([float(x)]), np.array([float(y)]))
    assert found[20, 10] == pytest.approx(float(u[0] * K[0, 0] + K[0, 2]), abs=1.01)
    assert found[20, 10] > 23


@pytest.mark.parametrize("frame", ["camera", "opengl", "world"])
@pytest.mark.parametrize("ending", [".png", ".npy"])
def test_normals_come_in_world_axes(tmp_path: Path, frame: Any, ending: str) -> None:
    pose = torch.eye(4)
    pose[:3, :3] = torch.tensor([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]])  # z of the world is up
    camera = replace(CAMERA, world_to_camera=pose)
    world = np.array([-0.8, 0.0, 0.6])
    local = pose[:3, :3].double().numpy() @ world
    stored = {"world": world, "camera": local, "opengl": local * [1, -1, -1]}[frame]
    values = np.tile(stored, (12, 16, 1)).astype(np.float32)
    values[0, 0] = 0
    if ending == ".png":
        eight = np.rint((values + 1) * 127.5).astype(np.uint8)
        eight[0, 0] = 0
        values = eight[..., ::-1]
    path = saved(tmp_path / f"n{ending}", values)
    view = View("a.png", camera, Path("a.png"), normal=NormalFile(path, frame))
    found = given_normal(view, 8, 6)
    assert found is not None and found.shape == (6, 8, 3)
    np.testing.assert_allclose(found[3, 4], world, atol=0.01)
    np.testing.assert_allclose(np.linalg.norm(found, axis=2), 1, atol=1e-6)
    whole = given_normal(view, 16, 12)
    assert whole is not None and (whole[0, 0] == 0).all()


GREY = np.zeros((12, 16), np.uint8)
BAD = [
    ("a.png", GREY, "8 bits and 1 channels a pixel; expected depth of 16 bits"),
    ("a.png", np.zeros((12, 16, 3), np.uint16), "16 bits and 3 channels a pixel; expected depth"),
    ("a.npy", np.zeros((12, 16), bool), "numbers are bool; expected float16"),
    ("a.npy", np.zeros((12, 16, 3), np.float32), "is of shape (12, 16, 3); expected rows and"),
    ("a.npy", np.zeros((16, 12), np.float32), "is 12x16 pixels, its photo 16x12; expected the"),
    ("a.npy", b"garbage", "is no whole NumPy array; expected one"),
    ("a.npz", b"PK garbage", "is broken or cut off; expected a whole NumPy array"),
    ("a.png", b"garbage", "cannot be decoded to its end; expected a whole PNG"),
    ("a.exr", b"garbage", "is no OpenEXR file; expected one"),
    ("a.exr", open_exr(np.zeros((12, 16), np.float32))[:-9], "cannot be read to its end"),
    ("a.exr", open_exr(np.zeros((12, 16), np.float32), b"Q"), "has channels Q; expected one"),
]


@pytest.mark.parametrize(("name", "content", "words"), BAD, ids=[words[:30] for *_, words in BAD])
def test_bad_depth_is_told_in_a_sentence(
    tmp_path: Path, name: str, content: Any, words: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content) if isinstance(content, bytes) else saved(path, content)
    with pytest.raises(ValueError, match="expected") as caught:
        given_depth(view_of(path), 16, 12)
    assert words in str(caught.value) and str(path) in str(caught.value)


def test_normals_of_other_axes_are_found_out(tmp_path: Path) -> None:
    away = np.tile(np.array([0, 0, 1], np.float32), (12, 16, 1))
    path = saved(tmp_path / "n.npy", away)
    view = View("a.png", CAMERA, Path("a.png"), normal=NormalFile(path))
    with pytest.raises(ValueError, match=r'face away from the camera.*"opengl".*normals.json'):
        given_normal(view, 16, 12)
    path = saved(tmp_path / "n.png", GREY)
    with pytest.raises(ValueError, match="is grey; expected normals as RGB"):
        given_normal(replace(view, normal=NormalFile(path)), 16, 12)


@pytest.fixture
def scene_folder(tmp_path: Path) -> Path:
    """Nine photos; depth of some of them in several spellings, normals of one."""
    root = write_colmap(tmp_path, shots())
    for folder in ("depths", "normals"):
        (root / folder).mkdir()
    depth = np.full((HEIGHT, WIDTH), 2.5, np.float32)
    saved(root / "depths" / "001.npy", depth)
    saved(root / "depths" / "002.png.npy", depth[::2, ::2])
    saved(root / "depths" / "003.png", (depth * 1000).astype(np.uint16))
    saved(root / "normals" / "001.npy", np.tile([0, 0, -1.0], (HEIGHT, WIDTH, 1)))
    return root


def test_maps_are_found_beside_the_photos(scene_folder: Path) -> None:
    scene = datasets.load(scene_folder)
    found = {v.name: v for v in (*scene.train, *scene.test)}
    assert found["001.png"].depth == DepthFile(scene_folder / "depths" / "001.npy", "affine")
    assert [n for n, v in found.items() if v.depth] == ["001.png", "002.png", "003.png"]
    assert "3 of 9 photos have depth (affine) in depths/ (the first without is 000.png)" in (
        scene.notes
    )
    assert any(note.startswith("1 of 9 photos have normals (camera axes)") for note in scene.notes)
    none = datasets.load(scene_folder, depths="none", normals="none")
    assert not any(v.depth or v.normal for v in (*none.train, *none.test))
    (scene_folder / "depths/depths.json").write_text('{"kind": "metric", "scale": 0.001}')
    (scene_folder / "normals/normals.json").write_text('{"frame": "world"}')
    scene = datasets.load(scene_folder)
    assert scene.train[0].depth == DepthFile(scene_folder / "depths" / "001.npy", "metric", 0.001)
    assert scene.train[0].normal == NormalFile(scene_folder / "normals" / "001.npy", "world")
    told = datasets.load(scene_folder, depths="depths", depth_kind="inverse")
    assert told.train[0].depth is not None and told.train[0].depth.kind == "inverse"


SETTINGS = [
    ("depths/depths.json", "[]", 'is []; expected a JSON object with "kind" and "scale"'),
    ("depths/depths.json", "{", "is not JSON"),
    ("depths/depths.json", '{"kind": "disparity"}', "kind is 'disparity'; expected metric, affine"),
    ("depths/depths.json", '{"scale": -1}', "scale is -1; expected world units per number"),
    ("depths/depths.json", '{"unit": "mm"}', "has 'unit'; expected"),
    ("normals/normals.json", '{"frame": "x"}', "frame is 'x'; expected camera, opengl, world"),
]


@pytest.mark.parametrize(("name", "text", "words"), SETTINGS)
def test_bad_settings_are_told(scene_folder: Path, name: str, text: str, words: str) -> None:
    (scene_folder / name).write_text(text)
    with pytest.raises(ValueError, match="expected") as caught:
        datasets.load(scene_folder)
    assert words in str(caught.value)


def test_bad_folders_are_told(scene_folder: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no such folder; expected depths called"):
        datasets.load(scene_folder, depths="deep")
    (scene_folder / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no map of any photo; expected names such as 00"):
        datasets.load(scene_folder, normals="empty")
    saved(scene_folder / "depths" / "005.npy", np.zeros((HEIGHT, 3), np.float32))
    with pytest.raises(ValueError, match=f"005.npy: is 3x{HEIGHT} pixels, its photo {WIDTH}x"):
        datasets.load(scene_folder)


def test_a_loader_brings_maps_where_asked(scene_folder: Path) -> None:
    (scene_folder / "depths/depths.json").write_text('{"kind": "metric"}')
    scene = datasets.load(scene_folder, eval="none")
    known = [scene.train[1]]
    frame = replace(UNMOVED["frame"], scale=3.0)
    with closing(Loader(known, frame=frame, downscale=2)) as loader:
        assert loader(0).depth is None and loader.bytes_needed() == 48 * 40 * 3
    with closing(Loader(known, frame=frame, downscale=2, depths=True, normals=True)) as loader:
        batch = loader(0)
        assert batch.depth is not None and batch.depth.shape == (40, 48)
        assert batch.depth.unique().tolist() == [7.5]
        assert batch.normal is not None
        forward = known[0].camera.world_to_camera[2, :3]
        torch.testing.assert_close(batch.normal[3, 4], -forward.float(), atol=1e-5, rtol=0)
        assert loader.bytes_needed() == loader.bytes_held() == 48 * 40 * (3 + 4 + 12)
    with closing(Loader(scene.train[:1], frame=frame, depths=True, normals=True)) as loader:
        assert loader(0).depth is None and loader(0).normal is None  # this photo has none


# Training.


@pytest.fixture(scope="module")
def demo_with_depth(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny scene, with its true depth in another unit for each photo."""
    root = tmp_path_factory.mktemp("given")
    for part in ("images", "sparse", "truth"):
        (root / part).symlink_to(tiny_folder / part)
    (root / "depths").mkdir()
    for i, path in enumerate(sorted((tiny_folder / "truth" / "depth").glob("*.npy"))):
        np.save(root / "depths" / path.name, (0.2 + 0.05 * i) * np.load(path) + 0.1 * i)
    return root


def depth_error(run: Run, folder: Path, batches: Any) -> float:
    """Mean relative error of the depth drawn in photos, against the truth."""
    found = []
    for batch in batches:
        drawn = run.render(run.model(batch.camera, run.step), batch.camera, Needs(depth=True)).depth
        true = np.load(folder / "truth" / "depth" / f"{Path(batch.name).stem}.npy")
        true = torch.from_numpy(true) * run.frame.scale
        assert drawn is not None
        found.append(float(((drawn - true).abs() / true).mean()))
    return sum(found) / len(found)


def test_given_depth_betters_the_depth_that_is_learned(demo_with_depth: Path) -> None:
    """Of as many rows at all weights: which rows are born turns on little, and depth on that."""
    errors = []
    for weight in (0.0, 1.0, 5.0):
        options = Options(
            steps=100, device="cpu", max_side=0, sh_degree=0, depth_weight=weight,
            resolution="full", exposure="off", points_weight=0.0,
        )  # fmt: skip
        with closing(prepare(datasets.load(demo_with_depth), Fixed(), options)) as job:
            assert ("given_depth" in job.run.objectives) == (weight > 0)
            train(job.run)
            with torch.no_grad():
                errors.append(depth_error(job.run, demo_with_depth, job.test_batches()))
    assert errors[2] < errors[1] < 0.995 * errors[0], errors


def test_a_run_says_what_guides_it_and_resumes_to_the_same(
    demo_with_depth: Path, splat: Any, tmp_path: Path
) -> None:
    words = ("train", demo_with_depth, "--steps", 6, "--device", "cpu")
    more = ("--max-side", 0, "--depth-kind", "affine", "--no-pictures")
    done = splat(*words, "--out", "run", *more, "fixed")
    assert done.code == 0, done.said
    assert "by the depth of 10 photos (affine, factor and summand fitted to each)" in done.said
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["reading"]["depth_kind"] == "affine"
    done = splat("resume", "run", "--steps", 8)
    assert done.code == 0, done.said
    bad = splat(*words, "--out", "b", "--depth-weight", -1, "fixed")
    assert bad.code != 0 and "depth-weight is -1; expected 0 or more" in bad.said
