"""Files that keep a model itself, and not the Gaussians that it makes: by their suffix."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from splat.system.import_path import object_at

if TYPE_CHECKING:  # which files there are can be told without loading torch
    import torch
    from jaxtyping import Float
    from torch import Tensor

    from splat.core.model import Model
    from splat.evaluation.evaluate import HeldOutFitter
    from splat.types import Batch, Camera, Drawing, Frame, Gaussians, Renderer

MODEL_FILES: Mapping[str, str] = {
    ".anchors": "splat.strategies.scaffold.files",
    ".clip": "splat.strategies.deform.files",
}
"""Modules by suffix, each a `ModelFile`."""


class Receipt(Protocol):
    """What was written, and its quality when read back; a dataclass."""

    def text(self) -> str:
        """The receipt in a line."""
        ...


class ModelFile(Protocol):
    """A file format of one kind of model."""

    def read(self, path: Path) -> tuple[Model, Frame, Drawing]:
        """The model, the frame that it lies in, and how it is to be drawn."""
        ...

    def described(self, path: Path) -> Mapping[str, Any]:
        """What a file says of itself, for people."""
        ...

    def background_of(self, path: Path) -> Float[Tensor, "3"] | None:
        """What is behind everything, RGB; None: black."""
        ...

    def written(
        self,
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
    ) -> Receipt:
        """Write a model, read it back, and draw both; ValueError where it is of another kind.

        `fit` fits photos before both are held against them.
        """
        ...

    def receipt_text(self, receipt: Mapping[str, Any]) -> str:
        """A receipt in a line, from its fields."""
        ...


def model_file(suffix: str) -> ModelFile | None:
    """The format of a suffix; None: it is none, or what reads it is not there."""
    place = MODEL_FILES.get(suffix)
    module = None if place is None else object_at(place)
    return None if module is None else cast(ModelFile, module)


def decoding(model: Model, device: torch.device) -> Callable[[Camera], Gaussians]:
    """What a model that was read from a file makes for a camera, on a device: itself where that is
    the CPU, on which files are the same to the bit."""
    if device.type == "cpu":
        return model
    return lambda camera: model(camera.to("cpu")).to(device)


def key_of(suffix: str) -> str:
    """The key of such a file's receipt in `metrics.json`."""
    return f"{suffix[1:]}_file"
