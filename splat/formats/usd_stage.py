"""What a stage of USD holds, said by a process of its own; `splat.formats.usd_table` hears it.

Only what lies in the file is opened: a package's layers by their names in it. Once they are, the
process can open nothing more, so that what USD would still follow (asset paths in expressions,
value clips, names that are looked for in folders) leads nowhere; where it leads is told before, as
far as it can be.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pxr import Ar, Sdf, Tf, Usd, UsdGeom, UsdVol, Work

from splat.system.confined import NO_MEMORY, Bounds, confine, say, shut
from splat.system.foreign import Broken, shown

TYPE = "ParticleField3DGaussianSplat"
_PLACES = 1 << 13
"""Prims of Gaussians that are read."""
_LAYERS = 1 << 10
"""Layers of a package that are read."""
_VALUES = {
    "positions": ("GfVec3f", "GfVec3h"),
    "orientations": ("GfQuatf", "GfQuath"),
    "scales": ("GfVec3f", "GfVec3h"),
    "opacities": ("float", "GfHalf"),
    "radiance:sphericalHarmonicsCoefficients": ("GfVec3f", "GfVec3h"),
}
"""Attributes, and the types of C++ that their values have as floats and as halves."""
_PART = 1 << 20
"""Values that are turned into floats at a time."""


def main(arguments: Sequence[str]) -> int:
    """Say what lies in a file, given the bounds of memory and time, and its path; the exit code."""
    memory, seconds, name = arguments
    warm_up()
    confine(Bounds(int(memory), float(seconds)))
    try:
        _tell(Path(name))
    except MemoryError:
        return NO_MEMORY
    except BrokenPipeError:
        return 0  # all that was asked for has been heard
    except Broken as error:
        say({"broken": str(error)})
    except Tf.ErrorException as error:
        say({"broken": f"is no stage that usd-core composes ({_first(error, name)})"})
    except Exception as error:
        say({"broken": f"cannot be read ({type(error).__name__}: {str(error)[:120]})"})
    return 0


def warm_up() -> None:
    """Load what usd-core loads when it is first needed, while files can still be opened."""
    Work.SetConcurrencyLimit(1)  # threads take memory, of which there is little
    stage = Usd.Stage.CreateInMemory()
    field = UsdVol.ParticleField3DGaussianSplat.Define(stage, "/a")
    UsdGeom.XformCache().GetLocalToWorldTransform(field.GetPrim())
    np.asarray(field.CreatePositionsAttr([(0, 0, 0)]).Get(), np.float32)


def _tell(path: Path) -> None:
    with Ar.ResolverScopedCache():  # which knows then where a package's layers lie in it
        layers = _opened(path)
        shut()
        stage = Usd.Stage.Open(layers[0])
    known = {layer.identifier for layer in (*layers, stage.GetSessionLayer())}
    fields = [*_fields(stage)]
    used = sorted(each.identifier for each in stage.GetUsedLayers())
    if others := [name for name in used if name not in known]:
        raise _refers(others)
    if not fields:
        raise Broken(f"has no prim of the type {TYPE}, expected Gaussians")
    antialiased, near = _drawn(fields[0])
    up = str(UsdGeom.GetStageUpAxis(stage))
    say({"up": up, "antialiased": antialiased, "near": near, "prims": len(fields)})
    cache = UsdGeom.XformCache()
    for prim in fields:
        _tell_of(prim, np.array(cache.GetLocalToWorldTransform(prim), np.float64))


def _opened(path: Path) -> list[Any]:
    """The layers of a file: itself, and of a package those that it refers to within."""
    root = _layer(str(path))
    if root is None:
        raise Broken("is no file that usd-core reads")
    layers, package = [root], root.GetFileFormat().IsPackage()
    for layer in layers:
        names = {*layer.GetCompositionAssetDependencies(), *layer.subLayerPaths}
        for name in sorted(names - {""}):  # which refers to another prim of the same layer
            place = _within(layer, name, path) if package else ""
            if not place:
                raise _refers([name])
            inner = _layer(place)
            if inner is None:
                raise Broken(f"refers to {shown(name)}, which usd-core does not read")
            if all(inner.identifier != each.identifier for each in layers):
                layers.append(inner)
            if len(layers) > _LAYERS:
                raise Broken(f"has more than {_LAYERS:,} layers; expected fewer")
    return layers


def _layer(name: str) -> Any:
    try:
        return Sdf.Layer.FindOrOpen(name)
    except Tf.ErrorException as error:
        raise Broken(f"is no file that usd-core reads ({_first(error, name)})") from None


def _within(layer: Any, name: str, path: Path) -> str:
    """Where a layer of a package finds what it names; empty: not in the package."""
    place = str(Sdf.ComputeAssetPathRelativeToLayer(layer, name))
    outer, inner = Ar.SplitPackageRelativePathOuter(place)
    return place if inner and Path(outer) == path else ""


def _refers(others: Sequence[str]) -> Broken:
    return Broken(
        f"refers to {', '.join(map(shown, others[:3]))}, expected a file that holds everything:"
        " flatten it (usdcat --flatten)"
    )


def _first(error: Exception, name: str) -> str:
    """What usd-core says first of a file, without its name and the places in its own source."""
    text = " ".join(str(error).split())
    if "bad_alloc" in text:
        raise MemoryError
    words = text.partition(" : '")[2].partition("' Error in ")[0].rstrip("' ") or text
    for known in (f"<{name}>", f"'{name}'", f"@{name}@", name):
        words = words.replace(known, "it")
    return words[:160] or "no reason given"


def _fields(stage: Any) -> Iterator[Any]:
    """The prims of Gaussians, in the order of the stage."""
    count = 0
    for prim in stage.Traverse():
        if prim.HasAuthoredMetadata("clips"):
            raise Broken(f"takes values of {prim.GetPath()} from clips, expected them in the file")
        if prim.GetTypeName() == TYPE:
            count += 1
            if count > _PLACES:
                raise Broken(f"has more than {_PLACES:,} prims of Gaussians; expected fewer")
            yield prim


def _drawn(prim: Any) -> tuple[bool, float | None]:
    said = prim.GetCustomDataByKey("splat")
    said = said if isinstance(said, dict) else {}
    near = said.get("near")
    return said.get("antialiased") is True, near if isinstance(near, float) else None


def _tell_of(prim: Any, matrix: Any) -> None:
    """Where a prim is and how many values it has, and then these."""
    degree = prim.GetAttribute("radiance:sphericalHarmonicsDegree").Get()
    found = {name: _values(prim, name, kinds) for name, kinds in _VALUES.items()}
    found = {name: values for name, values in found.items() if values is not None}
    record = {
        "at": str(prim.GetPath())[:200],
        "matrix": matrix.tolist(),
        "degree": None if degree is None else int(degree),
        "counts": {name: len(values) for name, values in found.items()},
    }
    say(record, *(part for values in found.values() for part in _parts(values)))


def _values(prim: Any, name: str, kinds: tuple[str, str]) -> Any:
    """An attribute's values in memory of usd-core's, as floats or else as halves."""
    for variant, kind in zip((name, f"{name}h"), kinds, strict=True):
        attribute = prim.GetAttribute(variant)
        if attribute and attribute.GetTypeName().cppTypeName == f"VtArray<{kind}>":
            value = attribute.Get()
            if value is not None:
                return np.asarray(value)
    return None


def _parts(values: Any) -> Iterator[memoryview]:
    for start in range(0, len(values), _PART):
        part = np.ascontiguousarray(values[start : start + _PART], np.float32)
        yield part.data.cast("B")
