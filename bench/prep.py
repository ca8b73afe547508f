"""Poses found by `splat prep` against those that are known, for scenes whose photos are posed.

    python bench/prep.py data/fox data/fountain --truth data/fountain/gt_cameras --work /tmp/prep

Photos are taken from images/ of a scene, its poses are thrown away, and what `splat prep` makes is
compared with its sparse/ or, where files NAME.camera of surveyed cameras are given, with these:
distances of camera centres after the best similarity, in shares of the extent, which is the
largest distance of two centres. Directions are compared too, in degrees.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
from common import machine, markdown, write_json

from splat import datasets
from splat.prep import PrepOptions, prepare

Array = npt.NDArray[np.float64]
Poses = dict[str, tuple[Array, Array]]
"""Centre, and rotation from world to camera, by the stem of the photo."""


def model_of(scene: Path) -> Poses:
    """Of a scene that splat reads."""
    loaded = datasets.load(scene, eval="none", masks="none")
    found = {}
    for view in loaded.train:
        pose = view.camera.world_to_camera.double().numpy()
        found[view.image.stem] = (-pose[:3, :3].T @ pose[:3, 3], pose[:3, :3])
    return found


def surveyed(folder: Path) -> Poses:
    """Of files NAME.camera: three rows of K, a row of zeros, three of the rotation from camera to
    world, the centre, the size."""
    found = {}
    for file in sorted(folder.glob("*.camera")):
        values = np.array([float(word) for word in file.read_text().split()])
        found[Path(file.stem).stem] = (values[21:24], values[12:21].reshape(3, 3).T)
    return found


def similarity(a: Array, b: Array) -> tuple[float, Array, Array]:
    """Scale, rotation and translation that take rows of `a` nearest to those of `b`."""
    x, y = a - a.mean(0), b - b.mean(0)
    u, s, v = np.linalg.svd(y.T @ x)
    flip = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ v))])
    rotation = (u * flip) @ v
    scale = float((s * flip).sum() / (x**2).sum())
    return scale, rotation, b.mean(0) - scale * rotation @ a.mean(0)


def compared(found: Poses, true: Poses) -> dict[str, float]:
    """Errors of centres in shares of the extent, of directions in degrees."""
    names = sorted(found.keys() & true.keys())
    a, b = (np.stack([poses[name][0] for name in names]) for poses in (found, true))
    scale, rotation, shift = similarity(a, b)
    off = np.linalg.norm(scale * a @ rotation.T + shift - b, axis=1)
    extent = float(np.linalg.norm(b[:, None] - b[None], axis=-1).max())
    turns = [np.trace(found[name][1] @ rotation.T @ true[name][1].T) / 2 - 0.5 for name in names]
    degrees = np.degrees(np.arccos(np.clip(turns, -1, 1)))
    return {
        "compared": len(names),
        "extent": extent,
        "centre_median": float(np.median(off)) / extent,
        "centre_worst": float(off.max()) / extent,
        "degrees_median": float(np.median(degrees)),
    }


def measured(scene: Path, truth: Path | None, work: Path, options: PrepOptions) -> dict[str, Any]:
    """One scene: how many photos found a place, how well, and in what time."""
    out = work / scene.name
    start = time.perf_counter()
    report = prepare(scene / "images", out, options, quiet=not sys.stderr.isatty())
    seconds = time.perf_counter() - start
    true = model_of(scene) if truth is None else surveyed(truth)
    return {
        "photos": report.photos,
        "registered": report.registered,
        "matching": report.matching,
        "pairs": report.pairs,
        "error_px": report.error,
        "points": report.points,
        "focal": report.cameras[0]["focal"],
        **compared(model_of(out), true),
        "seconds": sum(report.seconds.values()) or seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scenes", type=Path, nargs="+")
    parser.add_argument("--truth", type=Path, nargs="*", default=[], help="folders of *.camera")
    parser.add_argument("--work", type=Path, help="folder to keep the scenes in, to go on from")
    parser.add_argument("--matching", default="auto")
    parser.add_argument("--max-side", type=int, default=PrepOptions.max_side)
    parser.add_argument("--features", type=int, default=PrepOptions.features)
    parser.add_argument("--json", type=Path, help="file for the figures")
    asked = parser.parse_args()
    options = PrepOptions(matching=asked.matching, max_side=asked.max_side, features=asked.features)
    with TemporaryDirectory() as temporary:
        work = asked.work or Path(temporary)
        found = {}
        for scene in asked.scenes:
            truth = next((t for t in asked.truth if scene.resolve() in t.resolve().parents), None)
            found[scene.name] = measured(scene, truth, work, options)
    heads = ("scene", "registered", "pairs", "error", "median", "worst", "degrees", "seconds")
    rows = [
        (
            name, f"{r['registered']}/{r['photos']}", f"{r['pairs']} ({r['matching']})",
            f"{r['error_px']:.2f} px", f"{r['centre_median']:.3%}", f"{r['centre_worst']:.3%}",
            f"{r['degrees_median']:.3f}", f"{r['seconds']:.0f}",
        )
        for name, r in found.items()
    ]  # fmt: skip
    print(markdown(heads, rows))
    results = {"machine": machine(), "scenes": found}
    if asked.json:
        write_json(asked.json, results)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
