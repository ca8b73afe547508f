"""Agisoft Metashape: an XML of cameras (File > Export > Export Cameras) beside the photos."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import numpy as np
import numpy.typing as npt

from splat.datasets import cuts, photo
from splat.datasets.cameras import check_size, lens, pinhole
from splat.datasets.found import folder_of, name_of, points_beside, some, world_to_camera
from splat.scene import SceneData, View
from splat.system.foreign import Broken, check_claim, content, number_in, part, reading, shown

EXPECTS = "an .xml of cameras (Metashape)"
"""What `load` looks for."""
Array = npt.NDArray[np.float64]

_EXPECTED = "an XML of cameras: export it again"
_ELEMENT, _ATTRIBUTE = 200, 150
"""Bytes of memory that an element and an attribute take at most."""
_KINDS = {"frame": "brown", "fisheye": "brown_fisheye", "spherical": ""}
"""Types of a sensor, and the family of its lens; empty: a panorama."""


@dataclass(frozen=True)
class _Sensor:
    kind: str
    size: tuple[int, int]
    focal: tuple[float, float]
    principal: tuple[float, float]
    coefficients: tuple[float, ...]


def load(path: Path, images: str | None = None) -> SceneData | None:
    """The chunk with most posed cameras of the only file of cameras, or None where there is none.

    Poses are in the frame of the chunk's transform, which is that of what is exported beside.
    """
    found = []
    for file in sorted(path.glob("*.xml")):
        with reading(file, _EXPECTED):
            if (root := _document(file)) is not None:
                found.append((file, root))
    if not found:
        return None
    file, root = found[0]
    folder = folder_of(path, images)
    with reading(file, _EXPECTED):
        views, notes = _posed_views(file, root, folder)
    if len(found) > 1:
        notes.insert(0, f"{file.name} was read, of {len(found)} files of cameras")
    points, said = points_beside(path, views)
    return SceneData(path, "metashape", views, (), points, (*notes, *said))


def _posed_views(file: Path, root: Element, folder: Path) -> tuple[tuple[View, ...], list[str]]:
    """The views of the chunk with most posed cameras, by name, and what to say of them."""
    chunks = root.findall("chunk")
    posed = [sum(1 for _ in _posed(chunk)) for chunk in chunks]
    if sum(posed) == 0:
        raise Broken(
            "none of its cameras has a transform; expected aligned photos: align them, and export "
            "the cameras again"
        )
    views, notes = _views(file, chunks[posed.index(max(posed))], folder)
    if len(chunks) > 1:
        said = f"of {len(chunks)} chunks the one with most cameras was taken ({max(posed)})"
        notes.insert(0, said)
    return views, notes


def _document(file: Path) -> Element | None:
    """The root of a file of cameras; None: it is another XML."""
    data = content(file)
    if b"<document" not in data:
        return None
    # Entities of a DOCTYPE multiply and read other files; in other encodings it would not be seen.
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        raise Broken(f"has a DOCTYPE; expected {_EXPECTED}")
    check_claim(_ELEMENT * data.count(b"<") + _ATTRIBUTE * data.count(b"="), len(data), "elements")
    try:
        root = ElementTree.fromstring(data, ElementTree.XMLParser(encoding=_encoding(data)))
    except ElementTree.ParseError as error:
        if b"<document" not in data[:1000]:
            return None
        raise Broken(f"is not whole ({error}); expected {_EXPECTED}") from error
    return root if root.tag == "document" and root.find("chunk/cameras") is not None else None


def _encoding(data: bytes) -> str:
    """What a file says it is written in, of those in which letters of ASCII are what they are."""
    said = re.search(rb"encoding=[\"']([\w.-]+)", data[:200])
    name = said[1].decode().lower() if said else ""
    return name if name in ("iso-8859-1", "us-ascii") else "utf-8"


def _cameras(chunk: Element) -> list[Element]:
    """All of them, in groups or not."""
    found = chunk.find("cameras")
    return [] if found is None else list(found.iter("camera"))


def _posed(chunk: Element) -> Iterator[Element]:
    """Its cameras with a transform; disabled ones are left out."""
    for camera in _cameras(chunk):
        text = camera.findtext("transform")
        if text and camera.get("enabled", "true").lower() not in ("false", "0"):
            yield camera


def _views(file: Path, chunk: Element, folder: Path) -> tuple[tuple[View, ...], list[str]]:
    sensors = {sensor.get("id"): sensor for sensor in chunk.iter("sensor")}
    places = {c.get("id"): _similarity(c.find("transform")) for c in chunk.iter("component")}
    place = _similarity(chunk.find("transform"))
    views: list[View] = []
    missing = []
    for camera in _posed(chunk):
        label = camera.get("label", "")
        image = photo.find(folder, label)
        if image is None:
            missing.append(label)
            continue
        with part(f"camera {shown(label)}"):
            sensor = sensors.get(camera.get("sensor_id"))
            if sensor is None:
                raise Broken(f"its sensor {camera.get('sensor_id')} is not in the file")
            own = places.get(camera.get("component_id"))
            matrix = _numbers(camera.findtext("transform"), 16).reshape(4, 4)
            with np.errstate(all="ignore"):
                matrix = (place if own is None else own) @ matrix
            views += _views_of(image, folder, world_to_camera(matrix), _sensor(sensor))
    notes = some(views, missing, file, folder)
    cameras = len(_cameras(chunk))
    unposed = cameras - sum(1 for _ in _posed(chunk))
    if unposed:
        notes.append(f"{unposed} of {cameras} cameras have no pose or are disabled")
    return tuple(sorted(views, key=lambda view: view.name)), notes


def _views_of(image: Path, folder: Path, pose: Array, sensor: _Sensor) -> tuple[View, ...]:
    name = name_of(image, folder)
    if not sensor.kind:
        return cuts.panorama(name, image, pose, sensor.size)
    bent = lens("radial", ()) if not any(sensor.coefficients) and sensor.kind == "brown" else None
    if any(sensor.coefficients) or sensor.kind == "brown_fisheye":
        bent = lens(sensor.kind, sensor.coefficients)
    camera = pinhole(pose, sensor.focal, sensor.principal, sensor.size)
    parts = cuts.fisheye(name, image, pose, sensor.focal, sensor.principal, sensor.size, bent)
    return parts or (View(name, camera, image, lens=bent),)


def _sensor(element: Element) -> _Sensor:
    """A sensor by its adjusted calibration, or the only one that it has."""
    found = element.findall("calibration")
    adjusted = [each for each in found if each.get("class") == "adjusted"]
    calibration = next(iter(adjusted or found), None)
    kind = element.get("type") or "frame"
    if calibration is not None:
        kind = calibration.get("type") or kind
    if kind not in _KINDS:
        raise Broken(
            f"its sensor is of type {shown(kind)}; expected one of {', '.join(_KINDS)}: convert the"
            " photos"
        )
    resolution = element.find("resolution")
    if resolution is None and calibration is not None:
        resolution = calibration.find("resolution")
    if resolution is None:
        raise Broken("its sensor has no resolution; expected width and height")
    width, height = (number_in(resolution.get(side, "0")) for side in ("width", "height"))
    size = int(width), int(height)
    check_size(size)
    if kind == "spherical":
        return _Sensor("", size, (1, 1), (0, 0), ())
    if calibration is None:
        raise Broken("its sensor has no calibration; expected one: align the photos first")
    f, b1, b2, cx, cy, k1, k2, k3, k4, p1, p2 = (
        _value(calibration, name)
        for name in ("f", "b1", "b2", "cx", "cy", "k1", "k2", "k3", "k4", "p1", "p2")
    )
    # Metashape's p1 goes with r^2 + 2 x^2, which is OpenCV's p2.
    skew = b2 / (f + b1) if f + b1 else 0.0
    principal = size[0] / 2 + cx, size[1] / 2 + cy
    return _Sensor(_KINDS[kind], size, (f + b1, f), principal, (k1, k2, k3, k4, p2, p1, skew))


def _similarity(element: Element | None) -> Array:
    """The transform of a chunk or component: scale * rotation, and translation."""
    found = np.eye(4)
    if element is None:
        return found
    scale = number_in(element.findtext("scale") or "1")
    rotation, translation = element.findtext("rotation"), element.findtext("translation")
    found[:3, :3] *= scale
    if rotation:
        found[:3, :3] = scale * _numbers(rotation, 9).reshape(3, 3)
    if translation:
        found[:3, 3] = _numbers(translation, 3)
    return found


def _numbers(text: str | None, count: int) -> Array:
    """So many numbers."""
    words = (text or "").split()
    if len(words) != count:
        raise Broken(f"a transform has {len(words)} numbers; expected {count} finite ones")
    return np.array([number_in(word) for word in words])


def _value(calibration: Element, name: str) -> float:
    text = calibration.findtext(name)
    with part(f"its calibration's {name}"):
        return number_in(text) if text else 0.0
