"""`Decoder`: views of a scene as steps see them, photo, mask, outline, depth and normals alike."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from splat.photos.bulk import reduction
from splat.photos.disk_cache import Part, Shelf, mark_of
from splat.photos.given_maps import given_depth, given_normal, resized_depth, resized_normal
from splat.photos.modes import MaskMode
from splat.photos.photo import averaged, outline, photograph
from splat.types import Camera, View

Decoded = tuple[
    UInt8[Tensor, "h w 3"],
    UInt8[Tensor, "h w"] | None,
    UInt8[Tensor, "h w"] | None,
    Float[Tensor, "h w"] | None,
    Float[Tensor, "h w 3"] | None,
]
"""Pixels, mask, outline, depth and normals of a `Batch`."""


class Decoder:
    """Decodes the pixels and maps of a view for a `Batch`; always the same bytes.

    `cameras` have the sizes wanted. `reduced` decodes JPEGs no larger than needed
    (`splat.photos.photo.reduction`); metric depth is in units of the input times `scale`.
    `outlines`, `depths` and `normals` are made where asked for. May be called from many threads.
    """

    def __init__(
        self,
        views: Sequence[View],
        cameras: Sequence[Camera],
        *,
        background: tuple[float, float, float],
        masks: MaskMode,
        scale: float,
        outlines: bool,
        depths: bool,
        normals: bool,
        reduced: bool,
    ) -> None:
        self._views, self._sizes = views, [(camera.width, camera.height) for camera in cameras]
        self._background, self._masks, self._scale = background, masks, scale
        self._outlines, self._depths, self._normals = outlines, depths, normals
        self._reduced = reduced
        self._shelf: Shelf | None = None
        self._marks: list[str | None] = []

    def keep_on(self, shelf: Shelf) -> None:
        """Keep whole views on a shelf, and take them from there."""
        self._shelf, self._marks = shelf, [self._mark(index) for index in range(len(self._views))]
        sizes = zip(self._marks, map(self.bytes_of, range(len(self._views))), strict=True)
        shelf.make_room({mark: size for mark, size in sizes if mark is not None})

    def whole(self, index: int) -> Decoded:
        """A view at its full size."""
        mark = self._marks[index] if self._shelf is not None else None
        shelved = None if self._shelf is None or mark is None else self._shelf.get(mark)
        if shelved is not None:
            return _tensors(*shelved)
        made = self._made(index)
        if self._shelf is not None and mark is not None:
            self._shelf.put(mark, made)
        return _tensors(*made)

    def smaller(self, whole: Decoded, width: int, height: int) -> Decoded:
        """A view at another size, area-averaged from its full one."""
        pixels, mask, covered, depth, normal = whole
        size = (width, height)
        small, counts = averaged(pixels.numpy(), None if mask is None else mask.numpy(), *size)
        inside = None
        if covered is not None:
            inside = np.asarray(cv2.resize(covered.numpy(), size, interpolation=cv2.INTER_AREA))
        depth_small = None if depth is None else resized_depth(depth.numpy(), *size)
        normal_small = None if normal is None else resized_normal(normal.numpy(), *size)
        return _tensors(small, counts, inside, depth_small, normal_small)

    def bytes_of(self, index: int, factor: float = 1.0) -> int:
        """Bytes of a decoded view, `factor` times smaller along a side; masks from an alpha channel
        are not counted."""
        view, sides = self._views[index], self._sizes[index]
        width, height = (max(1, round(side / factor)) for side in sides)
        masked = view.mask is not None or view.lens is not None
        of_maps = 4 * (self._depths and view.depth is not None)
        of_maps += 12 * (self._normals and view.normal is not None)
        return width * height * (3 + masked + self._outlines + of_maps)

    def _made(self, index: int) -> list[Part]:
        view, size = self._views[index], self._sizes[index]
        pixels, mask = photograph(view, *size, self._background, self._masks, reduced=self._reduced)
        covered = outline(view, *size) if self._outlines else None
        depth = given_depth(view, *size, self._scale) if self._depths else None
        normal = given_normal(view, *size) if self._normals else None
        return [pixels, mask, covered, depth, normal]

    def _mark(self, index: int) -> str | None:
        """Key of a decoded view in the disk cache; None: a file is gone."""
        view, camera = self._views[index], self._views[index].camera
        files: list[Path] = [view.image, *([view.mask] if view.mask is not None else [])]
        of_maps: list[Any] = []
        if self._depths and view.depth is not None:
            files.append(view.depth.path)
            of_maps += [view.depth.kind, view.depth.scale, self._scale]
        if self._normals and view.normal is not None:
            files.append(view.normal.path)
            of_maps += [view.normal.frame, camera.world_to_camera.tolist()]
        how = [
            *(self._sizes[index], camera.width, camera.height, camera.K.tolist()),
            *(view.lens, view.cut, self._background, self._masks, self._outlines),
            *(self._reduced and reduction(view, *self._sizes[index]), *of_maps),
        ]
        return mark_of(files, how)


def _tensors(*parts: Part) -> Decoded:
    pixels, *others = (None if part is None else torch.from_numpy(part) for part in parts)
    assert pixels is not None and len(others) == 4
    return (pixels, *others)  # type: ignore[return-value]


def bytes_of(decoded: Decoded) -> int:
    """Bytes of a decoded view."""
    return sum(part.numel() * part.element_size() for part in decoded if part is not None)
