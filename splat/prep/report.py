"""What came of a preparation, in figures and in words: `prep.json` and `prep.txt`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from splat.prep.gather import Gathered, write_json
from splat.system.files import replacing

FEW_FEATURES, FEW_MATCHES = 400, 60
LARGE_ERROR = 1.5
"""Pixels beyond which the reprojection error points to a wrong camera model or moving things."""
SHORT_TRACK = 3.0
_SHOWN = 8


@dataclass(frozen=True)
class Report:
    """How a preparation went."""

    source: str
    scene: str
    photos: int
    """Pictures that poses were looked for."""
    registered: int
    """Those in the largest model."""
    failed: tuple[tuple[str, str], ...]
    """Names of the others, with a likely reason."""
    broken: tuple[tuple[str, str], ...]
    """Files that cannot be decoded, and why."""
    doubles: tuple[tuple[str, str], ...]
    """Photos left out, and the one each repeats."""
    blurry: tuple[str, ...]
    blurry_dropped: bool
    others: int
    """Files that are no pictures."""
    turned: int
    """Photos that EXIF's orientation was applied to."""
    matching: str
    pairs: int
    models: tuple[int, ...]
    """Photos in each model."""
    error: float
    """Mean reprojection error, pixels of the photos."""
    points: int
    track: float
    """Photos that see a point, on average."""
    cameras: tuple[dict[str, Any], ...]
    frame: dict[str, Any] | None
    """How the scene was turned and scaled (see `splat.prep.upright.Placement`); None: not."""
    options: dict[str, Any]
    seconds: dict[str, float]
    """Of each stage that was carried out, when it was."""
    notes: tuple[str, ...]

    @staticmethod
    def of(
        source: Path, scene: Path, found: Gathered, solved: Mapping[str, Any], **rest: Any
    ) -> Report:
        """From what was gathered and what `splat.prep.sfm.mapping` says."""
        models, counts = solved["models"], solved["photos"]
        best: Mapping[str, Any] = models[0] if models else {}
        there = set(best.get("registered", ()))
        names = [photo.name for photo in found.photos]
        blurs = {photo.name for photo in found.photos if photo.source in found.blurry}
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
            failed=failed, broken=found.broken, doubles=found.doubles, blurry=found.blurry,
            blurry_dropped=found.dropped, others=found.others,
            turned=sum(photo.turned for photo in found.photos),
            models=tuple(len(model["registered"]) for model in models),
            error=best.get("error", 0.0), points=best.get("points", 0),
            track=best.get("track", 0.0), cameras=tuple(best.get("cameras", ())),
            notes=found.notes, **rest,
        )  # fmt: skip

    def write(self, scene: Path) -> None:
        """Both files."""
        write_json(scene / "prep.json", {**asdict(self), "advice": self.advice()})
        with replacing(scene / "prep.txt") as draft:
            draft.write_text(self.text() + "\n", "utf-8")

    def text(self) -> str:
        """All of it, for people."""
        lines = [f"{self.registered} of {self.photos} photos registered ({self.matching})"]
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
        lines += listed("not registered", [f"{name}: {why}" for name, why in self.failed])
        lines += listed("cannot be read", [f"{name}: {why}" for name, why in self.broken])
        lines += listed("left out", [f"{name}: the same as {one}" for name, one in self.doubles])
        kept = "left out" if self.blurry_dropped else "kept; --drop-blurry leaves them out"
        lines += listed(f"blurry ({kept})", self.blurry)
        if self.others:
            lines.append(f"{self.others} other files are no photos")
        if self.turned:
            lines.append(f"{self.turned} photos were turned as EXIF says")
        return "\n".join([*lines, *self.notes, *self.advice()])

    def advice(self) -> list[str]:
        """What to do about what went wrong."""
        found = []
        lost = len(self.failed)
        if len(self.models) > 1 and self.models[1] >= 3:
            found.append(
                f"the photos fall into {len(self.models)} parts that do not connect"
                f" ({', '.join(map(str, self.models))} photos): take some between them, or try"
                " --matching exhaustive"
            )
        elif lost and lost >= 0.1 * self.photos:
            found.append(
                "many photos found no place: take them with two thirds of overlap, walking round"
                " rather than turning on the spot"
                + ("" if "exhaustive" in self.matching else "; or try --matching exhaustive")
            )
        if self.registered and self.error > LARGE_ERROR:
            found.append(
                f"a reprojection error of {self.error:.1f} px is large: things may have moved, or"
                " --camera-model does not suit the lens (OPENCV_FISHEYE for action cameras)"
            )
        if self.registered > 3 and self.track < SHORT_TRACK:
            found.append("points are seen by few photos each: more photos would help")
        if self.blurry and not self.blurry_dropped and len(self.blurry) > 0.1 * self.photos:
            found.append("many photos are blurry: hold still, or use a shorter exposure")
        return found


def reason(found: Mapping[str, int], elsewhere: int | None, blurred: bool) -> str:
    """Why a photo was probably not registered, from `splat.prep.sfm` on it."""
    if elsewhere is not None:
        return f"in another part, of {elsewhere} photos, that does not connect to the largest"
    features, pairs, best = (found.get(name, 0) for name in ("features", "pairs", "best"))
    if blurred:
        return f"blurry ({features:,} features)"
    if features < FEW_FEATURES:
        return f"few features ({features:,}): too little texture, or too dark"
    if pairs == 0:
        return "no overlap found with any other photo"
    if best < FEW_MATCHES:
        return f"few matches (at most {best} with one photo): too little overlap"
    return f"matches {pairs} photos, but not where they see the same points"


def listed(what: str, entries: Sequence[str]) -> list[str]:
    """A heading with a line for each entry; none where there are none."""
    return [f"{what}, {len(entries)}:", *(f"  {entry}" for entry in entries)] if entries else []


def _camera(camera: Mapping[str, Any]) -> str:
    return (
        f"{camera['photos']} photos of {camera['width']}x{camera['height']}: {camera['model']},"
        f" focal length {camera['focal']:.1f} px"
    )
