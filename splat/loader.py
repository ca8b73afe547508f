"""Decoded photographs, one a step: an order made of (seed, epoch), a cache, and a look ahead."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from splat.guides import given_depth, given_normal, resized_depth, resized_normal
from splat.photo import MaskMode, averaged, outline, photograph
from splat.resolution import Sizes
from splat.seed import in_frame
from splat.types import Batch, Camera, Frame, View

Decoded = tuple[
    UInt8[Tensor, "h w 3"],
    UInt8[Tensor, "h w"] | None,
    UInt8[Tensor, "h w"] | None,
    Float[Tensor, "h w"] | None,
    Float[Tensor, "h w 3"] | None,
]
"""Pixels, mask, outline, depth and normals of a `Batch`."""
Shown = tuple[int, float]
"""Which view, and how many times smaller than its camera."""


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

    Every epoch shows every view once, in an order drawn from (seed, epoch), at the size that
    `sizes` gives the step: the whole picture, averaged by area. Views stay decoded, first come
    first kept, within `budget_bytes`, and so do smaller ones for as long as their size is shown;
    `ahead` further ones are decoded before they are asked for. With `outlines`, `depths` and
    `normals` batches have these, as far as they are there. Call from one thread; `close` when done.
    """

    sizes: Sizes = Sizes()
    """Sizes of the steps' pictures."""

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
        outlines: bool = False,
        depths: bool = False,
        normals: bool = False,
    ) -> None:
        if not views:
            raise ValueError("no views to load; expected at least one: see `--eval`")
        self.views = tuple(views)
        sized = [shrunk(view.camera, downscale, max_side) for view in views]
        self.cameras = tuple(in_frame(camera, frame).to(device) for camera in sized)
        """Cameras of all views at full size, in the frame of training."""
        self._background, self._masks, self._outlines = background, masks, outlines
        self._depths, self._normals, self._scale = depths, normals, frame.scale
        self._budget, self._device, self._seed, self._ahead = budget_bytes, device, seed, ahead
        self._kept: dict[Shown, Decoded] = {}
        self._used = 0
        self._coming: dict[Shown, Future[tuple[Decoded, Decoded]]] = {}
        # OpenCV's own threads would spin on the cores that train.
        self._pool = ThreadPoolExecutor(workers, "photo", cv2.setNumThreads, (1,))

    def __len__(self) -> int:
        return len(self.views)

    def __call__(self, step: int) -> Batch:
        """The batch of a step."""
        now, *window = (self.shown_at(step + i) for i in range(self._ahead + 1))
        # Views asked for out of turn (after a resume) leave no stale futures behind.
        self._coming = {s: f for s, f in self._coming.items() if s == now or s in window}
        self._forget({1.0, now[1]})
        self._request(now)
        for later in window:
            self._request(later)
        return self._batch(now)

    def shown_at(self, step: int) -> Shown:
        """Which view a step shows, and how many times smaller."""
        return self.index_at(step), self.sizes.factor(step)

    def index_at(self, step: int) -> int:
        """Which view a step shows."""
        epoch, place = divmod(step, len(self.views))
        return int(epoch_order(self._seed, epoch, len(self.views))[place])

    def batch(self, index: int) -> Batch:
        """View `index`, in the order of `views`, at full size."""
        return self._batch((index, 1.0))

    def batch_at(self, index: int, step: int) -> Batch:
        """View `index`, at the size that a step shows."""
        return self._batch((index, self.sizes.factor(step)))

    def pictures(self, most: int) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
        """At most so many of the photos at full size, evenly spread."""
        for index in spread(len(self), most):
            yield self.batch(index).pixels.cpu().numpy()

    def bytes_needed(self) -> int:
        """What all views take decoded (masks that hide in an alpha channel not counted), and with
        them the largest of the smaller sizes."""
        small = [self._bytes_at(factor) for factor in self.sizes.small]
        return self._bytes_at(1.0) + max(small, default=0)

    def bytes_held(self) -> int:
        """What the cache holds now; at most `ahead` + 1 views are in flight beside it."""
        return self._used

    def close(self) -> None:
        """Stop decoding; what is in flight is thrown away."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._coming.clear()

    def _bytes_at(self, factor: float) -> int:
        total = 0
        for i, view in enumerate(self.views):
            camera = self._camera((i, factor))
            masked = view.mask is not None or view.lens is not None
            given = 4 * (self._depths and view.depth is not None)
            given += 12 * (self._normals and view.normal is not None)
            total += camera.width * camera.height * (3 + masked + self._outlines + given)
        return total

    def _camera(self, shown: Shown) -> Camera:
        index, factor = shown
        return self.cameras[index] if factor == 1 else shrunk(self.cameras[index], factor)

    def _batch(self, shown: Shown) -> Batch:
        coming = self._coming.pop(shown, None)
        found = self._kept.get(shown)
        if found is None:
            whole, found = coming.result() if coming is not None else self._made(*self._job(shown))
            self._keep((shown[0], 1.0), whole)
            self._keep(shown, found)
        pixels, mask, covered, depth, normal = found
        camera, index = self._camera(shown), shown[0]
        shrink = self.cameras[index].width / camera.width
        name = self.views[index].name
        batch = Batch(camera, pixels, mask, name, shrink, covered, depth, normal)
        return batch if torch.device(self._device).type == "cpu" else batch.to(self._device)

    def _request(self, shown: Shown) -> None:
        if shown not in self._kept and shown not in self._coming:
            self._coming[shown] = self._pool.submit(self._made, *self._job(shown))

    def _job(self, shown: Shown) -> tuple[int, Camera, Decoded | None]:
        return shown[0], self._camera(shown), self._kept.get((shown[0], 1.0))

    def _made(self, index: int, camera: Camera, whole: Decoded | None) -> tuple[Decoded, Decoded]:
        """A view at full size, decoded unless it is there, and at the size of a camera."""
        whole = self._decode(index) if whole is None else whole
        pixels, mask, covered, depth, normal = whole
        size = (camera.width, camera.height)
        if size == (pixels.shape[1], pixels.shape[0]):
            return whole, whole
        small, counts = averaged(pixels.numpy(), None if mask is None else mask.numpy(), *size)
        inside = None
        if covered is not None:
            inside = np.asarray(cv2.resize(covered.numpy(), size, interpolation=cv2.INTER_AREA))
        depth_small = None if depth is None else resized_depth(depth.numpy(), *size)
        normal_small = None if normal is None else resized_normal(normal.numpy(), *size)
        return whole, _tensors(small, counts, inside, depth_small, normal_small)

    def _decode(self, index: int) -> Decoded:
        view, camera = self.views[index], self.cameras[index]
        size = (camera.width, camera.height)
        pixels, mask = photograph(view, *size, self._background, self._masks)
        covered = outline(view, *size) if self._outlines else None
        depth = given_depth(view, *size, self._scale) if self._depths else None
        normal = given_normal(view, *size) if self._normals else None
        return _tensors(pixels, mask, covered, depth, normal)

    def _keep(self, shown: Shown, decoded: Decoded) -> None:
        size = _bytes(decoded)
        if shown not in self._kept and self._used + size <= self._budget:
            self._kept[shown] = decoded
            self._used += size

    def _forget(self, factors: set[float]) -> None:
        """Let go what is kept at other sizes than these."""
        for shown in [shown for shown in self._kept if shown[1] not in factors]:
            self._used -= _bytes(self._kept.pop(shown))


def _tensors(
    pixels: np.ndarray,
    mask: np.ndarray | None,
    covered: np.ndarray | None,
    depth: np.ndarray | None,
    normal: np.ndarray | None,
) -> Decoded:
    return (
        torch.from_numpy(pixels),
        None if mask is None else torch.from_numpy(mask),
        None if covered is None else torch.from_numpy(covered),
        None if depth is None else torch.from_numpy(depth),
        None if normal is None else torch.from_numpy(normal),
    )


def _bytes(decoded: Decoded) -> int:
    return sum(part.numel() * part.element_size() for part in decoded if part is not None)


def spread(count: int, most: int) -> list[int]:
    """At most so many of 0 ... count-1, evenly spread."""
    return [i * count // min(count, most) for i in range(min(count, most))]


@lru_cache(maxsize=4)  # asked for again and again at every step of an epoch
def epoch_order(seed: int, epoch: int, count: int) -> np.ndarray:
    """A permutation of 0 ... count-1 out of (seed, epoch), the same in every NumPy."""
    # NumPy promises to keep the stream of a bit generator, not what `permutation` makes of it.
    key = np.array([seed % 2**64, epoch], np.uint64)
    order = np.argsort(np.random.Philox(key=key).random_raw(count), kind="stable")
    order.flags.writeable = False
    return order
