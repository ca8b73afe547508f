"""Rows shared out among processes: each holds some, and draws pictures of those of all.

As Grendel (Zhao et al. 2024, "On scaling up 3D Gaussian splatting training") and gsplat: rows stay
where they live, with their moments and statistics. For every picture of a step they go to the
process that draws it, and their gradients come back (two all-to-alls). Differs: what is sent is
not what a row projects to (2D mean, conic, depth, radius, colour, opacity: 11 or 12 numbers) but
the row as it is, its harmonics turned into the colour that the camera sees: 14 numbers, of those
rows only that may show. So any renderer draws them, and gradients of poses are whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from splat.core.cloud import Cloud
from splat.core.edit import Change
from splat.core.model import Model
from splat.core.offload import rows_in_frustum
from splat.core.shard import WHOLE, Shard
from splat.core.step import Step
from splat.kernels import Harmonics, HarmonicsGradient
from splat.kernels.harmonics import basis
from splat.parallel.ranks import Ranks
from splat.types import (
    Camera,
    Contributions,
    Gaussians,
    Needs,
    Rendered,
    Renderer,
    ScreenGradient,
)

SHAPE = (3, 4, 3, 1, 3)
"""Numbers of a row that are sent: mean, quaternion, scales, opacity, colour."""
UNEVEN = 1.1
"""Rows of the process with most, over the mean, from which on rows are moved between steps."""
UNEVEN_NOW = 1.02
"""The same where all rows are put in order anyway."""
_CAMERA = 28
"""Numbers that are said of a camera: pose, K, and what `_told` appends."""


@dataclass(frozen=True)
class _Seen:
    """Pictures that are drawn at once, one or none by each process."""

    cameras: list[Camera | None]
    rows: list[Int[Tensor, "m"]]
    """Own rows that may show in each."""
    sent: list[int]
    received: list[int]
    """Rows that come from each process for this one's picture."""


@dataclass(frozen=True)
class _Drawn:
    """The picture that this process drew last with gradients, of rows of all."""

    seen: _Seen
    own: Gaussians
    picture: Rendered
    """As it was drawn, of the rows that came."""


class Sharded(Shard):
    """A share of the rows of a run, one of as many as there are processes."""

    whole = False

    def __init__(self, ranks: Ranks) -> None:
        self.ranks = ranks
        self.bytes_sent = 0
        """Bytes of rows and gradients that this process sent to others."""
        self.steps = 0
        """Steps in which it did."""
        self._counts = [0] * ranks.count
        self._drawn: _Drawn | None = None

    def rows(self, own: int) -> int:
        del own
        return sum(self._counts)

    @property
    def counts(self) -> list[int]:
        return list(self._counts)

    @property
    def sent_a_step(self) -> float:
        return self.bytes_sent / max(1, self.steps)

    def total(self, own: int) -> int:
        return sum(self._each(own))

    def lowest(self, keys: Float[Tensor, "n"], most: int) -> Int[Tensor, "m"]:
        order = keys.argsort(stable=True)[: max(most, 0)]
        lengths = self._each(len(order))
        padded = keys.new_full((max(lengths),), math.inf)
        padded[: len(order)] = keys[order]
        gathered = self.ranks.gathered(padded)
        whole = torch.cat([part[:n] for part, n in zip(gathered, lengths, strict=True)])
        taken = whole.argsort(stable=True)[: max(most, 0)]
        first = sum(lengths[: self.ranks.rank])
        mine = taken[(taken >= first) & (taken < first + len(order))] - first
        return order[mine]

    def divided(self, weight: Float[Tensor, ""], count: int, generator: torch.Generator) -> int:
        weights = self.ranks.gathered(weight.detach().double().cpu().reshape(1)).flatten()
        if not float(weights.sum()) > 0:
            return 0
        # Those of the first process count; each has a stream of its own.
        u = torch.rand(count, generator=generator, dtype=torch.float64, device=generator.device)
        ends = weights.cumsum(0)
        place = torch.searchsorted(ends, u.cpu() * ends[-1], right=True)
        last = int((weights > 0).nonzero()[-1])
        parts = torch.bincount(place.clamp_max(last), minlength=self.ranks.count)
        return int(self.ranks.gathered(parts)[0, self.ranks.rank])

    def evened(self, spare: int, wanted: int) -> int:
        spares, left = self._each(spare), self.total(wanted)
        for each in spares[: self.ranks.rank]:
            left -= min(each, left)
        return min(spare, left)

    def share(self, rows: int) -> float:
        return self.ranks.count * rows / max(1, sum(self._counts))

    def named(self, purpose: str) -> str:
        return f"{purpose}/{self.ranks.rank}"

    def drawn_by(self, render: Renderer) -> Renderer:
        return ShardedRenderer(render, self)

    def drawn_whole(self, render: Renderer) -> Renderer:
        return render.render if isinstance(render, ShardedRenderer) else render

    @torch.no_grad()
    def observed(self, step: Step) -> tuple[Step, Sequence[Step]]:
        """After backward: what every picture tells of this process's rows.

        Of a picture of another process a step has the camera, how much its photo was shrunk, radii,
        screen gradients and sums of weights; its photo and its pixels are not there.
        """
        drawn = self._drawn
        assert drawn is not None
        self._drawn = None
        seen, n, picture = drawn.seen, len(drawn.own), drawn.picture
        own_shrink = torch.tensor([step.batch.shrink], dtype=torch.float64)
        shrinks = self.ranks.gathered(own_shrink)[:, 0].tolist()
        kinds: list[tuple[str, int]] = []
        told = [picture.radii.to(picture.image.dtype)[:, None]]
        for name in ("signed", "absolute", "sums"):
            values = getattr(picture.gradient, name)
            if values is not None:
                told.append(values)
                kinds.append((name, values.shape[1]))
        back = self._exchanged(torch.cat(told, 1), seen.received, seen.sent)
        in_sight = torch.zeros(n, dtype=torch.bool, device=back.device)
        steps, start = [], 0
        for camera, shrink, rows in zip(seen.cameras, shrinks, seen.rows, strict=True):
            part = back[start : start + len(rows)]
            start += len(rows)
            if camera is None:
                continue
            radii, *values = part.split([1, *(width for _, width in kinds)], 1)
            gradient = ScreenGradient(maps=picture.gradient.maps)
            for (name, _), each in zip(kinds, values, strict=True):
                setattr(gradient, name, _out(each, rows, n))
            whole = _out(radii[:, 0].to(picture.radii.dtype), rows, n)
            in_sight |= whole > 0
            blank = picture.image.new_zeros(()).expand(camera.height, camera.width, 3)
            rendered = Rendered(blank, blank[..., 0], whole, drawn.own, gradient=gradient)
            photo = torch.zeros((), dtype=torch.uint8, device=blank.device).expand(blank.shape)
            batch = replace(
                step.batch, camera=camera, pixels=photo, mask=None, name="", shrink=shrink,
                outline=None, depth=None, normal=None,
            )  # fmt: skip
            steps.append(replace(step, batch=batch, rendered=rendered))
        return replace(step, seen=in_sight), steps

    @torch.no_grad()
    def attend(self, model: Model) -> None:
        cloud = model.cloud
        while True:
            gaussians: Gaussians = model(None, None)
            seen = self._looked(gaussians, None, cloud.device)
            if all(camera is None for camera in seen.cameras):
                return
            self.brought(seen, gaussians, None)

    def balance(self, cloud: Cloud, *, now: bool) -> None:
        counts, total = self._counts, sum(self._counts)
        mean = total / len(counts)
        if max(counts) <= (UNEVEN_NOW if now else UNEVEN) * mean + 1:
            return
        flows = _flows(counts)
        rank = self.ranks.rank
        sent, received = flows[rank], [flow[rank] for flow in flows]
        leaving = sum(sent)
        # From all over the rows, which are in an order of places.
        going = torch.arange(leaving, device=cloud.device) * len(cloud) // max(1, leaving)
        stays = torch.ones(len(cloud), dtype=torch.bool, device=cloud.device)
        stays[going] = False

        def moved(values: Tensor) -> Tensor:
            flat = values.reshape(len(values), -1)
            given = flat[going.to(flat.device)].contiguous().view(torch.uint8)
            taken = self._exchanged(given, sent, received).view(values.dtype)
            here = stays.to(values.device)
            return torch.cat([values[here], taken.reshape(-1, *values.shape[1:])])

        cloud.exchange(moved)
        self._counts = self._each(len(cloud))

    def counted(self, cloud: Cloud, change: Change) -> Change:
        self.steps += 1
        before = sum(self._counts)
        told = torch.tensor([len(cloud), bool(change.counts)], dtype=torch.int64)
        table = self.ranks.gathered(told).tolist()
        self._counts = [rows for rows, _ in table]
        if not any(edited for _, edited in table):
            return Change(before, sum(self._counts))
        counts: dict[str, int] = {}
        for each in self.ranks.each(dict(change.counts)):
            for name, number in each.items():
                counts[name] = counts.get(name, 0) + number
        return Change(before, sum(self._counts), counts)

    def state(self, state: Mapping[str, Any]) -> dict[str, Any]:
        def first(values: Tensor) -> Tensor:
            return self.ranks.to_first(values, self._counts)

        columns = {
            name: {
                part: first(value) if isinstance(value, Tensor) else value
                for part, value in column.items()
            }
            for name, column in state["columns"].items()
        }
        statistics = {name: first(values) for name, values in state["statistics"].items()}
        return {**state, "columns": columns, "statistics": statistics}

    @torch.no_grad()
    def gather(self, cloud: Cloud) -> None:
        most, total = max(self._counts), sum(self._counts)

        def whole(values: Tensor) -> Tensor:
            flat = values.reshape(len(values), -1)
            padded = flat.new_zeros(most, flat.shape[1])
            padded[: len(flat)] = flat
            parts = self.ranks.gathered(padded.view(torch.uint8)).view(values.dtype)
            rows = [part[:n] for part, n in zip(parts, self._counts, strict=True)]
            return torch.cat(rows).reshape(-1, *values.shape[1:])

        def forgotten(values: Tensor) -> Tensor:
            return values.new_zeros(1, *values.shape[1:]).expand(total, *values.shape[1:])

        cloud.exchange(whole, forgotten)
        cloud.shard = WHOLE

    def begin(self, cloud: Cloud) -> None:
        """Take note of how many rows each process has before the first step, or after a resume."""
        self._counts = self._each(len(cloud))

    def _each(self, number: int) -> list[int]:
        told = torch.tensor([number], dtype=torch.int64)
        found: list[int] = self.ranks.gathered(told)[:, 0].tolist()
        return found

    def _exchanged(
        self, values: Tensor, sent: Sequence[int], received: Sequence[int]
    ) -> Float[Tensor, "m ..."]:
        others = sum(sent) - sent[self.ranks.rank]
        self.bytes_sent += others * values[:1].numel() * values.element_size()
        return self.ranks.exchanged(values, sent, received)

    def _looked(self, own: Gaussians, camera: Camera | None, device: torch.device) -> _Seen:
        """What all draw now, and which of the own rows they may need."""
        told = self.ranks.gathered(_told(camera))
        cameras = [_heard(numbers, device) for numbers in told]
        nothing = torch.zeros(0, dtype=torch.int64, device=device)
        rows = [
            nothing if each is None else rows_in_frustum(own.means, own.scales, each)
            for each in cameras
        ]
        sent = [len(each) for each in rows]
        table = self.ranks.gathered(torch.tensor(sent))
        received: list[int] = table[:, self.ranks.rank].tolist()
        return _Seen(cameras, rows, sent, received)

    def brought(
        self, seen: _Seen, own: Gaussians, centre: Float[Tensor, "3"] | None
    ) -> Float[Tensor, "m 14"]:
        """The rows that this process draws, of all processes in their order (`SHAPE`)."""
        centre = own.means.new_zeros(3) if centre is None else centre
        rows: Tensor = _Brought.apply(  # type: ignore[no-untyped-call]
            own.means, own.quats, own.scales, own.opacities, own.colors, centre,
            (self, seen, own.sh_degree),
        )  # fmt: skip
        return rows


class ShardedRenderer:
    """Draws a set of which every process has a share; all of them draw at once, each its own
    camera, or attend (`Sharded.attend`)."""

    def __init__(self, render: Renderer, shard: Sharded) -> None:
        self.device, self.render, self._shard = render.device, render, shard

    def __call__(
        self,
        gaussians: Gaussians,
        camera: Camera,
        needs: Needs = Needs(),  # noqa: B008
        background: Float[Tensor, "3"] | None = None,
    ) -> Rendered:
        shard = self._shard
        seen = shard._looked(gaussians, camera, gaussians.means.device)
        centre = camera.centre.to(gaussians.means)
        rows = shard.brought(seen, gaussians, centre)
        means, quats, scales, opacities, colors = rows.split(SHAPE, 1)
        part = Gaussians(means, quats, scales, opacities[:, 0], colors)
        drawn = self.render(part, camera, needs, background)
        if rows.requires_grad:
            shard._drawn = _Drawn(seen, gaussians, drawn)
        rank = shard.ranks.rank
        first = sum(seen.received[:rank])
        own = drawn.radii[first : first + seen.received[rank]]
        radii = _out(own, seen.rows[rank], len(gaussians))
        return replace(drawn, radii=radii, gaussians=gaussians)

    def survey(
        self,
        gaussians: Gaussians,
        camera: Camera,
        background: Float[Tensor, "3"] | None = None,
        weigh: Callable[[Rendered], Float[Tensor, "h w m"]] | None = None,
    ) -> tuple[Rendered, Contributions]:
        raise ValueError(
            "a survey scores all rows in one picture, and processes share them out; leave --shard"
            " out"
        )


class _Brought(torch.autograd.Function):
    """Rows of all processes that one of them draws; backward sends their gradients home."""

    @staticmethod
    def forward(
        ctx: Any,
        means: Tensor,
        quats: Tensor,
        scales: Tensor,
        opacities: Tensor,
        colors: Tensor,
        centre: Tensor,
        given: tuple[Sharded, _Seen, int],
    ) -> Tensor:
        shard, seen, degree = given
        packed, lit = [], []
        for camera, rows in zip(seen.cameras, seen.rows, strict=True):
            if camera is None:
                continue
            places = means.index_select(0, rows)
            towards = _towards(places, camera.centre.to(means))
            color = _color(towards, colors.detach(), rows, degree)
            lit.append(color > 0)
            shape = [t.index_select(0, rows) for t in (quats, scales, opacities[:, None])]
            packed.append(torch.cat([places, *shape, color.clamp_min(0)], 1))
        ctx.shard, ctx.seen, ctx.degree, ctx.lit = shard, seen, degree, lit
        ctx.colors = colors
        ctx.save_for_backward(means)
        return shard._exchanged(torch.cat(packed), seen.sent, seen.received)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (means,) = ctx.saved_tensors
        shard, seen, colors = ctx.shard, ctx.seen, ctx.colors
        n, lit = len(means), iter(ctx.lit)
        v_centres = means.new_zeros(shard.ranks.count, 3)
        back = shard._exchanged(gradients[0], seen.received, seen.sent)
        whole = means.new_zeros(n, sum(SHAPE[:4]))
        v_colors = None if type(colors) is Harmonics else torch.zeros_like(colors)
        start = 0
        for number, (camera, rows) in enumerate(zip(seen.cameras, seen.rows, strict=True)):
            if camera is None:
                continue
            part = back[start : start + len(rows)]
            start += len(rows)
            v_color = part[:, -3:] * next(lit)
            places = means.index_select(0, rows)
            centre = camera.centre.to(means)
            factors = torch.cat([v_color, _towards(places, centre)], 1)
            shape = part[:, :-3].clone()
            if ctx.degree:
                v_places = _through_direction(places, centre, colors, rows, ctx.degree, v_color)
                shape[:, :3] += v_places
                v_centres[number] = -v_places.sum(0)
            # No row is there twice, so the order of additions is that of pictures.
            whole.index_add_(0, rows, shape)
            gradient = HarmonicsGradient(factors, ctx.degree)
            if v_colors is None:
                colors.pending.append(HarmonicsGradient(_out(factors, rows, n), ctx.degree))
            else:
                dense = gradient.dense(colors.shape[1]).to(v_colors)
                v_colors.index_add_(0, rows, dense)
        v_centre = None
        if ctx.needs_input_grad[5]:
            shard.ranks.reduce(v_centres, "sum")
            v_centre = v_centres[shard.ranks.rank]
        v_means, v_quats, v_scales, v_opacities = whole.split(SHAPE[:4], 1)
        return v_means, v_quats, v_scales, v_opacities[:, 0], v_colors, v_centre, None


def _towards(places: Float[Tensor, "m 3"], centre: Float[Tensor, "3"]) -> Float[Tensor, "m 3"]:
    """Unit directions in which a camera sees them."""
    return torch.nn.functional.normalize(places - centre, dim=1)


def _color(
    towards: Float[Tensor, "m 3"], colors: Tensor, rows: Int[Tensor, "m"], degree: int
) -> Float[Tensor, "m 3"]:
    """The colours of rows before negative ones are cut off."""
    sh = colors[:, : (degree + 1) ** 2].index_select(0, rows).to(towards)
    return (basis(towards, degree)[:, :, None] * sh).sum(1) + 0.5


def _through_direction(
    places: Float[Tensor, "m 3"],
    centre: Float[Tensor, "3"],
    colors: Tensor,
    rows: Int[Tensor, "m"],
    degree: int,
    v_color: Float[Tensor, "m 3"],
) -> Float[Tensor, "m 3"]:
    """The gradient of places by the direction that they are seen in."""
    with torch.enable_grad():
        moved = places.detach().requires_grad_()
        color = _color(_towards(moved, centre), colors.detach(), rows, degree)
    return torch.autograd.grad(color, moved, v_color)[0]


def _out(values: Tensor, rows: Int[Tensor, "m"], n: int) -> Tensor:
    """Values of some rows among zeros for all `n`."""
    return values.new_zeros(n, *values.shape[1:]).index_copy_(0, rows, values)


def _told(camera: Camera | None) -> Float[Tensor, "numbers"]:
    """A camera as numbers, for the others; all zero where there is none."""
    if camera is None:
        return torch.zeros(_CAMERA, dtype=torch.float64)
    pose, K = (t.detach().double().cpu().flatten() for t in (camera.world_to_camera, camera.K))
    more = [camera.width, camera.height, camera.clear_depth]
    return torch.cat([pose, K, torch.tensor(more, dtype=torch.float64)])


def _heard(numbers: Float[Tensor, "numbers"], device: torch.device) -> Camera | None:
    """The camera that numbers say."""
    width, height, clear_depth = numbers[25:].tolist()
    if not width:
        return None
    pose, K = numbers[:16].reshape(4, 4), numbers[16:25].reshape(3, 3)
    return Camera(
        pose.float().to(device), K.float().to(device), int(width), int(height),
        clear_depth=clear_depth,
    )  # fmt: skip


def _flows(counts: Sequence[int]) -> list[list[int]]:
    """How many rows go from each process (first) to each, so that all have as many, or one more:
    from the first that has too many to the first that has too few."""
    size, total = len(counts), sum(counts)
    over = [n - total // size - (i < total % size) for i, n in enumerate(counts)]
    flows = [[0] * size for _ in counts]
    for giver in range(size):
        for taker in range(size):
            number = min(over[giver], -over[taker])
            if number > 0:
                flows[giver][taker] = number
                over[giver] -= number
                over[taker] += number
    return flows
