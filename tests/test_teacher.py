"""Our own teacher: pictures it learns from, what it says, a training that is resumed, its file."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from lessons import assert_breaks_change_nothing, assert_learns, assert_refuses, resumed
from torch import Tensor

from splat import cli
from splat.datasets.objects import files
from splat.datasets.objects.words import PROPERTIES
from splat.dream import tutor
from splat.dream.choices import Schooling
from splat.dream.distill import Ball
from splat.dream.learning import Learning
from splat.dream.orbit import Orbit, angles, around
from splat.dream.pictures import Pictures, turn_of
from splat.dream.tutor import Design, Tutor, design_of, seen_from, seen_noise
from splat.generate.unet import Shape
from splat.generate.words import vocabulary_of

WORDS = vocabulary_of([], PROPERTIES)
SMALL = Design(16, 2, Shape(8, 8, (1, 2), 1, 4, 8))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six things to learn from."""
    folder = tmp_path_factory.mktemp("things")
    files.write(folder, 6)
    return folder


@pytest.fixture(scope="module")
def pictures(corpus: Path) -> Pictures:
    return Pictures.of(files.read(corpus), WORDS, "train", size=16, views=2, seed=0)


def test_pictures_show_things_over_white_and_how_near_they_are(
    corpus: Path, pictures: Pictures
) -> None:
    found = files.read(corpus)
    assert pictures.shown.shape == (12, 4, 16, 16)
    rgb, near = pictures.clean(torch.arange(12)).split([3, 1], 1)
    # A corner shows nothing; a thing is in the middle of its ball, of which it fills a part.
    assert torch.equal(rgb[:, :, 0, 0], torch.ones(12, 3)) and not near[:, :, 0, 0].any()
    most = near.amax((1, 2, 3))
    assert 0.4 < float(most.min()) and float(most.max()) < 1
    for row in range(12):
        camera = Orbit(Ball(), 16, 0).camera(row)
        azimuth, elevation = angles(camera)
        turn = turn_of(found, row // 2)
        assert torch.equal(pictures.seen[row], seen_from(azimuth - turn, elevation, turn))
    again = Pictures.of(found, WORDS, "train", size=16, views=2, seed=0, most=2)
    assert torch.equal(again.shown, pictures.shown[:4])


def test_latents_are_pixels_and_back() -> None:
    made = Tutor(SMALL, WORDS)
    picture = torch.rand(4, 16, 16, requires_grad=True)
    latent = made.latent(picture)
    assert latent.shape == (16, 8, 8)
    assert torch.allclose(made.picture(latent), picture, atol=1e-6)
    # Length is kept, but for the factor 2 of [0, 1] to [-1, 1]: noise is noise of pixels.
    assert float(latent.detach().square().sum()) == pytest.approx(
        float((2 * picture.detach() - 1).square().sum()), rel=1e-5
    )


def test_noise_is_found_again_in_what_an_exact_network_says() -> None:
    noise, clean = torch.randn(5), torch.randn(5)
    for time in (0.1, 0.5, 0.9):
        a = float(tutor.signal(torch.tensor([time])))
        assert a == pytest.approx(math.cos(time * math.pi / 2) ** 2, rel=1e-5)
        noisy = a**0.5 * clean + (1 - a) ** 0.5 * noise
        said = a**0.5 * noise - (1 - a) ** 0.5 * clean
        assert torch.allclose(seen_noise(noisy, said, a), noise, atol=1e-5)


def test_what_it_says_depends_on_words_times_and_where_it_looks_from() -> None:
    torch.manual_seed(0)
    made = Tutor(SMALL, WORDS)
    for values in made.network.requires_grad_(False).parameters():
        torch.nn.init.normal_(values, std=0.2)
    camera, other = around(Ball(), 0.3, 0.2, 16), around(Ball(), 1.3, 0.2, 16)
    far = around(Ball((5.0, 1, 2), 3.0), 0.3, 0.2, 16)
    noisy = torch.randn(16, 8, 8)

    def said(text: str, time: float = 0.5, camera: Any = camera) -> Tensor:
        return made.noise(noisy, time, (text, ""), camera)

    red = said("a red torus")
    assert red.shape == (2, 16, 8, 8)
    assert torch.allclose(red, said("Torus red", camera=far), atol=1e-4)
    for changed in (
        said("a blue torus"),
        said("a red torus", 0.6),
        said("a red torus", 0.5, other),
    ):
        assert float((changed - red)[0].abs().max()) > 1e-3
    assert torch.allclose(said("a blue torus")[1], red[1], atol=1e-4)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    assert torch.equal(said("a red torus"), red)
    torch.set_num_threads(threads)
    with pytest.raises(ValueError, match=r"'tors': no words .* for 'tors' perhaps torus"):
        made.read("a red tors")


def learning_of(
    pictures: Pictures, threads: int = 1, steps: int = 6, rate: float = 1e-3
) -> Learning:
    return Learning(pictures, SMALL, WORDS, Schooling(steps=steps, batch=12, rate=rate), threads)


def test_it_learns(pictures: Pictures) -> None:
    assert_learns(learning_of(pictures, steps=12, rate=1e-2), pictures, 0.95)


@pytest.mark.parametrize("half", [False, True])
def test_threads_and_breaks_change_no_byte(pictures: Pictures, tmp_path: Path, half: bool) -> None:
    def begun(threads: int) -> Learning:
        learning = learning_of(pictures, threads)
        learning.half = half
        return learning

    assert_breaks_change_nothing(begun, 6, {3: 2}, tmp_path)


QUICK = ["--steps", "4", "--views", "1", "--size", "16", "--width", "8", "--batch", "4", "--quiet"]


@pytest.fixture(scope="module")
def teacher(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher of four steps."""
    folder = tmp_path_factory.mktemp("teachers") / "teacher"
    assert cli.main(["train-teacher", str(corpus), "-o", str(folder), *QUICK]) == 0
    return folder


def test_a_teacher_reads_back_as_it_was_written(teacher: Path) -> None:
    made = tutor.read(teacher)
    assert made.size == 16 and made.channels == 4 and made.read("Torus, RED") == "red torus"
    assert not any(values.requires_grad for values in made.network.parameters())
    picture = made.drawn("a red torus", around(Ball(), 0.3, 0.2, 16), 0, steps=2)
    assert picture.shape == (4, 16, 16) and 0 <= float(picture.min()) <= float(picture.max()) <= 1
    again = tutor.read(teacher / tutor.NAME).drawn(
        "a red torus", around(Ball(), 0.3, 0.2, 16), 0, steps=2
    )
    assert torch.equal(picture, again)


def test_a_training_that_is_resumed_ends_in_the_same_bytes(
    teacher: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("train-teacher", str(corpus))
    whole, out = teacher / tutor.NAME, tmp_path / "teacher"
    metrics = resumed(command, QUICK, whole, out, 3, monkeypatch)
    assert metrics["steps"] == 4 and metrics["pictures"] == 6 and metrics["held_out"] > 0


def test_teachers_that_are_none_are_refused_in_a_sentence(teacher: Path, tmp_path: Path) -> None:
    kept = torch.load(teacher / tutor.NAME, weights_only=True)
    network = {**kept["network"], "begin.weight": torch.full((8, 16, 3, 3), torch.nan)}
    broken = {
        "as many": {"design": {**kept["design"], "size": 32}},
        "not finite": {"network": network},
        "": {"network": {}},
    }
    assert_refuses(tutor.read, teacher / tutor.NAME, "teacher", tmp_path, broken)


def test_designs_that_do_not_fit_are_sentences() -> None:
    with pytest.raises(ValueError, match="expected as many"):
        Design(64, 2, Shape(16))
    assert design_of(64, 32) == Design() and design_of(32, 16).shape.grid == 16
