"""Maps of weights over pixels, worked by hand."""

from __future__ import annotations

import torch
from torch import Tensor

from splat.core.maps import Edge, Error, Label
from splat.types import Batch, Camera, Gaussians, Rendered

HEIGHT, WIDTH = 6, 8


def picture(image: Tensor) -> Rendered:
    """A picture of these pixels, of no Gaussians."""
    height, width = image.shape[:2]
    none = Gaussians(*(torch.zeros(0, k) for k in (3, 4, 3)), torch.zeros(0), torch.zeros(0, 3))
    return Rendered(image, torch.ones(height, width), torch.zeros(0), none)


def photo(pixels: Tensor, mask: Tensor | None = None) -> Batch:
    height, width = pixels.shape[:2]
    camera = Camera(torch.eye(4), torch.eye(3), width, height)
    return Batch(camera, pixels.to(torch.uint8), None if mask is None else mask.to(torch.uint8))


def step(width: int = WIDTH, edge: int = 4) -> Tensor:
    """Black left of column `edge`, white from it on."""
    pixels = torch.zeros(HEIGHT, width, 3)
    pixels[:, edge:] = 255
    return pixels


def test_error_is_the_mean_difference_where_the_photo_counts() -> None:
    image = torch.full((HEIGHT, WIDTH, 3), 0.5, requires_grad=True)
    pixels = torch.full((HEIGHT, WIDTH, 3), 255.0)
    pixels[0, 0] = torch.tensor([0.0, 255, 51])  # differences 0.5, 0.5 and 0.3
    mask = torch.ones(HEIGHT, WIDTH)
    mask[2] = 0
    found = Error()(picture(image), photo(pixels, mask))
    wanted = torch.full((HEIGHT, WIDTH), 0.5)
    wanted[0, 0], wanted[2] = 1.3 / 3, 0
    torch.testing.assert_close(found, wanted)
    assert not found.requires_grad and (image == 0.5).all()
    assert (Error()(picture(image), photo(pixels))[2] == 0.5).all()


def test_the_edge_of_a_step_is_one() -> None:
    found = Edge()(picture(torch.zeros(HEIGHT, WIDTH, 3)), photo(step()))
    wanted = torch.zeros(HEIGHT, WIDTH)
    wanted[:, 3:5] = 1  # the pixels on both sides of it
    torch.testing.assert_close(found, wanted)
    turned = Edge()(picture(torch.zeros(WIDTH, HEIGHT, 3)), photo(step().transpose(0, 1)))
    torch.testing.assert_close(turned, wanted.T)


def test_edges_of_grey_ramps_borders_and_masks() -> None:
    """Of a ramp, the rise over two pixels; at the border it is repeated, so half of that."""
    ramp = (torch.arange(WIDTH) * 10.0)[None, :, None].expand(HEIGHT, WIDTH, 3)
    mask = torch.ones(HEIGHT, WIDTH)
    mask[:, 2] = 0
    found = Edge()(picture(torch.zeros(HEIGHT, WIDTH, 3)), photo(ramp, mask))
    wanted = torch.full((HEIGHT, WIDTH), 20 / 255)
    wanted[:, 0] = wanted[:, -1] = 10 / 255
    wanted[:, 2] = 0
    torch.testing.assert_close(found, wanted)
    red = torch.zeros(HEIGHT, WIDTH, 3)
    red[:, 4:, 0] = 255
    only = Edge()(picture(torch.zeros(HEIGHT, WIDTH, 3)), photo(red))
    torch.testing.assert_close(only[:, 4], torch.full((HEIGHT,), 0.299))


def labels(batch: Batch) -> Tensor:
    """0, 1 and 2 in turn, by column."""
    return (torch.arange(batch.camera.width) % 3).expand(batch.camera.height, -1)


def test_a_label_is_where_it_is() -> None:
    given = picture(torch.zeros(HEIGHT, WIDTH, 3))
    found = torch.stack([Label(labels, k)(given, photo(step())) for k in range(3)])
    assert (found.sum(0) == 1).all() and found[1, 0].tolist() == [0, 1, 0, 0, 1, 0, 0, 1]
    assert Label(labels, 1) == Label(labels, 1) != Label(labels, 2)
