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
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from splat.strategies.acoustic.sounds.cards import direction, parsed, triple
from splat.strategies.acoustic.sounds.split import held_out
from splat.strategies.acoustic.sounds.types import Ears, Heard, SoundData, Source

CARD = "sounds.json"
FORMAT, VERSION = "splat-sounds", 1
KINDS = ("responses", "recordings")


def load(path: Path) -> SoundData | None:
    """The sounds of `sounds.json` in a folder or in its `sounds/`, or None where there is none."""
    folder = next((p for p in (path, path / "sounds") if (p / CARD).is_file()), None)
    if folder is None:
        return None
    file = folder / CARD
    card = parsed(file)
    _known(file, card)
    sources = tuple(
        _source(entry, f"{file}: source {i}")
        for i, entry in enumerate(_list(file, card, "sources"))
    )
    entries = _list(file, card, "sounds")
    sounds = [_heard(file, card, entry, i, len(sources)) for i, entry in enumerate(entries)]
    splits = [entry.get("split") for entry in entries]
    if any(splits):
        if wrong := [i for i, split in enumerate(splits) if split not in ("train", "test")]:
            raise ValueError(
                f"{file}: sound {wrong[0]} has split {splits[wrong[0]]!r}; expected train or test "
                "in every sound, or in none: correct the file"
            )
        parts = [[s for s, split in zip(sounds, splits, strict=True) if split == name]
                 for name in ("train", "test")]  # fmt: skip
        train, test = parts
    else:
        train, test = held_out(sounds)
    return SoundData(
        folder, "splat", card["kind"], card["rate"], sources, tuple(train), tuple(test)
    )


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


def _known(file: Path, card: dict[str, Any]) -> None:
    if card.get("format") != FORMAT or card.get("version") != VERSION:
        raise ValueError(
            f"{file}: has format {card.get('format')!r}, version {card.get('version')!r}; expected "
            f"{FORMAT!r}, version {VERSION}: see the documentation of the layout"
        )
    if card.get("kind") not in KINDS:
        raise ValueError(
            f"{file}: has kind {card.get('kind')!r}; expected one of {', '.join(KINDS)}: correct it"
        )
    rate = card.get("rate")
    if not isinstance(rate, int) or isinstance(rate, bool) or rate < 1:
        raise ValueError(f"{file}: has rate {rate!r}; expected samples a second: correct it")


def _list(file: Path, card: dict[str, Any], key: str) -> list[dict[str, Any]]:
    entries = card.get(key)
    if (
        not isinstance(entries, list)
        or not entries
        or not all(isinstance(e, dict) for e in entries)
    ):
        raise ValueError(f"{file}: has no list of `{key}`; expected at least one: correct the file")
    return entries


def _source(entry: dict[str, Any], where: str) -> Source:
    facing = entry.get("facing")
    return Source(
        triple(entry.get("position"), f"{where}: `position`"),
        None if facing is None else direction(facing, f"{where}: `facing`"),
    )


def _heard(file: Path, card: dict[str, Any], entry: dict[str, Any], i: int, sources: int) -> Heard:
    where = f"{file}: sound {i}"
    source = entry.get("source", 0)
    if not isinstance(source, int) or isinstance(source, bool) or not 0 <= source < sources:
        raise ValueError(
            f"{where}: `source` is {source!r}; expected a number from 0 to {sources - 1}: "
            "correct the file"
        )
    ears = Ears(
        triple(entry.get("position"), f"{where}: `position`"),
        direction(entry.get("facing"), f"{where}: `facing`"),
        direction(entry.get("up", (0, 0, 1)), f"{where}: `up`"),
    )
    sound = _file(file, entry, "file", where)
    if sound is None:
        raise ValueError(f"{where}: has no `file`; expected the name of a WAV: correct the file")
    dry = _file(file, entry, "dry", where)
    if card["kind"] == "recordings" and dry is None:
        raise ValueError(
            f"{where}: has no `dry`; expected the file that its source played, for a recording "
            "says nothing of the room without it: add it"
        )
    start, seconds = entry.get("start") or 0.0, entry.get("seconds")
    if (
        not _number(start)
        or start < 0
        or not (seconds is None or (_number(seconds) and seconds > 0))
    ):
        raise ValueError(
            f"{where}: `start` and `seconds` are {start!r} and {seconds!r}; expected seconds from "
            "0 on, and more than 0 or null: correct the file"
        )
    name = Path(entry["file"]).with_suffix("").as_posix()
    return Heard(name, ears, source, sound, dry, float(start), seconds)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _file(file: Path, entry: dict[str, Any], key: str, where: str) -> Path | None:
    name = entry.get(key)
    if name is None:
        return None
    path = file.parent / str(name)
    if not path.is_file():
        raise FileNotFoundError(
            f"{where}: its {key} {name} does not exist; expected it below {file.parent}: copy it"
        )
    return path
