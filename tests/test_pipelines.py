"""Pipelines of `diffusers` as teachers: a tiny one with random weights, and what is refused."""

from __future__ import annotations

import json
import math
import pickle
import shutil
from pathlib import Path

import pytest
import torch

from splat import cli
from splat.dream import pipelines
from splat.dream.distill import Ball
from splat.dream.doors import teacher_at
from splat.dream.orbit import around
from splat.dream.pipelines import side_of

NO_DIFFUSERS = "diffusers and transformers (the extra `dream`) are not installed"


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline of latent diffusion of 16 pixels, whose weights are random."""
    diffusers = pytest.importorskip("diffusers", reason=NO_DIFFUSERS)
    transformers = pytest.importorskip("transformers", reason=NO_DIFFUSERS)
    folder = tmp_path_factory.mktemp("pipelines") / "tiny"
    torch.manual_seed(0)
    unet = diffusers.UNet2DConditionModel(
        sample_size=8, in_channels=4, out_channels=4, layers_per_block=1, norm_num_groups=4,
        block_out_channels=(8, 16), cross_attention_dim=16, attention_head_dim=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    vae = diffusers.AutoencoderKL(
        block_out_channels=(8, 16), norm_num_groups=4, latent_channels=4, sample_size=16,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
    )  # fmt: skip
    encoder = transformers.CLIPTextModel(
        transformers.CLIPTextConfig(
            vocab_size=600, hidden_size=16, intermediate_size=16, num_hidden_layers=1,
            num_attention_heads=2, max_position_embeddings=12, bos_token_id=0, eos_token_id=1,
        )
    )  # fmt: skip
    for name, part in (("unet", unet), ("vae", vae), ("text_encoder", encoder)):
        part.save_pretrained(folder / name, safe_serialization=True)
    diffusers.DDPMScheduler(beta_schedule="scaled_linear").save_pretrained(folder / "scheduler")
    words = ["<|startoftext|>", "<|endoftext|>", *map(chr, range(33, 127))]
    words += [f"{chr(i)}</w>" for i in range(33, 127)]
    vocabulary = folder / "tokenizer"
    vocabulary.mkdir()
    (vocabulary / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (vocabulary / "merges.txt").write_text("#version: 0.2\n")
    settings = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 12}
    (vocabulary / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline"}))
    return folder


def test_it_is_a_teacher(pipeline: Path) -> None:
    teacher = teacher_at(str(pipeline))
    assert (teacher.size, teacher.channels) == (16, 3)
    assert teacher.read("  an  old   oak ") == "an old oak"
    assert 1 > teacher.signal(0.0) > teacher.signal(0.5) > teacher.signal(1.0) > 0
    picture = torch.rand(3, 16, 16, requires_grad=True)
    latent = teacher.latent(picture)
    assert latent.shape == (4, 8, 8)
    assert float(torch.autograd.grad(latent.square().sum(), picture)[0].abs().max()) > 0
    front, back = around(Ball(), -math.pi / 2, 0.2, 16), around(Ball(), math.pi / 2, 0.2, 16)
    noisy = torch.randn(4, 8, 8)
    said = teacher.noise(noisy, 0.5, ("an oak", ""), front)
    assert said.shape == (2, 4, 8, 8) and not said.requires_grad
    assert torch.equal(said, teacher.noise(noisy, 0.5, ("an oak", ""), front))
    seen = teacher.noise(noisy, 0.5, ("an oak", ""), back)
    assert not torch.equal(seen[0], said[0])
    assert torch.allclose(seen[1], said[1], atol=1e-6)


def test_it_leads_a_dream(pipeline: Path, tmp_path: Path) -> None:
    made = []
    for name in ("a", "b"):
        out = tmp_path / f"{name}.ply"
        words = ["--teacher", str(pipeline), "--strategy", "fixed", "--steps", "3", "--quiet"]
        assert cli.main(["dream", "an old oak", "-o", str(out), *words, "--points", "50"]) == 0
        made.append(out.read_bytes())
    assert made[0] == made[1]


def test_velocities_are_noise(pipeline: Path) -> None:
    teacher = teacher_at(str(pipeline))
    assert isinstance(teacher, pipelines.Pipeline)
    camera, noisy = around(Ball(), 0.0, 0.2, 16), torch.randn(4, 8, 8)
    said = teacher.noise(noisy, 0.4, ("an oak",), camera)
    teacher._prediction = "v_prediction"
    share = teacher.signal(0.4)
    expected = (1 - share) ** 0.5 * noisy + share**0.5 * said[0]
    assert torch.allclose(teacher.noise(noisy, 0.4, ("an oak",), camera)[0], expected, atol=1e-6)


def test_sides_are_said_in_words() -> None:
    def side(degrees: float, elevation: float = 0.2) -> str:
        return side_of(around(Ball(), math.radians(degrees), elevation, 8))

    assert [side(each) for each in (-90, -50, -130)] == ["front view"] * 3
    assert [side(each) for each in (0, 180, 40, -40)] == ["side view"] * 4
    assert [side(each) for each in (90, 50, 130)] == ["back view"] * 3
    assert side(-90, 1.2) == "overhead view"


def stranger(folder: Path) -> Path:
    for name in pipelines.PARTS:
        (folder / name).mkdir(parents=True)
    (folder / "model_index.json").write_text("{}")
    return folder


def test_pickles_of_strangers_are_refused(tmp_path: Path) -> None:
    folder = stranger(tmp_path / "p")
    weights = folder / "text_encoder" / "pytorch_model.bin"
    weights.write_bytes(pickle.dumps({"weights": Path("/")}))
    with pytest.raises(ValueError, match=r"weights in pytorch_model\.bin; expected \.safetensors"):
        teacher_at(str(folder))
    weights.unlink()
    with pytest.raises(ValueError, match="has no weights; expected"):
        teacher_at(str(folder))
    (folder / "text_encoder_2").mkdir()
    with pytest.raises(ValueError, match="has two text encoders; expected a pipeline"):
        teacher_at(str(folder))
    shutil.rmtree(folder / "vae")
    with pytest.raises(ValueError, match="lacks vae; expected a pipeline"):
        teacher_at(str(folder))


def test_what_does_not_go_together_is_a_sentence(pipeline: Path, tmp_path: Path) -> None:
    folder = tmp_path / "p"
    shutil.copytree(pipeline, folder)
    settings = folder / "scheduler" / "scheduler_config.json"
    config = json.loads(settings.read_text())
    settings.write_text(json.dumps({**config, "prediction_type": "sample"}))
    with pytest.raises(ValueError, match="predicts sample; expected one that predicts epsilon"):
        teacher_at(str(folder))
    settings.write_text(json.dumps(config))
    (folder / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"cannot be read as a pipeline of diffusers \("):
        teacher_at(str(folder))
