"""Where training starts when there are no points but outlines of an object."""

from __future__ import annotations

import math

import torch

from splat.seeding.silhouette import plain, random_in_silhouettes
from splat.types import Batch, Camera

SIZE, RADIUS, AWAY = 64, 0.5, 3.0
WHITE, RED = torch.tensor([255, 255, 255], dtype=torch.uint8), (200, 40, 20)
CENTRE = torch.tensor([0.3, -0.2, 0.1])


def camera_at(direction: torch.Tensor) -> Camera:
    """Looks from `AWAY` at the centre of the ball."""
    ahead = -direction / direction.norm()
    right = torch.linalg.cross(ahead, torch.tensor([0.1, 0.2, 1.0]))
    right = right / right.norm()
    rotation = torch.stack([right, torch.linalg.cross(ahead, right), ahead])
    pose = torch.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation, -rotation @ (CENTRE - AWAY * ahead)
    K = torch.tensor([[80.0, 0, SIZE / 2], [0, 80.0, SIZE / 2], [0, 0, 1]])
    return Camera(pose, K, SIZE, SIZE)


def ball(camera: Camera, mask: torch.Tensor | None = None) -> Batch:
    """A red ball before white, by the angle between its centre's ray and a pixel's."""
    y, x = torch.meshgrid(torch.arange(SIZE) + 0.5, torch.arange(SIZE) + 0.5, indexing="ij")
    rays = torch.stack([(x - SIZE / 2) / 80, (y - SIZE / 2) / 80, torch.ones_like(x)], -1)
    angle = torch.acos(1 / rays.norm(dim=-1))
    pixels = WHITE.repeat(SIZE, SIZE, 1)
    pixels[angle < math.asin(RADIUS / AWAY)] = torch.tensor(RED, dtype=torch.uint8)
    return Batch(camera, pixels, mask)


def photos(count: int = 24) -> list[Batch]:
    draw = torch.Generator().manual_seed(1)
    return [ball(camera_at(torch.randn(3, generator=draw))) for _ in range(count)]


def test_points_lie_inside_all_outlines_and_have_the_colours_seen_there() -> None:
    found = random_in_silhouettes(photos(), WHITE, 2000, torch.Generator().manual_seed(0))
    assert found is not None and len(found.positions) == 2000
    away = (found.positions - CENTRE).norm(dim=1)
    # Outlines are known to a pixel, 3/80 of a unit there; the hull of 24 is a little larger.
    assert away.max() < RADIUS * 1.25
    assert (away < RADIUS).float().mean() > 0.8
    expected = torch.tensor(RED) / 255
    assert torch.allclose(found.colors, expected.expand(2000, 3), atol=1e-3)
    again = random_in_silhouettes(photos(), WHITE, 2000, torch.Generator().manual_seed(0))
    assert again is not None and torch.equal(found.positions, again.positions)


def test_they_fill_the_object_evenly() -> None:
    found = random_in_silhouettes(photos(), WHITE, 4000, torch.Generator().manual_seed(0))
    assert found is not None
    inner = ((found.positions - CENTRE).norm(dim=1) < RADIUS * 0.5 ** (1 / 3)).sum()
    whole = ((found.positions - CENTRE).norm(dim=1) < RADIUS).sum()
    assert abs(float(inner / whole) - 0.5) < 0.04


def test_masked_pixels_say_nothing() -> None:
    """With the left half of each photo masked what the right halves show is what is left."""
    mask = torch.ones(SIZE, SIZE, dtype=torch.uint8)
    mask[:, : SIZE // 2 - 8] = 0
    masked = [ball(photo.camera, mask) for photo in photos(48)]
    found = random_in_silhouettes(masked, WHITE, 500, torch.Generator().manual_seed(0))
    assert found is not None
    assert (found.positions - CENTRE).norm(dim=1).max() < 1.3 * RADIUS


def test_photos_of_no_object_leave_nothing() -> None:
    empty = [Batch(photo.camera, WHITE.repeat(SIZE, SIZE, 1)) for photo in photos()]
    assert plain(empty, WHITE)
    assert random_in_silhouettes(empty, WHITE, 100, torch.Generator().manual_seed(0)) is None


def test_a_photograph_of_a_room_has_no_plain_background() -> None:
    draw = torch.Generator().manual_seed(0)
    rooms = [
        Batch(p.camera, torch.randint(0, 256, (SIZE, SIZE, 3), generator=draw, dtype=torch.uint8))
        for p in photos(4)
    ]
    assert plain(photos(4), WHITE)
    assert not plain(rooms, WHITE)
