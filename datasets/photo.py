"""Photographs on disk: where they are and how large, without decoding them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from splat.datasets import cuts
from splat.photos.pictures import stored_size
from splat.scene import Camera, SceneData, View

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp")


def find(folder: Path, name: str) -> Path | None:
    """The photo `name` below `folder`, also under another suffix or if it names none."""
    if not name.strip("./\\"):
        return None
    exact = folder / name.replace("\\", "/")
    if is_there(exact):
        return exact
    endings = [ending for suffix in SUFFIXES for ending in (suffix, suffix.upper())]
    others = [exact.with_name(exact.name + ending) for ending in endings]
    others += [exact.with_suffix(ending) for ending in endings if exact.suffix]
    return next((other for other in others if is_there(other)), None)


def is_there(path: Path) -> bool:
    """Whether a file lies there; what can be no name, as a page of text, is none."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def count(folder: Path) -> int:
    """How many photographs lie below a folder."""
    return sum(path.suffix.lower() in SUFFIXES for path in folder.rglob("*"))


size = stored_size
"""Of a photo, without decoding it where its header says it."""


def fitted(scene: SceneData) -> SceneData:
    """The scene with every camera at the size of its photo."""
    sizes = {view.image: size(view.image) for view in (*scene.train, *scene.test)}

    def fit(view: View) -> View:
        if view.cut is not None:
            check_shape(view.cut.size, sizes[view.image], view.image)
            return cuts.fitted_cut(view, sizes[view.image])
        return replace(view, camera=_resized(view.camera, sizes[view.image], view.image))

    train, test = tuple(map(fit, scene.train)), tuple(map(fit, scene.test))
    before, after = (*scene.train, *scene.test), (*train, *test)
    changed = [(a, b) for a, b in zip(before, after, strict=True) if a.camera is not b.camera]
    notes = scene.notes
    if changed:
        old, new = changed[0]
        notes += (
            f"{len(changed)} photos have another size than their cameras (the first is "
            f"{new.camera.width}x{new.camera.height} for {old.camera.width}x{old.camera.height}): "
            "the cameras were resized",
        )
    if lenses := [view.lens.model for view in after if view.lens is not None]:
        kinds = ", ".join(sorted(set(lenses)))
        notes += (f"{len(lenses)} photos are undistorted when they are decoded ({kinds})",)
    notes += cuts.told(after)
    return replace(scene, train=train, test=test, notes=notes)


def _resized(camera: Camera, found: tuple[int, int], image: Path) -> Camera:
    width, height = found
    if (width, height) == (camera.width, camera.height):
        return camera
    check_shape((camera.width, camera.height), found, image)
    return camera.resized(width, height)


def check_shape(camera: tuple[int, int], found: tuple[int, int], image: Path) -> None:
    """Raise ValueError where a photo, found to be so large, has another shape than its camera."""
    (width, height), (wide, high) = found, camera
    # Both sides may have been rounded by up to a pixel when the photo was scaled.
    if abs(width * high - height * wide) > max(wide, high):
        raise ValueError(
            f"{image}: is {width}x{height} pixels, its camera {wide}x{high}; "
            "expected the same shape: use the photos that the poses were made from (stored "
            "pixels, not turned by EXIF), or a scaled copy of them"
        )
