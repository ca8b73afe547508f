"""Structure from motion by pycolmap, in a process of its own: `python -m splat.prep.sfm JOB.json`.

COLMAP ends its process where something is wrong within, and its libraries do not go with those of
other packages in one process; see `splat.prep.child` for who starts it. Each stage takes up what
an interrupted one left in the database. Progress goes to stdout, a line of JSON each.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pycolmap

from splat.prep import pairs as choose
from splat.prep.figures import first_photo, model_facts, off_middle

Job = dict[str, Any]
PORTION = 2
"""Photos per thread that are extracted between two reports of progress."""
MANY = 10
"""Least number of photos of a camera whose principal point is refined."""
FAR = 0.02
"""Largest offset of a refined principal point from the centre that is believed, as a share of the
diagonal."""
LOOKED_AT = 2000
"""Most features of a photo that its VLAD descriptor is made of."""
BLOCK = 16
"""Photos on each side of a portion of pairs."""


def features(job: Job) -> dict[str, Any]:
    """Extract the features of all photos, after their cameras are written to the database."""
    reader, extraction = pycolmap.ImageReaderOptions(), pycolmap.FeatureExtractionOptions()
    extraction.max_image_size, extraction.num_threads = job["max_side"], job["threads"]
    extraction.use_gpu = False
    extraction.sift.max_num_features = job["features"]
    with pycolmap.Database.open(job["database"]) as database:
        there = {image.name: image.camera_id for image in database.read_all_images()}
    total = sum(len(group["names"]) for group in job["groups"])
    done = 0
    for group in job["groups"]:
        reader.existing_camera_id = _camera(job, group, there)
        new = [name for name in group["names"] if name not in there]
        if new:  # at once, so that their numbers do not depend on which thread is done first
            pycolmap.import_images(job["database"], job["images"], image_names=new, options=reader)
        step = PORTION * job["threads"]
        for start in range(0, len(group["names"]), step):
            names = group["names"][start : start + step]
            pycolmap.extract_features(
                job["database"], job["images"], image_names=names, reader_options=reader,
                extraction_options=extraction, device=pycolmap.Device.cpu,
            )  # fmt: skip
            done += len(names)
            _tell(done, total)
    return {}


def _camera(job: Job, group: dict[str, Any], there: dict[str, int]) -> int:
    """The id of a group's camera in the database; it is added if it is not there."""
    for name in group["names"]:
        if name in there:
            return there[name]
    camera = pycolmap.Camera.create_from_model_name(
        1, group["model"], group["focal"], group["width"], group["height"]
    )
    camera.has_prior_focal_length = group["known"]
    with pycolmap.Database.open(job["database"]) as database:
        return int(database.write_camera(camera))


def matches(job: Job) -> dict[str, Any]:
    """Match the pairs of photos that the job asks for; their number."""
    with pycolmap.Database.open(job["database"]) as database:
        if job["anew"]:
            database.clear_matches()
            database.clear_two_view_geometries()
        chosen = _pairs(job, database)
    matching, checking = pycolmap.FeatureMatchingOptions(), pycolmap.TwoViewGeometryOptions()
    matching.num_threads, matching.use_gpu = job["threads"], False
    checking.ransac.random_seed = job["seed"]
    pairing = pycolmap.ImportedPairingOptions()
    pairing.match_list_path = job["list"]
    names, done = job["names"], 0
    for portion in choose.blocks(chosen, BLOCK):
        lines = [f"{names[a]} {names[b]}" for a, b in portion]
        Path(job["list"]).write_text("\n".join(lines) + "\n", "utf-8")
        pycolmap.match_image_pairs(
            job["database"], matching, pairing, checking, device=pycolmap.Device.cpu
        )
        done += len(portion)
        _tell(done, len(chosen))
    return {"pairs": len(chosen)}


def _pairs(job: Job, database: Any) -> list[choose.Pair]:
    count = len(job["names"])
    if job["matching"] == "exhaustive":
        return choose.exhaustive(count)
    looks = choose.looks(_descriptors(job, database), job["seed"])
    if job["matching"] == "sequential":
        near = choose.sequential(count, job["overlap"])
        return sorted({*near, *choose.nearest(looks, 3, apart=2 * job["overlap"])})
    places = [None if place is None else (place[0], place[1]) for place in job["gps"]]
    near = choose.sequential(count, 2)
    alike = choose.nearest(looks, job["alike"])
    return sorted({*near, *alike, *choose.nearby(places, job["alike"])})


def _descriptors(job: Job, database: Any) -> list[Any]:
    """Up to `LOOKED_AT` SIFT descriptors of each photo."""
    numbers = {image.name: image.image_id for image in database.read_all_images()}
    descriptors = []
    for name in job["names"]:
        rows = np.zeros((0, 128), np.uint8)
        if name in numbers and database.exists_descriptors(numbers[name]):
            read = database.read_descriptors(numbers[name])
            rows = np.asarray(getattr(read, "data", read), np.uint8).reshape(-1, 128)
        descriptors.append(rows[:: -(-len(rows) // LOOKED_AT) or 1].copy())
    return descriptors


def mapping(job: Job) -> dict[str, Any]:
    """Incremental reconstruction; models are written by size, the largest is number 0."""
    options = pycolmap.IncrementalPipelineOptions()
    options.random_seed, options.num_threads = job["seed"], job["threads"]
    options.min_model_size = 3
    raw, out = Path(job["raw"]), Path(job["models"])
    for folder in (raw, out):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    total, seen = len(job["names"]), [0]

    def another() -> None:
        seen[0] += 1
        _tell(min(seen[0] + 2, total), total)

    reconstructions = pycolmap.incremental_mapping(
        job["database"], job["images"], raw, options, next_image_callback=another
    )
    models = sorted(
        reconstructions.values(), key=lambda model: (-model.num_reg_images(), first_photo(model))
    )
    for i, model in enumerate(models):
        if i == 0:
            models[0] = model = _adjusted(model, job["threads"])
        (out / str(i)).mkdir()
        model.write(out / str(i))
    shutil.rmtree(raw)
    return {"models": [model_facts(model) for model in models], "photos": _matched(job)}


def _adjusted(model: Any, threads: int) -> Any:
    """A last bundle adjustment of all cameras, poses and points; then points that do not fit are
    filtered.

    Principal points, which COLMAP takes to be in the middle, are found where each camera has made
    enough photos. One that goes far trades places with the lens or the poses, and is not believed.
    """
    made = Counter(model.image(number).camera_id for number in model.reg_image_ids())
    options = pycolmap.BundleAdjustmentOptions()
    options.print_summary = False
    options.ceres.solver_options.num_threads = threads
    pycolmap.bundle_adjustment(model, options)
    if min(made.values()) >= MANY:
        freed = pycolmap.Reconstruction(model)
        options.refine_principal_point = True
        pycolmap.bundle_adjustment(freed, options)
        if all(off_middle(freed.cameras[number]) < FAR for number in made):
            model = freed
    pycolmap.ObservationManager(model).filter_all_points3D(4.0, 1.5)
    model.update_point_3d_errors()
    return model


def _matched(job: Job) -> dict[str, dict[str, int]]:
    """By photo: its features, its verified pairs, and the matches of the best pair."""
    with pycolmap.Database.open(job["database"]) as database:
        images = {image.image_id: image.name for image in database.read_all_images()}
        counts = {
            name: {"features": database.num_keypoints_for_image(number), "pairs": 0, "best": 0}
            for number, name in images.items()
        }
        for pair, inliers in zip(*database.read_two_view_geometry_num_inliers(), strict=True):
            ends = pair if isinstance(pair, tuple) else pycolmap.pair_id_to_image_pair(pair)
            for number in ends:
                photo_counts = counts[images[number]]
                photo_counts["pairs"] += int(inliers > 0)
                photo_counts["best"] = max(photo_counts["best"], int(inliers))
    return counts


def placing(job: Job) -> dict[str, Any]:
    """Rotate and scale the largest model, and write all models where the scene has them."""
    out, frame = Path(job["sparse"]), None
    shutil.rmtree(out, ignore_errors=True)
    for folder in sorted(Path(job["models"]).iterdir(), key=lambda folder: int(folder.name)):
        model = pycolmap.Reconstruction(folder)
        if folder.name == "0" and job["frame"] == "upright":
            frame = _placed(model, job)
        (out / folder.name).mkdir(parents=True)
        model.write(out / folder.name)
    return {"frame": frame}


def _placed(model: Any, job: Job) -> dict[str, Any]:
    from splat.prep.upright import placement_of

    images = sorted((model.image(n) for n in model.reg_image_ids()), key=lambda image: image.name)
    names = [image.name for image in images]
    poses = np.stack([image.cam_from_world().matrix() for image in images])
    centres = -np.einsum("nji,nj->ni", poses[:, :, :3], poses[:, :, 3])
    points = np.array([point.xyz for point in model.points3D.values()]).reshape(-1, 3)
    gps = None
    if any(job["gps"].get(name) for name in names):
        gps = np.array([job["gps"].get(name) or [np.nan] * 3 for name in names], np.float64)
    distance = None
    if job["distance"] is not None:
        one, other, metres = job["distance"]
        distance = (names.index(one), names.index(other), float(metres))
    place = placement_of(centres, poses[:, :, :3], points, gps, distance)
    matrix = np.concatenate([place.scale * place.rotation, place.translation[:, None]], 1)
    model.transform(pycolmap.Sim3d(matrix))
    return {
        "rotation": place.rotation.tolist(), "scale": float(place.scale),
        "translation": place.translation.tolist(), "up_found": bool(place.up_found),
        "metric": bool(place.metric), "how": place.how,
        "origin": None if place.origin is None else list(map(float, place.origin)),
    }  # fmt: skip


STAGES: dict[str, Callable[[Job], dict[str, Any]]] = {
    "features": features, "matches": matches, "mapping": mapping, "placing": placing,
}  # fmt: skip


def _tell(done: int, total: int) -> None:
    print(json.dumps({"done": done, "total": total}), flush=True)


def _end_with_parent() -> None:
    """Exit once the other end of stdin is closed, which the parent holds open while it lives."""
    while os.read(0, 1024):  # sys.stdin would be locked when this process ends by itself
        pass
    os._exit(1)


def main() -> None:
    """Carry out the job in the file named on the command line; its result lies beside it."""
    file = Path(sys.argv[1])
    job: Job = json.loads(file.read_text("utf-8"))
    pycolmap.logging.minloglevel = 1
    threading.Thread(target=_end_with_parent, daemon=True).start()
    pycolmap.set_random_seed(job["seed"])
    result = STAGES[job["stage"]](job)
    file.with_suffix(".result").write_text(json.dumps(result), "utf-8")


if __name__ == "__main__":
    main()
