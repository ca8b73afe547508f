"""Which anchors may show in a picture."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from splat.kernels.crossing import needed, plain, rows_of, same_kind, shaped
from splat.kernels.native import cpu, table_of


def in_frustum(
    positions: Float[Tensor, "N 3"],
    reach: Float[Tensor, "N 6"],
    camera_pose: Float[Tensor, "4 4"],
    K: Float[Tensor, "3 3"],
    width: int,
    height: int,
    near: float,
) -> Int64[Tensor, "V"]:
    """Rows of anchors whose offsets may show in a picture, ascending.

    `camera_pose` is world to camera. An anchor counts where it lies deeper than `near` and its
    pixel within the picture widened on each side by 3 max(exp(reach[:3])) max(fx, fy) / z.
    """
    n = rows_of("positions", positions, 3)
    shaped("reach", reach, (n, 6))
    shaped("camera_pose", camera_pose, (4, 4))
    shaped("K", K, (3, 3))
    if not near >= 0:
        raise ValueError(f"near is {near:g}; expected 0 or more world units")
    positions, reach = plain(positions), plain(reach)
    if positions.device.type != "cpu":
        same_kind(positions=positions, reach=reach)
        return _in_frustum_by_torch(positions, reach, camera_pose, K, width, height, near)
    pose = [value for row in camera_pose.tolist() for value in row]
    (fx, _, cx), (_, fy, cy), _ = K.tolist()
    table, words = table_of(positions), (n + 63) // 64
    seen = torch.empty(words, dtype=torch.int64)
    arrays = {
        **needed(positions, positions=(positions, (n, 3)), reach=(reach, (n, 6))),
        **needed(seen, seen=(seen, (words,))),
    }
    view = {
        "world_to_camera": pose[:12], "fx": fx, "fy": fy, "cx": cx, "cy": cy, "width": width,
        "height": height,
    }  # fmt: skip
    count = cpu.in_frustum(table, {**arrays, "n": n, **view, "near": near})
    rows = torch.empty(count, dtype=torch.int64)
    cpu.frustum_rows(table, {**needed(seen, seen=(seen, (words,)), rows=(rows, (count,))), "n": n})
    return rows


def _in_frustum_by_torch(
    positions: Tensor, reach: Tensor, pose: Tensor, K: Tensor, width: int, height: int, near: float
) -> Tensor:
    pose, K = pose.detach().to(positions), K.detach().to(positions)
    x, y, z = (positions @ pose[:3, :3].T + pose[:3, 3]).unbind(1)
    pad = 3 * reach[:, :3].amax(1).exp() * torch.maximum(K[0, 0], K[1, 1])
    # Times z: none of the comparisons needs the quotient.
    u, v = K[0, 0] * x + K[0, 2] * z + pad, K[1, 1] * y + K[1, 2] * z + pad
    inside = (u >= 0) & (v >= 0) & (u <= width * z + 2 * pad) & (v <= height * z + 2 * pad)
    return ((z > near) & inside).nonzero().squeeze(1)
