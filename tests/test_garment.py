"""Garments: rows of the body that stay, rules of the garment's own by hand, and how it follows."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from capsules import two_capsules
from methods import METHODS, job_of
from scipy.spatial.transform import Rotation
from steps import step_of
from torch import Tensor

from splat import cli, datasets, formats
from splat.core.model import Making
from splat.core.objective import OpacityL1
from splat.loop import Run, train
from splat.math import covariances
from splat.mesh import Mesh
from splat.options import Options
from splat.render.native import NativeRenderer
from splat.strategies.adc import Adc
from splat.strategies.garment import Garment, deaths, dressed, figure, makehuman, rig
from splat.strategies.garment.body import Body, read_pose
from splat.strategies.garment.distance import Depths, Surface, depths_of
from splat.strategies.garment.garment import body_of
from splat.strategies.garment.model import LAYER, Dressed, worn
from splat.strategies.garment.rows import sampled
from splat.strategies.garment.skin import _basis, polar, turned
from splat.strategies.garment.skin import dressed as put_on
from splat.strategies.mcmc import Mcmc
from splat.training.prepare import prepare
from splat.types import Camera, Frame, Gaussians

INPUT = Frame((0.0, 0.0, 0.0), 1.0)
SKIRT_OFF = 0.15


def depths_in(scene: Path) -> Depths:
    return body_of(str(scene / dressed.BODY))[1]


def skirt(off: float = SKIRT_OFF, top: float = -0.45, hem: float = -0.95) -> Mesh:
    """A tube about the capsules, `off` their skin."""
    angle, y = np.meshgrid(np.linspace(0, 2 * np.pi, 48, endpoint=False), np.linspace(top, hem, 20))
    radius = 0.1 + off
    places = np.stack([radius * np.sin(angle), y, radius * np.cos(angle)], -1).reshape(-1, 3)
    i, j = np.indices((19, 48))
    k = (j + 1) % 48
    a, b, c, d = i * 48 + j, (i + 1) * 48 + j, (i + 1) * 48 + k, i * 48 + k
    faces = np.stack([np.stack([a, c, b], -1), np.stack([a, d, c], -1)], 2).reshape(-1, 3)
    return Mesh(places, faces)


@pytest.fixture(scope="module")
def body() -> Body:
    return two_capsules()


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, body: Body) -> Path:
    """Photos of the capsules in a blue skirt, masks of it, and the body."""
    folder = tmp_path_factory.mktemp("dressed")
    blue = lambda points: np.tile([0.1, 0.2, 0.8], (len(points), 1))  # noqa: E731
    dressed.write(folder, body, skirt(), blue, views=12, width=56, height=72, count=6000)
    return folder


def garment_on(scene: Path, base: Any = None, **more: Any) -> Garment:
    early: dict[str, Any] = {"prune_from": 10, "prune_until": 10_000, "prune_every": 20}
    base = base or Adc(
        cap=4000,
        grow_gradient=1e-3,
        refine_from=10,
        refine_every=20,
        reset_every=90,
        reset_until=100,
    )
    how = {"body": str(scene / dressed.BODY), "body_rows": 600, **early, **more}
    return Garment(base, **how)


def run_of(scene: Path, strategy: Garment, steps: int) -> Iterator[Run]:
    options = Options(steps=steps, threads=1, schedule="published", max_side=0)
    with closing(prepare(datasets.load(scene, masks=dressed.MASKS), strategy, options)) as job:
        yield job.run


@pytest.fixture(scope="module")
def trained(scene: Path) -> Run:
    """A run of 240 steps, whose body rows were noted before."""
    for run in run_of(scene, garment_on(scene), 240):
        run.noted = body_bits(run)  # type: ignore[attr-defined]
        train(run)
    return run


def body_bits(run: Run) -> dict[str, Tensor]:
    """Rows of the body as bits, in an order of their own."""
    cloud = run.model.cloud
    rows = cloud.rows((~worn(cloud)).nonzero()[:, 0])
    order = np.lexsort(rows["mean"].numpy().T)
    return {name: values[torch.from_numpy(order)] for name, values in rows.items()}


def same_bits(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(
        (one[name].numpy().view(np.int32) == other[name].numpy().view(np.int32)).all()
        for name in one
    )


def test_rows_of_the_body_stay_to_the_bit_whatever_trains(trained: Run) -> None:
    noted: dict[str, Tensor] = trained.noted  # type: ignore[attr-defined]
    assert len(noted["mean"]) == 600
    assert same_bits(noted, body_bits(trained))


def test_noise_relocation_and_decay_leave_the_body_as_it_is(scene: Path) -> None:
    base = Mcmc(cap=2500, refine_from=10, refine_until=150, refine_every=20, growth=1.3)
    for run in run_of(scene, garment_on(scene, base), 60):
        run.objectives = {**run.objectives, "fade": OpacityL1(0.1)}
        noted = body_bits(run)
        train(run)
        assert same_bits(noted, body_bits(run))
        deepest = body_of(str(scene / dressed.BODY))[1].at(
            run.model.cloud["mean"][worn(run.model.cloud)], run.frame
        )[0]
        assert float(deepest.min()) > -0.0006 * 1.2 * run.frame.scale


def test_no_row_of_the_garment_is_deeper_than_it_may_be(
    trained: Run, body: Body, scene: Path
) -> None:
    free = worn(trained.model.cloud)
    means = trained.model.cloud["mean"].detach()[free].double()
    places = (means / trained.frame.scale + torch.tensor(trained.frame.centre)).numpy()
    away = Surface(body.mesh).nearest(places)[0]
    depths = depths_in(scene).at(torch.from_numpy(places).float(), INPUT)[0].numpy()
    assert len(places) > 100
    assert (away[depths < 0] < 0.005).all()


def test_the_garment_alone_has_no_pixel_of_skin_and_little_beyond_its_mask(
    trained: Run, scene: Path
) -> None:
    model, render = trained.model, NativeRenderer("cpu")
    whole = model.bake()
    garment = whole.take(worn(model.cloud))
    for number in range(3):
        batch = trained.photos(number, trained.step)
        picture = render(garment, batch.camera)
        skin = (picture.image[..., 0] > picture.image[..., 2]) & (picture.alpha > 0.3)
        assert not bool(skin.any())
        assert batch.outline is not None
        near = torch.nn.functional.max_pool2d(batch.outline.float()[None, None], 13, 1, 6)[0, 0]
        # The tube hides nothing of itself behind the capsules that its outline does not hold.
        assert float(picture.alpha[near == 0].sum()) < 0.01 * float(picture.alpha.sum())
        covered = picture.alpha[batch.outline > 250]
        assert float(covered.mean()) > 0.9


def judged(rows: Mesh | np.ndarray, scene: Path, **more: Any) -> tuple[Any, Dressed]:
    """The garment part and a model of rows that lie at given places, opaque and of one size."""
    strategy = Garment(body=str(scene / dressed.BODY), body_rows=50, **more)
    places = rows.vertices if isinstance(rows, Mesh) else rows
    n = len(places)
    given = {
        "mean": torch.from_numpy(places).float(),
        "quat": torch.tensor([[1.0, 0, 0, 0]]).expand(n, 4).clone(),
        "log_scale": torch.full((n, 3), math.log(0.02)),
        "opacity_logit": torch.full((n,), 2.0),
        "sh": torch.zeros(n, 1, 3),
    }
    model = strategy.model(given, Making(steps=9, frame=INPUT))
    strategy.begin(model)
    assert isinstance(model, Dressed)
    return strategy, model


def gone(strategy: Any, model: Dressed) -> dict[str, int]:
    found = strategy.condemned(step_of(model))
    return {reason: int(rows.sum()) for reason, rows in found.items() if rows.any()}


def test_a_skirt_far_from_the_legs_loses_no_row_and_the_rule_of_size_eats_it(
    scene: Path,
) -> None:
    strategy, model = judged(skirt(), scene)
    assert int(worn(model.cloud).sum()) == 960
    assert gone(strategy, model) == {}
    strategy, model = judged(skirt(0.6), scene)  # however far
    assert gone(strategy, model) == {}
    # HumanGaussian's size: all but those that are smaller than 0.0096 on a body of 1.2 units.
    strategy, model = judged(skirt(), scene, largest=0.008)
    model.cloud["log_scale"].data[: 50 + 100] = math.log(0.005)
    assert gone(strategy, model) == {"size": 860}


def test_rows_pressed_into_the_body_and_rows_alone_go(scene: Path) -> None:
    strategy, model = judged(skirt(0.05), scene)
    mean = model.cloud["mean"].data
    mean[50] = torch.tensor([0.0, -0.7, 0.02])  # in the middle of the lower capsule
    mean[51] = torch.tensor([0.6, 0.4, 0.0])
    assert gone(strategy, model) == {"inside": 1, "alone": 2}
    edit = strategy.refine(step_of(model, 8))
    (nudge,) = edit.nudge
    moved = nudge.delta.norm(dim=1)
    assert (moved > 0).nonzero()[:, 0].tolist() == [50]
    model.apply(edit)
    distance = depths_in(scene).at(model.cloud["mean"][50:51], INPUT)[0]
    assert float(distance) > -0.06  # towards the skin; that of a middle has no single direction


def test_rows_beyond_masks_go_once_enough_photos_show_them(scene: Path) -> None:
    strategy, model = judged(skirt(0.05), scene)
    cloud = model.cloud
    for name in deaths.WINDOW:
        cloud.statistic(name).zero_()
    shown, beyond, viewed = map(cloud.statistic, deaths.WINDOW)
    shown[50:], viewed[50:] = 10.0, 5.0
    beyond[60], beyond[61], beyond[62] = 5.1, 4.9, 9.0
    viewed[62] = 2  # too few photos
    shown[0], beyond[0], viewed[0] = 10.0, 10.0, 9.0  # of the body
    assert strategy.condemned(step_of(model))["outside"].nonzero()[:, 0].tolist() == [60]
    cloud.statistic(deaths.AGE).fill_(500)
    shown[70], viewed[70] = 0.1, 0.0
    cloud.statistic(deaths.AGE)[71], shown[71] = 499, 0.0  # born within the window
    assert strategy.condemned(step_of(model))["unseen"].nonzero()[:, 0].tolist() == [70]
    assert "unseen" not in replace(strategy, unseen=False).condemned(step_of(model))


def test_children_are_of_their_parents_layer(trained: Run) -> None:
    assert {*trained.model.cloud[LAYER].tolist()} == {0.0, 1.0}
    assert trained.model.cloud.held is not None
    assert bool((trained.model.cloud.held == ~worn(trained.model.cloud)).all())


def gaussians_at(places: np.ndarray, degree: int = 2) -> Gaussians:
    draw = torch.Generator().manual_seed(3)
    n = len(places)
    return Gaussians(
        torch.from_numpy(places).float(),
        torch.nn.functional.normalize(torch.randn(n, 4, generator=draw), dim=1),
        torch.rand(n, 3, generator=draw) * 0.02 + 0.005,
        torch.rand(n, generator=draw),
        torch.randn(n, (degree + 1) ** 2, 3, generator=draw),
        degree,
    )


def rigid(body: Body) -> Body:
    """The body with all its skin on the first bone."""
    weights = np.zeros_like(body.weights)
    weights[:, 0] = 1
    return replace(body, weights=weights)


def test_a_rigid_bone_moves_means_turns_and_colours_rigidly(body: Body) -> None:
    whole, turn = rigid(body), np.array([20.0, -70.0, 35.0])
    garment = gaussians_at(skirt().vertices[::7])
    found = put_on(garment, whole, whole, {"lower": tuple(turn)}).gaussians  # type: ignore[dict-item]
    R = torch.from_numpy(Rotation.from_rotvec(np.radians(turn)).as_matrix())
    expected = garment.means.double() @ R.T
    assert float((found.means - expected).abs().max()) < 1e-6
    before = covariances(garment.quats.double(), garment.scales.double())
    after = covariances(found.quats.double(), found.scales.double())
    assert float((after - R @ before @ R.T).abs().max()) < 1e-8
    quats = Rotation.from_matrix(R.numpy()) * Rotation.from_quat(garment.quats.roll(-1, 1).numpy())
    same = (torch.from_numpy(quats.as_quat()).roll(1, 1) * found.quats).sum(1).abs()
    assert float((same - 1).abs().max()) < 1e-6
    # Seen along R d a colour is what it was along d.
    d = torch.nn.functional.normalize(torch.tensor([[0.3, -0.5, 0.8]]).double(), dim=1)
    was = torch.einsum("k,nkc->nc", _basis(d[0], 2), garment.colors.double())
    now = torch.einsum("k,nkc->nc", _basis((R @ d[0]), 2), found.colors.double())
    assert float((was - now).abs().max()) < 1e-5


def test_a_bone_that_bends_takes_its_part_of_the_garment_with_it(body: Body) -> None:
    """The upper capsule's tube turns with it, rows about the joint lie between, none fall in."""
    garment = gaussians_at(skirt(0.02, -0.15, -0.9).vertices)
    pose = {"upper": (0.0, 0.0, 40.0)}
    posed = body.posed(pose)
    depths = depths_of(posed.mesh)
    found = put_on(garment, body, body, pose, depths=depths).gaussians
    far = garment.means[:, 1] < -0.75
    R = torch.from_numpy(Rotation.from_rotvec([0, 0, math.radians(40)]).as_matrix())
    hinge = torch.tensor([0.0, -0.5, 0.0]).double()
    expected = (garment.means[far].double() - hinge) @ R.T + hinge
    assert float((found.means[far] - expected).norm(dim=1).max()) < 0.01
    still = garment.means[:, 1] > -0.3
    assert float((found.means - garment.means)[still].norm(dim=1).max()) < 0.01
    assert float((depths.at(found.means, INPUT)[0] < 0).float().mean()) <= 0.01


def test_another_shape_of_the_same_triangles_carries_the_garment_at_the_same_distance(
    body: Body,
) -> None:
    wide = body.mesh.vertices * [1.3, 1.0, 1.3]
    other = replace(body, mesh=Mesh(wide, body.mesh.faces))
    garment = gaussians_at(skirt(0.02).vertices)
    depths = depths_of(other.mesh)
    found = put_on(garment, body, other, {}, depths=depths)
    assert found.inside == 0
    away = depths.at(found.gaussians.means, INPUT)[0]
    assert float((away - 0.02).abs().mean()) < 0.004


def test_bodies_of_other_bones_are_refused(body: Body) -> None:
    other = replace(body, names=("lower", "tail"))
    with pytest.raises(ValueError, match="other bones: tail, upper"):
        put_on(gaussians_at(skirt().vertices), body, other, {})


def test_the_nearest_rotation_and_harmonics_of_no_turn(dtype: torch.dtype) -> None:
    del dtype
    R = torch.from_numpy(Rotation.random(5, random_state=1).as_matrix())
    assert torch.allclose(polar(R * 1.7), R)
    sh = torch.randn(5, 16, 3)
    assert torch.allclose(turned(sh, torch.eye(3).double().expand(5, 3, 3)), sh, atol=1e-5)


def test_distances_are_those_of_the_capsules(scene: Path) -> None:
    points = torch.rand(3000, 3, generator=torch.Generator().manual_seed(2)) * 0.5 - 0.25
    points[:, 1] = points[:, 1] * 2 - 0.5
    axis = points.clone()
    axis[:, [0, 2]] = 0
    axis[:, 1].clamp_(-1, 0)
    truth = (points - axis).norm(dim=1) - 0.1
    found, outward = depths_in(scene).at(points, INPUT)
    near = (truth.abs() < 0.03) & ((points[:, 1] + 0.5).abs() > 0.13)  # but for the seam within
    assert float((found - truth)[near].abs().max()) < 0.005  # capsules of 24 sides
    assert bool(((found < 0) == (truth < 0))[truth.abs() > 0.004].all())
    right = ((points - axis) / (points - axis).norm(dim=1, keepdim=True) * outward).sum(1)
    assert float(right[near].min()) > 0.9


def test_a_body_in_a_file_is_read_back(body: Body, tmp_path: Path) -> None:
    turned_body = replace(
        body.posed({"upper": (10.0, 20.0, 30.0)}), axes=np.diag([-1.0, -1.0, 1.0])
    )
    rig.write(turned_body, tmp_path / "b.glb")
    found = rig.read(tmp_path / "b.glb")
    assert found.names == body.names
    assert (found.parents == body.parents).all()
    for name in ("joints", "weights", "axes"):
        assert np.abs(getattr(found, name) - getattr(turned_body, name)).max() < 1e-6
    assert np.abs(found.mesh.vertices - turned_body.mesh.vertices).max() < 1e-6
    assert (found.mesh.faces == body.mesh.faces).all()
    assert np.abs(rig.read_mesh(tmp_path / "b.glb").vertices - found.mesh.vertices).max() < 1e-6


def test_another_program_reads_the_body(body: Body, tmp_path: Path) -> None:
    trimesh = pytest.importorskip("trimesh")
    rig.write(body, tmp_path / "b.glb")
    found = trimesh.load(tmp_path / "b.glb", force="mesh", process=False)
    assert np.abs(found.vertices * [-1, -1, 1] - body.mesh.vertices).max() < 1e-6


def test_samples_are_even_and_a_template_begins_the_garment(body: Body, scene: Path) -> None:
    samples = sampled(body.mesh, 2000)
    places = samples.on(body.mesh)
    assert abs((places[:, 1] < -0.5).mean() - 0.5) < 0.02
    _, model = judged(skirt(), scene, covers=("upp",), garment_rows=300, loose=0.05)
    means = model.cloud["mean"].detach()[worn(model.cloud)]
    distance = depths_in(scene).at(means, INPUT)[0]
    assert 200 < len(means) <= 300
    assert float((distance - 0.06).abs().mean()) < 0.01
    assert float(means[:, 1].max()) < -0.45
    with pytest.raises(ValueError, match="no bone that begins so; there are lower, upper"):
        judged(skirt(), scene, covers=("leg",))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda d: d.pop("skins"), "no skin, so that no bone moves it"),
        (
            lambda d: d["meshes"][0]["primitives"][0]["attributes"].pop("JOINTS_0"),
            "without weights",
        ),
        (lambda d: d["skins"][0].update(joints=[99]), "no node of its scene"),
        (lambda d: d["nodes"][2].update(name="lower"), "two bones of one name"),
    ],
)
def test_a_file_that_is_no_body_is_told(change: Any, says: str, body: Body, tmp_path: Path) -> None:
    path = tmp_path / "b.glb"
    rig.write(body, path)
    data = path.read_bytes()
    length = int.from_bytes(data[12:16], "little")
    document = json.loads(data[20 : 20 + length])
    change(document)
    text = json.dumps(document, separators=(",", ":")).encode()
    text += b" " * (length - len(text))
    path.write_bytes(data[:20] + text + data[20 + length :])
    with pytest.raises(ValueError, match=says):
        rig.read(path)


def test_what_is_asked_for_wrongly_is_told(scene: Path, tmp_path: Path, body: Body) -> None:
    for strategy, says in (
        (garment_on(scene, body=""), "is given no body"),
        (garment_on(scene, body=str(tmp_path / "none.glb")), "is not a file"),
        (garment_on(scene, body_rows=4000), "the body takes 4,000"),
    ):
        with pytest.raises((ValueError, OSError), match=says):
            next(run_of(scene, strategy, 10))
    with pytest.raises(ValueError, match=r"is to begin on x\.glb and on arm"):
        garment_on(scene, template="x.glb", covers=("arm",))
    options = Options(steps=3, threads=1, schedule="published", max_side=0)
    for masks, mode, says in (
        ("none", "auto", "no mask of the garment|shows nothing outside"),
        (dressed.MASKS, "transparent", "shows nothing outside of the garment"),
    ):
        loaded = datasets.load(scene, masks=masks)
        options = replace(options, mask_mode=mode)  # type: ignore[arg-type]
        with closing(prepare(loaded, garment_on(scene), options)) as job:
            with pytest.raises(ValueError, match=says):
                train(job.run)
    (tmp_path / "pose.json").write_text('{"upper": [1, 2]}')
    with pytest.raises(ValueError, match=r"pose\.json"):
        read_pose(tmp_path / "pose.json")
    with pytest.raises(ValueError, match="'uper', which the body has no bone of: perhaps upper"):
        body.posed({"uper": (0, 0, 1)})


def test_a_run_is_dressed_and_a_file_is(scene: Path, tmp_path: Path, capsys: Any) -> None:
    run, body = tmp_path / "run", scene / dressed.BODY
    words = f"train {scene} --masks {dressed.MASKS} --out {run} --steps 30 --threads 1 --max-side 0"
    part = f"adc --cap 3000 + garment --body {body} --body-rows 500"
    assert cli.main([*words.split(), "--quiet", *part.split()]) == 0
    (tmp_path / "p.json").write_text('{"upper": [0, 0, 30]}')
    whole, out = tmp_path / "w.ply", tmp_path / "x.ply"
    both = ["--with-body", "--body-rows", "700", "-o", str(whole), "--json"]
    assert cli.main(["dress", str(run), *both]) == 0
    alone = formats.read(whole).take(slice(700, None))  # type: ignore[arg-type]
    formats.write(alone, out)
    posed, again = tmp_path / "y.ply", tmp_path / "z.ply"
    pose = ["--pose", str(tmp_path / "p.json")]
    assert cli.main(["dress", str(run), *pose, "-o", str(posed)]) == 0
    assert cli.main(["dress", str(out), "--body", str(body), *pose, "-o", str(again)]) == 0
    one, other = formats.read(posed), formats.read(again)
    assert len(one) == len(alone)
    assert float((one.means - other.means).abs().max()) < 1e-5
    assert float((one.means - alone.means).abs().max()) > 0.05
    capsys.readouterr()
    assert cli.main(["dress", str(out), "-o", str(tmp_path / "v.ply")]) == 2
    assert "does not say which body it is of" in capsys.readouterr().err


def test_bodies_are_read_out_of_the_layout_of_makehumans_data(tmp_path: Path) -> None:
    """A base mesh of two squares and a joint's cube, a rig, its weights and a target, by hand."""
    for folder in ("3dobjs", "rigs/standard", "targets/macro"):
        (tmp_path / folder).mkdir(parents=True)
    lines = [f"v {x} {y} 0" for y in (-5, 5, 15) for x in (0, 10)]
    lines += [f"v 4 {y} 2" for y in (4, 6, 8)]
    lines += ["g body", "f 1/1 2/2 4/4 3/3", "f 3/1 4/2 6/4 5/3", "g joint-knee", "f 7 8 9"]
    (tmp_path / "3dobjs/base.obj").write_text("\n".join(["# base", *lines, ""]))
    joint = {"head": {"strategy": "CUBE", "cube_name": "joint-knee"}, "parent": "root"}
    place = {"strategy": "MEAN", "vertex_indices": [0, 1]}
    bones = {"knee": joint, "root": {"head": place, "parent": ""}}
    (tmp_path / "rigs/standard/rig.tiny.json").write_text(json.dumps(bones))
    weights = {"root": [[0, 1], [1, 1], [2, 0.5]], "knee": [[2, 0.5], [4, 1.0], [5, 1.0]]}
    (tmp_path / "rigs/standard/weights.tiny.json").write_text(json.dumps({"weights": weights}))
    with gzip.open(tmp_path / "targets/macro/tall.target.gz", "wb") as file:
        file.write(b"# lines\n4 0 10 0\n5 0 10 .0\n")
    base = makehuman.read_base(tmp_path, {"macro/tall": 0.5})
    found = makehuman.read_body(tmp_path, "tiny", "body", base)
    assert found.names == ("root", "knee") and found.parents.tolist() == [-1, 0]
    # Metres, on the floor, turned to y down.
    assert np.allclose(found.heads, [[-0.5, 0, 0], [-0.4, -1.1, 0.2]])
    assert np.allclose(found.mesh.vertices[[0, 5]], [[0, 0, 0], [-1, -2.5, 0]])
    assert np.allclose(found.weights, [[1, 0], [1, 0], [0.5, 0.5], [1, 0], [0, 1], [0, 1]])
    assert len(found.mesh.faces) == 4
    with pytest.raises(FileNotFoundError, match="there are tiny"):
        makehuman.read_body(tmp_path, "other", "body", base)
    with pytest.raises(FileNotFoundError, match="give targets as they lie below"):
        makehuman.read_base(tmp_path, {"macro/short": 1})
    (tmp_path / "rigs/standard/rig.tiny.json").write_text("{}")
    with pytest.raises(ValueError, match=r"rig\.tiny\.json: has no bones; expected one or more"):
        makehuman.read_body(tmp_path, "tiny", "body", base)


def test_the_figure_is_a_body_and_its_garments_are_off_it() -> None:
    pytest.importorskip("skimage")
    person = figure.body(resolution=48)
    assert person.mesh.watertight
    assert person.weights.shape == (len(person.mesh.vertices), 17)
    assert np.abs(person.weights.sum(1) - 1).max() < 1e-9
    assert ((person.weights > 0).sum(1) <= 4).all()
    large = figure.body("large", resolution=48)
    assert (large.mesh.faces == person.mesh.faces).all()
    assert large.height > 1.04 * person.height
    for make in (figure.skirt(), figure.shirt(48), figure.trousers(48)):
        places = torch.from_numpy(make.vertices @ rig.UP[:3, :3].T)
        assert float(figure.distance(places).min()) > 0
    waving = person.posed({"upperarm_l": (0, 0, 90)})
    hand = person.names.index("hand_l")
    assert waving.heads[hand][1] < person.heads[hand][1] - 0.4  # y is down in scenes
    other = person.names.index("hand_r")
    assert np.allclose(waving.heads[other], person.heads[other])


def test_a_camera_ring_sees_the_whole_body(body: Body) -> None:
    for camera in dressed.ring(body, 5, 60, 90):
        assert isinstance(camera, Camera)
        depths = camera.depths(torch.from_numpy(body.mesh.vertices).float())
        assert not bool(depths.isnan().any())


def test_the_tiny_run_keeps_rows_within_its_cap(tiny_folder: Path) -> None:
    with closing(job_of(tiny_folder, METHODS["adc_garment"], steps=3)) as job:
        assert int((~worn(job.run.model.cloud)).sum()) == 90
        assert len(job.run.model.cloud) <= 1300


def test_a_dream_clothes_a_body_that_stays_as_it_is(tmp_path: Path, body: Body) -> None:
    """Two pictures, of all and of the garment alone, each with a text; the body stays."""
    from test_dream_runs import taught, written

    small = body.for_dreams()
    assert abs(np.ptp(small.mesh.vertices, axis=0)[2] - 1) < 1e-9
    assert np.abs(small.mesh.vertices.min(0) + small.mesh.vertices.max(0)).max() < 1e-9
    assert small.heads[0][2] < small.heads[1][2]
    rig.write(small, tmp_path / "b.glb")
    (tmp_path / "teacher").mkdir()
    teacher, out = written(tmp_path / "teacher", taught()), tmp_path / "x.ply"
    part = f"garment --body {tmp_path}/b.glb --body-rows 80 --garment-rows 60 --covers upper"
    words = ["dream", "a red cube", "-o", str(out), "--teacher", str(teacher), "--quiet"]
    words += ["--strategy", f"adc --cap 400 + {part} --layer-weight 0", "--alone", "a blue cube"]
    assert cli.main([*words, "--steps", "5", "--device", "cpu", "--threads", "1"]) == 0
    whole = formats.read(out)
    alone = tmp_path / "y.ply"
    assert cli.main(["dress", f"{out}.dream", "-o", str(alone)]) == 0
    assert len(formats.read(alone)) == len(whole) - 80
    log = [json.loads(line) for line in open(f"{out}.dream/log.jsonl")]
    assert {"distilled", "alone"} <= log[-1]["terms"].keys()
    begun = Garment(body=f"{tmp_path}/b.glb", body_rows=80).model(
        {name: values for name, values in _first(1).items()}, Making(steps=1, frame=INPUT)
    )
    rows = whole.colors[:, 0]
    skin = begun.cloud["sh"].detach()[0, 0]
    assert int(((rows - skin).abs().max(1).values < 1e-5).sum()) >= 80


def _first(n: int) -> dict[str, Tensor]:
    return {
        "mean": torch.ones(n, 3), "quat": torch.ones(n, 4), "log_scale": torch.zeros(n, 3),
        "opacity_logit": torch.zeros(n), "sh": torch.zeros(n, 1, 3),
    }  # fmt: skip
