"""Text encoders of others for generators: tiny ones with random weights, and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from splat.datasets.objects import files
from splat.generate import encoders
from splat.generate.encoders import TOKENS
from splat.generate.unet import Reader

NO_TRANSFORMERS = "transformers (the extra `dream`) is not installed"
Splat = Callable[..., Any]


@pytest.fixture(scope="module", params=["bert", "clip"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text encoder of 16 channels that reads letters, with random weights."""
    transformers = pytest.importorskip("transformers", reason=NO_TRANSFORMERS)
    folder: Path = tmp_path_factory.mktemp("encoders") / request.param
    folder.mkdir()
    torch.manual_seed(0)
    sizes = {
        "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
        "num_attention_heads": 2, "max_position_embeddings": 80, "vocab_size": 260,
    }  # fmt: skip
    letters = [*map(chr, range(33, 127))]
    if request.param == "bert":
        model = transformers.BertModel(transformers.BertConfig(**sizes))
        words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters]
        words += [f"##{letter}" for letter in letters]
        (folder / "vocab.txt").write_text("\n".join(words))
    else:
        config = transformers.CLIPTextConfig(**sizes, bos_token_id=0, eos_token_id=1)
        model = transformers.CLIPTextModel(config)
        words = ["<|startoftext|>", "<|endoftext|>", *letters]
        words += [f"{letter}</w>" for letter in letters]
        (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
        (folder / "merges.txt").write_text("#version: 0.2\n")
    model.save_pretrained(folder, safe_serialization=True)
    return folder


def test_each_text_is_encoded_as_if_it_were_alone(folder: Path) -> None:
    encoder = encoders.read(str(folder))
    texts = [encoder.read(text) for text in ("  A Cube", "a large red torus")]
    assert texts == ["a cube", "a large red torus"]
    numbers = encoder.numbers(texts)
    many = (numbers > 0).sum(1)
    assert numbers.shape == (2, TOKENS) and int(many[1]) > int(many[0])
    both, alone = encoder(numbers), encoders.read(str(folder))(numbers[:1])
    assert both.shape == (2, TOKENS, 16) and torch.equal(both[0], alone[0])
    assert float(both[0, int(many[0]) :].abs().max()) == 0
    model = encoder._model
    ids = (numbers[1][numbers[1] > 0] - 1)[None]
    with torch.no_grad():
        truth = model(ids).last_hidden_state[0]
    assert torch.equal(both[1, : len(truth)], truth)
    assert float((both[0, :3] - both[1, :3]).abs().max()) > 0.01


def test_a_reader_learns_of_it_and_it_does_not_learn(folder: Path) -> None:
    encoder = encoders.read(str(folder))
    reader = Reader(encoder, 8)
    assert not any("encoder" in name for name in reader.state_dict())
    numbers = encoder.numbers([encoder.read("a cube")])
    _, mask, whole = reader(numbers)
    assert int(mask.sum()) == 1 + int((numbers > 0).sum())
    whole.square().sum().backward()
    assert reader.words.weight.grad is not None and float(reader.words.weight.grad.abs().max()) > 0
    assert all(value.grad is None for value in encoder._model.parameters())
    nothing = reader(torch.zeros_like(numbers))
    assert int(nothing[1].sum()) == 1


def test_a_generator_is_trained_with_it_and_asks_for_it_again(
    folder: Path, tmp_path: Path, splat: Splat
) -> None:
    files.write(tmp_path / "things", 6)
    short = (
        "--steps", 2, "--surface-steps", 1, "--attribute-steps", 1, "--size-steps", 1,
        "--width", 8, "--batch", 2, "--quiet",
    )  # fmt: skip
    train = ("train-generator", "things", "--encoder", folder, *short)
    for out in ("one", "two"):
        found = splat(*train, "-o", out)
        assert found.code == 0 and "Loading" not in found.err
    assert (tmp_path / "one/generator.pt").read_bytes() == (
        tmp_path / "two/generator.pt"
    ).read_bytes()
    make = ("generate", "a crimson doughnut", "-o", "x.ply", "--model", "one")
    found = splat(*make)
    assert found.code == 2 and "was trained with the text encoder of" in found.err
    found = splat(*make, "--encoder", folder)
    assert found.code == 0 or "nothing was drawn" in found.err
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    weights = (other / "model.safetensors").read_bytes()
    (other / "model.safetensors").write_bytes(weights[:-1] + bytes([weights[-1] ^ 1]))
    found = splat(*make, "--encoder", other, "--overwrite")
    assert found.code == 2 and "was trained with another text encoder than" in found.err
    found = splat("generate", " ", "-o", "y.ply", "--model", "one", "--encoder", folder)
    assert found.code == 2 and "the text is empty" in found.err


def test_what_is_no_encoder_is_refused(folder: Path, tmp_path: Path) -> None:
    encoder = encoders.read(str(folder))
    with pytest.raises(ValueError, match=rf"has \d+ tokens; expected {TOKENS} at most"):
        encoder.read("word " * 80)
    with pytest.raises(ValueError, match="has no words"):
        encoder.read("  ")
    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    (broken / "model.safetensors").rename(broken / "pytorch_model.bin")
    with pytest.raises(ValueError, match="has no model\\.safetensors; expected weights"):
        encoders.read(str(broken))
    (broken / "pytorch_model.bin").rename(broken / "model.safetensors")
    (broken / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="cannot be read as a text encoder of transformers"):
        encoders.read(str(broken))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (None, "holds no text encoder"),
        ("{", "config.json: line 1 is not JSON"),
        ('{"model_type": "gpt2"}', "holds a model of 'gpt2'; expected one of bert, clip"),
        ('{"model_type": "bert"}', "has no model.safetensors"),
    ],
)
def test_folders_of_others_are_looked_at(settings: str | None, said: str, tmp_path: Path) -> None:
    if settings is not None:
        (tmp_path / "config.json").write_text(settings)
    with pytest.raises(ValueError, match=said):
        encoders.read(str(tmp_path))
