"""Scenes as other programs write them: poses and intrinsics read back, dots where they project."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from scenes import (
    FOCAL,
    HEIGHT,
    POINTS,
    PRINCIPAL,
    WIDTH,
    Shot,
    check_axes,
    shots,
    views_of,
    write_picture,
    write_ply,
)
from scipy.spatial.transform import Rotation

from splat import datasets
from splat.photos.lens import distort
from splat.types import Lens, SceneData

Array = np.ndarray
FLIP = np.diag([1.0, -1.0, -1.0, 1.0])
"""Camera axes of OpenGL and ARKit to ours."""


def pictures(folder: Path, photos: list[Shot]) -> None:
    for shot in photos:
        write_picture(folder / shot.name, shot.picture())


def check_poses(scene: SceneData, photos: list[Shot], world: Array | None = None) -> None:
    """Views are the shots, in a world that a similarity takes theirs to."""
    world = np.eye(4) if world is None else world
    scale = np.cbrt(np.linalg.det(world[:3, :3]))
    for view, shot in zip(views_of(scene), sorted(photos, key=lambda s: s.name), strict=True):
        pose = view.camera.world_to_camera.double().numpy()
        expected = shot.world_to_camera @ np.linalg.inv(world)
        expected[:3] *= scale
        assert np.abs(pose - expected).max() < 1e-5
        K = view.camera.K.double().numpy()
        assert np.allclose([K[0, 0], K[1, 1]], shot.focal, atol=1e-3)
        assert np.allclose([K[0, 2], K[1, 2]], PRINCIPAL, atol=1e-3)


# Metashape ------------------------------------------------------------------------------------


def calibration(kind: str = "frame", **values: float) -> str:
    f = {"f": FOCAL[1], "b1": FOCAL[0] - FOCAL[1]}
    f |= {"cx": PRINCIPAL[0] - WIDTH / 2, "cy": PRINCIPAL[1] - HEIGHT / 2} | values
    inner = "".join(f"<{name}>{value!r}</{name}>" for name, value in f.items())
    size = f'<resolution width="{WIDTH}" height="{HEIGHT}"/>'
    return (
        f'<sensor id="0" type="{kind}">{size}'
        f'<calibration type="{kind}" class="initial">{size}<f>1</f></calibration>'
        f'<calibration type="{kind}" class="adjusted">{size}{inner}</calibration></sensor>'
    )


def numbers(values: Array) -> str:
    return " ".join(map(repr, values.ravel().tolist()))


def write_metashape(
    root: Path, photos: list[Shot], sensor: str, world: Array | None = None, extra: str = ""
) -> Path:
    """Poses are in the frame of the chunk; `world` takes that to the world of the shots."""
    world = np.eye(4) if world is None else world
    scale = float(np.cbrt(np.linalg.det(world[:3, :3])))
    pictures(root / "images", photos)
    cameras = ""
    for i, shot in enumerate(photos):
        matrix = np.linalg.inv(shot.world_to_camera)
        label = Path(shot.name).stem if i % 2 else shot.name
        cameras += (
            f'<camera id="{i}" sensor_id="0" label="{label}">'
            f"<transform>{numbers(matrix)}</transform></camera>"
        )
    cameras = f'<group id="0" label="g">{cameras}</group><camera id="99" sensor_id="0" label="x"/>'
    chunk = (
        f"<transform><rotation>{numbers(world[:3, :3] / scale)}</rotation>"
        f"<translation>{numbers(world[:3, 3])}</translation><scale>{scale}</scale></transform>"
    )
    (root / "cameras.xml").write_text(
        f'<?xml version="1.0"?><document version="2.0.0"><chunk label="c"><sensors>{sensor}'
        f"</sensors><cameras>{cameras}</cameras>{chunk}{extra}</chunk></document>"
    )
    return root


def test_metashape(tmp_path: Path) -> None:
    """Groups, labels without a suffix, a camera without a pose, a chunk that is not the world."""
    world = np.eye(4)
    world[:3, :3] = 2.5 * Rotation.from_euler("xyz", [20, 30, 40], degrees=True).as_matrix()
    world[:3, 3] = [4.0, -3, 1]
    scene = datasets.load(write_metashape(tmp_path, shots(), calibration(), world))
    assert scene.format == "metashape"
    check_poses(scene, shots(), world)
    assert any("1 of 10 cameras have no pose" in note for note in scene.notes)


def test_metashape_points_and_dots(tmp_path: Path) -> None:
    write_ply(tmp_path / "points.ply", POINTS)
    scene = datasets.load(write_metashape(tmp_path, shots(), calibration()))
    check_axes(scene)
    assert scene.points is not None and np.allclose(scene.points.positions, POINTS, atol=1e-6)


def test_metashape_lens(tmp_path: Path) -> None:
    """All ten numbers: the dots are where its manual's formulas put them."""
    values = {"k1": -0.08, "k2": 0.03, "k3": -0.01, "k4": 0.004, "p1": 0.003, "p2": -0.002}
    b2 = 1.7
    bent = Lens("brown", (-0.08, 0.03, -0.01, 0.004, -0.002, 0.003, b2 / FOCAL[0]))
    photos = shots(lens=bent)
    x, y = 0.21, -0.13
    r2 = x * x + y * y
    radial = 1 + r2 * (-0.08 + r2 * (0.03 + r2 * (-0.01 + r2 * 0.004)))
    x1 = x * radial + 0.003 * (r2 + 2 * x * x) + 2 * -0.002 * x * y
    y1 = y * radial + -0.002 * (r2 + 2 * y * y) + 2 * 0.003 * x * y
    u = x1 * FOCAL[1] + x1 * (FOCAL[0] - FOCAL[1]) + y1 * b2
    mine = distort(bent, np.array([x]), np.array([y]))
    assert mine[0][0] * FOCAL[0] == pytest.approx(u, abs=1e-9)
    assert mine[1][0] == pytest.approx(y1, abs=1e-12)
    root = write_metashape(tmp_path, photos, calibration(b2=b2, **values))
    scene = datasets.load(root)
    assert scene.train[0].lens == bent
    check_axes(scene, 0.1)


def test_metashape_fisheye(tmp_path: Path) -> None:
    photos = shots(lens=Lens("brown_fisheye", (0.02, -0.01, 0, 0, 0, 0, 0)))
    root = write_metashape(tmp_path, photos, calibration("fisheye", k1=0.02, k2=-0.01))
    check_axes(datasets.load(root), 0.1)


def test_metashape_panoramas_are_cut(tmp_path: Path) -> None:
    sensor = '<sensor id="0" type="spherical"><resolution width="96" height="80"/></sensor>'
    scene = datasets.load(write_metashape(tmp_path, shots(3), sensor))
    assert len(scene.train) + len(scene.test) == 21
    assert any("3 panoramas are cut into 21" in note for note in scene.notes)


@pytest.mark.parametrize(
    ("sensor", "said"),
    [
        (calibration("cylindrical"), "type 'cylindrical'"),
        ('<sensor id="0" type="frame"><resolution width="9" height="9"/></sensor>', "calibration"),
        ('<sensor id="7" type="frame"/>', "sensor 0 is not in the file"),
        (
            calibration(k1=float("nan")).replace("nan", "often"),
            "calibration's k1: has 'often'; expected a number",
        ),
    ],
)
def test_bad_metashape(tmp_path: Path, sensor: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        datasets.load(write_metashape(tmp_path, shots(3), sensor))


def test_cut_off_metashape(tmp_path: Path) -> None:
    write_metashape(tmp_path, shots(3), calibration())
    file = tmp_path / "cameras.xml"
    file.write_text(file.read_text()[:-40])
    with pytest.raises(ValueError, match="is not whole"):
        datasets.load(tmp_path)


# RealityCapture -------------------------------------------------------------------------------

HEADER = "#name,x,y,alt,heading,pitch,roll,f,px,py,k1,k2,k3,k4,t1,t2"


def angles(shot: Shot) -> Array:
    """Heading, pitch and roll, degrees: intrinsic turns about z, x and y, the first backwards."""
    camera_to_world = np.linalg.inv(shot.world_to_camera) @ FLIP
    z, x, y = Rotation.from_matrix(camera_to_world[:3, :3]).as_euler("ZXY", degrees=True)
    return np.array([-z, x, y])


def write_reality(root: Path, photos: list[Shot], header: str = HEADER, tail: str = "") -> Path:
    pictures(root, photos)
    rows = [header]
    for shot in photos:
        centre = np.linalg.inv(shot.world_to_camera)[:3, 3]
        inner = [
            shot.focal[0] * 36 / WIDTH,
            (PRINCIPAL[0] - WIDTH / 2) / WIDTH,
            (PRINCIPAL[1] - HEIGHT / 2) / WIDTH,
        ]
        bent = shot.lens.coefficients[:6] if shot.lens is not None else (0,) * 6
        row = [*centre, *angles(shot), *inner, *bent]
        rows.append(f"{shot.name}," + ",".join(f"{value:.12e}" for value in row))
    (root / "scan.csv").write_text("\n".join(rows) + "\n" + tail)
    return root


def test_reality(tmp_path: Path) -> None:
    photos = shots(focal=(90.0, 90.0))
    scene = datasets.load(write_reality(tmp_path, photos))
    assert scene.format == "realitycapture"
    check_poses(scene, photos)
    check_axes(scene)


def test_reality_lens_and_later_columns(tmp_path: Path) -> None:
    header = HEADER.replace(",f,px,py", ",f_35mm,px_norm,py_norm")
    photos = shots(focal=(90.0, 90.0), lens=Lens("brown", (-0.1, 0.02, 0.01, 0.003, 1e-3, -2e-3)))
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    scene = datasets.load(write_reality(tmp_path, photos, "#cameras 9\n" + header))
    check_axes(scene, 0.1)
    assert any("undistorted" in note for note in scene.notes)


def test_reality_angles_by_hand() -> None:
    """Straight down with north on top; then level towards east, the sky on top."""
    from splat.datasets.reality import _rotation

    down = _rotation(0, 0, 0)
    assert np.allclose(down @ [0, 0, -1], [0, 0, -1]) and np.allclose(down @ [0, 1, 0], [0, 1, 0])
    east = _rotation(90, 90, 0)
    assert np.allclose(east @ [0, 0, -1], [1, 0, 0]) and np.allclose(east @ [0, 1, 0], [0, 0, 1])


def test_bad_reality(tmp_path: Path) -> None:
    photos = shots(3)
    write_reality(tmp_path, photos, tail="gone.png,1,2,3,0,0,0,30\n")
    assert any("1 photos with a pose" in note for note in datasets.load(tmp_path).notes)
    write_reality(tmp_path, photos, tail="000.png,1,2,3,north,0,0,30\n")
    with pytest.raises(ValueError, match=r"line 5: heading: has 'north'; expected a number"):
        datasets.load(tmp_path)


# Polycam and Record3D -------------------------------------------------------------------------


def write_polycam(root: Path, photos: list[Shot], corrected: bool, depth: bool = False) -> Path:
    kind = "corrected_" if corrected else ""
    folders = root / "keyframes" / f"{kind}images", root / "keyframes" / f"{kind}cameras"
    pictures(folders[0], photos)
    folders[1].mkdir(parents=True)
    for shot in photos:
        matrix = np.linalg.inv(shot.world_to_camera) @ FLIP
        entry: dict[str, Any] = {f"t_{i}{j}": matrix[i, j] for i in range(3) for j in range(4)}
        entry |= {"fx": shot.focal[0], "fy": shot.focal[1], "width": WIDTH, "height": HEIGHT}
        entry |= {"cx": PRINCIPAL[0], "cy": PRINCIPAL[1], "blur_score": 100.0}
        (folders[1] / f"{Path(shot.name).stem}.json").write_text(json.dumps(entry))
        if depth:
            write_depth(root / "keyframes", shot)
    return root


def write_depth(root: Path, shot: Shot) -> None:
    """The plane z = 0.2 of the world, at a quarter of the size, unsure in its left half."""
    rows, columns = (np.mgrid[: HEIGHT // 4, : WIDTH // 4] + 0.5) * 4
    rays = np.stack(
        [
            (columns - PRINCIPAL[0]) / FOCAL[0],
            (rows - PRINCIPAL[1]) / FOCAL[1],
            np.ones(rows.shape),
        ],
        2,
    )
    rotation, shift = shot.world_to_camera[:3, :3], shot.world_to_camera[:3, 3]
    centre, turned = -rotation.T @ shift, rays @ rotation
    z = (0.2 - centre[2]) / turned[:, :, 2]
    millimetres = np.where((z > 0) & (z < 60), 1000 * z, 0)
    for name, values in (("depth", millimetres.astype(np.uint16)), ("confidence", None)):
        sure = np.full(rows.shape, 255, np.uint8)
        sure[:, : WIDTH // 8] = 54
        path = root / name / shot.name
        path.parent.mkdir(exist_ok=True)
        assert cv2.imwrite(str(path), sure if values is None else values)


@pytest.mark.parametrize("corrected", [True, False])
def test_polycam(tmp_path: Path, corrected: bool) -> None:
    scene = datasets.load(write_polycam(tmp_path, shots(), corrected))
    assert scene.format == "polycam" and scene.points is None
    check_poses(scene, shots())
    check_axes(scene)
    assert any("no corrected poses" in note for note in scene.notes) != corrected


def test_polycam_depth_gives_points(tmp_path: Path) -> None:
    scene = datasets.load(write_polycam(tmp_path, shots(), True, depth=True))
    view = scene.train[0]
    assert view.depth is not None and view.depth.kind == "metric" and view.depth.scale == 0.001
    assert scene.points is not None and len(scene.points.positions) > 100
    assert np.abs(scene.points.positions[:, 2].numpy() - 0.2).max() < 0.002


@pytest.mark.parametrize("own", [False, True])
def test_record3d(tmp_path: Path, own: bool) -> None:
    photos = [Shot(f"{i}.png", s.world_to_camera, s.focal) for i, s in enumerate(shots(11))]
    pictures(tmp_path / "rgbd", photos)
    poses = []
    for shot in photos:
        matrix = np.linalg.inv(shot.world_to_camera) @ FLIP
        quaternion = Rotation.from_matrix(matrix[:3, :3]).as_quat()
        poses.append([*quaternion.tolist(), *matrix[:3, 3].tolist()])
    K = [[FOCAL[0], 0, PRINCIPAL[0]], [0, FOCAL[1], PRINCIPAL[1]], [0, 0, 1]]
    meta: dict[str, Any] = {"poses": poses, "w": WIDTH, "h": HEIGHT}
    meta["K"] = np.array(K if not own else np.eye(3)).T.ravel().tolist()
    if own:
        meta["perFrameIntrinsicCoeffs"] = [[*FOCAL, *PRINCIPAL]] * 11
    (tmp_path / "metadata").write_text(json.dumps(meta))
    scene = datasets.load(tmp_path)
    assert scene.format == "record3d"
    check_poses(scene, photos)
    check_axes(scene)


def test_other_metadata_is_refused(tmp_path: Path) -> None:
    (tmp_path / "metadata").write_text(json.dumps({"poses": [1, 2]}))
    with pytest.raises(ValueError, match=r"metadata: has .* as `poses`; expected n x 7 numbers"):
        datasets.load(tmp_path)


def test_photos_elsewhere(tmp_path: Path) -> None:
    write_metashape(tmp_path, shots(3), calibration())
    (tmp_path / "images").rename(tmp_path / "small")
    with pytest.raises(FileNotFoundError, match="none of the 3 photos"):
        datasets.load(tmp_path)
    assert len(datasets.load(tmp_path, images="small").train) == 2
    with pytest.raises(FileNotFoundError, match="--images"):
        datasets.load(tmp_path, images="large")
