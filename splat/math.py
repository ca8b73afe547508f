"""Small geometry shared by models, strategies and exporters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    # Its constants serve those who read files without torch.
    from jaxtyping import Float
    from torch import Tensor

SH_C0 = 0.28209479177387814
"""The constant spherical harmonic, 1 / (2 sqrt(pi))."""
_SH1 = 0.48860251190291987
_SH2 = (1.0925484305920792, 0.94617469575755997, 0.31539156525251999, 0.54627421529603959)
_SH3 = (
    0.59004358992664352, 2.8906114426405538, 0.45704579946446572,
    0.3731763325901154, 1.4453057213202769,
)  # fmt: skip
GOLDEN = (math.sqrt(5) - 1) / 2
"""Steps of this share of a circle fall evenly, however many there are."""
LASTING = 1e5
"""Duration, in clips, from which on a Gaussian is always there and stands still."""
ALWAYS = 1e6
"""Duration of what is always there and stands still."""


def logit_of(opacity: float) -> float:
    """Logit of an opacity, of which the sigmoid is the opacity; infinite at 0 and 1."""
    if opacity <= 0 or opacity >= 1:
        return -math.inf if opacity <= 0 else math.inf
    return math.log(opacity / (1 - opacity))


def beyond_constant(x: Any, y: Any, z: Any, degree: int) -> list[Any]:
    """Real spherical harmonics of bands 1 to `degree`, with the signs of 3DGS, of unit directions:
    arrays of NumPy or torch."""
    xx, yy, zz = x * x, y * y, z * z
    found = []
    if degree >= 1:
        found += [-_SH1 * y, _SH1 * z, -_SH1 * x]
    if degree >= 2:
        a, b, c, d = _SH2
        found += [a * x * y, -a * y * z, b * zz - c, -a * x * z, d * (xx - yy)]
    if degree >= 3:
        a, b, c, d, e = _SH3
        found += [
            -a * y * (3 * xx - yy), b * x * y * z, -c * y * (5 * zz - 1), d * z * (5 * zz - 3),
            -c * x * (5 * zz - 1), e * z * (xx - yy), -a * x * (xx - 3 * yy),
        ]  # fmt: skip
    return found


def rotation_matrices(quats: Float[Tensor, "n 4"]) -> Float[Tensor, "n 3 3"]:
    """Rotations of (w, x, y, z) quaternions, which need not be unit."""
    import torch

    w, x, y, z = torch.nn.functional.normalize(quats, dim=-1).unbind(-1)
    entries = torch.stack(
        [
            1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
            2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
            2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
        ],
        dim=-1,
    )  # fmt: skip
    return entries.view(-1, 3, 3)


def quaternions(rotations: Float[Tensor, "n 3 3"]) -> Float[Tensor, "n 4"]:
    """Unit (w, x, y, z) quaternions of rotations; float64, on the CPU the same to the bit."""
    import torch
    from scipy.spatial.transform import Rotation

    quats = Rotation.from_matrix(rotations.double().cpu().numpy()).as_quat()
    return torch.from_numpy(quats).to(rotations.device).roll(1, 1)


def covariances(
    quats: Float[Tensor, "n 4"], scales: Float[Tensor, "n 3"]
) -> Float[Tensor, "n 3 3"]:
    """Covariances R diag(scales^2) R^T."""
    half = rotation_matrices(quats) * scales[:, None, :]
    return half @ half.transpose(1, 2)


def sh_from_rgb(rgb: Tensor) -> Tensor:
    """Constant coefficient that draws as this colour."""
    return (rgb - 0.5) / SH_C0


def rgb_from_sh(constant: Tensor) -> Tensor:
    """Colour drawn by a constant coefficient alone, not clamped."""
    return 0.5 + SH_C0 * constant


def moment(
    means: Float[Tensor, "n 3"],
    opacities: Float[Tensor, "n"],
    time: Float[Tensor, "n"],
    duration: Float[Tensor, "n"],
    velocity: Float[Tensor, "n 3"],
    at: float,
) -> tuple[Float[Tensor, "n 3"], Float[Tensor, "n"]]:
    """Means and opacities of moving Gaussians at an instant (FreeTimeGS, Wang et al. 2025).

    A mean goes along a line, m + v (t - time), and opacity fades with the distance in time,
    o exp(-((t - time) / duration)^2 / 2). The pull on where a Gaussian is in a picture moves its
    mean and velocity, and not its time. What lasts `LASTING` or longer is always there and stands
    still, whatever its velocity is; nothing pulls at its motion.
    """
    import torch

    apart = torch.where(duration < LASTING, at - time, 0)
    # Beyond this the factor is below 1e-17, and a square of it could be infinite.
    far = (apart / duration).square().clamp_max(80)
    return means + velocity * apart.detach()[:, None], opacities * (far * -0.5).exp()


def spread(count: int, most: int) -> list[int]:
    """At most so many of 0 ... count-1, evenly spread."""
    return [i * count // min(count, most) for i in range(min(count, most))]


def spread_over(times: Sequence[float], most: int) -> list[int]:
    """At most so many of the views taken at these times, evenly spread, ascending.

    Views of one instant are spread by their number, as `spread` does. Else instants are served
    alike, and which views of one are chosen goes round by the golden ratio: so many views as there
    are instants cover all of these, and soon all cameras too.
    """
    count, most = len(times), min(len(times), most)
    by_time: dict[float, list[int]] = {}
    for index, time in enumerate(times):
        by_time.setdefault(time, []).append(index)
    instants = [by_time[time] for time in sorted(by_time)]
    if len(instants) < 2 or most == count:
        return spread(count, most)
    wanted = [0] * len(instants)
    left = most
    while left:  # an instant of few views leaves its share to the others
        open_ = [i for i, views in enumerate(instants) if wanted[i] < len(views)]
        for i in (open_[k] for k in spread(len(open_), left)):
            wanted[i] += 1
            left -= 1
    chosen: list[int] = []
    turn = 0.0
    for views, number in zip(instants, wanted, strict=True):
        if number:
            first = int(turn * len(views))
            places = spread(len(views), number)
            chosen += [views[(first + place) % len(views)] for place in places]
            turn = (turn + GOLDEN) % 1
    return sorted(chosen)
