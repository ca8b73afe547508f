"""Crops of held-out views in which strategies differ most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.figure import Figure
from numpy.typing import NDArray

from splat import api, kernels
from splat.comparison import runs
from splat.comparison.asked import budget_text, slug
from splat.comparison.drawing import DPI, Chart, chart_of, short_name
from splat.comparison.plan import Plan
from splat.comparison.results import Outcome
from splat.evaluation.evaluate import psnr
from splat.evaluation.pictures import INK, WORST, Bytes, as_bytes
from splat.photos.loader import Loader
from splat.planning import predict as sizes
from splat.recipes.restored import model_of
from splat.render import choose_device, drawing_as
from splat.runs import checkpoint
from splat.runs.folder import read_config
from splat.system import machine
from splat.system.colours import rgb
from splat.training.prepare import loaders
from splat.types import Batch, Drawing, Needs

SHARE, LEAST = 0.33, 48
"""Side of a crop as a share of the shorter side of the view, and least side, pixels."""
TILE = 320
"""Most pixels that a side of a crop is enlarged to, by whole numbers."""
VIEW = 480
"""Longest side of the small view that shows the place of the crop, pixels."""

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Tile:
    """The crop as one strategy draws it."""

    name: str
    db: float
    """PSNR of the crop, dB."""
    image: Bytes
    error: Bytes
    """Mean absolute error as colours, black where there is none, up to `WORST`."""


@dataclass(frozen=True)
class Crop:
    """A part of a held-out view, with the pictures of all strategies."""

    scene: str
    budget: int
    seed: int
    view: str
    whole: Bytes
    """The photo, small, with a frame where the crop is."""
    photo: Bytes
    tiles: tuple[Tile, ...]


def crop_of(plan: Plan, out: Path, scene: str, group: Mapping[str, Outcome]) -> Crop:
    """The crop in which the strategies of some runs, by name, differ most."""
    device, _ = choose_device("auto")
    kernels.set_threads(machine.cores())
    with ExitStack() as stack:
        drawn = {name: _Drawer(plan, out, outcome, device) for name, outcome in group.items()}
        first = next(iter(drawn.values()))
        photos = first.photos(plan, scene, device)
        stack.enter_context(closing(photos))
        best: tuple[float, int, slice, slice] | None = None
        for index in range(len(photos)):
            batch = photos.batch(index)
            errors = [_error(batch, drawer(batch)) for drawer in drawn.values()]
            score, rows, columns = farthest(errors)
            if best is None or score > best[0]:
                best = (score, index, rows, columns)
        assert best is not None
        _, index, rows, columns = best
        batch = photos.batch(index)
        pictures = {name: drawer(batch) for name, drawer in drawn.items()}
    entry = next(iter(group.values())).entry
    truth = batch.image.cpu().numpy()
    return Crop(
        scene=scene,
        budget=entry.budget,
        seed=entry.seed,
        view=batch.name,
        whole=_framed(truth, rows, columns),
        photo=_enlarged(truth[rows, columns]),
        tiles=tuple(
            _tile(name, batch, picture, rows, columns) for name, picture in pictures.items()
        ),
    )


def farthest(errors: Sequence[Floats]) -> tuple[float, slice, slice]:
    """The square in which root mean squared errors differ most, and the difference.

    With a single error it is the square where that is largest. `errors` are squared, by pixel.
    """
    height, width = errors[0].shape
    side = min(max(LEAST, round(SHARE * min(height, width))), height, width)
    means = np.sqrt([_box_means(error, side) for error in errors])
    spread = means.max(0) - means.min(0) if len(errors) > 1 else means[0]
    top, left = np.unravel_index(int(spread.argmax()), spread.shape)
    score = float(spread[top, left])
    return score, slice(int(top), int(top) + side), slice(int(left), int(left) + side)


def montage(crop: Crop) -> Chart:
    """The crop as one picture: the photo, then each strategy above its error."""
    columns = 1 + len(crop.tiles)
    size = (2.1 * columns, 4.75)
    figure = Figure(figsize=size, dpi=DPI, layout="constrained", facecolor="white")
    axes = figure.subplots(2, columns, squeeze=False)
    pairs = [("photo\n", crop.photo, crop.whole)]
    pairs += [(f"{short_name(t.name)}\n{t.db:.2f} dB", t.image, t.error) for t in crop.tiles]
    for (above, below), (title, image, under) in zip(axes.T, pairs, strict=True):
        for place, shown in ((above, image), (below, under)):
            place.imshow(shown, interpolation="nearest")
            place.set_axis_off()
        above.set_title(title, fontsize=9, color=INK)
    name = f"{slug(crop.scene)}-{budget_text(crop.budget)}-crop"
    return chart_of(figure, name, f"{crop.scene}: where strategies differ most")


class _Drawer:
    """Draws held-out views with the Gaussians of a finished run."""

    def __init__(self, plan: Plan, out: Path, outcome: Outcome, device: torch.device) -> None:
        place = runs.folder_of(out, outcome.entry)
        state = checkpoint.load(place.latest())
        self.config, self.frame = read_config(place.config), checkpoint.frame(state)
        self._model = model_of(self.config, state, device)
        drawing = checkpoint.drawing(state) or Drawing(plan.shared.options.antialiased)
        self._render = drawing_as(drawing.plain, self.frame, device)
        behind = rgb(self.config.options.background)
        self._background = torch.tensor(behind, device=device) if any(behind) else None

    def __call__(self, batch: Batch) -> Floats:
        with torch.no_grad():
            gaussians = self._model(batch.camera)
            rendered = self._render(gaussians, batch.camera, Needs(), self._background)
        image: Floats = rendered.image.clamp(0, 1).cpu().numpy()
        return image

    def photos(self, plan: Plan, scene: str, device: torch.device) -> Loader:
        """The held-out views, with their photos."""
        scene_data = api.read_scene(plan.scene(scene).path, plan.shared.reading)
        options = sizes.with_device_defaults(self.config.options, device)
        training, held_out = loaders(scene_data, options, self.frame, device)
        training.close()
        assert held_out is not None
        return held_out


def _error(batch: Batch, image: Floats) -> Floats:
    """Squared error of every pixel; 0 where it does not count."""
    error: Floats = np.square(batch.image.cpu().numpy() - image).mean(2)
    return error if batch.mask is None else error * (batch.mask.cpu().numpy() != 0)


def _box_means(values: Floats, side: int) -> NDArray[np.float64]:
    """Means over all squares of a side that lie within."""
    sums = np.pad(values.astype(np.float64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    boxes: NDArray[np.float64] = (
        sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    )
    return boxes.clip(0) / side**2


def _tile(name: str, batch: Batch, picture: Floats, rows: slice, columns: slice) -> Tile:
    truth, drawn = batch.image.cpu()[rows, columns], torch.from_numpy(picture)[rows, columns]
    mask = None if batch.mask is None else batch.mask.cpu()[rows, columns]
    error = (truth - drawn).abs().mean(2)
    if mask is not None:
        error = error.where(mask != 0, error.new_zeros(()))
    shown: Any = colormaps["magma"]((error / WORST).clamp(0, 1).numpy())[..., :3]
    return Tile(name, psnr(drawn, truth, mask), _enlarged(drawn.numpy()), _enlarged(shown))


def _enlarged(picture: NDArray[Any]) -> Bytes:
    times = max(1, TILE // max(picture.shape[:2]))
    return as_bytes(picture.repeat(times, 0).repeat(times, 1))


def _framed(picture: Floats, rows: slice, columns: slice) -> Bytes:
    """The view, small, with a frame around the crop."""
    height, width = picture.shape[:2]
    factor = min(1.0, VIEW / max(height, width))
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    small = as_bytes(cv2.resize(picture, size, interpolation=cv2.INTER_AREA))
    first = (round(columns.start * factor), round(rows.start * factor))
    last = (round(columns.stop * factor) - 1, round(rows.stop * factor) - 1)
    cv2.rectangle(small, first, last, (255, 255, 255), 3)
    cv2.rectangle(small, first, last, (200, 85, 61), 2)
    return small
