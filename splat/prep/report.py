"""The report of a preparation, in figures and in words: `prep.json` and `prep.txt`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from splat.prep.gather import Gathered, write_json
from splat.system.files import replacing
from splat.system.foreign import Broken, reading, record

FEW_FEATURES, FEW_MATCHES = 400, 60
LARGE_ERROR = 1.5
"""Reprojection error, pixels, beyond which the camera model is wrong or things moved."""
SHORT_TRACK = 3.0
_SHOWN = 8


def origin_of(scene: Path) -> tuple[float, float, float] | None:
    """Latitude, longitude (degrees) and altitude (metres) of the origin of a prepared scene, whose
    axes are then metres east, north and up; None where GPS does not say."""
    file = scene / "prep.json"
    if not file.is_file():
        return None
    with reading(file, "the report of splat prep", "prepare the scene again"):
        frame = record(file).record("frame", {})
        if frame.get("origin") is None:
            return None
        latitude, longitude, altitude = frame.triple("origin")
        if abs(latitude) > 90:
            raise Broken(f"has a latitude of {latitude:g} degrees; expected -90 to 90")
    return latitude, longitude, altitude


@dataclass(frozen=True)
class Report:
    """The result of a preparation."""

    source: str
    scene: str
    photos: int
    """Pictures for which poses were looked for."""
    registered: int
    """Pictures in the largest model."""
    failed: tuple[tuple[str, str], ...]
    """Names of the pictures that were not registered, each with a likely reason."""
    broken: tuple[tuple[str, str], ...]
    """Files that cannot be decoded, each with the reason."""
    doubles: tuple[tuple[str, str], ...]
    """Photos left out, each with the photo that it repeats."""
    blurry: tuple[str, ...]
    blurry_dropped: bool
    others: int
    """Number of files that are no pictures."""
    turned: int
    """Number of photos that EXIF's orientation was applied to."""
    matching: str
    pairs: int
    models: tuple[int, ...]
    """Number of photos in each model, the largest first."""
    error: float
    """Mean reprojection error, pixels of the photos."""
    points: int
    track: float
    """Mean number of photos that see a point."""
    cameras: tuple[dict[str, Any], ...]
    frame: dict[str, Any] | None
    """Rotation and scale of the scene (see `splat.prep.upright.Placement`); None: as reconstructed.
    """
    options: dict[str, Any]
    seconds: dict[str, float]
    """Seconds of each stage, when it was carried out."""
    notes: tuple[str, ...]

    @staticmethod
    def of(
        source: Path, scene: Path, gathering: Gathered, solved: Mapping[str, Any], **rest: Any
    ) -> Report:
        """The report of what was gathered, and of the result of `splat.prep.sfm.mapping`."""
        models, counts = solved["models"], solved["photos"]
        best: Mapping[str, Any] = models[0] if models else {}
        there = set(best.get("registered", ()))
        names = [photo.name for photo in gathering.photos]
        blurs = {photo.name for photo in gathering.photos if photo.source in gathering.blurry}
        elsewhere = {
            name: len(model["registered"])
            for model in reversed(models[1:])
            for name in model["registered"]
        }
        failed = tuple(
            (name, reason(counts.get(name, {}), elsewhere.get(name), name in blurs))
            for name in names
            if name not in there
        )
        return Report(
            source=str(source), scene=str(scene), photos=len(names), registered=len(there),
            failed=failed, broken=gathering.broken, doubles=gathering.doubles,
            blurry=gathering.blurry, blurry_dropped=gathering.dropped, others=gathering.others,
            turned=sum(photo.turned for photo in gathering.photos),
            models=tuple(len(model["registered"]) for model in models),
            error=best.get("error", 0.0), points=best.get("points", 0),
            track=best.get("track", 0.0), cameras=tuple(best.get("cameras", ())),
            notes=gathering.notes, **rest,
        )  # fmt: skip

    def write(self, scene: Path) -> None:
        """Write both files into the folder of the scene."""
        write_json(scene / "prep.json", {**asdict(self), "advice": self.advice()})
        with replacing(scene / "prep.txt") as draft:
            draft.write_text(self.text() + "\n", "utf-8")

    def text(self) -> str:
        """The whole report as text."""
        lines = [f"camera poses found for {self.registered} of {self.photos} photos"]
        if self.registered:
            lines.append(
                f"mean reprojection error {self.error:.2f} px; {self.points:,} points, each seen by"
                f" {self.track:.1f} photos on average"
            )
            lines += [_camera(camera) for camera in self.cameras[:_SHOWN]]
            if len(self.cameras) > _SHOWN:
                lines.append(f"and {len(self.cameras) - _SHOWN} more cameras")
        if self.frame is not None:
            lines.append(f"frame: {self.frame['how']}")
        lines += list_text("no pose found", [f"{name}: {why}" for name, why in self.failed])
        lines += list_text("cannot be read", [f"{name}: {why}" for name, why in self.broken])
        lines += list_text("left out", [f"{name}: the same as {one}" for name, one in self.doubles])
        kept = "left out" if self.blurry_dropped else "kept; --drop-blurry leaves them out"
        lines += list_text(f"blurry ({kept})", self.blurry)
        if self.others:
            lines.append(f"{self.others} other files are no photos")
        if self.turned:
            lines.append(f"{self.turned} photos were turned as EXIF says")
        return "\n".join([*lines, *self.notes, *self.advice()])

    def advice(self) -> list[str]:
        """Advice on what went wrong, a sentence each."""
        sentences = []
        lost = len(self.failed)
        if len(self.models) > 1 and self.models[1] >= 3:
            sentences.append(
                f"the photos fall into {len(self.models)} parts that do not connect"
                f" ({', '.join(map(str, self.models))} photos): take some between them, or try"
                " --matching exhaustive"
            )
        elif lost and lost >= 0.1 * self.photos:
            sentences.append(
                "many photos found no place: take them with two thirds of overlap, walking round"
                " rather than turning on the spot"
                + ("" if "exhaustive" in self.matching else "; or try --matching exhaustive")
            )
        if self.registered and self.error > LARGE_ERROR:
            sentences.append(
                f"a reprojection error of {self.error:.1f} px is large: things may have moved, or"
                " --camera-model does not suit the lens (OPENCV_FISHEYE for action cameras)"
            )
        if self.registered > 3 and self.track < SHORT_TRACK:
            sentences.append("points are seen by few photos each: more photos would help")
        if self.blurry and not self.blurry_dropped and len(self.blurry) > 0.1 * self.photos:
            sentences.append("many photos are blurry: hold still, or use a shorter exposure")
        return sentences


def reason(counts: Mapping[str, int], elsewhere: int | None, blurred: bool) -> str:
    """The likely reason why no pose was found for a photo, by its counts from `splat.prep.sfm`."""
    if elsewhere is not None:
        return f"in another part, of {elsewhere} photos, that does not connect to the largest"
    features, pairs, best = (counts.get(name, 0) for name in ("features", "pairs", "best"))
    if blurred:
        return f"blurry ({features:,} features)"
    if features < FEW_FEATURES:
        return f"few features ({features:,}): too little texture, or too dark"
    if pairs == 0:
        return "no overlap found with any other photo"
    if best < FEW_MATCHES:
        return f"few matches (at most {best} with one photo): too little overlap"
    return f"matches {pairs} photos, but not where they see the same points"


def list_text(heading: str, entries: Sequence[str]) -> list[str]:
    """A heading with a line for each entry; nothing where there are none."""
    return [f"{heading}, {len(entries)}:", *(f"  {entry}" for entry in entries)] if entries else []


def _camera(camera: Mapping[str, Any]) -> str:
    return (
        f"{camera['photos']} photos of {camera['width']}x{camera['height']}: {camera['model']},"
        f" focal length {camera['focal']:.1f} px"
    )
