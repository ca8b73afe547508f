"""Where something may move: on pixels that move in most photos of an instant."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from splat.core.frame import shown_pixels
from splat.types import Camera

SHARE = 0.6
"""Share of the photos of an instant that show a point in which it must lie on what moves: in others
it may be hidden, or look as what is usually there."""


def knowing(cameras: Sequence[Camera]) -> int:
    """Most cameras of an instant that know what moves."""
    return max(Counter(each.time for each in cameras if each.moves is not None).values(), default=0)


@torch.no_grad()
def may_move(
    positions: Float[Tensor, "n 3"],
    cameras: Sequence[Camera],
    when: Float[Tensor, "n"] | None = None,
    share: float = SHARE,
) -> Bool[Tensor, "n"] | None:
    """Which points may be of what moves, by what cameras know of it (`Camera.moves`).

    At the instant next to the time of each in `when`; None: at any. `share` is that of the photos
    that show a point in which it must lie on what moves; 0: one is enough, as what passes before a
    point may hide it from one camera only. None where no camera knows.
    """
    by_time: dict[float, list[Camera]] = defaultdict(list)
    for camera in cameras:
        if camera.moves is not None:
            by_time[camera.time].append(camera)
    if not by_time:
        return None
    places = positions.detach().float().cpu()
    found = torch.zeros(len(places), dtype=torch.bool)
    times = torch.tensor(sorted(by_time))
    # The middle between two instants belongs to the later one.
    nearest = (
        None
        if when is None
        else torch.bucketize(when.detach().cpu(), (times[1:] + times[:-1]) / 2, right=True)
    )
    for number, time in enumerate(sorted(by_time)):
        if nearest is None:
            found |= _on_what_moves(places, by_time[time], share)
        elif len(rows := (nearest == number).nonzero().squeeze(1)):
            found[rows] = _on_what_moves(places[rows], by_time[time], share)
    return found.to(positions.device)


def _on_what_moves(
    places: Float[Tensor, "n 3"], cameras: Sequence[Camera], share: float
) -> Bool[Tensor, "n"]:
    shown, moves = torch.zeros(len(places)), torch.zeros(len(places))
    for camera in cameras:
        assert camera.moves is not None
        height, width = camera.moves.shape
        rows, pixels = shown_pixels(places, camera.to("cpu").resized(width, height))
        shown[rows] += 1
        moves[rows] += camera.moves.reshape(-1)[pixels].float()
    return (moves > 0) & (moves >= share * shown)
