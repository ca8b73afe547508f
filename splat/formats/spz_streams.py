"""Values of Gaussians as the bytes of an `.spz`, a stream for each attribute.

In the order of the file: positions (fixed point, 24 bits), opacities, colours, logarithms of scales
(8 bits), rotations (up to version 2 x, y, z of 8 bits, later the three smaller components of 10
bits), and the other harmonics (8 bits).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from splat.formats.rows import Rows, unit_quats
from splat.formats.spz_layout import COLOR, REACH, Layout, Signs, signs_of_harmonics

_HALF_ROOT = 0.5**0.5
"""Bound of all components of a unit quaternion but its largest."""


def encode(rows: Rows, layout: Layout, sh_bits: tuple[int, int]) -> list[UInt8[Tensor, "n _"]]:
    """The streams of some rows, version 2 or later; what is out of range goes to its end.

    `sh_bits` are those that count of the first band and of the others.
    """
    positions = _rounded(rows.means * 2.0**layout.point).clamp(-REACH, REACH).int()
    rotations = _first_three if layout.version < 3 else _smallest_three
    return [
        _bytes(positions, 3).flatten(1),
        _byte(rows.opacities * 255)[:, None],
        _byte(rows.sh[:, 0] * (COLOR * 255) + 127.5),
        _byte((rows.log_scales + 10) * 16),
        rotations(rows.quats),
        _harmonics(rows.sh[:, 1:], sh_bits).flatten(1),
    ]


def decode(streams: Sequence[UInt8[Tensor, "n _"]], layout: Layout) -> Rows:
    """The rows of streams; those of degree 4 lose their last band."""
    positions, opacities, colors, scales, rotations, harmonics = streams
    k = min((layout.degree + 1) ** 2, 16)
    sh = torch.empty(len(colors), k, 3, device=colors.device)
    sh[:, 0] = (colors / 255 - 0.5) / COLOR
    sh[:, 1:] = harmonics[:, : 3 * (k - 1)].unflatten(1, (k - 1, 3))
    sh[:, 1:].sub_(128).div_(128)
    return Rows(
        means=_halves(positions) if layout.version == 1 else _fixed(positions, layout.point),
        log_scales=scales / 16 - 10,
        quats=(_from_first_three if layout.version < 3 else _from_smallest_three)(rotations),
        opacities=opacities[:, 0] / 255,
        sh=sh,
    )


def flipped(rows: Rows, signs: Signs) -> Rows:
    """The same rows along other axes: those point the other way whose sign is -1."""
    if signs == (1, 1, 1):
        return rows
    x, y, z = signs
    of_sh = signs_of_harmonics(signs, rows.sh.shape[1])
    return replace(
        rows,
        means=rows.means * rows.means.new_tensor(signs),
        quats=rows.quats * rows.quats.new_tensor([1, y * z, x * z, x * y]),
        sh=rows.sh * rows.sh.new_tensor(of_sh)[:, None],
    )


def _rounded(values: Tensor) -> Tensor:
    # Away from zero at halves, as in C, so that files equal those of other writers.
    return values.sign().mul_(0.5).add_(values).trunc_()


def _byte(values: Tensor) -> UInt8[Tensor, "..."]:
    return _rounded(values).clamp(0, 255).to(torch.uint8)


def _bytes(values: Int[Tensor, "..."], count: int) -> UInt8[Tensor, "... count"]:
    """The low `count` bytes of numbers, little-endian."""
    shifts = torch.arange(0, 8 * count, 8, device=values.device)
    return ((values[..., None] >> shifts) & 255).to(torch.uint8)


def _whole(values: UInt8[Tensor, "... count"]) -> Int[Tensor, "..."]:
    shifts = torch.arange(0, 8 * values.shape[-1], 8, device=values.device)
    return (values.long() << shifts).sum(-1)


def _fixed(stream: UInt8[Tensor, "n 9"], point: int) -> Float[Tensor, "n 3"]:
    whole = _whole(stream.unflatten(1, (3, 3)))
    sign = 1 << 23
    return ((whole ^ sign) - sign).float() / 2.0**point


def _halves(stream: UInt8[Tensor, "n 6"]) -> Float[Tensor, "n 3"]:
    return _whole(stream.unflatten(1, (3, 2))).to(torch.int16).view(torch.float16).float()


def _first_three(quats: Float[Tensor, "n 4"]) -> UInt8[Tensor, "n 3"]:
    quats = _of_largest_w(quats)
    xyz = torch.where(quats[:, :1] < 0, -quats[:, 1:], quats[:, 1:])
    return _byte(xyz * 127.5 + 127.5)


def _of_largest_w(quats: Float[Tensor, "n 4"]) -> Float[Tensor, "n 4"]:
    """Quaternions of the same ellipsoids whose w, which is not stored, is at least 1/2.

    Half a turn about an axis of its own leaves an ellipsoid as it is, and changes places of the
    components. A small w would come back of the rounding of the others, degrees away.
    """
    w, x, y, z = quats.unbind(1)
    same = torch.stack([w, x, y, z, -x, w, z, -y, -y, -z, w, x, -z, y, -x, w], 1).unflatten(
        1, (4, 4)
    )
    # The one that is stays unless another is clearly larger: bytes are those of other writers.
    largest = torch.where(
        w.abs() < 0.5, quats.abs().argmax(1), torch.zeros_like(w, dtype=torch.long)
    )
    chosen: Tensor = same.gather(1, largest[:, None, None].expand(-1, 1, 4))[:, 0]
    return chosen


def _from_first_three(stream: UInt8[Tensor, "n 3"]) -> Float[Tensor, "n 4"]:
    xyz = stream / 127.5 - 1
    return unit_quats(torch.cat([_remaining(xyz), xyz], 1))


def _smallest_three(quats: Float[Tensor, "n 4"]) -> UInt8[Tensor, "n 4"]:
    xyzw = quats.roll(-1, 1)
    largest = xyzw.abs().argmax(1, keepdim=True)
    negative = (xyzw < 0) ^ (xyzw.gather(1, largest) < 0)
    magnitude = (511 * (xyzw.abs() / _HALF_ROOT) + 0.5).long().clamp_max(511)
    codes = (negative.long() << 9 | magnitude).gather(1, _others(largest))
    shifts = torch.tensor([20, 10, 0], device=quats.device)
    return _bytes(largest[:, 0] << 30 | (codes << shifts).sum(1), 4)


def _from_smallest_three(stream: UInt8[Tensor, "n 4"]) -> Float[Tensor, "n 4"]:
    word = _whole(stream)[:, None]
    largest = word >> 30
    codes = word >> torch.tensor([20, 10, 0], device=stream.device)
    magnitude = (codes & 511).float() * (_HALF_ROOT / 511)
    three = torch.where((codes & 512) > 0, -magnitude, magnitude)
    xyzw = torch.empty(len(stream), 4, device=stream.device)
    xyzw.scatter_(1, _others(largest), three).scatter_(1, largest, _remaining(three))
    return unit_quats(xyzw.roll(1, 1))


def _others(largest: Int[Tensor, "n 1"]) -> Int[Tensor, "n 3"]:
    """Numbers of all components but the largest, ascending."""
    slots = torch.arange(3, device=largest.device)
    return slots + (slots >= largest)


def _remaining(three: Float[Tensor, "n 3"]) -> Float[Tensor, "n 1"]:
    return (1 - three.square().sum(1, keepdim=True)).clamp_min(0).sqrt()


def harmonics_rounded(
    values: Float[Tensor, "n 3"], k: int, bits: tuple[int, int]
) -> Float[Tensor, "n 3"]:
    """What is read back of coefficient `k`, from 1 up."""
    coded = _coded(values, values.new_tensor(_step_sizes(bits)[k - 1]))
    return coded.to(values.dtype).sub_(128).div_(128)


def _harmonics(sh: Float[Tensor, "n k 3"], bits: tuple[int, int]) -> UInt8[Tensor, "n k 3"]:
    return _coded(sh, sh.new_tensor(_step_sizes(bits)[: sh.shape[1]])[:, None])


def _step_sizes(bits: tuple[int, int]) -> list[int]:
    """Quantisation step of every coefficient but the constant one, in units of the byte."""
    of_first, of_others = (1 << 8 - each for each in bits)
    return [of_first] * 3 + [of_others] * 12


def _coded(sh: Tensor, step: Tensor) -> Tensor:
    # Lower bits are cleared: what remains compresses better and is decoded as any other byte.
    value = _rounded(sh * 128).clamp_(-128, 128).add_(128)
    value.add_((step / 2).floor()).div_(step).floor_().mul_(step)
    return value.clamp_max_(255).to(torch.uint8)
