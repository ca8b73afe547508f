"""Which anchors may show in a picture."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from splat.kernels.native import address, cpu, plain, same_kind, shaped, table_of


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
    shaped("positions", positions, (len(positions), 3))
    shaped("reach", reach, (len(positions), 6))
    shaped("camera_pose", camera_pose, (4, 4))
    shaped("K", K, (3, 3))
    same_kind(positions=positions, reach=reach)
    if not near >= 0:
        raise ValueError(f"near is {near:g}; expected 0 or more world units")
    positions, reach = plain(positions), plain(reach)
    if positions.device.type != "cpu":
        return _in_frustum_by_torch(positions, reach, camera_pose, K, width, height, near)
    pose = [value for row in camera_pose.tolist() for value in row]
    (fx, _, cx), (_, fy, cy), _ = K.tolist()
    n, table = len(positions), table_of(positions)
    seen = torch.empty((n + 63) // 64, dtype=torch.int64)
    count = cpu.sight(
        table, address(positions), address(reach), n, [*pose[:12], fx, fy, cx, cy],
        width, height, near, address(seen),
    )  # fmt: skip
    rows = torch.empty(count, dtype=torch.int64)
    cpu.sight_rows(table, address(seen), n, address(rows))
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
