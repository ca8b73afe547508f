"""Parts of `scale.py` that each have a process of their own; one line of JSON each.

python bench/scale_one.py make FILE COUNT WxH SEED        draws the workload, writes it to FILE
python bench/scale_one.py measure FILE REPEATS ROUNDS THREADS ...
python bench/scale_one.py triad THREADS ...               memory bandwidth, GB/s
"""

from __future__ import annotations

import json
import sys
import time
from statistics import median
from typing import Any

import torch
import workload
from timing import Clock, run_of, state_bytes, summed_up
from torch import Tensor
from traffic import Load, bytes_moved

from splat import kernels
from splat.core.model import Model
from splat.system import machine
from splat.types import Camera

WARM_UP = 2
TILES = {"avx512": (32, 32), "avx2": (32, 16), "base": (16, 16)}
"""Width and height of a tile by instruction set; others have tiles of the last kind."""
TRIAD_BYTES = 64 << 20
"""Of each of the three arrays: more than caches hold."""


def make(file: str, count: int, size: workload.Size, seed: int) -> dict[str, Any]:
    """Draw a workload: in a process of its own, as drawing takes more memory than training."""
    start = time.perf_counter()
    columns, target = workload.rows(count, seed), workload.targets([size])[size]
    torch.save({"columns": columns, "target": target, "size": size}, file)
    return {"seconds": time.perf_counter() - start}


def measure(file: str, repeats: int, rounds: int, threads: list[int]) -> dict[str, Any]:
    """Times on each number of threads, in turns within one run; peak memory; bytes moved."""
    torch.set_num_threads(1)
    before = machine.held_memory()
    saved = torch.load(file)
    size, columns = tuple(saved["size"]), saved["columns"]
    run = run_of(size, columns, saved["target"])
    clock = Clock(run)
    spans: dict[int, list[dict[str, Any]]] = {count: [] for count in threads}
    for _ in range(rounds):
        for count in threads:
            kernels.set_threads(count)
            spans[count] += clock.steps(repeats, WARM_UP)
    peak, scratch = machine.peak_memory(), kernels.scratch_bytes()
    load = load_of(run.model, run.views[0])
    count = load.rows
    return {
        "gaussians": count,
        "size": workload.key_of(size),
        "isa": kernels.isa(),
        "visible": load.visible,
        "pairs": load.pairs,
        "threads": {str(n): summed_up(found, clock.loss) for n, found in spans.items()},
        "bytes_moved": bytes_moved(load),
        "peak_memory_mb": None if peak is None else peak / 1e6,
        "before_mb": None if before is None else before / 1e6,
        "bytes_per_gaussian": None if peak is None or before is None else (peak - before) / count,
        "state_bytes_per_gaussian": state_bytes(run),
        "scratch_bytes_per_gaussian": scratch / count,
    }


@torch.no_grad()
def load_of(model: Model, camera: Camera) -> Load:
    """What a picture has to do; pairs by the larger extent on screen, rounded up: some too many."""
    shown = model(camera)
    radii = kernels.rasterize(
        shown.means, shown.quats, shown.scales, shown.opacities, shown.colors,
        camera.world_to_camera, camera.K, camera.width, camera.height, sh_degree=shown.sh_degree,
    )[3].radii  # fmt: skip
    seen = radii > 0
    local = shown.means[seen] @ camera.world_to_camera[:3, :3].T + camera.world_to_camera[:3, 3]
    places = local @ camera.K.T
    places = places[:, :2] / places[:, 2:]
    across, down = TILES.get(kernels.isa(), TILES["base"])
    pairs = tiles(places[:, 0], radii[seen], camera.width, across)
    pairs = pairs * tiles(places[:, 1], radii[seen], camera.height, down)
    return Load(
        rows=len(shown.means),
        visible=int(seen.sum()),
        pairs=int(pairs.sum()),
        pixels=camera.width * camera.height,
        coefficients=shown.colors.shape[1],
    )


def tiles(middle: Tensor, reach: Tensor, side: int, tile: int) -> Tensor:
    """Tiles along one axis that [middle - reach, middle + reach] touches."""
    last = (side + tile - 1) // tile
    first = ((middle - reach) / tile).floor().clamp(0, last)
    return (((middle + reach) / tile).floor() + 1).clamp(0, last) - first


def triad(threads: list[int]) -> dict[str, float]:
    """GB/s of a = b + 2 c on arrays beyond the caches: two read, one written."""
    count = TRIAD_BYTES // 4
    a, b, c = torch.empty(count), torch.ones(count), torch.ones(count)
    found = {}
    for number in threads:
        torch.set_num_threads(number)
        times = []
        for _ in range(12):
            start = time.perf_counter()
            torch.add(b, c, alpha=2.0, out=a)
            times.append(time.perf_counter() - start)
        found[str(number)] = 3 * TRIAD_BYTES / median(times[2:]) / 1e9
    return found


def main() -> None:
    verb, *rest = sys.argv[1:] or [""]
    if verb == "make":
        found = make(rest[0], int(rest[1]), workload.size_of(rest[2]), int(rest[3]))
    elif verb == "measure":
        found = measure(rest[0], int(rest[1]), int(rest[2]), [int(text) for text in rest[3:]])
    elif verb == "triad":
        found = triad([int(text) for text in rest])
    else:
        sys.exit(__doc__)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
