"""Materials, light and deferred shading: conventions, integrals, gradients, and `splat relight`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from conftest import Outcome
from torch import Tensor
from torch.nn.functional import normalize

from splat.core.model import Making, columns_of
from splat.recipes.recipe import strategy_from_text
from splat.render import renderer_for
from splat.strategies.deferred import panorama
from splat.strategies.deferred.brdf import reflectance, table
from splat.strategies.deferred.color import displayed, linear
from splat.strategies.deferred.drawing import maps_of, rays
from splat.strategies.deferred.light import Light, Lit
from splat.strategies.deferred.model import SEEN_FROM, Relightable
from splat.strategies.deferred.prefilter import LEVELS, Atlas, prefiltered
from splat.strategies.deferred.relit import albedo_scale, relit
from splat.strategies.deferred.shading import parts, shade
from splat.types import Camera, Gaussians, Needs

CAMERA = Camera(torch.eye(4), torch.tensor([[40.0, 0, 16], [0, 40.0, 16], [0, 0, 1]]), 32, 32)
WHITE = torch.ones(16, 32, 3)


def bright(direction: Tensor) -> Tensor:
    """A smooth light: two soft spots over a gradient."""
    one = normalize(torch.tensor([0.6, 0.3, 0.74], dtype=torch.float64), dim=0)
    two = normalize(torch.tensor([-0.5, 0.8, -0.2], dtype=torch.float64), dim=0)
    first = (4 * (direction @ one - 1)).exp()
    second = (8 * (direction @ two - 1)).exp()
    up = 0.5 + 0.4 * direction[..., 2]
    return torch.stack([up + 2 * first, up + first + second, 0.4 + 3 * second], -1)


LIT = Lit.by(bright(panorama.directions(64)))


def random_directions(n: int, seed: int = 0) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return normalize(torch.randn(n, 3, generator=draw, dtype=torch.float64), dim=1)


def test_the_panorama_looks_where_it_says() -> None:
    # By hand: u = 0.5 is +x, u = 0.25 +y, u = 0.75 -y, u = 0 or 1 -x; v = 0 is up.
    axes = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]])
    u, v = panorama.coordinates(axes.T)
    torch.testing.assert_close(u[:3], torch.tensor([0.5, 0.25, 0.75]))
    torch.testing.assert_close(v, torch.tensor([0.5, 0.5, 0.5, 0, 1]), atol=1e-6, rtol=0)
    found = panorama.directions(32)
    u, v = panorama.coordinates(found.permute(2, 0, 1))
    torch.testing.assert_close(u[5], (torch.arange(64).double() + 0.5) / 64)
    torch.testing.assert_close(v[:, 7], (torch.arange(32).double() + 0.5) / 32)
    assert float(panorama.solid_angles(32).sum() * 64) == pytest.approx(4 * math.pi)
    # Turned by 90 degrees, what was at +x is at +y.
    spot = torch.zeros(16, 32, 3)
    spot[8, 16] = 1
    assert panorama.turned(spot, 90)[8, 8, 0] == 1
    assert panorama.turned(spot, 360 / 64)[8, 15:17, 0].tolist() == [0.5, 0.5]


def test_prefiltered_light_keeps_what_is_even_and_the_mirror() -> None:
    found = prefiltered(WHITE)
    assert found.shape[2:] == Atlas(16).size
    torch.testing.assert_close(found, torch.ones_like(found))
    # By hand: irradiance over pi of the light z is 2 z / 3 (the second coefficient of the lobe).
    z = panorama.directions(64)[..., 2:].expand(-1, -1, 3)
    normals = random_directions(50)
    lit = Lit.by(z.contiguous())
    rough = torch.full((50,), 0.5, dtype=torch.float64)
    diffuse, _ = lit(normals.T, normals.T, rough)
    torch.testing.assert_close(diffuse[0], 2 / 3 * normals[:, 2], atol=4e-3, rtol=0)
    # A mirror shows the light itself.
    _, mirror = LIT(normals.T, normals.T, 0 * rough)
    torch.testing.assert_close(mirror.T, bright(normals), atol=0.02, rtol=0.01)
    torch.testing.assert_close(LIT.seen(normals.T), mirror)


def test_rough_levels_are_the_integral_of_ggx() -> None:
    """Against a sum over the texels by the definition, for n = v = r."""
    rows = 32
    light = bright(panorama.directions(rows))
    weight = panorama.solid_angles(rows)[:, None]
    directions = panorama.directions(rows)
    lit = Lit.by(light)
    for level in (4, 6, 7):
        roughness = level / (LEVELS - 1)
        alpha = roughness**2
        for r in random_directions(6, level):
            nl = (directions @ r).clamp_min(0)
            nh2 = (1 + directions @ r) / 2
            D = alpha**2 / (math.pi * (nh2 * (alpha**2 - 1) + 1) ** 2)
            G = 2 * nl / (nl + (alpha**2 + (1 - alpha**2) * nl**2).sqrt())
            w = (D * G * weight)[..., None]
            expected = (w * light).sum((0, 1)) / w.sum()
            found = lit(r[:, None], r[:, None], torch.tensor([roughness]).double())[1][:, 0]
            torch.testing.assert_close(found, expected, atol=0.0, rtol=0.02)


def monte_carlo(
    albedo: Tensor, roughness: float, metallic: float, cosine: float, draws: int = 120_000
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Diffuse and specular radiance under `bright`, and the normal and the view they are for.

    Lambert, and microfacets of GGX by draws of half vectors, Smith's separable term, Schlick's.
    """
    draw = torch.Generator().manual_seed(1)
    u = torch.rand(2, draws, generator=draw, dtype=torch.float64)
    N = normalize(torch.tensor([0.3, -0.5, 0.6], dtype=torch.float64), dim=0)
    T = normalize(torch.linalg.cross(N, torch.eye(3, dtype=torch.float64)[2]), dim=0)
    B = torch.linalg.cross(N, T)
    V = cosine * N + math.sqrt(1 - cosine**2) * (0.6 * T + 0.8 * B)

    def around(up: Tensor) -> Tensor:
        level = (1 - up * up).sqrt()
        turn = 2 * math.pi * u[1]
        return torch.stack([level * turn.cos(), level * turn.sin(), up], 1) @ torch.stack([T, B, N])

    def shown(c: Tensor) -> Tensor:
        return 2 * c / (c + (alpha**2 + (1 - alpha**2) * c * c).sqrt())

    alpha = roughness**2
    nh = ((1 - u[0]) / (1 + (alpha**2 - 1) * u[0])).sqrt()
    H = around(nh)
    vh = H @ V
    L = 2 * vh[:, None] * H - V
    nl = L @ N
    F0 = 0.04 * (1 - metallic) + metallic * albedo
    F = F0 + (1 - F0) * ((1 - vh.clamp(0, 1)) ** 5)[:, None]
    weight = shown(nl.clamp_min(1e-9)) * shown(torch.tensor(cosine)) * vh / (cosine * nh)
    weight = weight.where((nl > 0) & (vh > 0), 0)
    specular = (weight[:, None] * F * bright(L)).mean(0)
    diffuse = (1 - metallic) * albedo * bright(around((1 - u[0]).sqrt())).mean(0)
    return diffuse, specular, N, V


@pytest.mark.parametrize(
    ("roughness", "cosine", "within"),
    [(0.1, 0.95, 0.01), (0.1, 0.5, 0.02), (0.4, 0.95, 0.03), (0.4, 0.6, 0.06), (0.8, 0.95, 0.02),
     (0.8, 0.6, 0.04), (1.0, 0.6, 0.03)],
)  # fmt: skip
def test_shading_is_near_the_whole_integral(roughness: float, cosine: float, within: float) -> None:
    albedo = torch.tensor([0.8, 0.5, 0.2], dtype=torch.float64)
    diffuse, specular, N, V = monte_carlo(albedo, roughness, 0.5, cosine)
    known = torch.tensor([roughness, 0.5], dtype=torch.float64)
    found = parts(albedo[:, None], known[:1], known[1:], N[:, None], V[:, None], LIT)
    torch.testing.assert_close(found[0][:, 0], diffuse, atol=0, rtol=0.01)
    torch.testing.assert_close(found[1][:, 0], specular, atol=0, rtol=within)


def test_reflectance_of_even_light() -> None:
    A, B = table()
    assert float((A + B).max()) <= 1.001 and float(A.min()) >= 0 and float(B.min()) >= 0
    # A smooth surface reflects F: A + B = 1, B = (1 - c)^5.
    c = torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64)
    scale, more = reflectance(c, torch.full_like(c, 0.02))
    torch.testing.assert_close(more, (1 - c) ** 5, atol=5e-3, rtol=0)
    torch.testing.assert_close(scale + more, torch.ones_like(c), atol=5e-3, rtol=0)


def test_gradients_of_shading_are_its_slopes() -> None:
    draw = torch.Generator().manual_seed(3)
    light = (bright(panorama.directions(16)) * 0.3).requires_grad_()
    n = 3
    normal, view = random_directions(n, 4), random_directions(n, 5)
    view = normalize(view + 1.5 * normal * (1 - (view * normal).sum(1, keepdim=True)), dim=1)
    albedo, rough, metal = (
        (0.2 + 0.6 * torch.rand(*shape, generator=draw, dtype=torch.float64)).requires_grad_()
        for shape in ((n, 3), (n,), (n,))
    )
    normal.requires_grad_()

    def picture(a: Tensor, r: Tensor, m: Tensor, x: Tensor, texels: Tensor) -> Tensor:
        return displayed(shade(a, r, m, normalize(x, dim=1), view, Lit.by(texels)))

    assert torch.autograd.gradcheck(
        picture, (albedo, rough, metal, normal, light), fast_mode=True, atol=1e-4
    )


def test_colours_are_those_of_a_photo() -> None:
    values = torch.tensor([0.0, 0.001, 0.02, 0.5, 1.0], dtype=torch.float64)
    torch.testing.assert_close(linear(displayed(values)), values)
    assert float(displayed(torch.tensor(0.5))) == pytest.approx(0.7354, abs=1e-4)
    over = torch.tensor([2.0, 2.0], requires_grad=True)
    displayed(over).backward(torch.tensor([1.0, -1.0]))
    assert over.grad is not None
    # What would darken it passes, what would brighten it does not.
    assert over.grad[0] > 0 and over.grad[1] == 0


def plate(material: tuple[float, float] = (0.3, 0.0), turn: float = 0.0) -> Relightable:
    """A flat opaque Gaussian before the camera, red, turned about x by so many degrees."""
    half = math.radians(turn) / 2
    shape = Gaussians(
        means=torch.tensor([[0.0, 0.0, 2.0]]),
        quats=torch.tensor([[math.cos(half), math.sin(half), 0, 0]]),
        scales=torch.tensor([[0.8, 0.8, 0.01]]),
        opacities=torch.tensor([0.99]),
        colors=torch.zeros(1, 1, 3),
        sh_degree=0,
    )
    rows: dict[str, Tensor] = {k: v for k, v in columns_of(shape).items() if k != "sh"}
    rows["albedo"] = torch.tensor([[0.6, 0.2, 0.1]]).logit()
    rows["roughness"] = torch.tensor([material[0]]).logit()
    rows["metallic"] = torch.tensor([material[1]]).clamp(1e-6, 1 - 1e-6).logit()
    return Relightable(rows, Making(steps=10), 16)


def test_a_pixel_is_shaded_by_what_is_blended_there() -> None:
    model = plate(turn=20)
    render = model.drawn_by(renderer_for("cpu"))
    grey = torch.tensor([0.2, 0.4, 0.6])
    drawn = render(model(CAMERA), CAMERA, Needs(normal=True, depth=True), grey)
    maps = maps_of(drawn)
    middle = (16, 16)
    alpha = float(drawn.alpha.detach()[middle])
    normal = torch.tensor([0.0, math.sin(math.radians(20)), -math.cos(math.radians(20))])
    torch.testing.assert_close(maps.normal[middle], normal, atol=1e-5, rtol=0)
    torch.testing.assert_close(maps.albedo[middle], torch.tensor([0.6, 0.2, 0.1]))
    assert float(maps.roughness.detach()[middle]) == pytest.approx(0.3)
    assert drawn.normal is not None and drawn.depth is not None
    torch.testing.assert_close(drawn.normal[middle], alpha * normal, atol=1e-5, rtol=0)
    ray = rays(CAMERA, torch.tensor([16 * 32 + 16]))
    value = shade(
        maps.albedo[middle][None], maps.roughness[middle][None], maps.metallic[middle][None],
        normal[None], -normalize(ray.T, dim=1), model.light(),
    )[0]  # fmt: skip
    expected = alpha * displayed(value) + (1 - alpha) * grey
    torch.testing.assert_close(drawn.image[middle], expected, atol=1e-5, rtol=0)
    past = plate()(CAMERA)
    clear = render(replace(past, opacities=0 * past.opacities), CAMERA, Needs(), grey).image
    torch.testing.assert_close(clear, grey.expand(32, 32, 3))
    # A set in other colours is drawn in them.
    tinted = replace(model(CAMERA), colors=torch.ones(1, 3), sh_degree=None)
    assert float(render(tinted, CAMERA).image.detach()[middle].min()) == pytest.approx(
        alpha, abs=1e-4
    )
    surveyed, rows = render.survey(model(CAMERA), CAMERA, grey)
    torch.testing.assert_close(surveyed.image, drawn.image)
    assert float(rows.mass) == pytest.approx(float(drawn.alpha.detach().sum()), rel=1e-4)


def test_a_light_is_learned_from_what_is_known_of_surfaces() -> None:
    """A mirror ball all around: shape and material are given, the light is found."""
    normal = random_directions(1000).float()
    view = normalize(random_directions(1000, 9).float() + 1.2 * normal, dim=1)
    albedo, metal = torch.full((1000, 3), 0.9), torch.ones(1000)
    rough = torch.full((1000,), 0.1)
    truth = 0.3 * bright(panorama.directions(16)).float()
    target = shade(albedo, rough, metal, normal, view, Lit.by(truth))
    light = Light(16)
    part = light.trained(200)
    for step in range(200):
        error = (shade(albedo, rough, metal, normal, view, light()) - target).abs().mean()
        error.backward()
        part.optimize(step, 3.0)
        part.optimizer.zero_grad()
    away = (light.panorama - truth).abs() / truth
    assert float(error.detach()) < 0.01
    assert float(away[2:-2].detach().mean()) < 0.1


def test_what_is_baked_is_what_is_seen() -> None:
    # Under even light what does not shine is the same from everywhere.
    even = plate((1.0, 0.0))
    baked = even.bake()
    assert baked.sh_degree == 3
    assert float(baked.colors[:, 1:].norm()) < 0.2 * float(baked.colors[:, 0].norm())
    # And a rough metal, seen squarely, is in its baked colours what it is when shaded.
    metal = plate((0.7, 1.0))
    with torch.no_grad():
        metal.light.tint.copy_(0.3 * bright(panorama.directions(16)).float().log())
        for model in (even, metal):
            model.cloud.track(SEEN_FROM, 3)
            model.cloud.statistic(SEEN_FROM).copy_(torch.tensor([[0.0, 0, -1]]))
            lit = model.drawn_by(renderer_for("cpu"))
            first = lit(model(CAMERA), CAMERA).image[16, 16]
            second = lit(model.bake(), CAMERA).image[16, 16]
            torch.testing.assert_close(second, first, atol=0.03, rtol=0)
        assert metal.sketch().sh_degree == 1


def test_normals_point_to_where_rows_were_seen_from() -> None:
    model = plate()
    model.cloud.track(SEEN_FROM, 3)
    for side in (1.0, -1.0):
        model.cloud.statistic(SEEN_FROM).copy_(torch.tensor([[0.0, 0.1, side]]))
        assert model.normals()[0].tolist() == pytest.approx([0, 0, side], abs=1e-6)


def test_relit_scales_albedo_and_shows_the_light() -> None:
    model, plain = plate((1.0, 0.0)), renderer_for("cpu")
    seen = model(CAMERA)
    one = relit(model, plain, WHITE).parts(seen, CAMERA)[0]
    two = relit(model, plain, 2 * WHITE, albedo_scale=torch.tensor([0.5, 1, 1]))
    half = two.parts(seen, CAMERA)[0]
    torch.testing.assert_close(half[..., 0], one[..., 0])
    torch.testing.assert_close(half[..., 1:], 2 * one[..., 1:])
    behind = torch.zeros(16, 32, 3)
    behind[:, 16:] = 0.25  # where y is below 0: above the middle of the picture
    drawn = relit(model, plain, behind, surrounded=True)(seen, CAMERA)
    past = (drawn.image / (1 - drawn.alpha[..., None])).detach()
    dark = relit(model, plain, 0 * behind).parts(seen, CAMERA)[0]
    assert float(dark.detach().abs().max()) == 0
    assert float(past[0, 2].min()) > float(displayed(torch.tensor(0.25))) - 0.01
    apart = drawn.image - relit(model, plain, behind)(seen, CAMERA).image
    assert float(apart.detach()[-1, 2].max()) < 1e-3
    found = torch.rand(50, 3)
    scale = torch.tensor([0.5, 1.5, 2.0])
    torch.testing.assert_close(albedo_scale(found, found * scale), scale)


def test_panoramas_are_read_sized_and_refused(tmp_path: Path) -> None:
    light = bright(panorama.directions(32)).float()
    panorama.write(light, tmp_path / "a.hdr")
    again = panorama.read(tmp_path / "a.hdr")
    torch.testing.assert_close(again, light, atol=0.02, rtol=0.01)
    # Half the size is the same light: what it sends from everywhere stays.
    small = panorama.resized(light, 16)
    total = (light * panorama.solid_angles(32).float()[:, None, None]).sum((0, 1))
    kept = (small * panorama.solid_angles(16).float()[:, None, None]).sum((0, 1))
    torch.testing.assert_close(kept, total, rtol=1e-5, atol=0)
    torch.testing.assert_close(panorama.resized(small, 32), light, atol=0.3, rtol=0.1)
    grey = np.full((8, 16, 3), 188, np.uint8)
    cv2.imwrite(str(tmp_path / "b.png"), grey)
    assert float(panorama.read(tmp_path / "b.png").mean()) == pytest.approx(0.5, abs=0.01)
    cv2.imwrite(str(tmp_path / "c.png"), grey[:, :12])
    (tmp_path / "d.hdr").write_text("no picture")
    for name, said in (("c.png", "12x8 pixels"), ("d.hdr", "cannot be decoded to its end")):
        with pytest.raises(ValueError, match=said):
            panorama.read(tmp_path / name)
    with pytest.raises(FileNotFoundError, match="expected a panorama"):
        panorama.read(tmp_path / "none.hdr")


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        ("scaffold + deferred", "deferred is for rows that are Gaussians"),
        ("adc + deferred --light-rows 12", "light_rows is 12"),
        ("adc + deferred --smooth-weight -1", "smooth_weight is -1"),
        ("adc + deferred + deferred", "makes one too"),
    ],
)
def test_what_does_not_go_together_is_said(recipe: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        strategy = strategy_from_text(recipe)
        strategy.model(columns_of(_one()), Making(steps=1))


def _one() -> Gaussians:
    return Gaussians(
        torch.zeros(1, 3), torch.tensor([[1.0, 0, 0, 0]]), torch.ones(1, 3), torch.tensor([0.5]),
        torch.zeros(1, 1, 3), 0,
    )  # fmt: skip


def test_a_run_is_relit_from_the_command_line(
    splat: Callable[..., Outcome], tiny_folder: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    recipe: list[Any] = ["adc", "--cap", "800", "+", "deferred", "--light-rows", "16"]
    options = ("--steps", 30, "--out", run, "--quiet", "--device", "cpu")
    done = splat("train", tiny_folder, *options, *recipe)
    assert done.code == 0, done.said
    panorama.write(bright(panorama.directions(32)).float(), tmp_path / "new.hdr")
    common = ("--path", "views", "--max-side", 48, "--quiet")
    done = splat("relight", run, "--light", "new.hdr", *common, "--maps", "--background", "light")
    assert done.code == 0, done.said
    out = run / "views_new"
    assert len(list(out.glob("*.png"))) == 12
    for name in ("albedo", "roughness", "metallic", "normal", "diffuse", "specular"):
        assert len(list((out / "maps" / name).glob("*.png"))) == 12
    assert panorama.read(out / "maps" / "light.hdr").shape == (16, 32, 3)
    # Under its own light it is what `splat render` draws.
    done = splat("relight", run, "--light", "trained", *common, "-o", "own")
    assert done.code == 0, done.said
    assert splat("render", run, *common, "-o", "drawn").code == 0
    one, two = (cv2.imread(f"{name}/00003.png").astype(int) for name in ("own", "drawn"))
    assert np.abs(one - two).max() <= 1
    assert np.abs(one - cv2.imread(str(out / "00003.png"))).mean() > 3
    assert splat("export", run, "-o", "baked.ply").code == 0
    assert splat("eval", run, "--net", "none").code == 0
    assert "no materials" in splat("relight", "baked.ply", "--light", "new.hdr", "--cameras",
                                   run / "cameras.json").said  # fmt: skip
