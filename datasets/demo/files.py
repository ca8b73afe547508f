"""The scene on disk: a COLMAP folder that any reader takes, and the truth beside it."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import torch

from splat.datasets.demo.points import points as scattered
from splat.datasets.demo.poses import cameras
from splat.datasets.demo.trace import DemoView, render
from splat.datasets.tracer import folders
from splat.datasets.tracer.colours import stored
from splat.datasets.tracer.folders import drafted, name_of, read_image, save
from splat.types import Camera


def write(
    folder: Path | str,
    *,
    views: int = 60,
    width: int = 400,
    height: int = 300,
    samples: int = 5,
    points: int = 6_000,
    seed: int = 0,
) -> None:
    """Draw the scene into a new folder, which appears when it is complete.

    `images/` and `sparse/0/` are what COLMAP writes. `truth/` holds, by the name of the picture,
    `depth/*.npy` (float32 camera z), `normals/*.png` (world axes, 0 to 255 for -1 to 1),
    `masks/*.png` (255 on the things) and `objects/*.png` (numbers). `seed` scatters the points.
    """
    with drafted(Path(folder), "the built-in scene") as draft:
        kinds = (f"truth/{kind}" for kind in ("depth", "normals", "masks", "objects"))
        folders.make(draft, "images", *kinds)
        stand = cameras(views, width, height)
        folders.each(stand, lambda camera: _write_view(draft, camera, samples))
        folders.write_model(draft / "sparse" / "0", stand, scattered(points, seed))


def cached(
    cache: Path | str | None = None,
    *,
    views: int = 60,
    width: int = 400,
    height: int = 300,
    samples: int = 5,
    points: int = 6_000,
    seed: int = 0,
) -> Path:
    """The folder of the scene, drawn when it is first asked for (see `write`).

    `cache` defaults to `splat` in the user's cache. Another version of the scene's code, or other
    arguments, make another folder; processes that race for the same one agree on the first.
    """
    draw = partial(
        write, views=views, width=width, height=height, samples=samples, points=points, seed=seed
    )
    return folders.cached(cache, "demo", draw, [Path(__file__).parent])


def truth(folder: Path | str, name: str) -> DemoView:
    """What `write` wrote about the picture `name`; normals are as exact as 8 bits hold them."""
    folder = Path(folder)
    known = folder / "truth"
    normals = read_image(known / "normals" / name) / 127.5 - 1
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    return DemoView(
        torch.from_numpy(read_image(folder / "images" / name)),
        torch.from_numpy(np.load(known / "depth" / f"{Path(name).stem}.npy")),
        torch.from_numpy(normals.astype(np.float32)),
        torch.from_numpy(read_image(known / "objects" / name)),
    )


def _write_view(folder: Path, camera: Camera, samples: int) -> None:
    view, name, known = render(camera, samples), name_of(camera.index), folder / "truth"
    save(folder / "images" / name, view.image.numpy())
    save(known / "normals" / name, stored((view.normals.numpy() + 1) / 2))
    save(known / "masks" / name, view.mask.numpy())
    save(known / "objects" / name, view.objects.numpy())
    np.save(known / "depth" / f"{Path(name).stem}.npy", view.depth.numpy())
