"""What `splat hear` is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from splat.options.verbs import Json, Overwrite, Quiet
from splat.strategies.acoustic.choices import KEYS
from splat.system.numbers import hint

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Hear:
    """Hear a sound in a scene, standing still or along a path of cameras, as a stereo WAV.

    splat hear run/ --source speech.wav --at 1 2 1.5 --facing 0 1 0 -o there.wav

    splat hear run/ --source speech.wav --path turntable -o round.wav
    """

    run: tyro.conf.Positional[Path]
    """Folder of a run whose field of sound is trained."""
    source: Path
    """What the source plays, a WAV file; of stereo the mean of both channels."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """A name ending in .wav; the left ear is the first channel."""
    at: Annotated[Triple | None, hint("along --path")] = None
    """Where the listener stands, X Y Z in the coordinates of the scene."""
    facing: Annotated[Triple | None, hint("the source")] = None
    """Where the listener looks, a direction."""
    up: Annotated[Triple | None, hint("as the cameras have it")] = None
    """To the top of the listener's head."""
    path: Annotated[str | None, hint("standing --at a place")] = None
    """turntable, along, views or a JSON file, as in `splat render`: the listener goes with the
    cameras, and stays where they end."""
    frames: Annotated[int | None, hint("as long as the sound")] = None
    """Cameras of turntable and along."""
    fps: float = 30
    """Cameras a second."""
    source_at: Annotated[
        Triple | None, tyro.conf.arg(name="from"), hint("the first that was trained")
    ] = None
    """Where the source is."""
    keys: float = KEYS
    """Times a second that the field is asked along a path; between, it is faded."""
    floats: Annotated[bool, tyro.conf.arg(name="float")] = False
    """Write 32-bit numbers of any size; else 16 bits, made quieter as a whole where too loud."""
    spectrogram: Annotated[Path | None, hint("none")] = None
    """A name ending in .png, for a picture of what both ears hear."""
    overwrite: Overwrite = False
    json: Json = False
    quiet: Quiet = False
