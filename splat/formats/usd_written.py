"""How a stage of USD is written; see `splat.formats.usd`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from pxr import Usd, UsdGeom, UsdUtils, UsdVol, Vt

from splat.formats.columns import Columns
from splat.types import Drawing

_PATH = "/World/gaussians"
_DATE = 315_619_200
"""The second day of 1980: archives know no time before that year, and tell that of the place."""


def write_stage(path: Path, part: Columns, drawing: Drawing) -> None:
    """Write Gaussians that are placed as USD has them."""
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


def write_package(layer: Path, path: Path, name: str) -> None:
    """Pack a layer into a file, where it has this name, and a date that is always the same."""
    os.utime(layer, (_DATE, _DATE))
    if not UsdUtils.CreateNewUsdzPackage(str(layer), str(path), name):
        raise OSError(f"{path}: usd-core packed no file; look at its messages")
