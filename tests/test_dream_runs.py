"""`splat dream`: a run with a teacher in place of photos, resumed to the byte; what is refused."""

from __future__ import annotations

import json
import math
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from splat import cli, formats
from splat.datasets.objects.words import PROPERTIES
from splat.dream import dream, tutor
from splat.dream.choices import Dreamt
from splat.dream.distill import Ball, upright
from splat.dream.dream import run_of
from splat.dream.orbit import around
from splat.dream.scene import ball_of, from_nothing, from_thing, squared
from splat.dream.tutor import Design, Tutor
from splat.generate.unet import Shape
from splat.generate.words import vocabulary_of
from splat.loop import advance, train
from splat.math import SH_C0
from splat.recipes.recipe import strategy_from_text
from splat.types import Camera, Drawing, Gaussians

WORDS = vocabulary_of([], PROPERTIES)
WHITE = (1.0, 1.0, 1.0)
CPU = torch.device("cpu")
QUIET = ["--points", "60", "--quiet", "--device", "cpu", "--threads", "1"]
FEW = ["--steps", "4", *QUIET]
GROWING = "mcmc --cap 80 --refine-from 3 --refine-every 3"
EDITED = ["--steps", "12", *QUIET, "--schedule", "published"]


def taught(seed: int = 0, size: int = 16) -> Tutor:
    """A teacher that has learned nothing, but says something of words, times and cameras."""
    design = Design(size, 2, Shape(size // 2, 8, (1, 2), 1, 4, 8))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = Tutor(design, WORDS)
        for values in made.network.parameters():
            torch.nn.init.normal_(values, std=0.1)
    made.network.eval().requires_grad_(False)
    return made


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("teacher"), taught())


def written(folder: Path, made: Tutor) -> Path:
    tutor.write(folder / tutor.NAME, made.design, WORDS, made.network.state_dict())
    return folder


def a_thing(n: int = 40, scale: float = 1.0) -> Gaussians:
    draw = torch.Generator().manual_seed(0)
    means = torch.randn(n, 3, generator=draw)
    return Gaussians(
        means=scale * 0.4 * means / means.norm(dim=1, keepdim=True),
        quats=torch.tensor([1.0, 0, 0, 0]).repeat(n, 1),
        scales=torch.full((n, 3), 0.05 * scale),
        opacities=torch.full((n,), 0.9),
        colors=((torch.tensor([0.8, 0.2, 0.2]) - 0.5) / SH_C0).expand(n, 1, 3).clone(),
        sh_degree=0,
    )


@pytest.mark.parametrize(
    "strategy", [GROWING, "adc --refine-from 3 --refine-every 3 --reset-every 0"]
)
def test_a_run_that_is_resumed_ends_in_the_same_bytes(
    teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strategy: str
) -> None:
    """D3."""
    words = ["--teacher", str(teacher), "--strategy", strategy, *EDITED]
    whole, halves = tmp_path / "whole.ply", tmp_path / "halves.ply"
    assert cli.main(["dream", "a red torus", "-o", str(whole), *words]) == 0
    from splat.dream import session

    monkeypatch.setattr(session, "SAVE_EVERY", 5)
    noise = Tutor.noise
    calls = []

    def cut(self: Tutor, *arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 8:
            raise KeyboardInterrupt
        return noise(self, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(Tutor, "noise", cut)
        assert cli.main(["dream", "a red torus", "-o", str(halves), *words]) == 130
    assert not halves.exists()
    again = ["dream", "-o", str(halves), "--resume", "--quiet", "--device", "cpu"]
    assert cli.main([*again, "--threads", "2"]) == 0
    assert halves.read_bytes() == whole.read_bytes()
    figures = json.loads((tmp_path / "halves.ply.dream" / "dream.json").read_text())
    assert figures["steps"] == 12 and figures["text"] == "red torus"
    assert figures["export"]["same_db"] > 40
    steps = [json.loads(line)["step"] for line in open(tmp_path / "halves.ply.dream/log.jsonl")]
    assert steps == sorted(steps) and steps[-1] == 12


def test_texts_seeds_and_teachers_change_what_is_dreamt(teacher: Path, tmp_path: Path) -> None:
    def dreamt(text: str, *more: str) -> bytes:
        out = tmp_path / "x.ply"
        words = ["--teacher", str(teacher), "--strategy", "fixed", *FEW, "--overwrite", *more]
        assert cli.main(["dream", text, "-o", str(out), *words]) == 0
        return out.read_bytes()

    one = dreamt("a red torus")
    assert one == dreamt("Torus, RED")
    others = [dreamt("a blue torus"), dreamt("a red torus", "--seed", "4")]
    others.append(dreamt("a red torus", "--instead", "a cube"))
    assert one not in others and len({*others}) == 3


def test_density_control_works_as_in_any_run() -> None:
    made = taught()
    begun = from_nothing(16, 60, 0, WHITE)
    asked = Dreamt(steps=12, schedule="published")
    run = run_of(made, "red torus", begun, strategy_from_text(GROWING), asked, CPU)
    assert set(run.objectives) == {"distilled", "opacity", "scale"}
    counts = []
    while not run.over:
        advance(run)
        counts.append(len(run.model.cloud))
    assert counts[0] == 60 < counts[-1] <= 80
    # A teacher takes no gradient (D2).
    assert all(values.grad is None for values in made.network.parameters())


def test_it_begins_faint_in_the_middle_of_what_cameras_see() -> None:
    begun = from_nothing(16, 500, 3, WHITE)
    radii = begun.gaussians.means.norm(dim=1)
    assert float(radii.max()) <= 0.4 * begun.ball.radius + 1e-6
    # Even in the ball: half of all beyond the root of the half of its volume.
    assert float(radii.median()) / (0.4 * begun.ball.radius) == pytest.approx(
        0.5 ** (1 / 3), abs=0.04
    )
    assert begun.frame.centre == (0, 0, 0)
    centre = begun.views.cameras[0].centre
    assert float(centre.norm()) == pytest.approx(1 / 1.1, abs=1e-5)
    assert torch.equal(begun.gaussians.means, from_nothing(16, 500, 3, WHITE).gaussians.means)


def test_things_are_looked_at_as_the_corpus_is() -> None:
    assert ball_of(a_thing()) == Ball()
    far = a_thing(400, 10.0)
    found = ball_of(far)
    assert found.radius == pytest.approx(4.0 / 0.52, rel=0.06)
    begun = from_thing(far, 16, 0, WHITE, Drawing())
    assert begun.started and float(begun.gaussians.means.norm(dim=1).max()) < begun.ball.radius


def test_what_it_began_with_is_kept_where_that_is_asked_for() -> None:
    begun = from_thing(a_thing(), 16, 0, WHITE, Drawing())
    made, means = taught(), begun.gaussians.means.clone()

    def ended(keep: float) -> torch.Tensor:
        asked = Dreamt(steps=25, keep=keep, rate=2.0)
        run = run_of(made, "blue cube", begun, strategy_from_text("fixed"), asked, CPU)
        if keep:
            assert "kept" in run.objectives
        # What batches show is what it began with: at first nothing differs.
        drawn = run.render(begun.gaussians, run.batches(0).camera, background=run.background).image
        assert float((drawn - run.batches(0).image).abs().max()) < 0.003
        assert torch.equal(run.photos(3, 0).pixels, run.photos(3, 9).pixels)
        shown = run.photos(3, 0).pixels
        train(run)
        # It stays what it began with, however much is trained since.
        assert torch.equal(run.photos(3, 25).pixels, shown)
        assert torch.equal(begun.gaussians.means, means)
        rgb: torch.Tensor = (0.5 + SH_C0 * run.baked().colors[:, 0]).mean(0)
        return rgb

    before = torch.tensor([0.8, 0.2, 0.2])
    freely, held = ((ended(keep) - before).abs().max() for keep in (0.0, 1000.0))
    assert float(held) < 0.5 * float(freely)


def test_cameras_of_scenes_are_cut_square_and_turned_upright() -> None:
    camera = Camera(torch.eye(4), torch.tensor([[50.0, 0, 40], [0, 50, 30], [0, 0, 1]]), 80, 60)
    square = squared(camera, 30, 2)
    assert (square.width, square.height, square.index) == (30, 30, 2)
    assert square.K.flatten().tolist() == [25, 0, 15, 0, 25, 15, 0, 0, 1]
    for up in ((0.0, 1.0, 0.0), (0.6, 0.0, -0.8), (0.0, 0.0, 1.0), (0.0, 0.0, -1.0)):
        turned = upright(around(Ball(), 0.4, 0.3, 16), up).world_to_camera[:3, :3].double()
        before = around(Ball(), 0.4, 0.3, 16).world_to_camera[:3, :3].double()
        # What was along `up` in the camera is along z now.
        assert torch.allclose(turned[:, 2], before @ torch.tensor(up).double(), atol=1e-6)
        assert torch.linalg.det(turned).item() == pytest.approx(1, abs=1e-6)


def test_a_run_is_looked_at_by_its_own_cameras(
    teacher: Path, tmp_path: Path, tiny_run: Path
) -> None:
    out = tmp_path / "x.ply"
    words = ["--start", str(tiny_run), "--teacher", str(teacher), "--strategy", "fixed", *FEW]
    assert cli.main(["dream", "a red torus", "-o", str(out), *words, "--keep", "1"]) == 0
    assert len(formats.read(out)) == len(formats.read(tiny_run / "point_cloud.ply"))


@pytest.fixture(scope="module")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What three steps of training leave."""
    import scenes

    folder = tmp_path_factory.mktemp("run")
    scene = scenes.write_colmap(folder / "scene", scenes.shots(4))
    options = ["--steps", "3", "--out", str(folder / "run"), "--device", "cpu", "--quiet"]
    assert cli.main(["train", str(scene), *options, "fixed"]) == 0
    return folder / "run"


def test_teachers_of_others_come_through_their_door(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import torch\n"
        "class Mine:\n"
        "    size, channels, background = 16, 3, (0.0, 0.0, 0.0)\n"
        "    def read(self, text): return text\n"
        "    def latent(self, picture): return picture\n"
        "    def signal(self, time): return 1 - time\n"
        "    def noise(self, noisy, time, texts, camera):\n"
        "        return torch.stack([noisy for _ in texts])\n"
        "class Half:\n"
        "    size = 16\n"
    )
    out = tmp_path / "x.ply"
    words = ["dream", "anything at all", "-o", str(out), "--strategy", "fixed", *FEW]
    assert cli.main([*words, "--teacher", f"{tmp_path}/mine.py:Mine"]) == 0 and out.is_file()


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert cli.main(["dream", *words]) == 2
    shown = capsys.readouterr().err
    assert "Traceback" not in shown
    return shown


def test_what_is_asked_wrongly_is_a_sentence(
    teacher: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    told = ["-o", "x.ply", "--teacher", str(teacher)]
    assert "the text is empty" in refused([" ", *told], capsys)
    assert "the text is empty" in refused(told, capsys)
    assert "for 'tors' perhaps torus" in refused(["a red tors", *told], capsys)
    assert "for 'cub' perhaps cube" in refused(["a torus", *told, "--instead", "cub"], capsys)
    assert "x.doc" in refused(["a torus", "-o", "x.doc"], capsys)
    assert "holds no teacher; train one" in refused(["a torus", "-o", "x.ply"], capsys)
    assert "no dream to go on with" in refused(["-o", "x.ply", "--resume"], capsys)
    assert "nowhere does not exist" in refused(["a cube", *told, "--start", "nowhere"], capsys)
    assert "goes by photos" in refused(["a cube", *told, "--strategy", "mrnf"], capsys)
    assert "give it with --start" in refused(["a cube", *told, "--keep", "1"], capsys)
    said = refused(["a cube", *told, "--most", "0.01"], capsys)
    assert "expected ends that are not below the beginning" in said
    Path("stranger.pt").write_bytes(pickle.dumps({"weights": Path("/")}))
    said = refused(["a cube", "-o", "x.ply", "--teacher", "stranger.pt"], capsys)
    assert "cannot be read as a teacher" in said
    assert [path.name for path in tmp_path.iterdir()] == ["stranger.pt"]


def test_it_goes_on_with_its_own_teacher_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = tmp_path / "teacher", tmp_path / "x.ply"
    folder.mkdir()
    written(folder, taught())
    words = ["--teacher", str(folder), "--strategy", "fixed", *FEW]
    assert cli.main(["dream", "a cube", "-o", str(out), *words]) == 0
    again = ["-o", str(out), "--resume", "--quiet"]
    written(folder, taught(size=32))
    assert "32x32 pixels in 4 channels, and the dream was begun with one of 16x16" in refused(
        again, capsys
    )
    written(folder, taught(seed=5))
    assert "is another than the dream was begun with" in refused(again, capsys)


def test_rates_are_those_of_dreams() -> None:
    twice = dream.rates_of(Dreamt(rate=2.0), started=False)
    assert twice.mean == 2 * dream.RATES.mean and twice.sh_tail == dream.RATES.sh_tail
    # What is in its place already is moved less.
    assert dream.rates_of(Dreamt(), started=True).mean < 0.2 * dream.RATES.mean
    assert Dreamt().times(started=False) == (0.98, 0.4)
    assert Dreamt(most=0.3).times(started=True) == (0.3, 0.2)
    assert Dreamt(most=0.1).times(started=False) == (0.1, 0.1)
    assert math.isclose(Dreamt(last=0.5).times(started=True)[1], 0.5)
