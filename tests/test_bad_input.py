"""Bad input through the command line: one sentence, exit code 2, no traceback, no run folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from scenes import shots, write_colmap, write_ply

Splat = Callable[..., Any]

QUICK = ("--steps", 2, "--no-pictures", "--out", "run")


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    """A good COLMAP scene of nine photos, to be spoilt."""
    return write_colmap(tmp_path / "scene", shots())


def empty(scene: Path) -> None:
    shutil.rmtree(scene)
    scene.mkdir()


def missing(scene: Path) -> None:
    shutil.rmtree(scene)


def a_file(scene: Path) -> None:
    shutil.rmtree(scene)
    scene.write_text("photos")


def unknown(scene: Path) -> None:
    shutil.rmtree(scene / "sparse")


def truncated(scene: Path) -> None:
    file = scene / "sparse/0/images.bin"
    file.write_bytes(file.read_bytes()[:-30])


def no_photos(scene: Path) -> None:
    for path in (scene / "images").iterdir():
        path.unlink()


def other_size(scene: Path) -> None:
    for path in sorted((scene / "images").iterdir())[:1]:
        cv2.imwrite(str(path), np.zeros((70, 40, 3), np.uint8))


def half_a_photo(scene: Path) -> None:
    for path in (scene / "images").iterdir():
        path.write_bytes(path.read_bytes()[:-20])


def mask_of_another_size(scene: Path) -> None:
    (scene / "masks").mkdir()
    name = next((scene / "images").iterdir()).name
    cv2.imwrite(str(scene / "masks" / f"{name}.png"), np.zeros((9, 9), np.uint8))


def one_photo(scene: Path) -> None:
    shutil.rmtree(scene)
    write_colmap(scene, shots()[:1])


def behind(scene: Path) -> None:
    shutil.rmtree(scene)
    write_colmap(scene, shots(), points=np.array([[0.0, 900.0, 0.0], [1.0, 900.0, 0.0]]))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (empty, "is an empty folder; expected sparse/0/cameras.bin"),
        (missing, "does not exist; expected the folder of a scene"),
        (a_file, "is a file; expected the folder of a scene"),
        (unknown, "is not a known scene; expected sparse/0/cameras.bin"),
        (truncated, "ends after"),
        (no_photos, "holds none of the 9 photos registered"),
        (other_size, "expected the same shape"),
        (half_a_photo, "cannot be decoded to its end"),
        (mask_of_another_size, "train with --masks none"),
        (one_photo, "holds one posed photo only; expected at least 2"),
        (behind, "none of the 2 points lies before any of the 9 cameras"),
    ],
)
def test_a_spoilt_scene_is_one_sentence(
    splat: Splat, scene: Path, spoil: Callable[[Path], None], words: str
) -> None:
    spoil(scene)
    outcome = splat("train", scene, *QUICK, "--quiet", "fixed")
    assert outcome.code == 2
    assert words in outcome.err and outcome.err.startswith("splat train: ")
    assert outcome.err.count("\n") == 1 and "Traceback" not in outcome.said


def test_what_is_missing_or_dropped_is_said_aloud(splat: Splat, tmp_path: Path) -> None:
    points = np.concatenate([np.random.default_rng(0).normal(0, 0.3, (20, 3)), [[np.nan] * 3]])
    nan = write_colmap(tmp_path / "nan", shots(), points=points)
    outcome = splat("train", nan, *QUICK, "fixed")
    assert (
        outcome.code == 0 and "1 of 21 points hold NaN or infinity and were dropped" in outcome.err
    )
    bare = write_colmap(tmp_path / "bare", shots(), points=None)
    outcome = splat("train", bare, *QUICK, "--overwrite", "mcmc", "--cap", "0.7k")
    assert outcome.code == 0
    assert "training starts from random points" in outcome.err
    assert "700 random points inside the outlines of what is shown" in outcome.said


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--steps", 0), "steps is 0; expected 1 or more"),
        (("--steps", -5), "steps is -5; expected 1 or more"),
        (("--steps", "lots"), "'lots' is no whole number; expected such as 7000, 200k"),
        (("--minutes", 0), "minutes is 0; expected above 0"),
        (("--minutes", "inf"), "minutes is inf; expected above 0"),
        (("--psnr", -3), "psnr is -3; expected above 0 and up to 60; dB, such as 28"),
        (("--psnr", 99), "psnr is 99; expected above 0 and up to 60; dB, such as 28"),
        (("--psnr", 20, "--eval", "none"), "hold some out with --eval 8, or leave --psnr away"),
        (("--patience", -1), "patience is -1; expected 0 or more"),
        (("--resolution", "half"), "invalid choice 'half' for argument"),
        (("--downscale", 0.5), "downscale is 0.5; expected auto, or 1 and more"),
        (("--near", 0), "near is 0; expected above 0"),
        (("--max-side", 3), "max-side is 3; expected 16 pixels or more"),
        (("--sh-degree", 4), "sh-degree is 4; expected from 0 to 3"),
        (("--ssim-weight", 2), "ssim-weight is 2; expected from 0 to 1"),
        (("--background", "sky"), "background is 'sky'; expected auto, black, white or #rrggbb"),
        (("--threads", 0), "threads is 0; expected 1 or more"),
        (("--keep", 0), "keep is 0; expected 1 or more"),
        (("--checkpoint-every", 0), "checkpoint-every is 0; expected 1 or more"),
        (("--cache", -1), "cache is -1; expected 0 or more"),
        (("--device", "tpu"), "invalid choice 'tpu' for argument '--device'. Expected one of"),
        (("--eval", "99.png"), "there is no view called 99.png"),
        (("--eval", 1), "leaves no view to train on"),
        (("--images", "photos"), "there is no such folder; expected the photos"),
        (("--masks", "mattes"), "there is no such folder; expected masks"),
        (("--init", "nothing.ply"), "nothing.ply is not a file; give the path of a .ply file"),
        (("mcmc", "--cap", 0), "cap is 0; expected 1 or more"),
        (("adc", "--prune-opacity", 7), "prune_opacity is 7; expected from 0 to below 1"),
    ],
)
def test_absurd_options_are_refused_in_words(
    splat: Splat, scene: Path, options: tuple[object, ...], words: str
) -> None:
    outcome = splat("train", scene, "--out", "run", "--quiet", *options)
    assert outcome.code == 2
    plain = " ".join(outcome.said.replace("│", " ").split())
    assert words in plain and "Traceback" not in plain


def test_points_to_start_from_that_no_camera_sees(splat: Splat, scene: Path) -> None:
    write_ply(Path("far.ply"), np.array([[0.0, 900.0, 0.0], [1.0, 900.0, 0.0]]))
    for more in ((), ("--dry-run",)):
        outcome = splat("train", scene, *QUICK, "--quiet", "--init", "far.ply", *more)
        assert outcome.code == 2
        assert "far.ply: none of its 2 points lies before any camera" in outcome.err


def test_a_run_that_is_none(splat: Splat, scene: Path, tmp_path: Path) -> None:
    for verb in ("resume", "eval", "render"):
        outcome = splat(verb, scene)
        assert outcome.code == 2 and "is no run of splat, it has no config.json" in outcome.err
        outcome = splat(verb, "nowhere")
        assert outcome.code == 2 and "nowhere does not exist; expected the folder" in outcome.err
    (tmp_path / "odd").mkdir()
    for content, words in (("{", "is not JSON"), ('{"a": 1}', "does not describe a run of splat")):
        (tmp_path / "odd/config.json").write_text(content)
        outcome = splat("resume", "odd")
        assert outcome.code == 2 and words in outcome.err


def test_debug_shows_where_an_error_comes_from(splat: Splat, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="does not exist"):
        splat("train", "nowhere", "--debug")


def test_more_points_than_the_cap_are_thinned_aloud(splat: Splat, tiny_folder: Path) -> None:
    outcome = splat("train", tiny_folder, *QUICK, "mcmc", "--cap", 120)
    assert outcome.code == 0 and "120 of 500 are kept, drawn evenly" in outcome.err
    assert "mcmc --cap 120, from 120 Gaussians, at most 120" in outcome.err


def test_it_starts_from_the_file_of_another_run(splat: Splat, tiny_folder: Path) -> None:
    shared = ("--no-pictures", "--max-side", 0, "--json", "--steps")
    import json

    first = json.loads(splat("train", tiny_folder, *shared, 80, "--out", "a", "fixed").out)
    splat("convert", "a/point_cloud.ply", "a.spz")
    for name in ("a/point_cloud.ply", "a.spz"):
        again = splat("train", tiny_folder, *shared, 1, "--out", "b", "--overwrite", "--init", name,
                      "fixed")  # fmt: skip
        assert abs(json.loads(again.out)["psnr"] - first["psnr"]) < 0.5
