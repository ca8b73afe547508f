"""Rows before step 0: from points, a sky, planes, Gaussians of a file, or at random."""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from torch import Tensor

from splat import formats
from splat.core.frame import gaussians_to_frame, points_to_frame
from splat.core.model import columns_of
from splat.core.strategy import Strategy
from splat.formats.point_cloud import read_points
from splat.options import PLANES, Options
from splat.photos.loader import Loader
from splat.planning.ladder import rung_for
from splat.rules.views import even_views
from splat.seeding import silhouette, sky
from splat.seeding.moved import moving_points
from splat.seeding.planes.assemble import scaffold_of
from splat.seeding.points import filled, joined, random_in_frusta, rows_from_points, without_crowded
from splat.system.colours import rgb
from splat.system.numbers import whole
from splat.types import Frame, Points, SceneData

LEAST_ON_PLANES, PLANES_SHARE = 3000, 0.8
"""Number of Gaussians that `--init planes` adds to the points of a scene, or a third of their
number where that is more; and the share of the cap that all may be, the rest is left for growth."""
FAST_SHARE = 0.05
"""Share of the cap, or of the number of points, that points of what moves fast may be at most."""

_log = logging.getLogger(__name__)


def initial_rows(
    scene: SceneData,
    photos: Loader,
    strategy: Strategy,
    options: Options,
    frame: Frame,
    device: torch.device,
) -> dict[str, Tensor]:
    """Rows before step 0, at most as many as the strategy may have."""
    generator = torch.Generator().manual_seed(options.seed)
    if options.init == PLANES:
        _no_sky(options, "planes")
        return _from_planes(scene, photos, strategy, options, frame)
    if options.init is not None and formats.holds_gaussians(options.init):
        _no_sky(options, "Gaussians")
        given = formats.read(options.init)
        _check_seen(options.init, given.means, scene)
        rows = columns_of(gaussians_to_frame(given, frame), options.sh_degree)
        return _thinned(rows, strategy, generator)
    points = scene.points
    if options.init is not None:
        points = read_points(options.init)
        _check_seen(options.init, points.positions, scene)
    if points is None or len(points.positions) == 0:
        count = rung_for(device).random_points
        count = min(count, strategy.cap) if strategy.cap else count
        _no_sky(options, "random points")
        begin = _random(photos, options, count, generator)
    else:
        begin = _with_sky(points_to_frame(points, frame), photos, options, strategy.cap)
    fast = _fast(scene, photos, strategy, len(begin.positions), generator)
    count = 0 if fast is None else len(fast.positions)
    kept = _fewer(len(begin.positions), strategy, generator)
    if kept is not None:
        begin = begin.take(kept)
    if fast is not None and strategy.cap:
        begin = without_crowded(begin, len(begin.positions) + count - strategy.cap)
    begin = filled(begin, strategy.start.fill - count, generator)
    if fast is not None:
        begin = joined(begin, fast)
    return rows_from_points(begin, strategy.start, options.sh_degree)


def begins_at_random(points: Points | None, init: Path | None) -> bool:
    """Whether a run starts from random points: the scene has none, and `init` names none."""
    return init is None and (points is None or not len(points.positions))


def _no_sky(options: Options, start: str) -> None:
    """Log that a shell that was asked for is left out."""
    if options.sky not in ("auto", "none"):
        _log.info("start     no points of sky: a run from %s has no use for them", start)


def _with_sky(points: Points, photos: Loader, options: Options, cap: int) -> Points:
    """The points, and those of a far shell where one is asked for, or the scene is unbounded."""
    if options.sky == "none":
        return points
    views = even_views(photos.cameras, sky.MOST_VIEWS)
    why = ""
    if options.sky == "auto":
        evidence = sky.sky_evidence([photos.cameras[i].to("cpu") for i in views], points.positions)
        if not evidence.unbounded:
            return points
        why = f": the scene is unbounded, {evidence.text()}"
    count = sky.COUNT if options.sky == "auto" else whole(options.sky)
    count = min(count, cap // 5) if cap else count
    shell = sky.shell(photos.some(views), points.positions, count)
    if shell is None:
        _log.info("start     no points of sky: photos show nothing far away%s", why)
        return points
    _log.info("start     %s points of sky on a far shell%s", f"{len(shell.positions):,}", why)
    both = zip((points.positions, points.colors), (shell.positions, shell.colors), strict=True)
    positions, colors = (torch.cat([known.float(), far]) for known, far in both)
    times = points.times
    if times is not None:
        times = torch.cat([times, times.new_full((len(shell.positions),), torch.nan)])
    return Points(positions, colors, times)


def _random(photos: Loader, options: Options, count: int, generator: torch.Generator) -> Points:
    """Points where there are none: inside the outlines of an object, or all over what is seen."""
    indices = even_views(photos.cameras, silhouette.MOST_VIEWS)
    looked_at = [photos.batch(index).to("cpu") for index in indices]
    behind = torch.tensor([round(255 * c) for c in rgb(options.background)], dtype=torch.uint8)
    if silhouette.plain(looked_at, behind):
        inside = silhouette.random_in_silhouettes(looked_at, behind, count, generator)
        if inside is not None:
            size = f"{len(inside.positions):,}"
            _log.info("start     %s random points inside the outlines of what is shown", size)
            return inside
    _log.info("start     %s random points inside the camera frusta", f"{count:,}")
    return random_in_frusta([c.to("cpu") for c in photos.cameras], count, generator)


def _from_planes(
    scene: SceneData, photos: Loader, strategy: Strategy, options: Options, frame: Frame
) -> dict[str, Tensor]:
    """Flat Gaussians on the planes that depth and normals of the photos show."""
    kind = next((view.depth.kind for view in scene.train if view.depth is not None), None)
    if kind is None or not any(view.normal is not None for view in scene.train):
        raise ValueError(
            f"init is planes, and {scene.path} has no"
            f" {'depth maps' if kind is None else 'normal maps'}; expected depths/ and normals/"
            " beside the photos: add them, or start from points"
        )
    if PLANES.exists():
        _log.info("start     from planes; for what is called so here give its whole path")
    points = None if scene.points is None else points_to_frame(scene.points, frame)
    count = 0 if points is None else len(points.positions)
    most = count + max(LEAST_ON_PLANES, count // 3)
    most = min(most, int(PLANES_SHARE * strategy.cap) or most)
    batches = (photos.batch(index).to("cpu") for index in range(len(photos)))
    scaffold = scaffold_of(batches, points, kind, strategy.start, options.sh_degree, max(most, 2))
    _log.info("start     %s", scaffold.text())
    return scaffold.rows


def _check_seen(path: Path, positions: Tensor, scene: SceneData) -> None:
    """Raise ValueError where no view that is trained on shows a position of a file."""
    for view in scene.train:  # most often the first one does
        if not view.camera.depths(positions).isnan().all():
            return
    raise ValueError(
        f"{path}: none of its {len(positions)} points lies before any camera; expected"
        " a file in the frame of the scene"
    )


def _fast(
    scene: SceneData, photos: Loader, strategy: Strategy, count: int, generator: torch.Generator
) -> Points | None:
    """Points of what moves fast, where the strategy asks for them and photos show some."""
    within = strategy.start.moves_within
    if not within or scene.clip is None:
        return None
    most = int(FAST_SHARE * (strategy.cap or count))
    found = moving_points(photos, most, within, generator)
    if found is not None:
        _log.info("start     %s points of what moves fast", f"{len(found.positions):,}")
    return found


def _thinned(
    rows: dict[str, Tensor], strategy: Strategy, generator: torch.Generator
) -> dict[str, Tensor]:
    kept = _fewer(len(rows["mean"]), strategy, generator)
    return rows if kept is None else {name: values[kept] for name, values in rows.items()}


def _fewer(count: int, strategy: Strategy, generator: torch.Generator) -> Tensor | None:
    """Rows to keep where there are more than the cap, in their order; None: all."""
    if not strategy.cap or count <= strategy.cap:
        return None
    _log.info(
        "start     %s of %s are kept, drawn evenly: the cap is lower",
        f"{strategy.cap:,}",
        f"{count:,}",
    )
    return torch.randperm(count, generator=generator)[: strategy.cap].sort().values
