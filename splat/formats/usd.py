"""USD (`.usd`, `.usda`, `.usdc`, `.usdz`) with `ParticleField3DGaussianSplat` of OpenUSD 26.03.

One prim, whose attributes are arrays of float32: positions, linear scales, orientations (w, x, y,
z), opacities, and harmonics row by row, the constant one first. The stage is y-up, as in glTF, so
that rows are turned by half a turn about z; its unit counts as a metre. It takes Pixar's `usd-core`
(`pip install 'splat-toolkit[usd]'`); without it the formats are not there.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pxr import Sdf, Tf, Usd, UsdGeom, UsdUtils, UsdVol, Vt

from splat.core.frame import finite
from splat.formats.columns import Columns, Floats
from splat.formats.gltf_table import UP, placing_of, unit
from splat.formats.placing import Placing
from splat.formats.rows import gaussians_of, harmonics, kept
from splat.formats.settings import Settings
from splat.system.files import drafted, replacing
from splat.system.foreign import Broken, check_claim, shown
from splat.types import Drawing, Gaussians

TYPE = "ParticleField3DGaussianSplat"
_PATH = "/World/gaussians"
OVERHEAD = 1 << 14
"""Bytes of a file beside its arrays, at most."""
_FROM_Z_UP = np.array([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
"""From a stage that is z-up to one that is y-up."""
_PLACES = 1 << 13
"""Prims of Gaussians that are read."""
_log = logging.getLogger(__name__)


@torch.no_grad()
def write(
    gaussians: Gaussians,
    path: Path,
    drawing: Drawing = Drawing(),  # noqa: B008
    settings: Settings = Settings(),  # noqa: B008
) -> None:
    """Write Gaussians as they are, 44 + 12 k bytes each for k SH coefficients.

    Rows that hold NaN or infinite values are left out, with a warning.
    """
    del settings
    gaussians = kept(gaussians, finite(gaussians), path)
    part = placing_of(UP).placed(
        Columns(
            means=gaussians.means.float().cpu().numpy(),
            scales=gaussians.scales.float().cpu().numpy(),
            opacities=gaussians.opacities.float().cpu().clamp(0, 1).numpy(),
            sh=harmonics(gaussians).float().cpu().numpy(),
            quats=unit(gaussians.quats.float().cpu().numpy()),
        )
    )
    with replacing(path) as draft:
        if path.suffix.lower() != ".usdz":
            _write_stage(draft, part, drawing)
            return
        # A package holds a file by its name, which is then the same whoever writes it.
        with drafted(path.with_name(f"{path.stem}.usdc")) as layer:
            _write_stage(layer, part, drawing)
            if not UsdUtils.CreateNewUsdzPackage(str(layer), str(draft), f"{path.stem}.usdc"):
                raise OSError(f"{path}: usd-core packed no file; look at its messages")


def size(n: int, sh_degree: int, settings: Settings = Settings()) -> int:  # noqa: B008
    """Bytes that a file of `n` Gaussians takes at most, binary."""
    del settings
    return OVERHEAD + n * 4 * (11 + 3 * (sh_degree + 1) ** 2)


def read(path: Path) -> Gaussians:
    """The Gaussians of a stage, placed as its prims are, and turned from its up axis.

    A file that refers to others is refused: they would be read, wherever they lie.
    """
    stage = _opened(path)
    up = np.eye(4) if UsdGeom.GetStageUpAxis(stage) == UsdGeom.Tokens.y else _FROM_Z_UP
    cache, parts = UsdGeom.XformCache(), []
    for prim in _fields(stage):
        local = np.array(cache.GetLocalToWorldTransform(prim), np.float64).T
        parts.append(_part(prim, placing_of(UP @ up @ local), path))
    if not parts:
        raise Broken(f"has no prim of the type {TYPE}, expected Gaussians")
    gaussians = gaussians_of(_together(parts), unit=True)
    return kept(gaussians, finite(gaussians), path)


def drawing(path: Path) -> Drawing:
    """How the file says that its Gaussians are meant to be drawn."""
    for prim in _fields(_opened(path)):
        said = prim.GetCustomDataByKey("splat")
        said = said if isinstance(said, dict) else {}
        near = said.get("near")
        near = near if isinstance(near, float) and 0 < near < 1e30 else None
        return Drawing(said.get("antialiased") is True, near)
    return Drawing()


def _write_stage(path: Path, part: Columns, drawing: Drawing) -> None:
    assert part.quats is not None
    stage = Usd.Stage.CreateNew(str(path))
    UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.y)
    UsdGeom.SetStageMetersPerUnit(stage, 1.0)
    stage.SetDefaultPrim(UsdGeom.Xform.Define(stage, "/World").GetPrim())
    field = UsdVol.ParticleField3DGaussianSplat.Define(stage, _PATH)
    field.CreatePositionsAttr(Vt.Vec3fArray.FromNumpy(part.means))
    field.CreateScalesAttr(Vt.Vec3fArray.FromNumpy(part.scales))
    # As memory of theirs has it, the real part is last.
    field.CreateOrientationsAttr(
        Vt.QuatfArray.FromNumpy(np.ascontiguousarray(np.roll(part.quats, -1, 1)))
    )
    field.CreateOpacitiesAttr(Vt.FloatArray.FromNumpy(part.opacities))
    field.CreateRadianceSphericalHarmonicsDegreeAttr(part.sh_degree)
    flat = np.ascontiguousarray(part.sh, np.float32).reshape(-1, 3)
    field.CreateRadianceSphericalHarmonicsCoefficientsAttr(Vt.Vec3fArray.FromNumpy(flat))
    reach = 3 * part.scales.max(1, keepdims=True)
    corners = np.stack([(part.means - reach).min(0), (part.means + reach).max(0)])
    field.CreateExtentAttr(Vt.Vec3fArray.FromNumpy(corners.astype(np.float32)))
    said: dict[str, Any] = {"antialiased": True} if drawing.antialiased else {}
    said |= {} if drawing.near is None else {"near": float(drawing.near)}
    if said:
        field.GetPrim().SetCustomDataByKey("splat", said)
    stage.GetRootLayer().Save()


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
