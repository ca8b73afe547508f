"""PSNR of each photograph, measured one at a time."""

from __future__ import annotations

import math

import torch

from splat.evaluation.evaluate import psnr
from splat.types import Needs
from splat.viewer.source import Photos, Source

UNKNOWN = (120, 120, 120)
"""Colour of a camera whose photograph is not measured yet."""


class Gallery:
    """PSNR of the photographs of a source, dB; NaN where it is not known yet."""

    def __init__(self, source: Source, photos: Photos) -> None:
        self.source, self.photos = source, photos
        self.psnr = [math.nan] * len(photos)
        self._stamps: list[object] = [None] * len(photos)
        self._by_name = {seen.name: i for i, seen in enumerate(photos.seen)}

    def note(self, name: str, value: float) -> None:
        """Record the PSNR that a step of training had on its photo."""
        index = self._by_name.get(name)
        if index is not None:
            self.psnr[index] = value

    @torch.no_grad()
    def measure(self) -> bool:
        """Measure one photograph whose PSNR is missing or old; whether there was one."""
        stamp = self.source.stamp
        old = [i for i, stamp_then in enumerate(self._stamps) if stamp_then != stamp]
        if not old:
            return False
        unknown = [i for i in old if math.isnan(self.psnr[i])]
        index = (unknown or old)[0]
        self._stamps[index] = stamp
        batch = self.photos.batch(index)
        drawn = self.source.render(
            self.source.gaussians(batch.camera), batch.camera, Needs(), self.source.background
        )
        self.psnr[index] = min(100.0, psnr(drawn.image, batch.image, batch.mask))
        return True

    @property
    def held_out(self) -> float | None:
        """Mean PSNR of the held-out photographs, dB; None until all are measured."""
        values = [self.psnr[i] for i, seen in enumerate(self.photos.seen) if seen.held_out]
        finite = [value for value in values if not math.isnan(value)]
        return sum(finite) / len(finite) if finite and len(finite) == len(values) else None

    def colors(self) -> list[tuple[int, int, int]]:
        """A colour a camera: from red for the worst through yellow to green for the best."""
        finite = sorted(value for value in self.psnr if not math.isnan(value))
        if not finite:
            return [UNKNOWN] * len(self.psnr)
        low, high = finite[len(finite) // 20], finite[-1 - len(finite) // 20]
        return [
            UNKNOWN
            if math.isnan(value)
            else _traffic((value - low) / (high - low) if high > low else 1.0)
            for value in self.psnr
        ]


def _traffic(share: float) -> tuple[int, int, int]:
    share = min(max(share, 0.0), 1.0)
    return round(230 * min(1, 2 - 2 * share)) + 20, round(200 * min(1, 2 * share)) + 30, 50
