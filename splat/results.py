"""What people hold in their hands: the result of a run, and Gaussians that know how they are drawn.

Both are a line when printed. In a notebook a result is a picture, and Gaussians turn.
"""

from __future__ import annotations

import html
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from splat import formats
from splat.core.frame import INPUT_FRAME
from splat.export.receipt import draw
from splat.formats.settings import Settings
from splat.render import drawing_as
from splat.render.video import png_bytes
from splat.system.colours import hexadecimal
from splat.types import Camera, Drawing, Frame, Gaussians

MOST_SHOWN = 200_000
"""Gaussians that a notebook is given to turn: 5 MB of it or so, and as many as a laptop draws."""
_HIGH = 480
"""Height of a scene in a notebook, pixels of the page."""


@dataclass(frozen=True, repr=False)
class DrawnGaussians(Gaussians):
    """Gaussians in the frame of the input, with how they are drawn, as a file or a run knows it."""

    drawing: Drawing = Drawing()  # noqa: RUF009
    """How they were drawn while they were trained."""
    background: Float[Tensor, "3"] | None = None
    """What was behind them, RGB; None: black, or not known."""

    @classmethod
    def of(
        cls,
        gaussians: Gaussians,
        drawing: Drawing,
        background: Float[Tensor, "3"] | None = None,
    ) -> DrawnGaussians:
        """A set, with how it is drawn."""
        return cls(**{**vars(gaussians), "drawing": drawing, "background": background})

    def save(self, path: Path | str) -> None:
        """Write them to a file, of the format that its name ends in."""
        formats.write(self, path, drawing=self.drawing)

    @torch.no_grad()
    def render(self, camera: Camera) -> Float[Tensor, "h w 3"]:
        """What a camera of the input's frame sees, RGB in [0, 1], drawn as `splat render` does on
        the CPU."""
        render = drawing_as(self.drawing.plain, INPUT_FRAME, "cpu", beside=False)
        return draw(self.to("cpu"), camera, render, self.background)

    def turning(self, cameras: Sequence[Camera] = (), height: int = _HIGH) -> Turning:
        """The scene for a notebook, as a page that turns under the mouse, beginning at the first of
        `cameras`; of more than 200,000 Gaussians those that matter most (`height` in pixels)."""
        shown, whole = self.to("cpu"), len(self)
        if whole > MOST_SHOWN:
            # What a Gaussian covers of a picture, and how well.
            area = self.scales.detach().sort(1, descending=True).values[:, :2].prod(1)
            most = (area * self.opacities.detach()).topk(MOST_SHOWN).indices.sort().values
            shown = self.take(most).to("cpu")
        background = "auto" if self.background is None else hexadecimal(self.background.tolist())
        with TemporaryDirectory() as folder:
            path = Path(folder) / "scene.html"
            formats.write(
                shown, path, drawing=self.drawing, cameras=cameras,
                settings=Settings(page_background=background),
            )  # fmt: skip
            page = path.read_text("utf-8")
        said = f"{whole:,} Gaussians" if len(shown) == whole else (
            f"the {len(shown):,} of {whole:,} Gaussians that cover most; a file has all of them"
        )  # fmt: skip
        return Turning(page, said, height)

    def _repr_html_(self) -> str:
        """What a notebook shows: the scene, which turns."""
        return self.turning()._repr_html_()


@dataclass(frozen=True, repr=False)
class Turning:
    """A page within a notebook."""

    page: str
    """All of it, as HTML that asks for nothing else."""
    said: str
    """What stands below."""
    height: int
    """Pixels."""

    def __repr__(self) -> str:
        return f"Turning({self.said}, {len(self.page) / 1e6:.2f} MB)"

    def _repr_html_(self) -> str:
        # A frame of its own: the page's styles and keys are not those of the notebook.
        return (
            f'<figure><iframe srcdoc="{html.escape(self.page)}" sandbox="allow-scripts"'
            f' style="width: 100%; height: {self.height}px; border: 0" allowfullscreen></iframe>'
            f"<figcaption>{html.escape(self.said)}</figcaption></figure>"
        )


@dataclass(frozen=True)
class Result:
    """The result of a run."""

    gaussians: DrawnGaussians
    """The Gaussians in the frame of the input, on the CPU."""
    metrics: dict[str, Any]
    """Content of `metrics.json`."""
    folder: Path | None
    """Folder of the run; None: nothing was written."""
    cameras: tuple[Camera, ...] = ()
    """Cameras of the photos that were held out, or else of those that were trained on, in the frame
    of the input and at the size of training."""

    def save(self, path: Path | str) -> None:
        """Write the Gaussians to a file, of the format that its name ends in."""
        self.gaussians.save(path)

    def render(self, camera: Camera | int = 0) -> Float[Tensor, "h w 3"]:
        """What a camera of the input's frame sees, or one of `cameras` by its number.

        RGB in [0, 1], drawn as `splat render` does.
        """
        if isinstance(camera, int):
            if not -len(self.cameras) <= camera < len(self.cameras):
                raise ValueError(
                    f"camera is {camera}; expected the number of one of {len(self.cameras)}, or a"
                    " camera"
                )
            camera = self.cameras[camera]
        return self.gaussians.render(camera)

    def turning(self, height: int = _HIGH) -> Turning:
        """The scene for a notebook, which turns under the mouse; it begins where `render` does."""
        return self.gaussians.turning(self.cameras[:1], height)

    def __repr__(self) -> str:
        return f"Result({self._text()})"

    def _repr_html_(self) -> str:
        """What a notebook shows: a picture from the first camera, and the figures."""
        text = html.escape(self._text())
        if not self.cameras:
            return f"<p>{text}</p>"
        data = b64encode(png_bytes(self.render())).decode()
        return (
            f'<figure><img src="data:image/png;base64,{data}" alt="the scene from a camera">'
            f"<figcaption>{text}</figcaption></figure>"
        )

    def _text(self) -> str:
        psnr = self.metrics.get("psnr")
        parts = [] if psnr is None else [f"{psnr:.2f} dB"]
        parts.append(f"{len(self.gaussians):,} Gaussians")
        parts += [f"{self.metrics['steps']:,} steps"] if "steps" in self.metrics else []
        return ", ".join([*parts, *([] if self.folder is None else [str(self.folder)])])


def read(path: str | Path, settings: Settings = Settings()) -> DrawnGaussians:  # noqa: B008
    """The Gaussians of a file, on the CPU, with unit quaternions, and with what the file says of
    how they were drawn.

    Of `settings` only the axes count, of files that do not name theirs. Raises OSError, or
    ValueError with the file's name.
    """
    return DrawnGaussians.of(formats.read(path, settings), formats.drawing(path))


def write(
    gaussians: Gaussians,
    path: str | Path,
    frame: Frame | None = None,
    drawing: Drawing | None = None,
    settings: Settings = Settings(),  # noqa: B008
) -> None:
    """Write Gaussians that were trained in `frame` (None: that of the input) in the format of
    `path`.

    `drawing` says how they are meant to be drawn (None: as they know themselves, if they do).
    Features are not written, nor SH bands beyond `sh_degree`; rows with NaN or infinite values are
    left out, with a warning. Raises ValueError where nothing is left to write.
    """
    if drawing is None and isinstance(gaussians, DrawnGaussians):
        drawing = gaussians.drawing
    formats.write(gaussians, path, frame, drawing, settings)
