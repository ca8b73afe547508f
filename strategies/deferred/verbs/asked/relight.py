"""What `splat relight` is asked for."""

from __future__ import annotations

from dataclasses import dataclass, field

from splat.cli.asked.render import Render

LIGHT = "light"
"""Background that is the light itself."""


@dataclass(frozen=True)
class Relight(Render):
    """Draw a run of deferred along a path of cameras, under another light.

    splat relight run/ --light studio.hdr
    splat relight run/ --light studio.hdr --rotate 90 --background light -o turned.mp4
    splat relight run/ --light trained --path views --maps -o looks/
    """

    light: str = field(kw_only=True)
    """A panorama of the whole sphere, twice as wide as high (.hdr, .exr, or .png and .jpg as sRGB);
    its upper edge is +z of the scene, its middle +x. trained: the light that was learned."""
    rotate: float = 0.0
    """Degrees that the light is turned about z, from +x towards +y."""
    exposure: float = 0.0
    """Stops that the light is brighter than its file says; 1 is twice as bright."""
    light_rows: int = 0
    """Rows that the panorama is brought to; 0: as many as the learned one has. More are sharper in
    mirrors."""
    maps: bool = False
    """Write albedo, roughness, metallic, normals, and the diffuse and the specular part of each
    picture too, and the learned light as light.hdr."""
    background: str = "auto"
    """black, white or #rrggbb; light: what shines on it; auto: as in training."""

    def __post_init__(self) -> None:
        if self.light_rows and (self.light_rows not in range(16, 257) or self.light_rows % 8):
            raise ValueError(
                f"light-rows is {self.light_rows}, expected a multiple of 8 from 16 to 256, or 0"
            )
