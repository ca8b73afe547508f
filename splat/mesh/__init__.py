"""Surfaces as triangles: out of a signed distance, or out of depth that Gaussians show."""

from splat.mesh.colour import painted
from splat.mesh.compare import chamfer, sampled
from splat.mesh.cubes import from_distance
from splat.mesh.decimate import decimated
from splat.mesh.files import suffix_of, write
from splat.mesh.fusion import from_depth
from splat.mesh.mesh import Mesh, merged, tidied
from splat.mesh.pictures import Picture, pictured
from splat.mesh.region import region

__all__ = [
    "Mesh",
    "Picture",
    "chamfer",
    "decimated",
    "from_depth",
    "from_distance",
    "merged",
    "painted",
    "pictured",
    "region",
    "sampled",
    "suffix_of",
    "tidied",
    "write",
]
