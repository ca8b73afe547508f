"""Impulse responses laid out as SoundSpaces does (Chen et al. 2020), for one scene.

    binaural_rirs/replica/NAME/ANGLE/RECEIVER_SOURCE.wav        stereo; ANGLE is 0, 90, 180 or 270
    metadata/replica/NAME/points.txt                            a line a node: number x y z

Nodes are in the axes of the scene's mesh: z up, at the height of the ears. A listener at ANGLE
faces along +y at 0 and along +x at 90 (clockwise from above). `points.txt` may also lie in NAME.
The layout has no split: one receiver in five is held out, with all its angles and sources.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

from splat.strategies.acoustic.sounds.split import held_out
from splat.strategies.acoustic.sounds.types import Ears, Heard, SoundData, Source, Triple
from splat.strategies.acoustic.sounds.wav import look
from splat.system.foreign import content, number_in, part, reading

RESPONSE = re.compile(r"(\d+)[_-](\d+)\.wav", re.IGNORECASE)
RESPONSES, POINTS = "binaural_rirs", "metadata"


def load(path: Path) -> SoundData | None:
    """The impulse responses of a scene, or None where the folder is of another layout."""
    angles = {p: int(p.name) for p in path.iterdir() if p.is_dir() and p.name.isdigit()}
    files = [
        (angle, int(found[1]), int(found[2]), file)
        for folder, angle in sorted(angles.items(), key=lambda item: item[1])
        for file in sorted(folder.iterdir())
        if (found := RESPONSE.fullmatch(file.name))
    ]
    if not files:
        return None
    card = _card(path)
    places = _places(card)
    played = sorted({source for _, _, source, _ in files})
    if unknown := {n for _, *pair, _ in files for n in pair if n not in places}:
        raise ValueError(
            f"{card}: has no node {min(unknown)}, which {path} has responses of; expected every "
            "receiver and source: copy the points of the same scene"
        )
    number = {source: i for i, source in enumerate(played)}
    sounds = [
        Heard(
            f"{angle}/{receiver}_{source}", Ears(places[receiver], facing(angle)), number[source],
            file,
        )
        for angle, receiver, source, file in sorted(files, key=lambda row: (row[1], row[2], row[0]))
    ]  # fmt: skip
    train, test = held_out(sounds)
    note = (
        f"{len({s.ears.position for s in test})} of {len({s.ears.position for s in sounds})} "
        "receivers are held out, one in five by number"
    )
    sources = tuple(Source(places[source]) for source in played)
    rate = look(files[0][3]).rate
    return SoundData(
        path, "soundspaces", "responses", rate, sources, tuple(train), tuple(test), (note,)
    )


def facing(angle: float) -> Triple:
    """Where a listener looks at so many degrees, clockwise from +y as seen from above."""
    turn = math.radians(angle)
    return round(math.sin(turn), 12), round(math.cos(turn), 12), 0.0


def _card(path: Path) -> Path:
    """`points.txt`: in the folder, or where `metadata` stands for `binaural_rirs` in its path."""
    parts = list(path.resolve().parts)
    tried = [path / "points.txt"]
    if RESPONSES in parts:
        at = len(parts) - 1 - parts[::-1].index(RESPONSES)
        tried.append(Path(*parts[:at], POINTS, *parts[at + 1 :]) / "points.txt")
    for file in tried:
        if file.is_file():
            return file
    raise FileNotFoundError(
        f"{tried[-1]}: does not exist; expected the positions of the nodes: copy `{POINTS}` of "
        "SoundSpaces, or points.txt into the folder"
    )


def _places(card: Path) -> dict[int, Triple]:
    found: dict[int, Triple] = {}
    with reading(card, "a number and x y z in each line: copy it again"):
        for i, line in enumerate(content(card).decode("utf-8").splitlines(), 1):
            if words := line.split():
                with part(f"line {i}"):
                    number, x, y, z = map(number_in, words)
                    found[int(number)] = x, y, z
    return found
