"""Surfaces as triangles: out of a signed distance, or out of depth that Gaussians show."""

from splat.mesh.colour import with_vertex_colors
from splat.mesh.compare import chamfer, surface_points
from splat.mesh.cubes import from_distance
from splat.mesh.decimate import decimated
from splat.mesh.files import suffix_of, write
from splat.mesh.fusion import from_depth
from splat.mesh.mesh import Mesh, merged, tidied
from splat.mesh.pictures import Picture, depth_picture
from splat.mesh.region import region

__all__ = [
    "Mesh",
    "Picture",
    "chamfer",
    "decimated",
    "depth_picture",
    "from_depth",
    "from_distance",
    "merged",
    "region",
    "suffix_of",
    "surface_points",
    "tidied",
    "with_vertex_colors",
    "write",
]
