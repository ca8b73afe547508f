"""What is drawn where no photo was taken, against truth or by what it shows of itself.

Held-out photos stand between those that are trained on, so that fog between and before cameras may
be as good as wallpaper for all of them. Whoever looks at a scene in a viewer stands elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from splat.core.frame import focus_point
from splat.evaluation.evaluate import for_json, psnr
from splat.math import spread
from splat.render.camera_order import neighbours
from splat.render.camera_paths import looking_from, midway, upward
from splat.types import Camera, Gaussians, Needs, Rendered, Renderer

IN, OUT = 0.6, 1.2
"""Distance to what the cameras look at, as a share of theirs, of places nearer and farther."""
RAISED = 0.5
"""Height that is added to the way from there to a camera, as a share of its length, before it is
brought back to the same length: 27 degrees up, or less where the camera looks down already."""
PLACES = 8
"""Most places of a kind that are held against truth."""
GAPS = 16
"""Most gaps between photos that are looked into."""
TOLERANCE = 0.05
"""Share of a depth by which two views of one surface may differ."""
DRAWN = 0.5
"""Alpha from which on a pixel shows something."""

Truth = Callable[[Camera], Float[Tensor, "h w 3"] | None]
"""What a camera would see, RGB in [0, 1]; None where it stands outside of what is known."""


@dataclass(frozen=True)
class Kind:
    """PSNR from places of one kind against truth."""

    psnr: float
    """Mean over views, dB."""
    worst: float
    """The lowest of a view, dB."""
    views: int
    """Number of views; those that would stand outside of what is known are none."""

    @classmethod
    def of(cls, values: Sequence[float]) -> Kind:
        """The kind of views with these PSNR, at least one."""
        return cls(sum(values) / len(values), min(values), len(values))


@dataclass(frozen=True)
class Between:
    """Figures of views halfway between neighbouring photos, without a reference."""

    views: int
    floaters: float | None
    """Percent of the blending weight in these views that is of floaters, as these cameras tell
    them; None where Gaussians are made for each camera."""
    depth: float
    """Percent of the pixels that show something whose surface a neighbour draws there, too
    (`confirmed`), 0 to 100; mean over views."""
    depth_worst: float
    sharpness: float
    """Gradient energy (`energy`) over the mean of the two neighbours' pictures, drawn likewise;
    above 0, geometric mean over views. 1: as sharp; less: blurred or behind fog; more: needles,
    or neighbours that are."""
    sharpness_worst: float
    """The lowest of a view."""


@dataclass(frozen=True)
class OffPath:
    """All figures off the path."""

    truth: Mapping[str, Kind]
    """By the kind of place; empty where no truth is known."""
    stretch: Kind | None
    """Held-out photos, where they are a stretch of the path (`--eval path`)."""
    between: Between | None
    """None where no two photos are neighbours."""
    seconds: float

    @property
    def psnr(self) -> float | None:
        """Mean over kinds of places, dB; None where no truth is known."""
        kinds = self.truth.values()
        return sum(kind.psnr for kind in kinds) / len(kinds) if kinds else None

    @property
    def worst(self) -> float | None:
        """The lowest PSNR of any view with truth, dB."""
        return min((kind.worst for kind in self.truth.values()), default=None)

    def as_dict(self) -> dict[str, Any]:
        """For JSON, which has no infinity: null for it."""
        plain: dict[str, Any] = for_json(
            {"psnr": self.psnr, "worst": self.worst, **asdict(self), "tolerance": TOLERANCE}
        )
        return plain


def places(photos: Sequence[Camera], path: Sequence[Camera]) -> dict[str, list[Camera]]:
    """Where nobody took a photo, by the kind of place.

    `pulled in`, `pushed out`: at `IN` and `OUT` times the distance to the point that all look at,
    on the way there, turned as the camera is; `raised`: higher by `RAISED`, at the same distance,
    upright and with that point in the middle of its view; each of at most `PLACES` of the photos'
    cameras. `between`: halfway between neighbours on `path`. In the frame of the cameras, which
    tell no depth that is clear.
    """
    some = [photos[i] for i in spread(len(photos), PLACES)]
    focus, up = focus_point(photos), torch.from_numpy(upward(photos))
    found = {
        "pulled in": [moved(camera, focus, IN) for camera in some],
        "pushed out": [moved(camera, focus, OUT) for camera in some],
        "raised": [_raised(camera, focus, up) for camera in some],
        "between": [camera for camera, _, _ in gaps(path, PLACES)],
    }
    return {
        kind: [replace(camera, clear_depth=0.0) for camera in cameras]
        for kind, cameras in found.items()
        if cameras
    }


def gaps(path: Sequence[Camera], most: int = GAPS) -> list[tuple[Camera, Camera, Camera]]:
    """Cameras halfway between two neighbours on a path, each with these two; evenly spread."""
    between, beside = midway(path), neighbours(path)
    found = []
    for i in (beside[k] for k in spread(len(beside), most)):
        first, second = path[i], path[i + 1]
        clear = min(first.clear_depth, second.clear_depth)
        found.append((replace(between[i], clear_depth=clear), first, second))
    return found


def moved(camera: Camera, focus: Float[Tensor, "3"], share: float) -> Camera:
    """The camera at a share of the way from `focus` to where it stands, beyond it above 1, turned
    as it is."""
    pose = camera.world_to_camera.double().clone()
    eye = focus + share * (camera.centre.double() - focus)
    pose[:3, 3] = -(pose[:3, :3] @ eye)
    return replace(camera, world_to_camera=pose.float())


@torch.no_grad()
def against_truth(
    gaussians: Callable[[Camera], Gaussians],
    render: Renderer,
    places: Mapping[str, Sequence[Camera]],
    truth: Truth,
    background: Float[Tensor, "3"] | None = None,
) -> dict[str, Kind]:
    """PSNR of what is drawn against truth, by the kind of place.

    Cameras are on the CPU, in the frame of the Gaussians; `truth` is given them as they are.
    """

    def value(camera: Camera) -> float | None:
        known, placed = truth(camera), camera.to(render.device)
        if known is None:
            return None
        image = render(gaussians(placed), placed, Needs(), background).image
        return psnr(image, known.to(image))

    found = {}
    for kind, cameras in places.items():
        values = [each for camera in cameras if (each := value(camera)) is not None]
        if values:
            found[kind] = Kind.of(values)
    return found


@torch.no_grad()
def between_photos(
    gaussians: Callable[[Camera], Gaussians],
    render: Renderer,
    path: Sequence[Camera],
    background: Float[Tensor, "3"] | None = None,
    *,
    floating: Callable[[Sequence[Camera]], float] | None = None,
) -> Between | None:
    """Figures of views halfway between neighbours on a path of photos, at most `GAPS` of them.

    Cameras are on the CPU, in the frame of the Gaussians. `floating` gives the percent of the
    blending weight in views that is of floaters. None where no two photos are neighbours.
    """
    looked = [tuple(each.to(render.device) for each in gap) for gap in gaps(path)]
    if not looked:
        return None

    def drawn(camera: Camera) -> Rendered:
        return render(gaussians(camera), camera, Needs(depth=True), background)

    depths, sharpness = [], []
    for camera, *beside in looked:
        view, others = drawn(camera), [drawn(other) for other in beside]
        shows = view.alpha >= DRAWN
        seen = torch.zeros_like(shows)
        for other, known in zip(beside, others, strict=True):
            seen |= confirmed(camera, view, other, known)
        depths.append(100 * _share(seen & shows, shows))
        mean = sum(energy(known.image) for known in others) / len(others)
        # What has no edge from anywhere is as sharp as it is there.
        sharpness.append(energy(view.image) / mean if mean > 0 else 1.0)
    return Between(
        views=len(looked),
        floaters=None if floating is None else floating([camera for camera, *_ in looked]),
        depth=sum(depths) / len(depths),
        depth_worst=min(depths),
        sharpness=math.exp(sum(math.log(max(s, 1e-9)) for s in sharpness) / len(sharpness)),
        sharpness_worst=min(sharpness),
    )


def confirmed(
    camera: Camera, view: Rendered, other: Camera, known: Rendered
) -> Bool[Tensor, "h w"]:
    """Pixels of a view whose surface another one draws in the same place.

    The point at the pixel's drawn depth falls into the other picture, and its depth z there
    differs from what that pixel draws, d, by no more than `TOLERANCE` times d. What hangs in the
    air before one of them only is not confirmed, be it in the other's sight or out of it.
    """
    assert view.depth is not None and known.depth is not None
    height, width = view.depth.shape
    depth, K = view.depth.double(), camera.K.to(view.depth.device).double()
    v, u = torch.meshgrid(
        torch.arange(height, device=depth.device) + 0.5,
        torch.arange(width, device=depth.device) + 0.5,
        indexing="ij",
    )
    local = torch.stack([(u - K[0, 2]) / K[0, 0] * depth, (v - K[1, 2]) / K[1, 1] * depth, depth])
    pose, beside = camera.world_to_camera.to(depth), other.world_to_camera.to(depth)
    world = pose[:3, :3].T @ (local.reshape(3, -1) - pose[:3, 3:])
    x, y, z = beside[:3, :3] @ world + beside[:3, 3:]
    lens, ahead = other.K.to(depth), z > 0
    safe = z.where(ahead, 1)
    u, v = lens[0, 0] * x / safe + lens[0, 2], lens[1, 1] * y / safe + lens[1, 2]
    inside = ahead & (u >= 0) & (u < other.width) & (v >= 0) & (v < other.height)
    column, row = u.clamp(0, other.width - 1).long(), v.clamp(0, other.height - 1).long()
    there = known.depth.to(depth)[row, column]
    shows = known.alpha[row, column] >= DRAWN
    agrees: Tensor = inside & shows & ((z - there).abs() <= TOLERANCE * there)
    return agrees.reshape(height, width)


def energy(image: Float[Tensor, "h w 3"]) -> float:
    """Gradient energy: the mean over pixels and channels of the squared difference to the pixel on
    the right, and that to the pixel below, summed; colours in [0, 1]."""
    shown = image.clamp(0, 1).double()
    across, down = shown[:, 1:] - shown[:, :-1], shown[1:] - shown[:-1]
    return float(across.square().mean() + down.square().mean())


def summary_lines(record: Mapping[str, Any]) -> list[str]:
    """The figures of `OffPath.as_dict` for people."""
    lines = []
    if record["truth"]:
        kinds = [f"{name} {_dB(kind)}" for name, kind in record["truth"].items()]
        lines.append(f"off the path, against truth: {', '.join(kinds)}")
    if record["stretch"]:
        lines.append(f"a stretch of the path that was held out: {_dB(record['stretch'])}")
    if record["between"]:
        between = record["between"]
        floaters = between["floaters"]
        shares = [] if floaters is None else [f"{floaters:.2f} % is floaters"]
        shares += [
            f"{between['depth']:.1f} % of surfaces are confirmed by a photo beside (worst"
            f" {between['depth_worst']:.1f} %)",
            f"sharpness {between['sharpness']:.2f} of theirs (worst"
            f" {between['sharpness_worst']:.2f})",
        ]
        lines.append(f"halfway between photos: {', '.join(shares)}")
    return lines or ["off the path: no truth is known, and no two photos are neighbours"]


def _dB(kind: Mapping[str, Any]) -> str:
    mean, worst = (
        "no error" if kind[name] is None else f"{kind[name]:.2f} dB" for name in ("psnr", "worst")
    )
    return f"{mean} (worst {worst})"


def _share(part: Bool[Tensor, "h w"], whole: Bool[Tensor, "h w"]) -> float:
    """Of pixels; all, where there are none."""
    count = int(whole.sum())
    return int(part.sum()) / count if count else 1.0


def _raised(camera: Camera, focus: Float[Tensor, "3"], up: Float[Tensor, "3"]) -> Camera:
    """The camera higher up at the same distance to `focus`, which it looks at."""
    away = camera.centre.double() - focus
    reach = away.norm()
    higher = away + RAISED * reach * up
    eye = focus + higher * (reach / higher.norm())
    return looking_from(camera, eye.numpy(), (focus - eye).numpy(), up.numpy())
