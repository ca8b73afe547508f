"""Decoded photographs, one a step: an order made of (seed, epoch), a cache, and a look ahead."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import cv2
import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from splat.photo import MaskMode, photograph
from splat.seed import in_frame
from splat.types import Batch, Camera, Frame, View

Decoded = tuple[UInt8[Tensor, "h w 3"], UInt8[Tensor, "h w"] | None]


def shrunk(camera: Camera, downscale: float = 1, max_side: int | None = None) -> Camera:
    """The camera at 1/downscale of its size, and its longer side at most `max_side` pixels.

    Sizes are rounded; the intrinsics follow the rounded size.
    """
    longest = max(camera.width, camera.height)
    factor = max(1.0, downscale, longest / max_side if max_side else 1.0)
    width, height = (max(1, round(side / factor)) for side in (camera.width, camera.height))
    return camera.resized(width, height)


class Loader:
    """Batches for `Run.batches`: a function of the step alone, whatever the threads do.

    Every epoch shows every view once, in an order drawn from (seed, epoch). Views stay decoded,
    first come first kept, within `budget_bytes`; `ahead` further ones are decoded before they
    are asked for. Call from one thread; `close` when done.
    """

    def __init__(
        self,
        views: Sequence[View],
        *,
        frame: Frame,
        downscale: float = 1,
        max_side: int | None = None,
        background: tuple[float, float, float] = (1.0, 1.0, 1.0),
        masks: MaskMode = "auto",
        budget_bytes: int = 1 << 30,
        device: torch.device | str = "cpu",
        seed: int = 0,
        workers: int = 1,
        ahead: int = 3,
    ) -> None:
        if not views:
            raise ValueError("no views to load; expected at least one: see `--eval`")
        self.views = tuple(views)
        sized = [shrunk(view.camera, downscale, max_side) for view in views]
        self.cameras = tuple(in_frame(camera, frame).to(device) for camera in sized)
        """Cameras of all views at the size of their batches, in the frame of training."""
        self._background, self._masks = background, masks
        self._budget, self._device, self._seed, self._ahead = budget_bytes, device, seed, ahead
        self._kept: dict[int, Decoded] = {}
        self._used = 0
        self._coming: dict[int, Future[Decoded]] = {}
        # OpenCV's own threads would spin on the cores that train.
        self._pool = ThreadPoolExecutor(workers, "photo", cv2.setNumThreads, (1,))

    def __len__(self) -> int:
        return len(self.views)

    def __call__(self, step: int) -> Batch:
        """The batch of a step."""
        index = self.index_at(step)
        window = [self.index_at(step + i) for i in range(1, self._ahead + 1)]
        # Views asked for out of turn (after a resume) leave no stale futures behind.
        self._coming = {i: f for i, f in self._coming.items() if i == index or i in window}
        self._request(index)
        for later in window:
            self._request(later)
        return self.batch(index)

    def index_at(self, step: int) -> int:
        """Which view a step shows."""
        epoch, place = divmod(step, len(self.views))
        return int(epoch_order(self._seed, epoch, len(self.views))[place])

    def batch(self, index: int) -> Batch:
        """View `index`, in the order of `views`."""
        coming = self._coming.pop(index, None)
        found = self._kept.get(index)
        if found is None:
            found = coming.result() if coming is not None else self._decode(index)
            self._keep(index, found)
        pixels, mask = found
        if torch.device(self._device).type != "cpu":
            pixels = pixels.to(self._device)
            mask = None if mask is None else mask.to(self._device)
        return Batch(self.cameras[index], pixels, mask, self.views[index].name)

    def bytes_needed(self) -> int:
        """What all views take decoded (masks that hide in an alpha channel not counted)."""
        total = 0
        for view, camera in zip(self.views, self.cameras, strict=True):
            masked = view.mask is not None or view.lens is not None
            total += camera.width * camera.height * (4 if masked else 3)
        return total

    def bytes_held(self) -> int:
        """What the cache holds now; at most `ahead` + 1 views are in flight beside it."""
        return self._used

    def close(self) -> None:
        """Stop decoding; what is in flight is thrown away."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._coming.clear()

    def _request(self, index: int) -> None:
        if index not in self._kept and index not in self._coming:
            self._coming[index] = self._pool.submit(self._decode, index)

    def _decode(self, index: int) -> Decoded:
        view, camera = self.views[index], self.cameras[index]
        size = (camera.width, camera.height)
        pixels, mask = photograph(view, *size, self._background, self._masks)
        return torch.from_numpy(pixels), None if mask is None else torch.from_numpy(mask)

    def _keep(self, index: int, decoded: Decoded) -> None:
        size = sum(part.numel() for part in decoded if part is not None)
        if self._used + size <= self._budget:
            self._kept[index] = decoded
            self._used += size


def epoch_order(seed: int, epoch: int, count: int) -> np.ndarray:
    """A permutation of 0 ... count-1 out of (seed, epoch), the same in every NumPy."""
    # NumPy promises to keep the stream of a bit generator, not what `permutation` makes of it.
    key = np.array([seed % 2**64, epoch], np.uint64)
    return np.argsort(np.random.Philox(key=key).random_raw(count), kind="stable")
