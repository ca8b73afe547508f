"""`splat relight`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from splat.cli.opened import Opened, open_scene
from splat.cli.render import asked_cameras, told
from splat.core.model import Model
from splat.options.parse import parsed
from splat.options.verbs import check_free
from splat.render import drawing_as
from splat.render.video import usual_suffix, write_png, write_video
from splat.scene import shrunk
from splat.strategies.deferred import panorama
from splat.strategies.deferred.color import displayed
from splat.strategies.deferred.drawing import Shaded, maps_of
from splat.strategies.deferred.relit import TRAINED, light_of, relit
from splat.strategies.deferred.verbs.asked.relight import LIGHT, Relight
from splat.system.colours import rgb
from splat.types import Camera, Needs, Rendered


def main(arguments: Sequence[str]) -> int:
    """Relight; the exit code."""
    asked = parsed(Relight, "relight", arguments)
    out = asked.out or _usual(asked)
    check_free(out, asked.overwrite)
    if asked.background not in ("auto", LIGHT):
        rgb(asked.background)
    surrounded = asked.background == LIGHT
    found = open_scene(asked.what, asked.device, "auto" if surrounded else asked.background)
    model = found.seen_by
    if not isinstance(model, Model):
        raise ValueError(
            f"{asked.what} has no materials and cannot be lit anew; expected the folder of a run of"
            " a method with deferred, such as adc + deferred"
        )
    shown = light_of(
        model, asked.light, rows=asked.light_rows, degrees=asked.rotate, stops=asked.exposure
    )
    plain = drawing_as(found.drawing.plain, found.frame, found.render.device, beside=False)
    render = relit(model, plain, shown, surrounded=surrounded)
    cameras = [shrunk(camera, 1, asked.max_side) for camera in asked_cameras(asked)]
    beside = out.with_suffix("") if out.suffix else out / "maps"
    beside = beside.with_name(f"{beside.name}_maps") if out.suffix else beside
    pictures = _pictures(found, model, render, cameras, asked, beside)
    count = write_video(pictures, out, asked.fps)
    if asked.maps:
        panorama.write(light_of(model, TRAINED), beside / "light.hdr")
    told(asked, out, cameras, count, *([f"maps of each picture: {beside}"] if asked.maps else []))
    return 0


def _usual(asked: Relight) -> Path:
    """A name in the run that says path and light."""
    name = f"{Path(asked.path).stem}_{Path(asked.light).stem}"
    parent = asked.what if asked.what.is_dir() else asked.what.parent
    return parent / (f"{name}{usual_suffix()}" if asked.path != "views" else name)


def _pictures(
    found: Opened,
    model: Model,
    render: Shaded,
    cameras: Sequence[Camera],
    asked: Relight,
    beside: Path,
) -> Iterator[Float[Tensor, "h w 3"]]:
    background = None if asked.background == LIGHT else found.background
    for number, camera in enumerate(tqdm(cameras, unit="picture", disable=asked.quiet or None)):
        there = found.placed(camera)
        with torch.no_grad():
            gaussians = model(there)
            drawn = render(gaussians, there, Needs(), background)
            if asked.maps:
                parts = render.parts(gaussians, there)
                for name, picture in _maps(drawn, parts).items():
                    write_png(picture, beside / name / f"{number:05d}.png")
        yield drawn.image.clamp(0, 1)


def _maps(
    drawn: Rendered, parts: tuple[Float[Tensor, "h w 3"], Float[Tensor, "h w 3"]]
) -> Mapping[str, Float[Tensor, "h w 3"]]:
    """Pictures of what is known of the materials, over black, by what they show."""
    maps, alpha = maps_of(drawn), drawn.alpha[..., None]
    return {
        "albedo": alpha * displayed(maps.albedo),
        "roughness": alpha * maps.roughness[..., None].expand(-1, -1, 3),
        "metallic": alpha * maps.metallic[..., None].expand(-1, -1, 3),
        "normal": alpha * (maps.normal + 1) / 2,
        "diffuse": displayed(parts[0]),
        "specular": displayed(parts[1]),
    }
