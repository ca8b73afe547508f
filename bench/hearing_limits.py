"""What it would be worth to know more: a trained field beside itself with parts of the truth.

    python bench/hearing_limits.py ROOM [RUN ...]

ROOM is a folder of `python -m worlds.rooms`, a RUN has a field that learned it. Errors are
means over held-out places of MAG and ENV.

First those of answers by means (`hearing_rooms.of_knowing`): of all but the noise, of what masks
tell alone, of all but the noise and what walls are made of.

Then, of each run, those of responses as they sound, noise and all. What was recorded takes the
place of what the field says, in spans of time. The true images of the source, up to some order of
reflections, with what their walls leave of them and as KEMAR's ears hear them, are added to it;
what it says itself of the time in which most of them arrive is made fainter by the factor at which
the error is least.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from common import markdown
from hearing_rooms import HeardRoom, of_knowing, opened
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from splat.strategies.acoustic.arrival import SPEED
from splat.strategies.acoustic.measure import env, mag
from splat.strategies.acoustic.verbs.heard import hearing
from worlds.rooms.binaural import arrivals, axes, early
from worlds.rooms.head import kemar
from worlds.rooms.shapes import ROOMS
from worlds.rooms.simulate import simulate

DIRECT, MOST = 2.2, 20.0
"""Milliseconds after direct sound: when it is over, and until when images are told one by one."""
SPANS = ((-9.0, DIRECT), (DIRECT, 8.0), (8.0, MOST), (DIRECT, MOST), (MOST, 1e6))
ORDERS = (1, 2, 3)
FAINTER = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
EDGE = 0.1
"""Milliseconds in which one part gives way to the other."""
Responses = Float[Tensor, "n 2 samples"]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("room", type=Path)
    parser.add_argument("runs", type=Path, nargs="*")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    room = opened(asked.room.resolve())
    known = of_knowing(room)
    lines = [[name, f"{row['mag']:.5f}", f"{row['env']:.5f}"] for name, row in known.items()]
    print(f"\n{room.name}\n\n{markdown(['what is known', 'MAG', 'ENV'], lines)}", flush=True)
    true = torch.stack([room.response(sound) for sound in room.data.test])
    images = {order: images_of(room, order, true.shape[-1]) for order in (0, *ORDERS)}
    for run in asked.runs:
        said = said_by(run, room, true.shape[-1])
        print(f"\n{room.name}, {run.name}\n")
        made = made_of(room, said, true, images)
        lines = [[name, f"{of_mag:.5f}", f"{of_env:.5f}"] for name, (of_mag, of_env) in made]
        print(markdown(["the field", "MAG", "ENV"], lines), flush=True)


def made_of(
    room: HeardRoom, said: Responses, true: Responses, images: dict[int, Responses]
) -> Iterator[tuple[str, tuple[float, float]]]:
    """Names, and errors in MAG and ENV."""
    yield "as it is", errors(said, true)
    late = since_direct(room, true.shape[-1])
    for begin, end in SPANS:
        share = within(late, begin, end)
        name = f"{max(begin, 0):g} to {end:g} ms" if end < 1e6 else f"from {begin:g} ms on"
        yield f"right {name}", errors(said + share * (true - said), true)
    early_on, later = within(late, DIRECT, MOST), within(late, DIRECT, 1e6)
    for order in ORDERS:
        echoes = later * (images[order] - images[0])
        found = [errors(said * (1 - early_on * (1 - f)) + echoes, true) for f in FAINTER]
        name = f"and true images of up to {order} reflection{'s' * (order > 1)}"
        yield name, (min(mag_of for mag_of, _ in found), min(env_of for _, env_of in found))


def errors(found: Responses, true: Responses) -> tuple[float, float]:
    """Means of MAG and ENV."""
    each = [(mag(a, b), env(a, b)) for a, b in zip(found, true, strict=True)]
    return sum(m for m, _ in each) / len(each), sum(e for _, e in each) / len(each)


@torch.no_grad()
def said_by(run: Path, room: HeardRoom, samples: int) -> Responses:
    """What the field of a run says of held-out places."""
    field = hearing(run)
    found = torch.cat([
        field.responses([sound.ears], room.data.sources[sound.source]) for sound in room.data.test
    ])  # fmt: skip
    return pad(found, (0, samples - found.shape[-1]))


def images_of(room: HeardRoom, order: int, samples: int) -> Responses:
    """Direct sound and its images, up to some order, at held-out places."""
    data, head = room.data, kemar(room.data.rate)
    found = []
    for sound in data.test:
        place = np.array(sound.ears.position)
        echoes = simulate(
            ROOMS[room.truth["room"]], data.sources[sound.source].position, place[None],
            rate=data.rate, seconds=samples / data.rate, rays=1, order=order,
        )  # fmt: skip
        heard = arrivals(echoes, 0, place)
        found.append(early(heard, head, axes(sound.ears), data.rate, samples))
    return torch.from_numpy(np.stack(found)).float()


def since_direct(room: HeardRoom, samples: int) -> Float[Tensor, "n 1 samples"]:
    """Milliseconds since direct sound arrived, or would have."""
    data = room.data
    far = torch.tensor([
        np.linalg.norm(
            np.array(sound.ears.position) - np.array(data.sources[sound.source].position)
        )
        for sound in data.test
    ])  # fmt: skip
    time = torch.arange(samples) / data.rate - far[:, None] / SPEED
    return 1000 * time.float()[:, None]


def within(late: Tensor, begin: float, end: float) -> Tensor:
    """1 within a span of time, 0 outside of it."""
    return torch.sigmoid((late - begin) / EDGE) * torch.sigmoid((end - late) / EDGE)


if __name__ == "__main__":
    main()
