"""What each Gaussian did in a picture (`kernels.survey`) against brute force in float64."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
import reference
import torch
from test_kernels import NAMES, intrinsics, scene
from torch import Tensor

from splat import kernels
from splat.kernels import Statistics
from splat.types import Contributions

SCORES = ("mass", "hits", "transmitted", "most", "area", "squared", "weighted")
SAFE = 2e-5
"""No pixel of a scene is nearer to a threshold or to a tie, so that float decides alike."""
CASES = [
    ("plain", 90, 3, (61, 45), False),
    ("plain", 90, 1, (70, 34), True),
    ("plain", 60, None, (33, 41), False),
    ("opaque", 60, None, (50, 38), True),
    ("opaque", 60, 2, (50, 38), False),
    ("needles", 100, 0, (61, 45), True),
    ("near", 250, 3, (61, 45), False),
]


def maps_of(size: tuple[int, int], m: int = 3) -> Tensor:
    """Numbers of both signs, zeros among them; float32 values."""
    g = torch.Generator().manual_seed(5)
    maps = torch.randn(size[1], size[0], m, generator=g)
    return maps.where(torch.rand(maps.shape, generator=g) < 0.8, 0).double()


def oracle(
    given: dict[str, Tensor], degree: int | None, size: tuple[int, int], antialiased: bool
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """A picture by the reference, and what each Gaussian did in it."""
    picture = reference.render(
        *(given[name] for name in NAMES[:5]), degree, given["pose"],
        *intrinsics(*size), *size, background=given["background"], antialiased=antialiased,
    )  # fmt: skip
    return picture, reference.contributions(picture, given["background"], maps_of(size))


@cache
def case(
    kind: str, count: int, degree: int | None, size: tuple[int, int], antialiased: bool
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """A scene of float32 values without pixels too close to call, and what is true of it."""
    for seed in range(200):
        given = {n: t.float().double() for n, t in scene(kind, count, degree, seed).items()}
        picture, truth = oracle(given, degree, size, antialiased)
        if min(picture["margin"].min(), truth["margin"].min()) > SAFE:
            return given, truth
    raise AssertionError("no such scene")


def surveyed(
    given: dict[str, Tensor],
    degree: int | None,
    size: tuple[int, int],
    antialiased: bool = False,
    maps: Tensor | None = None,
) -> tuple[Contributions, Tensor]:
    return kernels.survey(drawn(given, degree, size, antialiased), maps)


def drawn(
    given: dict[str, Tensor], degree: int | None, size: tuple[int, int], antialiased: bool = False
) -> Statistics:
    fx, fy, cx, cy = intrinsics(*size)
    return kernels.rasterize(
        *(given[name] for name in NAMES[:5]),
        given["pose"],
        torch.tensor([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], dtype=torch.float64),
        *size,
        sh_degree=degree,
        background=given["background"],
        projection=kernels.Projection(antialiased=antialiased),
    )[3]


@pytest.mark.parametrize(("kind", "count", "degree", "size", "antialiased"), CASES)
def test_equals_brute_force(
    kind: str,
    count: int,
    degree: int | None,
    size: tuple[int, int],
    antialiased: bool,
    dtype: torch.dtype,
) -> None:
    given, truth = case(kind, count, degree, size, antialiased)
    assert truth["hits"].sum() > 1000, "hardly anything drawn"
    mine = {name: tensor.to(dtype) for name, tensor in given.items()}
    found, strongest = surveyed(mine, degree, size, antialiased, maps_of(size))
    for name in SCORES:
        value = getattr(found, name)
        assert value.dtype == dtype and value.shape == truth[name].shape, name
        if name in ("hits", "area"):
            assert torch.equal(value.double(), truth[name]), name
        else:
            worst = (value.double() - truth[name]).abs().max() / truth[name].abs().max()
            assert worst <= (1e-9 if dtype == torch.float64 else 1e-4), (name, float(worst))
    assert torch.equal(strongest.long(), truth["strongest"])


@pytest.mark.parametrize("isa", kernels.isas())
def test_same_bytes_whatever_the_threads(isa: str, alike_by_threads: Callable[..., None]) -> None:
    size = (131, 97)
    given = {name: tensor.float() for name, tensor in scene("plain", 700, 3).items()}

    def run() -> list[torch.Tensor]:
        found, strongest = surveyed(given, 3, size, True, maps_of(size))
        return [*(getattr(found, name) for name in SCORES), strongest]

    with kernels.use_isa(isa):
        alike_by_threads(run)


def test_without_maps(dtype: torch.dtype) -> None:
    given = {name: tensor.to(dtype) for name, tensor in scene("plain", 100, None).items()}
    plain, _ = surveyed(given, None, (61, 45))
    with_maps, _ = surveyed(given, None, (61, 45), maps=maps_of((61, 45), 2))
    assert plain.weighted.shape == (100, 0) and with_maps.weighted.shape == (100, 2)
    for name in SCORES[:-1]:
        assert torch.equal(getattr(plain, name), getattr(with_maps, name)), name


def sheets(opacities: list[float], dtype: torch.dtype) -> dict[str, Tensor]:
    """Gaussians behind each other, each of nearly one value over the whole picture."""
    n = len(opacities)
    return {
        "means": torch.tensor([[0.0, 0, 1 + 0.1 * i] for i in range(n)], dtype=dtype),
        "quats": torch.tensor([[1.0, 0, 0, 0]], dtype=dtype).repeat(n, 1),
        "scales": torch.tensor([[500.0, 500, 0.001]], dtype=dtype).repeat(n, 1),
        "opacities": torch.tensor(opacities, dtype=dtype),
        "colors": torch.linspace(0, 1, 3 * n, dtype=dtype).view(n, 3),
        "background": torch.tensor([1.0, 0.5, 0.25], dtype=dtype),
        "pose": torch.eye(4, dtype=dtype),
    }


def test_worked_by_hand(dtype: torch.dtype) -> None:
    """Three sheets of alpha 0.5, 0.5 and 1 (capped), and one hidden behind them."""
    given = sheets([0.5, 0.5, 1.0, 0.9], dtype)
    maps = torch.zeros(4, 6, 1)
    maps[1, 2] = 3
    found, strongest = surveyed(given, None, (6, 4), maps=maps)
    near = {"atol": 1e-3, "rtol": 1e-3}
    w = torch.tensor([0.5, 0.25, 0.24975, 0.9 * 0.00025], dtype=dtype)
    drawn = torch.tensor([1, 1, 1, 0], dtype=dtype)  # the last would leave less than the stop
    torch.testing.assert_close(found.mass, 24 * w * drawn, **near)
    assert found.hits.tolist() == [24, 24, 24, 0]
    torch.testing.assert_close(found.transmitted, torch.tensor([24, 12, 6, 0.0]).to(dtype), **near)
    torch.testing.assert_close(found.most, w * drawn, **near)
    assert found.area.tolist() == [24, 0, 0, 0] and (strongest == 0).all()
    torch.testing.assert_close(found.weighted[:, 0], 3 * w * drawn, **near)
    c, over = given["colors"], given["background"]
    behind = 0.999 * c[2] + 0.001 * over
    first = 0.5 * (c[0] - (0.5 * c[1] + 0.5 * behind))
    second = 0.5 * 0.5 * (c[1] - behind)
    wanted = torch.stack([first.square().sum(), second.square().sum(), *torch.zeros(2).to(dtype)])
    torch.testing.assert_close(found.squared, 24 * wanted, **near)


def test_the_nearer_of_two_alike_is_the_strongest(dtype: torch.dtype) -> None:
    given = sheets([0.4, 0.4], dtype)
    for means, area in ((given["means"], [25, 0]), (given["means"].flip(0), [0, 25])):
        found, strongest = surveyed({**given, "means": means}, None, (5, 5))
        assert found.area.tolist() == area and (strongest == area.index(25)).all()
    level = given["means"][:1].repeat(2, 1)  # at one depth the lower row is drawn first
    assert surveyed({**given, "means": level}, None, (5, 5))[0].area.tolist() == [25, 0]


def test_a_copy_halves_mass_but_not_hits(dtype: torch.dtype) -> None:
    """Two copies in one place share what one had (each at 1 - sqrt(1 - o)); both hit as many."""
    given = sheets([0.84], dtype)
    alone, _ = surveyed(given, None, (20, 20))
    twice = {**given, **sheets([0.6, 0.6], dtype)}
    twice["means"] = given["means"].repeat(2, 1)
    both, _ = surveyed(twice, None, (20, 20))
    assert both.hits.tolist() == [400, 400] and alone.hits.tolist() == [400]
    torch.testing.assert_close(both.mass.sum(), alone.mass[0], atol=1e-2, rtol=1e-4)


def test_what_alone_explains_a_pixel_has_the_most(dtype: torch.dtype) -> None:
    """A dot that covers one pixel, among large faint sheets with far more mass."""
    dot = sheets([0.95, 0.2, 0.2, 0.2], dtype)
    dot["scales"][0] = 1e-4
    fx, _, cx, cy = intrinsics(40, 40)
    dot["means"][0] = torch.tensor([(20.5 - cx) / fx, (20.5 - cy) / (1.05 * 40), 1.0])
    found, _ = surveyed(dot, None, (40, 40))
    assert found.most.argmax() == 0 and found.most[0] > 0.9
    assert found.mass[0] < 0.1 * found.mass[1:].min() and found.area[0] >= 1


def test_nothing_in_sight(dtype: torch.dtype) -> None:
    given = {name: tensor.to(dtype) for name, tensor in scene("plain", 50, None).items()}
    given["pose"][2, 3] = -50
    found, strongest = surveyed(given, None, (20, 10), maps=maps_of((20, 10)))
    assert (strongest == -1).all()
    for name in SCORES:
        assert (getattr(found, name) == 0).all() and len(getattr(found, name)) == 50


def test_broken_rows_harm_nobody(dtype: torch.dtype) -> None:
    given = {name: tensor.to(dtype) for name, tensor in scene("plain", 200, 3).items()}
    given["means"][::9] = torch.nan
    given["scales"][1::9] = torch.inf
    given["quats"][2::9] = 0
    found, _ = surveyed(given, 3, (61, 45), maps=maps_of((61, 45)))
    for name in SCORES:
        value = getattr(found, name)
        assert torch.isfinite(value).all() and (value[::9] == 0).all()


def test_pictures_drawn_in_between_do_not_mix() -> None:
    """The scratch belongs to the picture until its statistics are gone."""
    given, others = (
        {name: tensor.float() for name, tensor in scene("plain", n, 3).items()} for n in (300, 200)
    )
    alone, _ = surveyed(given, 3, (61, 45))
    statistics = drawn(given, 3, (61, 45))
    for _ in range(3):
        drawn(others, 3, (70, 33))
    found, _ = kernels.survey(statistics)
    for name in SCORES:
        assert torch.equal(getattr(found, name), getattr(alone, name)), name


def test_maps_of_another_size_are_refused() -> None:
    given = {name: tensor.float() for name, tensor in scene("plain", 50, None).items()}
    with pytest.raises(ValueError, match=r"stack of maps has shape \(45, 60, 1\)"):
        surveyed(given, None, (61, 45), maps=torch.zeros(45, 60, 1))
    with pytest.raises(RuntimeError, match="nothing was drawn"):
        kernels.survey(Statistics(torch.zeros(3)))
