"""The number of blocks for which each fits into memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from splat.blocks.division import squarest
from splat.blocks.plan import ROOM
from splat.math import spread
from splat.options import Options
from splat.planning import predict
from splat.system import machine
from splat.system.text import size
from splat.types import View

MOST = 256
"""Most blocks that are chosen automatically."""
FILL = 0.9
"""Share of the free memory that predictions may fill."""
NEIGHBOURS = 2.0
"""Views of a block, as a multiple of its share of the ground, about."""
AROUND = 1.3
"""Points that a block starts from, as a multiple of its share, with margin and backdrop."""


def memory_per_block(options: Options, device: torch.device, workers: int) -> int | None:
    """Bytes that each of some blocks at once may take; None where free memory is not known."""
    if options.memory is not None:
        return options.memory // workers
    if device.type == "cuda":
        return int(FILL * torch.cuda.mem_get_info(device)[0])
    memory = machine.memory()
    return None if memory is None else int(FILL * memory[1]) // workers


def predicted_block(
    views: Sequence[View],
    options: Options,
    device: torch.device,
    start: int,
    cap: int,
    blocks: int,
    libraries: int | None = None,
) -> predict.Prediction:
    """What each of so many blocks is predicted to take, at most.

    `views`, `start` and `cap` are those of all of them; `options` are fitted ones.
    """
    share = 1.0 if blocks == 1 else min(1.0, NEIGHBOURS / blocks)
    some = [views[i] for i in spread(len(views), max(1, round(share * len(views))))]
    more = 1.0 if blocks == 1 else AROUND
    most = cap if blocks == 1 else int(ROOM * cap / blocks)
    begin = min(round(more * start / blocks), most or start)
    least = replace(options, memory=None)
    return predict.predict(some, least, device, begin, most, libraries=libraries)


def fewest_blocks(
    views: Sequence[View],
    options: Options,
    device: torch.device,
    start: int,
    cap: int,
    sides: tuple[float, float],
    most: int,
) -> tuple[int, int]:
    """The fewest blocks, along and across, each of which is predicted to fit into `most` bytes.

    The photos that memory does not hold are read again, so that only Gaussians make a block
    smaller. Raises ValueError where none of `MOST` blocks would fit.
    """
    on_gpu = device.type == "cuda"
    lean = replace(options, cache=0)
    for count in range(1, MOST + 1):
        shape = squarest(count, sides)
        prediction = predicted_block(views, lean, device, start, cap, shape[0] * shape[1])
        if (prediction.gaussians + prediction.scratch if on_gpu else prediction.total) <= most:
            return shape
    raise ValueError(
        f"a block takes {size(prediction.total)} even if there are {MOST}, and has"
        f" {size(most)}; expected more: lower --max-side or --cap, give --memory, or run"
        " fewer --workers at once"
    )
