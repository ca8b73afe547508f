"""`splat.rasterize`: gsplat's arguments by name, its results, and its strategies on top of them."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import reference
import torch
from test_kernels import THRESHOLD_MARGIN, intrinsics, scene
from torch import Tensor

from splat import rasterize

SIZE = (61, 45)


def given(kind: str = "plain", dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    return {name: each.float().to(dtype) for name, each in scene(kind, 300, 3).items()}


def calibration(like: Tensor) -> Tensor:
    fx, fy, cx, cy = intrinsics(*SIZE)
    return torch.tensor([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], dtype=like.dtype)


def drawn(rows: dict[str, Tensor], cameras: int = 1, **more: Any) -> Any:
    poses = torch.stack([rows["pose"]] * cameras)
    poses[1:, 0, 3] += 0.3
    Ks = torch.stack([calibration(rows["means"])] * cameras)
    names = ("means", "quats", "scales", "opacities", "colors")
    chosen = {name: more.pop(name, rows[name]) for name in names}
    more.setdefault("sh_degree", 3)
    return rasterize(**chosen, viewmats=poses, Ks=Ks, width=SIZE[0], height=SIZE[1], **more)


def test_the_arguments_are_gsplats() -> None:
    theirs = inspect.signature(pytest.importorskip("gsplat").rasterization).parameters
    ours = inspect.signature(rasterize).parameters
    assert list(ours) == list(theirs)
    for name, each in theirs.items():
        assert name == "rolling_shutter" or ours[name].default == each.default, name


@pytest.mark.parametrize("antialiased", [False, True])
def test_what_is_known_of_the_gaussians(antialiased: bool) -> None:
    rows = given()
    rows["means"].requires_grad_()
    mode = "antialiased" if antialiased else "classic"
    pictures, alphas, info = drawn(rows, packed=False, rasterize_mode=mode, absgrad=True)
    fx, fy, cx, cy = intrinsics(*SIZE)
    names = ("means", "quats", "scales", "opacities", "colors")
    truth = reference.render(
        *(rows[name] for name in names), 3, rows["pose"], fx, fy, cx, cy, *SIZE,
        antialiased=antialiased,
    )  # fmt: skip
    assert torch.allclose(pictures[0], truth["image"], atol=1e-9)
    assert torch.allclose(alphas[0, ..., 0], truth["alpha"], atol=1e-9)
    seen = truth["radii"] > 0
    assert torch.equal(info["radii"][0].amax(-1) > 0, seen) and 20 < int(seen.sum()) < 290
    assert torch.equal(info["radii"][0].amax(-1)[seen], truth["radii"][seen].int())
    place = reference.project(
        rows["means"], rows["quats"], rows["scales"], rows["pose"], (fx, fy, cx, cy, *SIZE),
        0.3, 0.01, 1e10,
    )  # fmt: skip
    assert torch.allclose(info["means2d"][0][seen], place.means2d[seen])
    assert torch.allclose(info["depths"][0][seen], place.depth[seen])
    inverse = torch.linalg.inv(place.covariance)[seen]
    conics = torch.stack([inverse[:, 0, 0], inverse[:, 0, 1], inverse[:, 1, 1]], 1)
    assert torch.allclose(info["conics"][0][seen], conics)
    compensation = place.compensation[seen] if antialiased else 1
    assert torch.allclose(info["opacities"][0][seen], rows["opacities"][seen] * compensation)
    clear = (truth["margin"] > THRESHOLD_MARGIN)[..., None]
    weights = torch.randn(pictures[0].shape, dtype=torch.float64) * clear
    (pictures[0] * weights).sum().backward()
    ((truth["image"] * weights).sum()).backward()
    assert torch.allclose(info["means2d"].grad[0], truth["means2d"].grad, atol=1e-9)
    absolute = reference.absolute_gradient(truth)
    assert torch.allclose(info["means2d"].absgrad[0], absolute, atol=1e-9)


def test_packed_is_what_is_seen_of_all() -> None:
    found = []
    for packed in (False, True):
        rows = given()
        rows["means"].requires_grad_()
        pictures, _, info = drawn(rows, 2, packed=packed)
        pictures.square().sum().backward()
        found.append(info)
    whole, part = found
    at = (part["camera_ids"], part["gaussian_ids"])
    assert len(at[0]) == int((whole["radii"] > 0).all(-1).sum()) and set(at[0].tolist()) == {0, 1}
    for name in ("radii", "means2d", "depths", "conics", "opacities"):
        assert torch.equal(part[name], whole[name][at]), name
    assert torch.equal(part["means2d"].grad, whole["means2d"].grad[at])
    assert (whole["n_cameras"], whole["tile_width"], whole["tile_height"]) == (2, 4, 3)
    with pytest.raises(KeyError, match="'isect_ids' is not known of what our own kernels draw"):
        whole["isect_ids"]


def test_channels_depths_and_backgrounds() -> None:
    rows = given()
    channels = torch.rand(2, 300, 5, dtype=torch.float64)
    behind = torch.rand(2, 5, dtype=torch.float64)
    more = {"sh_degree": None, "backgrounds": behind}
    pictures, alphas, _ = drawn(rows, 2, colors=channels, render_mode="RGB+ED", **more)
    assert pictures.shape == (2, 45, 61, 6)
    three = {**more, "backgrounds": behind[:, :3]}
    first, _, _ = drawn(rows, 2, colors=channels[..., :3].contiguous(), **three)
    assert torch.allclose(pictures[..., :3], first, atol=1e-9)
    depth, _, _ = drawn(rows, 2, render_mode="D")
    assert torch.allclose(pictures[..., 5:] * alphas, depth, atol=1e-9)
    far, _, info = drawn(rows, far_plane=3.5, near_plane=3.0, packed=False)
    seen = info["depths"][info["radii"].amax(-1) > 0]
    assert 3.0 <= float(seen.min()) and float(seen.max()) <= 3.5
    assert not torch.equal(far, drawn(rows)[0])


@pytest.mark.parametrize("packed", [False, True])
def test_a_strategy_of_gsplat_works_on_it(packed: bool) -> None:
    """Its gradients are those of our kernels, and it splits, duplicates and prunes by them."""
    strategies = pytest.importorskip("gsplat").strategy
    rows = given(dtype=torch.float32)
    params = torch.nn.ParameterDict(
        {
            "means": rows["means"], "quats": rows["quats"], "scales": rows["scales"].log(),
            "opacities": torch.logit(rows["opacities"]), "sh": rows["colors"],
        }
    )  # fmt: skip
    optimizers = {name: torch.optim.Adam([each], lr=1e-3) for name, each in params.items()}
    strategy = strategies.DefaultStrategy(
        refine_start_iter=0, refine_every=2, grow_grad2d=1e-4, verbose=False
    )
    strategy.check_sanity(params, optimizers)
    state, before = strategy.initialize_state(scene_scale=1.0), len(params["means"])
    for step in range(1, 3):
        pictures, _, info = drawn(
            {**rows, "means": params["means"]}, quats=params["quats"],
            scales=params["scales"].exp(), opacities=params["opacities"].sigmoid(),
            colors=params["sh"], packed=packed,
        )  # fmt: skip
        strategy.step_pre_backward(params, optimizers, state, step, info)
        (pictures - 0.5).square().mean().backward()
        if step == 1:
            grad = info["means2d"].grad * torch.tensor([SIZE[0] / 2, SIZE[1] / 2])
            ids = info["gaussian_ids"] if packed else torch.arange(before)
            wanted = torch.zeros(before).index_add(0, ids, grad.view(-1, 2).norm(dim=1))
        strategy.step_post_backward(params, optimizers, state, step, info, packed=packed)
        if step == 1:
            assert torch.allclose(state["grad2d"], wanted) and bool((wanted > 0).any())
    assert len(params["means"]) != before


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"camera_model": "fisheye"}, "camera_model is 'fisheye' .*, which our kernels do not"),
        ({"covars": torch.eye(3).expand(300, 3, 3)}, r"covars is a tensor \(usually None\)"),
        ({"sparse_grad": True}, r"sparse_grad is True \(usually False\)"),
        ({"rolling_shutter": 0}, "rolling_shutter is 0"),
        ({"render_mode": "N"}, "render_mode is 'N'; expected one of RGB, D, ED, RGB"),
        ({"rasterize_mode": "mip"}, "rasterize_mode is 'mip'; expected one of classic"),
        ({"means": torch.zeros(2, 300, 3)}, "one set of Gaussians"),
        ({"sh_degree": None}, r"colors are \(300, 16, 3\); .*; harmonics need sh_degree"),
    ],
)
def test_what_our_kernels_do_not_have_is_refused(more: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        drawn(given(dtype=torch.float32), **more)


@pytest.mark.gpu
@pytest.mark.usefixtures("cuda_kernels")
def test_on_cuda_our_kernels_draw_what_they_have(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures, what is known of them and gradients, as on the CPU; the rest is gsplat's."""
    asked: list[str] = []

    class Gsplat:
        @staticmethod
        def rasterization(**given: Any) -> tuple[str, str, str]:
            asked.append(given["camera_model"])
            return "pictures", "alphas", "info"

    monkeypatch.setattr("splat.render.as_gsplat.ready", lambda device: Gsplat)
    found = []
    for device in ("cpu", "cuda"):
        rows = {name: each.to(device) for name, each in given(dtype=torch.float32).items()}
        rows["means"].requires_grad_()
        more = {"render_mode": "RGB+ED", "absgrad": True, "backgrounds": torch.ones(2, 3)}
        more["backgrounds"] = more["backgrounds"].to(device)
        pictures, alphas, info = drawn(rows, 2, **more)
        (pictures[..., :3].square().mean() + alphas.mean()).backward()
        means2d = info["means2d"]
        kept = {name: info[name] for name in ("radii", "depths", "conics", "opacities")}
        kept |= {"pictures": pictures, "grad": means2d.grad, "absgrad": means2d.absgrad}
        found.append({**kept, "means": rows["means"].grad, "ids": info["gaussian_ids"]})
    for name, each in found[0].items():
        ours = found[1][name].cpu()
        assert torch.allclose(each.float(), ours.float(), rtol=1e-4, atol=1e-5), name
    assert not asked
    assert drawn(rows, camera_model="fisheye") == ("pictures", "alphas", "info")
    assert asked == ["fisheye"]
