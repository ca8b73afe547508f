"""One picture on CUDA: the calls of `_gpu` in their order, and the memory that they work in.

How many pairs of a Gaussian and a tile there are is known once rows were projected. That number is
read, which waits for the GPU once a picture; memory comes from torch, which keeps it from step to
step.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from splat.kernels.crossing import needed

MOST_PIXELS = 1 << 32
"""Of a picture: kernels number them in 32 bits."""


class Frame:
    """What one forward pass leaves for its backward and for surveys, as `_cpu.Frame` does.

    The fields are those of `_cpu.Frame`.
    """

    def __init__(self, gpu: Any, like: Tensor, differentiable: bool) -> None:
        """`gpu` is the module `_gpu`, `like` lies where its arrays are to lie; what is not
        `differentiable` has no backward."""
        self._gpu, self._device, self._differentiable = gpu, like.device, differentiable
        self._scene: dict[str, Any] = {}
        self._kept: list[Tensor] = []

    @property
    def native(self) -> Frame:
        """Itself: what `Scratch` calls so."""
        return self

    def forward(self, fields: dict[str, Any]) -> None:
        gpu, n, size = self._gpu, fields["n"], (fields["width"], fields["height"])
        if math.prod(size) >= MOST_PIXELS:
            raise ValueError(
                f"the picture has {size[0]} x {size[1]} pixels; expected fewer than {MOST_PIXELS}"
                " on CUDA: draw it in parts"
            )
        outputs = {name: fields[name] for name in ("background", "image", "alpha", "extra")}
        scene = {name: value for name, value in fields.items() if name not in outputs}
        radii = scene.pop("radii")
        rows, row_room = self._room(gpu.rows_bytes(n), "rows")
        counts = torch.empty(2, dtype=torch.int64, device=self._device)
        counted = needed(counts, counts=(counts, (2,)))
        self._call("project", {**scene, **row_room, **counted, "radii": radii})
        visible, pairs = counts.tolist()
        if pairs > gpu.most_pairs:
            raise ValueError(
                f"the picture has {pairs} pairs of a Gaussian and a tile that it touches; expected"
                f" at most {gpu.most_pairs}: draw it smaller or in parts, or with smaller or fewer"
                " Gaussians"
            )
        extra = int(fields["depth"]) + fields["feature_count"]
        kept, pair_room = self._room(
            gpu.pairs_bytes(pairs, *size, extra, self._differentiable), "pairs_kept"
        )
        _, sorting = self._room(gpu.sorting_bytes(visible, pairs, *size), "sorting")
        self._kept = [rows, kept]
        self._scene = {
            **scene, **row_room, **pair_room, "visible": visible, "pairs": pairs,
            "differentiable": self._differentiable,
        }  # fmt: skip
        self._call("draw", {**self._scene, **sorting, **outputs})

    def backward(self, fields: dict[str, Any]) -> None:
        extra = int(self._scene["depth"]) + self._scene["feature_count"]
        _, scratch = self._sums(extra + fields["map_count"])
        self._call("backward", {**self._scene, **scratch, **fields})

    def survey(self, fields: dict[str, Any]) -> None:
        _, scratch = self._sums(fields["map_count"])
        self._call("survey", {**self._scene, **scratch, **fields})

    @property
    def bytes(self) -> int:
        """Memory that it holds."""
        return sum(memory.numel() for memory in self._kept)

    def _sums(self, columns: int) -> tuple[Tensor, dict[str, int]]:
        size = self._gpu.sums_bytes(self._scene["n"], self._scene["pairs"], columns)
        return self._room(size, "scratch")

    def _room(self, size: int, name: str) -> tuple[Tensor, dict[str, int]]:
        """Memory, which whoever uses it holds, and its address as a field."""
        memory = torch.empty(size, dtype=torch.uint8, device=self._device)
        return memory, needed(memory, **{name: (memory, (size,))})

    def _call(self, name: str, fields: dict[str, Any]) -> None:
        if self._device.type != "cuda":  # tests: the kernels as C++ on the machine's memory
            getattr(self._gpu, name)({**fields, "stream": 0})
            return
        with torch.cuda.device(self._device):
            queue = int(torch.cuda.current_stream().cuda_stream)
            getattr(self._gpu, name)({**fields, "stream": queue})
