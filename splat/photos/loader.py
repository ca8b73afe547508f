"""Decoded photographs, one a step: an order made of (seed, epoch), a cache, and a look ahead."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from typing import overload

import cv2
import numpy as np
import torch
from jaxtyping import UInt8

from splat.core.frame import camera_to_frame
from splat.photos.bulk import AHEAD
from splat.photos.decoder import Decoded, Decoder, bytes_of
from splat.photos.disk_cache import Shelf
from splat.photos.modes import MaskMode
from splat.photos.resolution import Sizes
from splat.rules.views import even_views
from splat.scene import shrunk
from splat.types import Batch, Camera, Frame, View

Shown = tuple[int, float]
"""Number of a view, and how many times smaller than its camera."""
MOST_PINNED = 4 << 30
"""Bytes of photos kept in pinned memory where a GPU trains, which it copies by itself; no more of
it, since the system cannot use it for anything else."""


class Loader:
    """Batches for `Run.batches`: a function of the step alone, whatever the threads do.

    Every epoch shows every view once, in an order drawn from (seed, epoch), at the size that
    `sizes` gives the step: the whole picture, averaged by area. Views stay decoded, first come
    first kept, within `budget_bytes`, and so do smaller ones for as long as their size is shown;
    `ahead` further ones are decoded before they are asked for. Where the budget holds not all of
    them, they are kept on the `shelf` and read from there. With `reduced`, JPEGs are decoded no
    larger than needed, which changes pixels a little. With `outlines`, `depths` and `normals`
    batches have these, as far as they are there. `turn`: which of how many processes this is, that
    show the views by turns, `each` of them so many a step. Call from one thread; `close` when done.
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
        ahead: int = AHEAD,
        outlines: bool = False,
        depths: bool = False,
        normals: bool = False,
        reduced: bool = False,
        shelf: Shelf | None = None,
        turn: tuple[int, int] = (0, 1),
        each: int = 1,
    ) -> None:
        if not views:
            raise ValueError("no views to load; expected at least one: see `--eval`")
        self.views = tuple(views)
        sized = [shrunk(view.camera, downscale, max_side) for view in views]
        self.cameras = tuple(camera_to_frame(camera, frame).to(device) for camera in sized)
        """Cameras of all views at full size, in the frame of training."""
        self._decoder = Decoder(
            self.views, self.cameras, background=background, masks=masks, scale=frame.scale,
            outlines=outlines, depths=depths, normals=normals, reduced=reduced,
        )  # fmt: skip
        if shelf is not None and self._bytes_at(1.0) > budget_bytes:
            self._decoder.keep_on(shelf)
        self._budget, self._device, self._seed, self._ahead = budget_bytes, device, seed, ahead
        self._turn, self._each = turn, each
        self._kept: dict[Shown, Decoded] = {}
        self._cameras: dict[Shown, Camera] = {}
        self._factor = 1.0
        """How many times smaller the picture of the last step was."""
        self._used = 0
        self._pinned = 0
        self._on_gpu = torch.device(device).type == "cuda"
        self._coming: dict[Shown, Future[tuple[Decoded, Decoded]]] = {}
        # OpenCV's own threads would spin on the cores that train.
        self._pool = ThreadPoolExecutor(workers, "photo", cv2.setNumThreads, (1,))

    def __len__(self) -> int:
        return len(self.views)

    def __call__(self, number: int) -> Batch:
        """A batch by its number here: that of the step, where a step shows one photo."""
        now, *window = (self.shown_at(number + i) for i in range(self._ahead + 1))
        # Views asked for out of turn (after a resume) leave no stale futures behind.
        for shown in [s for s in self._coming if s != now and s not in window]:
            self._coming.pop(shown).cancel()
        if now[1] != self._factor:
            self._factor = now[1]
            self._forget({1.0, self._factor})
        self._request(now)
        for later in window:
            self._request(later)
        return self._batch(now)

    def shown_at(self, number: int) -> Shown:
        """Which view a batch shows, and how many times smaller."""
        return self.index_at(number), self.sizes.factor(number // self._each)

    def index_at(self, number: int) -> int:
        """Which view a batch shows."""
        step, nth = divmod(number, self._each)
        which, of = self._turn
        epoch, place = divmod((step * of + which) * self._each + nth, len(self.views))
        return int(epoch_order(self._seed, epoch, len(self.views))[place])

    def batch(self, index: int) -> Batch:
        """View `index`, in the order of `views`, at full size."""
        return self._batch((index, 1.0))

    def batch_at(self, index: int, step: int) -> Batch:
        """View `index`, at the size that a step shows."""
        return self._batch((index, self.sizes.factor(step)))

    def pictures(self, most: int) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
        """At most so many of the photos at full size, evenly spread."""
        for index in even_views(self.cameras, most):
            yield self.batch(index).pixels.cpu().numpy()

    def some(self, indices: Sequence[int]) -> Sequence[Batch]:
        """Some of the views at full size on the CPU, each decoded whenever it is looked at."""
        return _Some(self, indices)

    def bytes_needed(self) -> int:
        """Bytes of all views decoded (masks from an alpha channel not counted), and with them the
        largest of the smaller sizes."""
        small = [self._bytes_at(factor) for factor in self.sizes.small]
        return self._bytes_at(1.0) + max(small, default=0)

    def bytes_held(self) -> int:
        """Bytes in the cache now; at most `ahead` + 1 views are in flight beside it."""
        return self._used

    def close(self) -> None:
        """Stop decoding; what is in flight is thrown away."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._coming.clear()

    def _bytes_at(self, factor: float) -> int:
        return sum(self._decoder.bytes_of(index, factor) for index in range(len(self)))

    def _camera(self, shown: Shown) -> Camera:
        index, factor = shown
        if factor == 1:
            return self.cameras[index]
        if shown not in self._cameras:
            self._cameras[shown] = shrunk(self.cameras[index], factor)
        return self._cameras[shown]

    def _batch(self, shown: Shown) -> Batch:
        coming = self._coming.pop(shown, None)
        decoded = self._kept.get(shown)
        if decoded is None:
            whole, decoded = (
                coming.result() if coming is not None else self._made(*self._job(shown))
            )
            self._keep((shown[0], 1.0), whole)
            decoded = self._keep(shown, decoded)
        pixels, mask, covered, depth, normal = decoded
        camera, index = self._camera(shown), shown[0]
        shrink = self.cameras[index].width / camera.width
        name = self.views[index].name
        batch = Batch(camera, pixels, mask, name, shrink, covered, depth, normal)
        return batch.to(self._device) if self._on_gpu else batch

    def _request(self, shown: Shown) -> None:
        if shown not in self._kept and shown not in self._coming:
            self._coming[shown] = self._pool.submit(self._made, *self._job(shown))

    def _job(self, shown: Shown) -> tuple[int, Camera, Decoded | None]:
        return shown[0], self._camera(shown), self._kept.get((shown[0], 1.0))

    def _made(self, index: int, camera: Camera, whole: Decoded | None) -> tuple[Decoded, Decoded]:
        """A view at full size, decoded unless it is there, and at the size of a camera."""
        whole = self._decoder.whole(index) if whole is None else whole
        size = (camera.width, camera.height)
        if size == (whole[0].shape[1], whole[0].shape[0]):
            return whole, whole
        return whole, self._decoder.smaller(whole, *size)

    def _keep(self, shown: Shown, decoded: Decoded) -> Decoded:
        """Keep a view if there is room; the view as it is kept."""
        size = bytes_of(decoded)
        if shown in self._kept:
            return self._kept[shown]
        if self._used + size > self._budget:
            return decoded
        # By the thread that trains: pinning is by the GPU that a thread has chosen.
        if self._on_gpu and self._pinned + size <= MOST_PINNED:
            pixels, *maps = decoded
            mask, covered, depth, normal = (m if m is None else m.pin_memory() for m in maps)
            decoded = pixels.pin_memory(), mask, covered, depth, normal
            self._pinned += size
        self._kept[shown] = decoded
        self._used += size
        return decoded

    def _forget(self, factors: set[float]) -> None:
        """Drop cached views of other sizes than these."""
        for shown in [shown for shown in self._kept if shown[1] not in factors]:
            gone = self._kept.pop(shown)
            self._used -= bytes_of(gone)
            self._pinned -= bytes_of(gone) if gone[0].is_pinned() else 0
        for shown in [shown for shown in self._cameras if shown[1] not in factors]:
            del self._cameras[shown]


class _Some(Sequence[Batch]):
    def __init__(self, photos: Loader, indices: Sequence[int]) -> None:
        self._photos, self._indices = photos, indices

    def __len__(self) -> int:
        return len(self._indices)

    @overload
    def __getitem__(self, at: int) -> Batch: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Batch]: ...
    def __getitem__(self, at: int | slice) -> Batch | Sequence[Batch]:
        if isinstance(at, slice):
            return _Some(self._photos, self._indices[at])
        return self._photos.batch(self._indices[at]).to("cpu")


@lru_cache(maxsize=4)  # asked for again and again at every step of an epoch
def epoch_order(seed: int, epoch: int, count: int) -> np.ndarray:
    """A permutation of 0 ... count-1 out of (seed, epoch), the same in every NumPy."""
    # NumPy promises to keep the stream of a bit generator, not what `permutation` makes of it.
    key = np.array([seed % 2**64, epoch], np.uint64)
    order = np.argsort(np.random.Philox(key=key).random_raw(count), kind="stable")
    order.flags.writeable = False
    return order
