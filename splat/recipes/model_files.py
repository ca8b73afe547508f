"""Files that keep a model itself, and not the Gaussians that it makes: by their suffix."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from splat.system.import_path import object_at

if TYPE_CHECKING:  # which files there are, and what they say, can be told without loading torch
    import torch
    from jaxtyping import Float
    from torch import Tensor

    from splat.core.model import Model
    from splat.evaluation.evaluate import HeldOutFitter
    from splat.export.receipt import ModelReceipt
    from splat.types import Batch, Camera, Drawing, Frame, Gaussians, Renderer


@dataclass(frozen=True)
class Place:
    """Where a format lies."""

    file: str
    """The module that reads and writes it, a `ModelFile`."""
    header: str
    """The module that says what a file says of itself, a `ModelHeader`, without loading torch."""


MODEL_FILES: Mapping[str, Place] = {
    ".anchors": Place("splat.strategies.scaffold.files", "splat.strategies.scaffold.container"),
    ".forest": Place("splat.strategies.forest.files", "splat.strategies.forest.container"),
    ".clip": Place("splat.strategies.deform.files", "splat.strategies.deform.container"),
}
"""The formats by suffix."""


class ModelHeader(Protocol):
    """What files of one kind of model say of themselves."""

    def header_of(self, path: Path) -> dict[str, Any]:
        """All of it; `background` is what is behind everything, RGB, None: black."""
        ...

    def described(self, path: Path) -> Mapping[str, Any]:
        """What of it is for people."""
        ...


class ModelFile(Protocol):
    """A file format of one kind of model."""

    Receipt: type[ModelReceipt]

    def read(self, path: Path) -> tuple[Model, Frame, Drawing]:
        """The model, the frame that it lies in, and how it is to be drawn."""
        ...

    def write(
        self,
        model: Model,
        path: Path,
        frame: Frame,
        drawing: Drawing,
        background: Sequence[float] | None = None,
        *,
        plain: bool = False,
    ) -> None:
        """Write a model, in few bits where it was trained for it unless `plain`; ValueError where
        it is of another kind."""
        ...

    def receipt_of(
        self, path: Path, model: Model, again: Model, **drawn: float | None
    ) -> ModelReceipt:
        """The receipt of a model that was written and read `again`; `drawn` are its `same_db`,
        `psnr_before` and `psnr_after`."""
        ...


def model_file(suffix: str) -> ModelFile | None:
    """The format of a suffix; None: it is none, or what reads it is not there."""
    place = MODEL_FILES.get(suffix)
    module = None if place is None else object_at(place.file)
    return None if module is None else cast(ModelFile, module)


def model_header(path: Path) -> ModelHeader:
    """What says what such a file says of itself; ValueError where it is not there."""
    module = object_at(MODEL_FILES[path.suffix].header)
    if module is None:
        raise ValueError(f"{path} is of a method that is not here; install all of splat")
    return cast(ModelHeader, module)


def background_in(path: Path) -> Float[Tensor, "3"] | None:
    """What is behind everything in such a file, RGB; None: black."""
    import torch

    behind = model_header(path).header_of(path)["background"]
    return None if behind is None else torch.tensor(behind, dtype=torch.float32)


def written(
    own: ModelFile,
    model: Model,
    path: Path,
    frame: Frame,
    render: Renderer,
    batches: Iterable[Batch],
    background: Float[Tensor, "3"] | None,
    *,
    drawing: Drawing,
    plain: bool = False,
    photos: bool = True,
    fit: HeldOutFitter | None = None,
) -> ModelReceipt:
    """Write a model, read it back, and draw both in the cameras of `batches`.

    `plain` is as for `ModelFile.write`. `photos` False: the batches' pixels are no truth to compare
    with; `fit` fits them before both are held against them. ValueError where the model is of
    another kind.
    """
    from splat.export.receipt import picture_psnrs

    behind = None if background is None else background.tolist()
    own.write(model, path, frame, drawing, behind, plain=plain)
    again = own.read(path)[0]
    same_db, before, after = picture_psnrs(
        model, decoding(again, render.device), render, batches, background, photos=photos,
        fit=fit,
    )  # fmt: skip
    return own.receipt_of(path, model, again, same_db=same_db, psnr_before=before, psnr_after=after)


def decoding(model: Model, device: torch.device) -> Callable[[Camera], Gaussians]:
    """What a model that was read from a file makes for a camera, on a device: itself where that is
    the CPU, on which files are the same to the bit."""
    if device.type == "cpu":
        return model
    return lambda camera: model(camera.to("cpu")).to(device)


def key_of(suffix: str) -> str:
    """The key of such a file's receipt in `metrics.json`."""
    return f"{suffix[1:]}_file"
