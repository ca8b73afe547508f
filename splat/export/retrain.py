"""Fine-tuning of a set that was made smaller, on photos or on what the whole set draws."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from splat.core.frame import camera_to_frame, frame_of, gaussians_from_frame, gaussians_to_frame
from splat.core.model import Explicit, columns_of
from splat.core.objective import Objective, Photometric
from splat.core.rates import Rates
from splat.core.strategy import Fixed
from splat.export.quantisation import FITTED_SELDOM, Quantisation
from splat.export.search import PALETTED
from splat.export.shape_bits import ShapeBits
from splat.formats.settings import Settings
from splat.guidance import GivenDepth
from splat.guidance.terms import SOLID
from splat.kernels import one_torch_thread
from splat.loop import Run, train
from splat.photos.loader import epoch_order
from splat.render import drawing_as
from splat.render.quantised import AS_IT_IS
from splat.scene import shrunk
from splat.types import Batch, Camera, Drawing, Frame, Gaussians, Needs, Renderer

PACE, FALL = 6.0, 0.05
"""Factor on training's learning rates at the start, and the share of them that is left at the end:
what others drew is to be taken over first, and then to come to rest."""
_MEAN, _MEAN_END = 0.4, 2.0
"""Factors on the rates of means that training starts and ends with."""
FITTED_EVERY = 50
"""Steps between fits of codebooks and bounds."""
LEVEL_STEPS = 1500
"""Steps of training of a coarser level, where nothing else is said."""
SMALLER = (1, 2, 1, 4)
"""How many times smaller the pictures of successive steps are, along a side."""
DEPTH_WEIGHT = 1.0
"""Weight of depth in the training of a level: rows that were far apart have a middle in the air,
where before a plain backdrop few pictures show it, and from the next place it is a veil."""
KEPT_BYTES = 1 << 30
"""Most bytes of drawn pictures that are kept for later steps."""


class Pictures(Protocol):
    """What a set is trained on: photos, or pictures of another set."""

    @property
    def cameras(self) -> Sequence[Camera]:
        """Cameras of all pictures at full size, in the frame of training."""
        ...

    def __call__(self, number: int, /) -> Batch:
        """A batch by its number (`Run.batches`)."""
        ...

    def batch_at(self, index: int, step: int) -> Batch:
        """A picture by its number, at the size that a step shows."""
        ...


class Others:
    """Photos without some of them, which then can tell what training is worth elsewhere."""

    def __init__(self, photos: Pictures, without: Collection[int], *, seed: int = 0) -> None:
        self._photos, self._seed = photos, seed
        self._numbers = [i for i in range(len(photos.cameras)) if i not in without]
        self.cameras = tuple(photos.cameras[i] for i in self._numbers)

    def __call__(self, number: int) -> Batch:
        """A batch by its number: every epoch shows every photo once."""
        epoch, place = divmod(number, len(self.cameras))
        return self.batch_at(int(epoch_order(self._seed, epoch, len(self.cameras))[place]), number)

    def batch_at(self, index: int, step: int) -> Batch:
        """A photo by its number among those that are left."""
        return self._photos.batch_at(self._numbers[index], step)


class Drawn:
    """Pictures of a set from cameras of its frame, with depth, drawn when they are asked for first.

    Half of the steps show them at full size, the others smaller: as they look from farther away.
    """

    def __init__(
        self,
        gaussians: Gaussians,
        cameras: Sequence[Camera],
        render: Renderer,
        background: Float[Tensor, "3"] | None,
        *,
        seed: int = 0,
    ) -> None:
        self.cameras = tuple(cameras)
        self._gaussians, self._render, self._background = gaussians, render, background
        self._seed = seed
        self._kept: dict[tuple[int, int], Batch] = {}
        self._used = 0

    def __call__(self, step: int) -> Batch:
        """The batch of a step: every epoch shows every picture once."""
        epoch, place = divmod(step, len(self.cameras))
        return self.batch_at(int(epoch_order(self._seed, epoch, len(self.cameras))[place]), step)

    def batch_at(self, index: int, step: int) -> Batch:
        """A picture by its number, at the size that a step shows."""
        shown = index, SMALLER[step % len(SMALLER)]
        if shown in self._kept:
            return self._kept[shown]
        camera = shrunk(self.cameras[index], shown[1])
        with torch.no_grad():
            drawn = self._render(self._gaussians, camera, Needs(depth=True), self._background)
        assert drawn.depth is not None
        pixels = (drawn.image.clamp(0, 1) * 255).round().to(torch.uint8)
        depth = drawn.depth.where(drawn.alpha > SOLID, 0)
        batch = Batch(camera, pixels, depth=depth, shrink=shown[1])
        used = pixels.nbytes + depth.nbytes
        if self._used + used <= KEPT_BYTES:
            self._kept[shown] = batch
            self._used += used
        return batch


def retrain(
    gaussians: Gaussians,
    frame: Frame,
    photos: Pictures,
    render: Renderer,
    background: Float[Tensor, "3"] | None,
    *,
    drawing: Drawing,
    steps: int,
    suffix: str | None = None,
    settings: Settings = Settings(),  # noqa: B008
    rates: Rates | None = None,
    seed: int = 0,
    weights: Float[Tensor, "n"] | None = None,
    bits: float = 0.0,
    guided: Mapping[str, Objective] | None = None,
) -> Gaussians:
    """The set, in `frame`, fine-tuned for so many steps: the same rows in the same order.

    Every step draws what would be read back from a file that ends in `suffix` (None: the set as it
    is), written with `weights`. `rates` None: those of a set that was trained already. `bits` is
    what the shape of a row pays for a bit of such a file (`ShapeBits`), where bits are what numbers
    of a `.sog` are rounded to. `guided` are terms beside the photometric one.
    """
    if gaussians.sh_degree is None:
        raise ValueError("Gaussians of plain colours cannot be trained; expected harmonics")
    quantised, terms = None, {"photometric": Photometric(), **(guided or {})}
    if bits and suffix in PALETTED and settings.sog_bits:
        terms["bits"] = ShapeBits.of(bits, settings)
    if suffix is not None:
        quantised = Quantisation(
            suffix, frame, 0, settings, fitted_every=FITTED_EVERY, weights=weights
        )
    # Training moves columns in place, and those of the caller stay.
    columns = {name: values.clone() for name, values in columns_of(gaussians).items()}
    model = _Unmoved(columns, steps=steps, sh_every=0, rates=rates or _falling())
    run = Run(
        model=model,
        strategy=Fixed(),
        objectives=terms,
        render=render,
        batches=photos,
        views=photos.cameras,
        photos=photos.batch_at,
        steps=steps,
        seed=seed,
        frame=frame,
        drawing=drawing,
        background=background,
        quantiser=quantised or AS_IT_IS,
    )
    with one_torch_thread():
        train(run)
    trained = model.bake()
    if quantised is None or suffix not in FITTED_SELDOM:
        return trained
    # The file is to share what was shared: a palette made anew would be another one.
    drawn = quantised(trained, steps).colors
    return replace(trained, colors=torch.cat([trained.colors[:, :1], drawn[:, 1:]], 1))


class _Unmoved(Explicit):
    """Gaussians that keep their places, which those who gave them go by."""

    def order_rows(self) -> None:
        """No order for the memory's sake: that of the run before is near enough."""


class LevelTraining:
    """Trains a coarser level to draw what the finest one does; see `splat.lod.levels.Refine`.

    No photo is needed: the finest level is what it is to look like, from any camera, without
    noise and without what photos differ in.
    """

    def __init__(
        self,
        cameras: Sequence[Camera],
        drawing: Drawing,
        background: Float[Tensor, "3"] | None,
        device: torch.device | str,
        *,
        steps: int,
        seed: int = 0,
    ) -> None:
        """`cameras` are in the frame of the input, as are the levels; `drawing` says how files are
        drawn by any program."""
        self._frame = frame_of(cameras)
        self._cameras = [camera_to_frame(camera, self._frame).to(device) for camera in cameras]
        self._drawing, self._background, self._device = drawing.plain, background, device
        self._steps, self._seed = steps, seed
        self._pictures: Drawn | None = None

    def __call__(self, finest: Gaussians, level: Gaussians) -> Gaussians:
        """The level, in the frame of the input and on the CPU, after training."""
        render = drawing_as(self._drawing, self._frame, self._device)
        if self._pictures is None:
            # All levels of a set are trained on the same pictures.
            whole = gaussians_to_frame(finest, self._frame).to(self._device)
            self._pictures = Drawn(whole, self._cameras, render, self._background, seed=self._seed)
        trained = retrain(
            gaussians_to_frame(level, self._frame).to(self._device),
            self._frame,
            self._pictures,
            render,
            self._background,
            drawing=self._drawing,
            steps=self._steps,
            # Merged rows are as far from right as those of a run that has begun.
            rates=Rates().scheduled(self._steps),
            seed=self._seed,
            guided={"depth": GivenDepth(DEPTH_WEIGHT, "metric", self._steps)},
        )
        return gaussians_from_frame(trained, self._frame).to("cpu")


def _falling() -> Rates:
    usual = Rates()
    return replace(
        usual,
        mean=_MEAN * usual.mean,
        mean_end=_MEAN_END * usual.mean_end,
        log_scale=PACE * usual.log_scale,
        quat=PACE * usual.quat,
        opacity_logit=PACE * usual.opacity_logit,
        sh=PACE * usual.sh,
        fall=FALL,
    )
