"""Real clips with the cameras that came with them, as scenes that `splat` reads.

    python bench/real_clips.py walk FOLDER rig/      # then: splat prep rig/ -o walk/ --side 480
    python bench/real_clips.py fly FOLDER fly/

`walk` is Pose2Sim's Demo_SinglePerson (github.com/perfanalytics/pose2sim, commit f7b39c7, BSD-3):
`Calib.qca.txt` and `videos/cam01.mp4` to `cam04.mp4`. `fly` is DeepFly3D's test data
(github.com/NeLy-EPFL/DeepFly3D, commit a99253c, LGPL-3): `images/camera_C_img_T.jpg`, and its
calibration as `calibration.json` ({"cameras": {C: {"R", "tvec", "intr"}}}). Points to start from
are drawn at random where all of the fly's cameras look but the middle one, which is to be held out.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import cv2
import numpy as np
import numpy.typing as npt
import torch

from splat.datasets.found import OPENGL
from splat.datasets.tracer.folders import write_ply
from splat.photos.pictures import stored_size
from splat.types import Points

Array = npt.NDArray[np.float64]

INSTANTS, MIDDLE = 15, "3"
"""Instants of the fly, and its middle camera."""
BOX, DRAWN, KEPT = (4.0, 3.0, 4.0), 400_000, 10_000
"""Half the sides of the box about the fly in which points are drawn, their number, and that of
those that are kept."""
GREY = 0.4


def walk(folder: Path, out: Path) -> None:
    """The videos, and a `transforms.json` by Qualisys' calibration.

    Its rows are a camera's axes, right, up and back; lengths are millimetres, pixels 64ths. Two of
    the videos are 8 pixels narrower than their sensor; they are taken to be cut at the right.
    """
    out.mkdir(parents=True)
    frames = []
    for camera in ElementTree.parse(folder / "Calib.qca.txt").iter("camera"):
        name = camera.attrib["serial"]
        pose, inner = (
            {key: float(value) for key, value in found.attrib.items() if key != "focallength"}
            for part in ("transform", "intrinsic")
            if (found := camera.find(part)) is not None
        )
        axes = np.array([[pose[f"r{i}{j}"] for j in (1, 2, 3)] for i in (1, 2, 3)])
        centre = np.array([pose[axis] for axis in "xyz"]) / 1000
        shutil.copy(folder / "videos" / f"{name}.mp4", out)
        reader = cv2.VideoCapture(str(out / f"{name}.mp4"))
        width, height = (int(reader.get(side)) for side in (3, 4))
        reader.release()
        frames.append(
            {
                "file_path": name,
                "transform_matrix": matrix(axes.T, centre),
                "w": width,
                "h": height,
                "fl_x": inner["focalLengthU"] / 64,
                "fl_y": inner["focalLengthV"] / 64,
                "cx": inner["centerPointU"] / 64 + 0.5,
                "cy": inner["centerPointV"] / 64 + 0.5,
                "k1": inner["radialDistortion1"],
                "k2": inner["radialDistortion2"],
                "p1": inner["tangentalDistortion1"],
                "p2": inner["tangentalDistortion2"],
            }
        )
    (out / "transforms.json").write_text(json.dumps({"frames": frames}, indent=1))


def fly(folder: Path, out: Path) -> None:
    """Frames by camera, a `transforms.json` with times, points, and the names that are held out."""
    cameras = json.loads((folder / "calibration.json").read_text())["cameras"]
    frames, seen = [], np.random.default_rng(0).uniform(-1, 1, (DRAWN, 3)) * BOX
    for name, camera in cameras.items():
        turn, shift, K = (np.array(camera[key]) for key in ("R", "tvec", "intr"))
        (out / "images" / f"cam{name}").mkdir(parents=True)
        for instant in range(INSTANTS):
            photo = f"images/cam{name}/{instant:03d}.jpg"
            shutil.copy(folder / "images" / f"camera_{name}_img_{instant}.jpg", out / photo)
            width, height = stored_size(out / photo)
            frames.append(
                {
                    "file_path": photo,
                    "time": instant / (INSTANTS - 1),
                    "transform_matrix": matrix(turn.T * OPENGL, -turn.T @ shift),
                    "w": width,
                    "h": height,
                    "fl_x": K[0, 0],
                    "fl_y": K[1, 1],
                    "cx": K[0, 2],
                    "cy": K[1, 2],
                }
            )
        if name != MIDDLE:
            places = (seen @ turn.T + shift) @ K.T
            across, down = places[:, :2].T / places[:, 2]
            seen = seen[(across > 0) & (across < width) & (down > 0) & (down < height)]
    points = torch.from_numpy(seen[:KEPT]).float()
    write_ply(out / "points.ply", Points(points, torch.full_like(points, GREY)))
    scene: dict[str, Any] = {"ply_file_path": "points.ply", "frames": frames}
    (out / "transforms.json").write_text(json.dumps(scene))
    held_out = [f"cam{MIDDLE}/{instant:03d}.jpg\n" for instant in range(INSTANTS)]
    (out / "held_out.txt").write_text("".join(held_out))


def matrix(axes: Array, centre: Array) -> list[list[float]]:
    """Camera to world, in OpenGL's axes."""
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = axes, centre
    rows: list[list[float]] = pose.tolist()
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("which", choices=("walk", "fly"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    asked = parser.parse_args()
    (walk if asked.which == "walk" else fly)(asked.folder, asked.out)


if __name__ == "__main__":
    main()
