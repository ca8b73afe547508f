"""The layout of this project: `sounds.json` beside WAV files.

    {"format": "splat-sounds", "version": 1,
     "kind": "responses",                            or "recordings"
     "rate": 16000,
     "sources": [{"position": [x, y, z], "facing": [x, y, z] or null}],
     "sounds": [{"file": "wav/0000_0.wav",           stereo, left ear first; relative to the card
                 "position": [x, y, z], "facing": [x, y, z], "up": [0, 0, 1],
                 "source": 0, "split": "train",      or "test"
                 "dry": null,                        mono, of recordings; as long as "file"
                 "start": 0.0, "seconds": null}]}

`up`, `source`, `dry`, `start`, `seconds` and a source's `facing` may be left out. Where no sound
has a `split`, one place in five is held out.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from splat.strategies.acoustic.sounds.cards import EXPECTED, direction
from splat.strategies.acoustic.sounds.split import held_out
from splat.strategies.acoustic.sounds.types import Ears, Heard, SoundData, Source
from splat.system.foreign import Broken, Record, part, reading, record, shown

CARD = "sounds.json"
FORMAT, VERSION = "splat-sounds", 1
KINDS: tuple[Literal["responses", "recordings"], ...] = ("responses", "recordings")


def load(path: Path) -> SoundData | None:
    """The sounds of `sounds.json` in a folder or in its `sounds/`, or None where there is none."""
    folder = next((p for p in (path, path / "sounds") if (p / CARD).is_file()), None)
    if folder is None:
        return None
    with reading(folder / CARD, EXPECTED):
        return _data(folder, record(folder / CARD))


def _data(folder: Path, card: Record) -> SoundData:
    kind, rate = _known(card)
    sources = []
    for i, entry in enumerate(_entries(card, "sources")):
        with part(f"source {i}"):
            facing = None if entry.get("facing") is None else direction(entry, "facing")
            sources.append(Source(entry.triple("position"), facing))
    entries, sounds = _entries(card, "sounds"), []
    for i, entry in enumerate(entries):
        with part(f"sound {i}"):
            sounds.append(_heard(folder, kind, entry, len(sources)))
    splits = [entry.get("split") for entry in entries]
    if any(splits):
        if wrong := [i for i, split in enumerate(splits) if split not in ("train", "test")]:
            raise Broken(
                f"sound {wrong[0]} has split {shown(splits[wrong[0]])}; expected train or test "
                "in every sound, or in none: correct the file"
            )
        parts = [[s for s, split in zip(sounds, splits, strict=True) if split == name]
                 for name in ("train", "test")]  # fmt: skip
        train, test = parts
    else:
        train, test = held_out(sounds)
    return SoundData(folder, "splat", kind, rate, tuple(sources), tuple(train), tuple(test))


def write(
    folder: Path,
    kind: Literal["responses", "recordings"],
    rate: int,
    sources: Sequence[Source],
    train: Sequence[Heard],
    test: Sequence[Heard],
) -> None:
    """Write the card of sounds whose files are below `folder`."""
    card = {
        "format": FORMAT,
        "version": VERSION,
        "kind": kind,
        "rate": rate,
        "sources": [{"position": s.position, "facing": s.facing} for s in sources],
        "sounds": [
            {
                "file": sound.file.relative_to(folder).as_posix(),
                "position": sound.ears.position,
                "facing": sound.ears.facing,
                "up": sound.ears.up,
                "source": sound.source,
                "split": split,
                "dry": None if sound.dry is None else sound.dry.relative_to(folder).as_posix(),
                "start": sound.start,
                "seconds": sound.seconds,
            }
            for split, part in (("train", train), ("test", test))
            for sound in part
        ],
    }
    (folder / CARD).write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")


def _known(card: Record) -> tuple[Literal["responses", "recordings"], int]:
    """The kind of its sounds, and their rate."""
    if card.get("format") != FORMAT or card.get("version") != VERSION:
        raise Broken(
            f"has format {shown(card.get('format'))}, version {shown(card.get('version'))}; "
            f"expected {FORMAT!r}, version {VERSION}: see the documentation of the layout"
        )
    kind = next((kind for kind in KINDS if kind == card.get("kind")), None)
    if kind is None:
        raise Broken(
            f"has kind {shown(card.get('kind'))}; expected one of {', '.join(KINDS)}: correct it"
        )
    return kind, card.whole("rate", least=1)


def _entries(card: Record, key: str) -> list[Record]:
    entries = card.records(key)
    if not entries:
        raise Broken(f"has no `{key}`; expected at least one: correct the file")
    return entries


def _heard(folder: Path, kind: str, entry: Record, sources: int) -> Heard:
    source = entry.whole("source", 0, most=sources - 1)
    up = (0.0, 0.0, 1.0) if "up" not in entry else direction(entry, "up")
    ears = Ears(entry.triple("position"), direction(entry, "facing"), up)
    sound, dry = _file(folder, entry, "file"), None
    if entry.get("dry") is not None:
        dry = _file(folder, entry, "dry")
    elif kind == "recordings":
        raise Broken(
            "has no `dry`; expected the file that its source played, for a recording says nothing "
            "of the room without it: add it"
        )
    seconds = None if entry.get("seconds") is None else entry.number("seconds", above=0)
    start = entry.number("start", 0.0, least=0)
    name = Path(entry.text("file")).with_suffix("").as_posix()
    return Heard(name, ears, source, sound, dry, start, seconds)


def _file(folder: Path, entry: Record, key: str) -> Path:
    path = folder / entry.text(key)
    if not Path(os.path.abspath(path)).is_relative_to(os.path.abspath(folder)):
        raise Broken(f"its {key} {shown(entry[key])} lies outside of its folder; copy it there")
    if not path.is_file():
        raise FileNotFoundError(
            f"{folder / CARD}: its {key} {entry[key]} does not exist; expected it below {folder}: "
            "copy it"
        )
    return path
