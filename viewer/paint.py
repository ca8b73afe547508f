"""Pictures of a source: modes, filters, and comparisons."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor

from splat.core.frame import camera_from_frame, camera_to_frame, focus_point, reach
from splat.types import Camera, Gaussians, Needs, Rendered, joined
from splat.viewer import colors
from splat.viewer.chronicle import Chronicle, plain_copy
from splat.viewer.colors import Pixels
from splat.viewer.look import Look, Picture
from splat.viewer.photo import nearest_now, same_place, warped
from splat.viewer.source import Source
from splat.viewer.tint import DIM, EVENTS, KINDS, bars, ghost, normals, tinted
from splat.viewer.values import MEANING, WATCHED, Sweep, values

Rgb = Float[Tensor, "h w 3"]

WORST = 0.25
"""Absolute error, mean of R, G and B, of the brightest colour."""
SOLID = 0.5
"""Least alpha of a pixel that has a depth."""
FAR = 160.0
"""Depth that is sent where nothing is; the encoding ends at 167."""
MOMENTS = 24
"""Parts of a clip in which events are counted."""
LINE = (1.0, 1.0, 1.0)


@dataclass
class Easel:
    """Draws a source, with what is known of its rows."""

    source: Source
    chronicle: Chronicle | None = None
    doomed: Callable[[], Bool[Tensor, "n"] | None] = lambda: None
    """Rows that the strategy would prune next."""
    debris: Callable[[], Bool[Tensor, "n"] | None] = lambda: None
    """Rows that are floaters or other debris."""
    past: Callable[[int], Source | None] = lambda step: None
    """The source as it was after a step, from a snapshot; None: there is none."""
    other: Easel | None = None
    """The source that it can be compared with."""
    sweep: Sweep = field(init=False)

    def __post_init__(self) -> None:
        self.sweep = Sweep(self.source)
        if self.chronicle is not None:
            self.chronicle.followers.append(self.sweep.follow)

    @torch.no_grad()
    def picture(self, look: Look, camera: Camera) -> Picture:
        """The picture for a look and a camera of the source's frame of training."""
        camera = replace(camera.to(self.source.render.device), time=look.moment)
        if look.past and (then := self._then(look)) is not None:
            return then.picture(replace(look, past=False), camera)
        image, drawn, legend, note = self._shown(look, camera)
        if look.against != "nothing":
            image, comparison_note = self._held_against(look, camera, image, drawn)
            note = " · ".join(filter(None, [note, comparison_note]))
        depth = _depth_sent(drawn) if look.overlay else None
        return Picture(_pixels(image), depth, legend, note)

    def filtered(self, look: Look, camera: Camera) -> tuple[Gaussians, Int[Tensor, "n"]]:
        """The Gaussians of the source that are drawn, and the row of each."""
        gaussians = self.left(look, self.source.gaussians(camera).at(camera.time))
        if look.inward and (far := self._beyond(camera)) > 0:
            depth = gaussians.means @ camera.world_to_camera[2, :3] + camera.world_to_camera[2, 3]
            gaussians = self._taken(gaussians, depth >= far)
        return gaussians, self.source.rows_of(gaussians)

    def left(self, look: Look, gaussians: Gaussians) -> Gaussians:
        """The Gaussians of a set that the box and the filters of a look leave."""
        rows = self.source.rows_of(gaussians)
        keep: Tensor | None = None
        if look.box is not None:
            low, high = (gaussians.means.new_tensor(c) for c in (look.box[:3], look.box[3:]))
            keep = ((gaussians.means >= low) & (gaussians.means <= high)).all(1)
        if look.faintest > 0:
            solid = gaussians.opacities >= look.faintest
            keep = solid if keep is None else keep & solid
        if not look.floaters and (debris := self.debris()) is not None:
            clean = ~debris[rows]
            keep = clean if keep is None else keep & clean
        return gaussians if keep is None else self._taken(gaussians, keep)

    def _taken(self, gaussians: Gaussians, keep: Bool[Tensor, "n"]) -> Gaussians:
        # Where rows are Gaussians, only this says which ones are left.
        source = self.source.rows_of(gaussians) if gaussians.source is None else gaussians.source
        return replace(gaussians, source=source).take(keep)

    @cached_property
    def _ring(self) -> tuple[Float[Tensor, "3"], float] | None:
        """What the cameras of the photos look at, and how far away they stand at most."""
        if not self.source.cameras:
            return None
        cameras = [camera.to("cpu") for camera in self.source.cameras]
        focus = focus_point(cameras)
        away = reach(cameras, focus)
        return None if away is None else (focus, away)

    def _beyond(self, camera: Camera) -> float:
        """Depth at which the photos' cameras begin; walls behind them would hide the scene from
        farther away. Not above 0 for a camera among them."""
        if self._ring is None:
            return 0.0
        focus, away = self._ring
        pose = camera.world_to_camera[2].double().cpu()
        return float(pose[:3] @ focus + pose[3]) - away

    def _shown(self, look: Look, camera: Camera) -> tuple[Rgb, Rendered, Pixels | None, str]:
        gaussians, rows = self.filtered(look, camera)
        mode = look.mode
        if mode == "heatmap":
            return self._heatmap(look, camera, gaussians, rows)
        if mode == "events":
            return self._events(look, camera, gaussians, rows)
        if mode == "normals":
            gaussians = replace(gaussians, features=normals(gaussians, camera))
        deep = look.overlay or mode in ("depth", "error", "photo") or look.against == "photo"
        drawn = self._drawn(gaussians, camera, deep)
        if mode == "depth":
            return self._depth(look, drawn)
        if mode == "alpha":
            return drawn.alpha[..., None].expand(-1, -1, 3), drawn, None, ""
        if mode == "normals":
            assert drawn.features is not None
            return (drawn.features + drawn.alpha[..., None]) / 2, drawn, None, ""
        if mode in ("error", "photo"):
            return self._photo(look, camera, drawn)
        return drawn.image, drawn, None, ""

    def _drawn(self, gaussians: Gaussians, camera: Camera, depth: bool = False) -> Rendered:
        rendered = self.source.render(gaussians, camera, Needs(depth=depth), self.source.background)
        return rendered

    def _depth(self, look: Look, drawn: Rendered) -> tuple[Rgb, Rendered, Pixels, str]:
        assert drawn.depth is not None
        depth, solid = drawn.depth / self.source.frame.scale, drawn.alpha > SOLID
        within = colors.span(depth[solid], look.percent, look.log)
        image = colors.colours_of(depth, within, look.colors) * drawn.alpha[..., None]
        return image, drawn, colors.legend(within, look.colors, "depth, units of the input"), ""

    def _photo(
        self, look: Look, camera: Camera, drawn: Rendered
    ) -> tuple[Rgb, Rendered, Pixels | None, str]:
        photo, shown, name = self._nearest_photo(camera, drawn)
        if photo is None or shown is None:
            return drawn.image, drawn, None, name
        if look.mode == "photo":
            return photo.where(shown[..., None], drawn.image * DIM), drawn, None, name
        error = (drawn.image - photo).abs().mean(-1)
        within = colors.Span(0.0, WORST)
        image = colors.colours_of(error, within, look.colors)
        image = image.where(shown[..., None], drawn.image.mean(-1, keepdim=True) * DIM)
        legend = colors.legend(within, look.colors, "error, mean of R, G and B")
        if bool(shown.any()):
            squares = (drawn.image.clamp(0, 1) - photo).square()[shown].mean()
            name += f", {-10 * float(squares.clamp_min(1e-10).log10()):.2f} dB where it shows"
        return image, drawn, legend, name

    def _nearest_photo(
        self, camera: Camera, drawn: Rendered
    ) -> tuple[Rgb | None, Bool[Tensor, "h w"] | None, str]:
        photos = self.source.photos
        if photos is None:
            return None, None, "there are no photographs to hold it against"
        index = nearest_now(camera, [seen.camera for seen in photos.seen])
        batch, seen = photos.batch(index), photos.seen[index]
        name = f"photo {seen.name}" + (" (held out)" if seen.held_out else "")
        if same_place(camera, batch.camera):
            photo = warped(batch, camera, None, None)
        else:
            assert drawn.depth is not None
            there = self._drawn(self.source.gaussians(batch.camera), batch.camera, depth=True)
            assert there.depth is not None
            depth = drawn.depth.where(drawn.alpha > SOLID, 0)
            photo = warped(batch, camera, depth, there.depth.where(there.alpha > SOLID, 0))
        return photo.image, photo.shown, name

    def _heatmap(
        self, look: Look, camera: Camera, gaussians: Gaussians, rows: Int[Tensor, "n"]
    ) -> tuple[Rgb, Rendered, Pixels | None, str]:
        numbers = values(look.heat, self.source, gaussians, rows, self.chronicle, self.sweep)
        if numbers is None:
            grey = plain_copy(gaussians)
            drawn = self._drawn(tinted(grey, grey.colors.mean(1, keepdim=True) * DIM), camera)
            watched = self.chronicle is not None or look.heat not in WATCHED
            why = "is being gathered" if watched else "is known of a run that is watched only"
            return drawn.image, drawn, None, f"{look.heat} {why}"
        within = colors.span(numbers, look.percent, look.log)
        hot = tinted(gaussians, colors.colours_of(numbers, within, look.colors))
        drawn = self._drawn(hot, camera, look.overlay)
        title = MEANING.get(look.heat, look.heat)
        done, most = self.sweep.progress
        note = f"a sweep is at view {done} of {most}" if done else ""
        return drawn.image, drawn, colors.legend(within, look.colors, title), note

    def _events(
        self, look: Look, camera: Camera, gaussians: Gaussians, rows: Int[Tensor, "n"]
    ) -> tuple[Rgb, Rendered, Pixels | None, str]:
        bare = plain_copy(gaussians)
        tint = (bare.colors.mean(1, keepdim=True) * DIM).expand(-1, 3).clone()
        step, note = self.source.step, ""
        parts = []
        if self.chronicle is None:
            note = (
                "which Gaussians these were only a viewer knows that was open while they trained;"
                " how many, Run says"
            )
        else:
            lately = self.chronicle.lately(step, look.recent)[rows]
            kind = self.chronicle.rows["kind"][rows]
            for number, name in KINDS.items():
                tint[lately & (kind == number)] = tint.new_tensor(EVENTS[name])
            if look.ghosts:
                parts = self.chronicle.dead(step, look.recent, look.moment)
            if (counts := self.chronicle.by_moment(step, look.recent, MOMENTS)) is not None:
                note = f"{sum(counts):,} that come and go, by moment: {bars(counts)}"
        if look.doomed and (doomed := self.doomed()) is not None:
            tint[doomed[rows]] = tint.new_tensor(EVENTS["would be pruned"])
        whole = joined([replace(bare, colors=tint), *map(ghost, parts)])
        drawn = self._drawn(whole, camera, look.overlay)
        legend = None if self.chronicle is None else colors.swatches(EVENTS)
        return drawn.image, drawn, legend, note

    def _held_against(
        self, look: Look, camera: Camera, image: Rgb, drawn: Rendered
    ) -> tuple[Rgb, str]:
        """The picture beside another one, or the difference of both, with a note."""
        if look.against == "photo":
            photo, shown, note = self._nearest_photo(camera, drawn)
            if photo is None or shown is None:
                return image, note
            other = photo.where(shown[..., None], image * DIM)
        else:
            easel = self.other if look.against == "other" else self._then(look)
            if easel is None:
                return image, "there is nothing to hold it against"
            other = easel._seen_from(look, camera, self.source)
            note = f"{self.source.name} | {easel.source.name}"
        if look.difference:
            return ((image - other).abs() * look.gain).clamp(0, 1), note
        width = image.shape[1]
        cut = min(max(round(look.wipe * width), 0), width)
        image = torch.cat([image[:, :cut], other[:, cut:]], 1)
        image[:, max(cut - 1, 0) : cut + 1] = image.new_tensor(LINE)
        return image, note

    def _then(self, look: Look) -> Easel | None:
        """The source as it was at the step of the look."""
        snapshot = None if look.then is None else self.past(look.then)
        return None if snapshot is None else Easel(snapshot, other=self.other, past=self.past)

    def _seen_from(self, look: Look, camera: Camera, source: Source) -> Rgb:
        """The picture of this source for the camera of another one, whose frame of training may
        differ."""
        there = camera_to_frame(
            camera_from_frame(camera.to("cpu"), source.frame), self.source.frame
        )
        placed = there.to(self.source.render.device)
        image = self._shown(replace(look, against="nothing"), placed)[0]
        return image.to(source.render.device)


def _pixels(image: Rgb) -> Pixels:
    pixels: Pixels = (image * 255).round_().clamp_(0, 255).to(torch.uint8).cpu().numpy()
    return pixels


def _depth_sent(drawn: Rendered) -> NDArray[np.float32] | None:
    if drawn.depth is None:
        return None
    depth: NDArray[np.float32] = (
        drawn.depth.where(drawn.alpha > SOLID, FAR).clamp_max(FAR).cpu().numpy()
    )
    return depth
