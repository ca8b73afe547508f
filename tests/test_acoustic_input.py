"""Sounds and options that `splat train-audio` refuses or warns of, and what it then leaves."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hearing_room
import pytest
import torch
from conftest import Outcome
from hearing_room import RATE, SMALL, figures, hashes
from torch import Tensor

from splat.strategies.acoustic import sounds
from splat.strategies.acoustic.verbs import heard

pytest.importorskip("soundfile")
Splat = Callable[..., Outcome]


def changed(folder: Path, number: int, sound: Tensor, rate: int = RATE) -> Path:
    """A folder of sounds one of whose files is another."""
    sounds.write_wav(folder / f"wav/{number:03d}.wav", sound, rate)
    return folder


def said_of(folder: Path, key: str, **values: Any) -> Path:
    """A folder of sounds of which the card says other things, of one sound or of one source."""
    card = json.loads((folder / "sounds.json").read_text())
    card[key][1] |= values
    (folder / "sounds.json").write_text(json.dumps(card))
    return folder


def short(folder: Path) -> Path:
    for i in range(16):
        changed(folder, i, NOISE[:, :200])
    return folder


NOISE = 0.1 * torch.randn(2, 2000, generator=torch.Generator().manual_seed(0))
BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "rate": (lambda f: changed(f, 3, NOISE, 16000),
             r"003\.wav: has 16000 samples a second; expected 8000"),
    "mono": (lambda f: changed(f, 3, NOISE[:1]), r"003\.wav: is mono; expected stereo"),
    "silent": (lambda f: changed(f, 3, 0 * NOISE), r"003\.wav: its left channel is silent"),
    "held out": (lambda f: changed(f, 14, 0 * NOISE), r"014\.wav: its left channel is silent"),
    "cut": (lambda f: (f / "wav/003.wav").write_bytes(b"RIFF"), r"003\.wav: is no sound file"),
    "gone": (lambda f: (f / "wav/003.wav").unlink(), r"its file wav/003\.wav does not exist"),
    "short": (short, r"its responses last at most 0\.025 s; expected 0\.05 s or more"),
    "listener": (lambda f: said_of(f, "sounds", position=[9, 1, 1]),
                 r"1 of its 16 places lie outside of the scene, such as wav/001 at \(9\.00, 1\.00,"
                 r" 1\.00\); expected all within \(.*\) to \(.*\): give sounds of this scene"),
    "source": (lambda f: said_of(f, "sources", position=[2, 1, -4]),
               r"a source at \(2\.00, 1\.00, -4\.00\) lies outside of the scene; expected all"),
    "facing": (lambda f: said_of(f, "sounds", facing=[0, 0, 2]), r"which is its up; expected"),
    "up": (lambda f: said_of(f, "sounds", up=[0, 0, 0]), r"sound 1: has `up`: \[0, 0, 0\]"),
    "kind": (lambda f: (f / "sounds.json").write_text("[]"), r"sounds\.json"),
    "no card": (lambda f: (f / "sounds.json").unlink(), r"is no known layout of sounds; expected"),
    "empty": (lambda f: [shutil.rmtree(f), f.mkdir()], r"responses: is an empty folder; expected"),
    "missing": (shutil.rmtree, r"responses: does not exist; expected a folder of sounds"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_sounds_leave_what_was_learned(case: str, room: Path, splat: Splat) -> None:
    kept = room / "run/audio/checkpoints/step_00000007.pt"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"what was learned before")
    spoil, sentence = BAD[case]
    spoil(room / "responses")
    before = hashes(room)
    refused = splat(
        "train-audio", room / "run", room / "responses", *SMALL, "--steps", 40, "--metres", 1,
        "--overwrite",
    )  # fmt: skip
    lines = refused.err.strip().splitlines()
    assert refused.code == 2 and not refused.out and len(lines) == 1, refused.said
    assert lines[0].startswith("splat train-audio: ") and re.search(sentence, lines[0]), lines
    assert hashes(room) == before


def test_clipped_sounds_are_warned_of_once(room: Path, splat: Splat) -> None:
    loud = (20 * NOISE).clamp(-1, 1)
    changed(room / "responses", 3, loud)
    told = splat("train-audio", room / "run", room / "responses", *SMALL, "--steps", 2)
    assert told.code == 0
    warned = [line for line in told.err.splitlines() if "clipped" in line]
    assert len(warned) == 1 and "003.wav: seems clipped" in warned[0]


def test_what_is_asked_is_checked(room: Path, splat: Splat) -> None:
    run, folder = room / "run", room / "responses"

    def refused(sentence: str, *arguments: object) -> None:
        before = hashes(room)
        found = splat("train-audio", *arguments)
        assert found.code == 2 and sentence in " ".join(found.err.split()), found.said
        assert hashes(room) == before

    refused("no folder of sounds is given; expected one behind the run", run)
    refused("is no run of splat, it has no config.json", folder, folder)
    refused("does not exist; expected the folder of a run", room / "nowhere", folder)
    refused("holds no checkpoint; expected a training to go on with", run, "--resume")
    refused("steps is 0; expected 1 or more", run, folder, "--steps", 0)
    refused("threads is 0; expected 1 or more", run, folder, "--threads", 0)
    refused("share is 0; expected above 0 and up to 1", run, folder, "--share", 0)
    refused("metres is -1; expected above 0", run, folder, "--metres", -1)
    refused("network-rate is -1; expected 0 or more", run, folder, "--network-rate", -1)
    refused("quantile is 2; expected from 0 to 1", run, folder, "--quantile", 2)
    assert splat("train-audio", run, folder, *SMALL, "--steps", 2).code == 0
    refused("is there already; go on with --resume, or replace it with --overwrite", run, folder)
    shutil.rmtree(run / "checkpoints")
    refused("holds no checkpoint yet", run, folder, "--overwrite")


def test_a_run_without_sound_says_so(seen_room: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"has not learned to hear; .* `splat train-audio"):
        heard.hearing(seen_room / "run")


def test_held_out_sounds_may_be_longer_or_shorter(room: Path, splat: Splat) -> None:
    for i, ears in enumerate(hearing_room.places(16)):
        sound = hearing_room.response(ears, hearing_room.SOURCES[i % 2], i)
        if i == 12:
            changed(room / "responses", i, torch.cat([sound, 1e-4 * sound[:, -500:]], 1))
    assert splat("train-audio", room / "run", room / "responses", *SMALL, "--steps", 2).code == 0
    assert math.isfinite(figures(room / "run")["mag"])
