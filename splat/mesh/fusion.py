"""Truncated signed distances of a grid, averaged over depth pictures (Curless & Levoy 1996).

Written in torch of our own, so that meshes need no package of hundreds of megabytes, and run where
the Gaussians are. Blocks of 8 x 8 x 8 voxels that lie in front of all that a picture shows are
counted as a whole, those behind it are not looked at; only the others have voxels in memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from numpy.typing import NDArray
from torch import Tensor

from splat.mesh.bounds import Bounds
from splat.mesh.cubes import check_memory, check_scikit_image, zero_surface
from splat.mesh.mesh import Mesh
from splat.mesh.pictures import Picture

SIDE = 8
"""Voxels along an edge of a block."""
_VOXELS = SIDE**3
_LEAST = 0.5
"""Least weight of all pictures together at which the distance of a voxel is known."""
_CHUNK = 56
"""Blocks that are projected at a time, by one thread: what fits the caches. Torch divides work on
more than 32,768 numbers among threads, which takes long where others use the cores."""
_SLAB = 2048
"""Blocks whose sums lie together: 25 MB."""
_JUMP = 0.02
"""Relative difference of depth up to which neighbouring pixels are of one surface."""
_GREY = 128


def from_depth(
    pictures: Iterable[Picture],
    low: Sequence[float],
    high: Sequence[float],
    voxel: float,
    truncation: float,
) -> Mesh:
    """The surface that depth pictures show inside a box, coloured by them.

    Everything is in the frame and the units of the pictures' cameras: `voxel` the side of a voxel,
    `truncation` how far before and behind a surface a picture tells of its distance, about 4
    voxels. What no picture saw stays open. A mesh without faces where the box holds nothing.
    """
    check_scikit_image()
    if not voxel > 0 or not truncation >= voxel:
        raise ValueError(
            f"voxel is {voxel:g} and truncation {truncation:g}; expected a voxel above 0 and a"
            " truncation that is not less"
        )
    volume: Volume | None = None
    for picture in pictures:
        if volume is None:
            volume = Volume(low, high, voxel, truncation, picture.depth.device)
        volume.add(picture)
    if volume is None:
        raise ValueError("no pictures to fuse; expected depth from one camera or more")
    return volume.mesh()


class Volume:
    """TSDF volume: sums over pictures, for voxels near surfaces and for blocks of free space."""

    def __init__(
        self,
        low: Sequence[float],
        high: Sequence[float],
        voxel: float,
        truncation: float,
        device: torch.device | str = "cpu",
    ) -> None:
        sides = [b - a for a, b in zip(low, high, strict=True)]
        if not all(side > 0 for side in sides):
            raise ValueError(
                f"the box from {list(low)} to {list(high)} is empty; expected low < high"
            )
        self.voxel, self.truncation = voxel, truncation
        self.counts = tuple(max(2, math.ceil(side / voxel)) for side in sides)
        """Voxels along each axis; the centre of the first is half a voxel inside the low corner."""
        check_memory(self.counts)
        self.blocks = tuple(-(-count // SIDE) for count in self.counts)
        self._low = torch.tensor([float(value) for value in low], device=device)
        n = math.prod(self.blocks)
        self._row = torch.full((n,), -1, dtype=torch.int64, device=device)
        self._free = torch.zeros(n, device=device)
        self._rows = 0
        # Sums of a slab of blocks each, so that they need not be copied when there are more.
        self._slabs: list[Float[Tensor, "6 b 512"]] = []

    def add(self, picture: Picture) -> None:
        """Fuse a picture."""
        pose = picture.camera.world_to_camera
        corners = self._corners() @ pose[:3, :3].T + pose[:3, 3]
        steps = self.voxel * self._inner() @ pose[:3, :3].T
        half = self.voxel * (SIDE - 1) / 2
        thickness = half * float(pose[2, :3].abs().sum())
        seen = Bounds(picture).visible_blocks(
            corners + steps.mean(0), half * 3**0.5, thickness, self.truncation
        )
        self._free[seen.free] += seen.weight
        pixels = Pixels(picture)

        def added(place: tuple[int, Tensor, Tensor]) -> None:
            slab, row, blocks = place
            local = corners[blocks, :, None] + steps.T
            for total, part in zip(
                self._slabs[slab], pixels.samples(local, self.truncation), strict=True
            ):
                total.index_add_(0, row, part)

        # Every block is in one part only: sums are the same for any number of threads.
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            list(pool.map(added, self._places(seen.near)))

    def mesh(self) -> Mesh:
        """The surface of all pictures so far."""
        values, known = self._dense()
        cells = known[:-1, :-1, :-1].copy()
        for i in range(1, 8):
            x, y, z = (slice(bit, None if bit else -1) for bit in (i >> 2, i >> 1 & 1, i & 1))
            cells &= known[x, y, z]
        mesh = zero_surface(values, cells)
        if not len(mesh.faces):
            return mesh
        colors = self._colors(torch.from_numpy(mesh.vertices).to(self._low.device))
        low = self._low.cpu().double().numpy()
        return Mesh(low + self.voxel * (mesh.vertices + 0.5), mesh.faces, colors)

    def _corners(self) -> Float[Tensor, "n 3"]:
        """Centres of the first voxels of all blocks."""
        axes = [torch.arange(n, device=self._low.device) * SIDE for n in self.blocks]
        return self._low + self.voxel * (torch.cartesian_prod(*axes) + 0.5)

    def _inner(self) -> Float[Tensor, "512 3"]:
        """Places of the voxels in a block, in voxels from its first."""
        axis = torch.arange(SIDE, device=self._low.device)
        return torch.cartesian_prod(axis, axis, axis).to(self._low)

    def _places(self, blocks: Int[Tensor, "m"]) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Some blocks at a time: their slab, their rows in it, and their numbers.

        Blocks that have no sums yet get some.
        """
        new = blocks[self._row[blocks] < 0]
        self._row[new] = torch.arange(self._rows, self._rows + len(new), device=new.device)
        self._rows += len(new)
        while self._rows > len(self._slabs) * _SLAB:
            self._slabs.append(torch.zeros(6, _SLAB, _VOXELS, device=new.device))
        row, order = self._row[blocks].sort()
        blocks = blocks[order]
        sizes = (row // _SLAB).bincount(minlength=len(self._slabs)).tolist()
        for slab, (rows, some) in enumerate(
            zip(row.split(sizes), blocks.split(sizes), strict=True)
        ):
            for part, own in zip(rows.split(_CHUNK), some.split(_CHUNK), strict=True):
                if len(part):
                    yield slab, part - slab * _SLAB, own

    def _dense(self) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Mean distances in units of the truncation, and whether they are known, of all voxels."""
        a, b, c = self.blocks
        shape = (a, SIDE, b, SIDE, c, SIDE)
        values, known = np.ones(shape, np.float32), np.zeros(shape, bool)
        known[:] = (self._free >= _LEAST).cpu().numpy().reshape(a, 1, b, 1, c, 1)
        there = (self._row >= 0).nonzero()[:, 0]
        for slab, row, blocks in self._places(there):
            free, sums = self._free[blocks, None], self._slabs[slab][:2, row]
            weight = free + sums[1]
            mean = (free + sums[0]) / weight.clamp_min(1e-6)
            sure = weight >= _LEAST
            number = blocks.cpu().numpy()
            where = (number // (b * c), slice(None), number // c % b, slice(None), number % c)
            values[where] = mean.where(sure, 1).view(-1, SIDE, SIDE, SIDE).cpu().numpy()
            known[where] = sure.view(-1, SIDE, SIDE, SIDE).cpu().numpy()
        whole = (a * SIDE, b * SIDE, c * SIDE)
        x, y, z = (slice(count) for count in self.counts)
        return values.reshape(whole)[x, y, z], known.reshape(whole)[x, y, z]

    def _colors(self, places: Float[Tensor, "v 3"]) -> NDArray[np.uint8]:
        """Colours at places in voxels from the first, between the voxels that have one."""
        paint = torch.cat([_painted(slab) for slab in self._slabs]).view(-1, 4)
        base = places.floor().long()
        rest = (places - base).float()
        total = torch.zeros(len(places), 4, device=rest.device)
        most = torch.tensor(self.counts, device=rest.device) - 1
        for i in range(8):
            bits = torch.tensor([i >> 2, i >> 1 & 1, i & 1], device=rest.device)
            share = rest.where(bits > 0, 1 - rest).prod(1, keepdim=True)
            index = (base + bits).minimum(most)
            block, inner = (
                self._number(part, n)
                for part, n in ((index // SIDE, self.blocks), (index % SIDE, (SIDE, SIDE, SIDE)))
            )
            row = self._row[block]
            color = paint[row.clamp_min(0) * _VOXELS + inner].float()
            total += share * color * (color[:, 3:] > 0) * (row >= 0)[:, None]
        mean = 255 * total[:, :3] / total[:, 3:].clamp_min(1)
        whole = mean.where(total[:, 3:] >= 1, _GREY).round().clamp(0, 255)
        colors: NDArray[np.uint8] = whole.to(torch.uint8).cpu().numpy()
        return colors

    @staticmethod
    def _number(index: Int[Tensor, "n 3"], sides: Sequence[int]) -> Int[Tensor, "n"]:
        """Places in a grid as the numbers of its cells, the last axis fastest."""
        x, y, z = index.unbind(1)
        return (x * sides[1] + y) * sides[2] + z


def _painted(slab: Float[Tensor, "6 b 512"]) -> UInt8[Tensor, "b 512 4"]:
    """Mean RGB of the voxels, and 255 where there is one; from sums."""
    known = slab[5:] > 1e-6
    mean = 255 * (slab[2:] / slab[5:].clamp_min(1e-6)).clamp(0, 1)
    return (mean * known).round().to(torch.uint8).permute(1, 2, 0)


class Pixels:
    """Samples of a picture at points."""

    def __init__(self, picture: Picture) -> None:
        self._camera = picture.camera
        self._weight = picture.weight.flatten()
        self._colors = picture.colors.flatten(0, 1).T.contiguous()
        self._depth = picture.depth.flatten().where(self._weight > 0, torch.nan)

    def samples(self, local: Float[Tensor, "b 3 n"], truncation: float) -> tuple[Tensor, ...]:
        """What points in the camera's frame add to the sums, six tensors [b, n].

        Of weight x distance / truncation, weight, colour weight x RGB, and colour weight.
        """
        K, width, height = self._camera.K, self._camera.width, self._camera.height
        x, y, z = local.unbind(1)
        u = K[0, 0] * x / z + K[0, 2]
        v = K[1, 1] * y / z + K[1, 2]
        inside = (z > 0) & (u >= 0) & (u < width) & (v >= 0) & (v < height)
        u, v = u.where(inside, 0), v.where(inside, 0)
        pixel = (v.long() * width + u.long()).flatten()
        d = (self._between(u, v, pixel) - z) / truncation
        weight = self._weight.index_select(0, pixel).view_as(u)
        weight = weight.where(inside & (d >= -1), 0)
        d = d.nan_to_num()
        paint = weight * (1 - d.abs()).clamp_min(0)
        colors = (paint * of.index_select(0, pixel).view_as(u) for of in self._colors)
        return weight * d.clamp(-1, 1), weight, *colors, paint

    def _between(
        self, u: Float[Tensor, "b n"], v: Float[Tensor, "b n"], pixel: Int[Tensor, "m"]
    ) -> Float[Tensor, "b n"]:
        """Bilinear depth between pixel centres; that of the nearest one at an edge or a jump."""
        width, height = self._camera.width, self._camera.height
        nearest = self._depth.index_select(0, pixel).view_as(u)
        if width < 2 or height < 2:
            return nearest
        left = (u - 0.5).floor().clamp(0, width - 2)
        top = (v - 0.5).floor().clamp(0, height - 2)
        first = (top.long() * width + left.long()).flatten()
        a, b, c, d = (
            self._depth.index_select(0, first + step).view_as(u)
            for step in (0, 1, width, width + 1)
        )
        across, along = (u - 0.5 - left).clamp(0, 1), (v - 0.5 - top).clamp(0, 1)
        between = torch.lerp(torch.lerp(a, b, across), torch.lerp(c, d, across), along)
        jump = a.maximum(b).maximum(c.maximum(d)) - a.minimum(b).minimum(c.minimum(d))
        # A depth that does not count is NaN, and compares as False.
        return between.where(jump < _JUMP * nearest, nearest)
