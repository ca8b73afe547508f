"""RWAVS (Liang et al. 2023, AV-NeRF): one scene's binaural recording along a camera's path.

    position.json                       in the folder above: {"1": {"source_position": [x, y, z]}}
    1/source_syn_re.wav                 what the loudspeaker played, in step with
    1/binaural_syn_re.wav               what the ears on the camera heard
    1/transforms_scale_train.json       {"camera_path": [{"file_path": ".../00012.png",
                                         "camera_to_world": 16 numbers, rows first}]}; and _val
    1/transforms_train.json             {"frames": [{"file_path", "transform_matrix"}]}; and _val

Picture 00012 was taken 12 s into the recordings; what is heard there is the second around it. Poses
are OpenGL's (the camera looks along its -z), z is up. The files of `scale` hold positions scaled
to [-1, 1], in which the source's position is given; the others hold the frame that the pictures
are trained in. Where both are there, all positions are taken over into the latter by the
similarity between the two that their own camera positions tell.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

import numpy as np

from splat.strategies.acoustic.sounds.cards import EXPECTED
from splat.strategies.acoustic.sounds.types import Ears, Heard, SoundData, Source, Triple
from splat.strategies.acoustic.sounds.wav import look
from splat.system.foreign import Broken, part, reading, record, shown

CLIP = 1.0
"""Seconds of sound about a picture."""
MISFIT = 1e-2
"""Residual, of the extent of the path, above which two sets of poses are not similar."""
_NUMBER = re.compile(r"[0-9]{1,9}")
Frames = dict[str, np.ndarray]
Similar = tuple[float, np.ndarray, np.ndarray]
"""Scale, rotation [3, 3] and shift [3]: x' = scale * rotation @ x + shift."""


def load(path: Path) -> SoundData | None:
    """The sounds of one RWAVS scene, or None where the folder is of another layout."""
    splits = {split: path / f"transforms_scale_{split}.json" for split in ("train", "val")}
    if not splits["train"].is_file() or not (file := _wav(path, "binaural")):
        return None
    dry = _wav(path, "source")
    if dry is None:
        raise FileNotFoundError(
            f"{path}: has no source_syn_re.wav; expected what the loudspeaker played: copy it"
        )
    if not splits["val"].is_file():
        raise FileNotFoundError(
            f"{splits['val']}: does not exist; expected the poses that are held out: copy it"
        )
    scaled = {split: _path(card) for split, card in splits.items()}
    similar, note = _similar(path, scaled)
    head = look(file)
    source = Source(_moved(similar, np.array(_source(path))))
    parts = {
        split: _heard(frames, similar, (file, dry), head.seconds)
        for split, frames in scaled.items()
    }
    lost = sum(map(len, scaled.values())) - sum(map(len, parts.values()))
    notes = [note]
    if lost:
        notes.append(f"{lost} poses lie at the end of the recording or beyond it; left out")
    return SoundData(
        path,
        "rwavs",
        "recordings",
        head.rate,
        (source,),
        parts["train"],
        parts["val"],
        tuple(notes),
    )


def _wav(path: Path, what: str) -> Path | None:
    found = (path / f"{what}_syn{end}.wav" for end in ("_re", ""))
    return next((file for file in found if file.is_file()), None)


def _source(path: Path) -> Triple:
    for file in (path.resolve().parent / "position.json", path / "position.json"):
        if file.is_file():
            with reading(file, EXPECTED):
                return record(file).record(path.resolve().name).triple("source_position")
    raise FileNotFoundError(
        f"{path.resolve().parent / 'position.json'}: does not exist; expected the position of "
        "every scene's source: copy it"
    )


def _path(card: Path) -> Frames:
    """Poses by the names of pictures, in a file of scaled poses."""
    return _poses(card, "camera_path", "camera_to_world")


def _poses(card: Path, key: str, pose: str) -> Frames:
    found: Frames = {}
    with reading(card, f"`{key}`, one entry a picture: copy it again"):
        for i, entry in enumerate(record(card).records(key)):
            with part(f"entry {i} of `{key}`"):
                name = PurePosixPath(entry.text("file_path").replace("\\", "/")).name
                if not _NUMBER.fullmatch(Path(name).stem):
                    raise Broken(f"has `file_path`: {shown(name)}; expected one such as 00012.png")
                rows = entry.entries(pose)
                shape = (4, 4) if rows and isinstance(rows[0], list) else (16,)
                found[name] = entry.numbers(pose, *shape).reshape(4, 4)
                if not np.linalg.norm(found[name][:3, :3], axis=0).min() > 0:
                    raise Broken(f"has a `{pose}` without axes; expected a pose")
        if not found:
            raise Broken(f"has no `{key}`; expected one entry a picture")
    return found


def _similar(path: Path, scaled: dict[str, Frames]) -> tuple[Similar, str]:
    """How scaled positions are taken to the frame of the pictures, and what to say of it."""
    pairs = []
    for split, frames in scaled.items():
        card = path / f"transforms_{split}.json"
        if not card.is_file():
            continue
        plain = _poses(card, "frames", "transform_matrix")
        pairs += [(frames[n][:3, 3], plain[n][:3, 3]) for n in frames if n in plain]
    same = (1.0, np.eye(3), np.zeros(3))
    if len(pairs) < 3:
        return same, "positions are in the frame scaled to [-1, 1]: it has no unscaled poses"
    a, b = (np.array(column) for column in zip(*pairs, strict=True))
    found, misfit = fitted(a, b)
    if misfit > MISFIT:
        raise ValueError(
            f"{path}: its scaled and unscaled poses differ by {misfit:.1%} of the path's extent "
            "after the best similarity between them; expected the same path: copy both again"
        )
    return found, f"positions are in the frame of transforms_train.json ({found[0]:.4g} times)"


def fitted(a: np.ndarray, b: np.ndarray) -> tuple[Similar, float]:
    """The similarity that takes points `a` to `b` [n, 3] best (Umeyama 1991), and its misfit.

    The misfit is the root mean square residual, of the extent (rms) of `b`.
    """
    middle_a, middle_b = a.mean(0), b.mean(0)
    u, s, vt = np.linalg.svd((b - middle_b).T @ (a - middle_a) / len(a))
    turn = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    rotation = u * turn @ vt
    spread = float(((a - middle_a) ** 2).sum(1).mean())
    scale = float((s * turn).sum() / max(spread, 1e-12))
    shift = middle_b - scale * rotation @ middle_a
    residual = b - (scale * a @ rotation.T + shift)
    extent = np.sqrt(((b - middle_b) ** 2).sum(1).mean())
    misfit = np.sqrt((residual**2).sum(1).mean()) / max(float(extent), 1e-12)
    return (scale, rotation, shift), float(misfit)


def _moved(similar: Similar, point: np.ndarray) -> Triple:
    scale, rotation, shift = similar
    x, y, z = (float(v) for v in scale * rotation @ point + shift)
    return x, y, z


def _heard(
    frames: Frames, similar: Similar, files: tuple[Path, Path], length: float
) -> tuple[Heard, ...]:
    """A sound for every pose that has at least half of its second in the recording."""
    found = []
    for name, pose in sorted(frames.items()):
        time = int(Path(name).stem)
        start = max(0.0, time - CLIP / 2)
        if min(length, time + CLIP / 2) - start < CLIP / 2:
            continue
        up, back = (similar[1] @ pose[:3, axis] for axis in (1, 2))
        ears = Ears(_moved(similar, pose[:3, 3]), _unit(-back), _unit(up))
        found.append(Heard(Path(name).stem, ears, 0, *files, start, CLIP))
    return tuple(found)


def _unit(axis: np.ndarray) -> Triple:
    x, y, z = (float(v) for v in axis / np.linalg.norm(axis))
    return x, y, z
