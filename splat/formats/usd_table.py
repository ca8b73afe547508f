"""What a stage of USD holds as NumPy has it; see `splat.formats.usd`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from pxr import Sdf, Tf, Usd, UsdGeom

from splat.formats.columns import Columns, Floats
from splat.formats.gltf_table import UP, placing_of, unit
from splat.formats.placing import Placing
from splat.system.foreign import Broken, check_claim, shown

TYPE = "ParticleField3DGaussianSplat"
_FROM_Z_UP = np.array([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
"""From a stage that is z-up to one that is y-up."""
_PLACES = 1 << 13
"""Prims of Gaussians that are read."""


def columns(path: Path) -> Columns:
    """The rows of a stage, finite or not, with unit quaternions."""
    stage = _opened(path)
    up = np.eye(4) if UsdGeom.GetStageUpAxis(stage) == UsdGeom.Tokens.y else _FROM_Z_UP
    cache, parts = UsdGeom.XformCache(), []
    for prim in _fields(stage):
        local = np.array(cache.GetLocalToWorldTransform(prim), np.float64).T
        parts.append(_part(prim, placing_of(UP @ up @ local), path))
    if not parts:
        raise Broken(f"has no prim of the type {TYPE}, expected Gaussians")
    antialiased, near = drawn(path)
    return replace(_together(parts), antialiased=antialiased, near=near)


def drawn(path: Path) -> tuple[bool, float | None]:
    """How the file says that it is meant to be drawn: antialiased, and the near plane."""
    for prim in _fields(_opened(path)):
        said = prim.GetCustomDataByKey("splat")
        said = said if isinstance(said, dict) else {}
        near = said.get("near")
        near = near if isinstance(near, float) and 0 < near < 1e30 else None
        return said.get("antialiased") is True, near
    return False, None


def _opened(path: Path) -> Any:
    """The stage of a file that refers to no other."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not a file; give the path of a USD file")
    try:
        layer = Sdf.Layer.FindOrOpen(str(path))
        if layer is not None:
            # What was opened before is kept by the library, though the file may be another now.
            layer.Reload()
    except Tf.ErrorException as error:
        raise Broken(f"is no file that usd-core reads ({_first(error)})") from None
    if layer is None:
        raise Broken("is no file that usd-core reads")
    others = sorted({*layer.GetCompositionAssetDependencies(), *layer.subLayerPaths})
    inner = {name for name in others if path.suffix.lower() == ".usdz" and os.sep not in name}
    if others := [name for name in others if name not in inner]:
        raise Broken(
            f"refers to {', '.join(map(shown, others[:3]))}, expected a file that holds everything:"
            " flatten it (usdcat --flatten)"
        )
    try:
        return Usd.Stage.Open(layer)
    except Tf.ErrorException as error:
        raise Broken(f"is no stage that usd-core composes ({_first(error)})") from None


def _first(error: Exception) -> str:
    return str(error).strip().splitlines()[-1][:120] if str(error).strip() else "no reason given"


def _fields(stage: Any) -> Iterator[Any]:
    """The prims of Gaussians, in the order of the stage."""
    count = 0
    for prim in stage.Traverse():
        if prim.GetTypeName() == TYPE:
            count += 1
            if count > _PLACES:
                raise Broken(f"has more than {_PLACES:,} prims of Gaussians; expected fewer")
            yield prim


def _part(prim: Any, placing: Placing, path: Path) -> Columns:
    """The Gaussians of a prim, placed."""
    means = _values(prim, "positions", 3)
    if means is None:
        raise Broken(f"has no positions at {prim.GetPath()}, expected some")
    n = len(means)
    check_claim(4 * n * 14, path.stat().st_size, f"{n:,} Gaussians", 1 << 10)
    quats, scales = _values(prim, "orientations", 4), _values(prim, "scales", 3)
    opacities = _values(prim, "opacities", 1)
    degree = prim.GetAttribute("radiance:sphericalHarmonicsDegree").Get()
    degree = 3 if degree is None else int(degree)
    if not 0 <= degree <= 3:
        raise Broken(f"has harmonics of degree {degree} at {prim.GetPath()}, expected 0 to 3")
    k = (degree + 1) ** 2
    sh = _values(prim, "radiance:sphericalHarmonicsCoefficients", 3)
    if sh is None or len(sh) < n * k:
        # As the schema says of rows without: a constant one of 0.5.
        sh, k = np.full((n, 3), 0.5, np.float32), 1
    given = {"orientations": quats, "scales": scales, "opacities": opacities}
    for name, values in given.items():
        if values is not None and len(values) < n:
            raise Broken(f"has {len(values):,} {name} and {n:,} positions at {prim.GetPath()}")
    part = Columns(
        means=means,
        scales=np.ones((n, 3), np.float32) if scales is None else scales[:n],
        opacities=np.ones(n, np.float32) if opacities is None else opacities[:n, 0],
        sh=sh[: n * k].reshape(n, k, 3),
        quats=np.tile(np.array([1, 0, 0, 0], np.float32), (n, 1))
        if quats is None
        else unit(-np.roll(quats[:n], 1, 1)),
    )
    if (part.scales < 0).any() or (abs(part.opacities - 0.5) > 0.5 + 1e-3).any():
        raise Broken("has scales below 0 or opacities outside 0 to 1, expected linear ones")
    return replace(placing.placed(part), opacities=part.opacities.clip(0, 1))


def _values(prim: Any, name: str, width: int) -> Floats | None:
    """An attribute as float32 [n, width], of its variant of float or else of half precision."""
    for variant in (name, f"{name}h"):
        value = prim.GetAttribute(variant).Get() if prim.HasAttribute(variant) else None
        if value is not None:
            values: Floats = np.array(value, np.float32).reshape(-1, width)
            return values
    return None


def _together(parts: list[Columns]) -> Columns:
    k = max(part.sh.shape[1] for part in parts)
    wide = [np.pad(part.sh, ((0, 0), (0, k - part.sh.shape[1]), (0, 0))) for part in parts]
    return Columns(
        means=np.concatenate([part.means for part in parts]),
        scales=np.concatenate([part.scales for part in parts]),
        opacities=np.concatenate([part.opacities for part in parts]),
        sh=np.concatenate(wide),
        quats=np.concatenate([part.quats for part in parts if part.quats is not None]),
    )
