"""A tiny room with its sound, by formula: a run of it, and folders of sounds heard in it.

The room is 4 x 3 x 2.5 metres, flat Gaussians on its walls. What is heard is direct sound by
1 / distance, earlier and louder at the nearer ear, and noise whose decay depends on the place.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scenes import write_picture
from torch import Tensor

from splat import api, formats
from splat.core.strategy import Fixed
from splat.math import sh_from_rgb
from splat.options import Options
from splat.render import renderer_for
from splat.strategies.acoustic import sounds
from splat.strategies.acoustic.sounds import Ears, Heard, Source, own
from splat.types import Camera, Gaussians, SceneData, View

SMALL = (
    "--points", 150, "--batch", 4, "--threads", 1, "--least-uses", 1, "--quantile", 0.9,
    "--idle", 0.05, "--quiet",
)  # fmt: skip
"""Options of a run that takes a second."""
SIZE = (4.0, 3.0, 2.5)
RATE, SECONDS = 8000, 0.25
SPEED, HEAD = 343.0, 0.0875
SOURCES = (Source((0.8, 1.4, 1.2)), Source((3.1, 0.7, 1.5)))
APART = 0.25
"""Metres between the Gaussians of a wall."""
TILT = ((0.5**0.5, 0.0, 0.5**0.5, 0.0), (0.5**0.5, 0.5**0.5, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0))
"""Turns that bring the thin axis z to the axis across a wall."""


def walls() -> Gaussians:
    """Flat Gaussians on the six walls, each wall of its own colour."""
    means, quats, colors = [], [], []
    for axis in range(3):
        others = [a for a in range(3) if a != axis]
        sides = [torch.arange(APART / 2, SIZE[a], APART) for a in others]
        grid = torch.cartesian_prod(*sides)
        for end in (0.0, SIZE[axis]):
            place = torch.full((len(grid), 3), end)
            place[:, others] = grid
            means.append(place)
            quats.append(torch.tensor(TILT[axis]).expand(len(grid), 4))
            color = 0.2 + 0.6 * torch.eye(3)[axis] + 0.15 * (end > 0)
            colors.append(color.expand(len(grid), 3))
    mean = torch.cat(means)
    return Gaussians(
        means=mean,
        quats=torch.cat(quats),
        scales=torch.tensor([APART / 1.6, APART / 1.6, 0.01]).expand(len(mean), 3).contiguous(),
        opacities=torch.full((len(mean),), 0.95),
        colors=sh_from_rgb(torch.cat(colors))[:, None].contiguous(),
        sh_degree=0,
    )


def cameras() -> list[Camera]:
    """Two places in the room, six directions each."""
    K = torch.tensor([[16.0, 0, 16], [0, 16.0, 16], [0, 0, 1]])
    found = []
    for eye in ((1.2, 1.5, 1.2), (2.8, 1.4, 1.3)):
        for ahead in (*torch.eye(3), *-torch.eye(3)):
            right = torch.eye(3)[(int(ahead.abs().argmax()) + 1) % 3]
            pose = torch.eye(4)
            pose[:3, :3] = torch.stack([right, torch.linalg.cross(ahead, right), ahead])
            pose[:3, 3] = -pose[:3, :3] @ torch.tensor(eye)
            found.append(Camera(pose, K, 32, 32))
    return found


def trained(folder: Path) -> Path:
    """A run of two steps that began with the walls as they are."""
    scene, run = folder / "scene", folder / "run"
    surface, draw = walls(), renderer_for("cpu")
    scene.mkdir(parents=True)
    formats.write(surface, scene / "walls.ply")
    views = []
    for i, camera in enumerate(cameras()):
        image = scene / f"{i:02d}.png"
        drawn = draw(surface, camera).image.clamp(0, 1).numpy()
        write_picture(image, np.rint(255 * drawn).astype(np.uint8))
        views.append(View(image.name, camera, image))
    data = SceneData(scene, "nerfstudio", tuple(views), (), None)
    options = Options(
        steps=2, sh_degree=0, max_side=0, sky="none", init=scene / "walls.ply", threads=1,
        exposure="off", resolution="full",
    )  # fmt: skip
    api.train(data, Fixed(), options, out=run, lpips=None)
    return run


def places(count: int, seed: int = 0) -> list[Ears]:
    """Listeners in the room, upright, who look anywhere; none within 0.5 m of a source."""
    draw = np.random.default_rng(seed)
    found: list[Ears] = []
    while len(found) < count:
        x, y, z = draw.uniform((0.4, 0.4, 1.0), (3.6, 2.6, 1.6)).round(3).tolist()
        turn = draw.uniform(0, 2 * math.pi)
        if min(math.dist((x, y, z), source.position) for source in SOURCES) > 0.5:
            found.append(Ears((x, y, z), (math.cos(turn), math.sin(turn), 0.0)))
    return found


def decay(place: Sequence[float]) -> float:
    """T60 of what follows the direct sound at a place, seconds."""
    return 0.12 + 0.07 * place[0]


def left_of(ears: Ears, source: Source) -> float:
    """The share of the source's direction that is to the left of a listener, -1 to 1."""
    way = np.subtract(source.position, ears.position)
    left = np.cross(ears.up, ears.facing)
    return float(way @ left / np.linalg.norm(way))


def response(ears: Ears, source: Source, seed: int) -> Tensor:
    """What both ears hear of a click, [2, samples], left first; the click is at sample 0."""
    far, left = math.dist(ears.position, source.position), left_of(ears, source)
    ahead = HEAD / SPEED * (math.asin(left) + left) / 2
    time = np.arange(round(RATE * SECONDS)) / RATE
    draw = np.random.default_rng(seed)
    found = []
    for sign in (1, -1):
        arrival = far / SPEED - sign * ahead
        pulse = np.sinc(RATE * (time - arrival)) * (1 + 0.5 * sign * left) / far
        since = time - far / SPEED - 0.003
        tail = 0.03 * 10 ** (-3 * since / decay(ears.position)) * (since > 0)
        found.append(pulse + tail * draw.standard_normal(len(time)))
    return torch.from_numpy(np.stack(found)).float()


def write_responses(folder: Path, train: int = 12, test: int = 4, unit: float = 1.0) -> Path:
    """A folder of impulse responses, both sources in turn; `unit` is how many units a metre has
    in the positions that are written."""
    heard = []
    for i, ears in enumerate(places(train + test)):
        file = folder / f"wav/{i:03d}.wav"
        sounds.write_wav(file, response(ears, SOURCES[i % 2], i), RATE)
        x, y, z = (unit * value for value in ears.position)
        heard.append(Heard(f"{i:03d}", Ears((x, y, z), ears.facing), i % 2, file))
    sources = [Source((unit * x, unit * y, unit * z)) for x, y, z in (s.position for s in SOURCES)]
    own.write(folder, "responses", RATE, sources, heard[:train], heard[train:])
    return folder


def masks(ears: Ears, source: Source) -> tuple[Tensor, Tensor]:
    """Mixture and difference masks by frequency, [257] each, of a place without echoes: quieter
    with distance and, the farther, the duller; differences grow with frequency."""
    share = torch.linspace(0, 1, 257)
    far = math.dist(ears.position, source.position)
    mixture = torch.exp(-0.3 * far * share) / (0.5 + far)
    return mixture, 0.6 * left_of(ears, source) * share


def write_recordings(folder: Path, train: int = 16, test: int = 4, seconds: float = 0.6) -> Path:
    """A folder of recordings of noise that the first source plays, each through `masks`."""
    window = torch.hann_window(512)
    heard = []
    for i, ears in enumerate(places(train + test)):
        draw = torch.Generator().manual_seed(i)
        dry = 0.1 * torch.randn(1, round(seconds * RATE), generator=draw)
        spectrum = torch.stft(dry[0], 512, 128, window=window, return_complex=True)
        mixture, difference = masks(ears, SOURCES[0])
        both = torch.stack([mixture * (1 + difference), mixture * (1 - difference)])
        sound = torch.istft(
            both[..., None] * spectrum, 512, 128, window=window, length=dry.shape[1]
        )
        file, played = folder / f"wav/{i:03d}.wav", folder / f"dry/{i:03d}.wav"
        sounds.write_wav(file, sound, RATE)
        sounds.write_wav(played, dry, RATE)
        heard.append(Heard(f"{i:03d}", ears, 0, file, played))
    own.write(folder, "recordings", RATE, SOURCES[:1], heard[:train], heard[train:])
    return folder


def hashes(folder: Path, without: str = "") -> dict[str, str]:
    """What every file below a folder holds; those of one subfolder may be left out."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    names = {file.relative_to(folder).as_posix(): file for file in files}
    return {
        name: hashlib.sha256(file.read_bytes()).hexdigest()
        for name, file in names.items()
        if not (without and name.startswith(without + "/"))
    }


def figures(run: Path) -> dict[str, Any]:
    """What a run says of its sound, all but how long it took."""
    found: dict[str, Any] = json.loads((run / "audio/metrics.json").read_text())
    assert found.pop("seconds") >= 0
    return found
