"""Pipelines of `diffusers` as teachers: latent diffusion with one text encoder, from local files.

The one file that imports `diffusers` and `transformers` (the extra `dream`). Classes are named
here, not by the folder, and weights are safetensors: nothing of the folder is run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from splat.dream.orbit import angles
from splat.kernels import one_torch_thread
from splat.system.foreign import by_library
from splat.types import Camera

PARTS = ("tokenizer", "text_encoder", "unet", "vae", "scheduler")
"""Folders within that of a pipeline, as Stable Diffusion 1 and 2 have them."""
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
OVERHEAD = math.radians(60)
SIDES = ((45, "front view"), (135, "side view"), (181, "back view"))
"""Degrees from the front, which is where y is least, up to which a side is seen (DreamFusion)."""
PREDICTIONS = ("epsilon", "v_prediction")


class Pipeline:
    """A pipeline as a teacher (`splat.dream.teacher.Teacher`); where a camera looks from is said in
    words."""

    channels = 3
    background = (1.0, 1.0, 1.0)

    def __init__(self, tokenizer: Any, text_encoder: Any, unet: Any, vae: Any, scheduler: Any):
        self._tokenizer, self._encoder = tokenizer, text_encoder
        self._unet, self._vae = unet, vae
        for part in (text_encoder, unet, vae):
            part.eval().requires_grad_(False)
        self._prediction: str = scheduler.config.prediction_type
        self._kept: Tensor = scheduler.alphas_cumprod.double().cpu()
        smaller = 2 ** (len(vae.config.block_out_channels) - 1)
        self.size: int = int(unet.config.sample_size) * smaller
        self._texts: dict[str, Tensor] = {}

    def read(self, text: str) -> str:
        """The text with single spaces: of any words, up to the length of the encoder."""
        return " ".join(text.split())

    def latent(self, picture: Float[Tensor, "3 h w"]) -> Float[Tensor, "c g g"]:
        with one_torch_thread():
            self._vae.to(picture.device)
            mean: Tensor = self._vae.encode(2 * picture[None] - 1).latent_dist.mean[0]
        scaled: Tensor = mean * self._vae.config.scaling_factor
        return scaled

    def signal(self, time: float) -> float:
        return float(self._kept[self._at(time)])

    @torch.no_grad()
    def noise(
        self, noisy: Float[Tensor, "c g g"], time: float, texts: Sequence[str], camera: Camera
    ) -> Float[Tensor, "t c g g"]:
        device, side = noisy.device, side_of(camera)
        said = [f"{text}, {side}" if text else "" for text in texts]
        with one_torch_thread():
            words = torch.stack([self._encoded(text) for text in said]).to(device)
            self._unet.to(device)
            many = noisy.expand(len(texts), *noisy.shape)
            step = torch.full((len(texts),), self._at(time), device=device)
            found: Tensor = self._unet(many, step, encoder_hidden_states=words).sample
        if self._prediction == "epsilon":
            return found
        share = self.signal(time)
        of_noise: Tensor = (1 - share) ** 0.5 * noisy + share**0.5 * found
        return of_noise

    def _at(self, time: float) -> int:
        """The number of a time among those that it was trained at."""
        return round(time * (len(self._kept) - 1))

    def _encoded(self, text: str) -> Float[Tensor, "words width"]:
        if text not in self._texts:
            most = self._tokenizer.model_max_length
            ids = self._tokenizer(
                text, padding="max_length", max_length=most, truncation=True, return_tensors="pt"
            ).input_ids
            self._texts[text] = self._encoder(ids)[0][0].detach()
        return self._texts[text]


def side_of(camera: Camera) -> str:
    """Which side of a thing a camera sees, in words (DreamFusion's)."""
    azimuth, elevation = angles(camera)
    if elevation > OVERHEAD:
        return "overhead view"
    off = abs((math.degrees(azimuth) + 90 + 180) % 360 - 180)
    return next(side for most, side in SIDES if off < most)


def read(folder: Path) -> Pipeline:
    """The pipeline of a folder; ValueError with a sentence where there is none, or its weights are
    pickles."""
    check_files(folder)
    try:
        import diffusers
        import transformers
    except ImportError as error:
        raise ValueError(
            f"{folder} is a pipeline of diffusers, and {error.name} is not installed; expected the"
            " extra: pip install 'splat-toolkit[dream]'"
        ) from error
    local: dict[str, Any] = {"local_files_only": True}
    weights = {**local, "use_safetensors": True}
    with by_library(folder, "a pipeline of diffusers"):
        tokenizer = transformers.CLIPTokenizer.from_pretrained(folder / "tokenizer", **local)
        encoder = transformers.CLIPTextModel.from_pretrained(folder / "text_encoder", **weights)
        unet = diffusers.UNet2DConditionModel.from_pretrained(folder / "unet", **weights)
        vae = diffusers.AutoencoderKL.from_pretrained(folder / "vae", **weights)
        scheduler = diffusers.DDPMScheduler.from_pretrained(folder / "scheduler", **local)
        made = Pipeline(tokenizer, encoder, unet, vae, scheduler)
    check_fits(folder, tokenizer, encoder, unet, vae, scheduler)
    return made


def check_files(folder: Path) -> None:
    """ValueError where a folder holds no such pipeline, or pickles in place of safetensors."""
    missing = [name for name in PARTS if not (folder / name).is_dir()]
    if missing or (folder / "text_encoder_2").is_dir():
        what = f"lacks {', '.join(missing)}" if missing else "has two text encoders"
        raise ValueError(
            f"{folder} {what}; expected a pipeline of latent diffusion with one text encoder, as"
            " Stable Diffusion 1 and 2 are"
        )
    for name in ("text_encoder", "unet", "vae"):
        if any((folder / name).glob("*.safetensors")):
            continue
        pickles = sorted(path.name for each in PICKLES for path in (folder / name).glob(each))
        found = f"weights in {', '.join(pickles)}" if pickles else "no weights"
        raise ValueError(f"{folder / name} has {found}; expected .safetensors, which run no code")


def check_fits(
    folder: Path, tokenizer: Any, encoder: Any, unet: Any, vae: Any, scheduler: Any
) -> None:
    """ValueError where the parts of a pipeline are of different ones, or of a kind that is not
    known here."""
    kind, reads = scheduler.config.prediction_type, unet.config.cross_attention_dim
    if kind not in PREDICTIONS:
        raise ValueError(
            f"{folder} predicts {kind}; expected one that predicts {' or '.join(PREDICTIONS)}"
        )
    planes, pictures = unet.config.in_channels, vae.config.in_channels
    if planes != vae.config.latent_channels or pictures != 3:
        raise ValueError(
            f"{folder} has a U-Net of {planes} channels and an encoder of {pictures} to"
            f" {vae.config.latent_channels}; expected one of 3 channels to those of the U-Net"
        )
    if reads != encoder.config.hidden_size:
        raise ValueError(
            f"{folder} has a U-Net that reads {reads} numbers a word, and a text encoder that gives"
            f" {encoder.config.hidden_size}; expected as many"
        )
    if len(tokenizer) > encoder.config.vocab_size:
        raise ValueError(
            f"{folder} has {len(tokenizer):,} words, and a text encoder of"
            f" {encoder.config.vocab_size:,}; expected no more"
        )
