"""Files of trained networks: designs as records, weights in float16."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from splat.generate.unet import Shape
from splat.runs import checkpoint
from splat.system.foreign import Broken, Record, filled, reading

VERSION = 1


@contextmanager
def opened(path: Path, name: str, kind: str, option: str) -> Iterator[Record]:
    """What the file of a `kind` of network says, which is at `path`, or named `name` in it; within,
    what does not fit is a sentence."""
    file = path / name if path.is_dir() else path
    if not file.is_file():
        raise FileNotFoundError(
            f"{path} holds no {kind}; train one: `python -m splat.datasets.objects things/`,"
            f" then `splat train-{kind} things/ -o {path}`; or name another with {option}"
        )
    state = checkpoint.load(file, f"splat {kind}", VERSION, what=kind, remedy=remedy(kind))
    with reading(file, f"a {kind} of this version of splat: train it again"):
        yield Record(state)


def remedy(kind: str) -> str:
    """What is expected of a file."""
    return f"expected a {kind} that `splat train-{kind}` wrote"


def halves(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights as a file holds them."""
    return {key: value.half() for key, value in weights.items()}


def take_up(module: nn.Module, weights: Record, kind: str, of: str = "") -> None:
    """Load weights, which are learned no further; `of`: " of geometry"."""
    for each in weights.values():
        if not isinstance(each, Tensor) or not each.is_floating_point():
            raise Broken(f"has weights{of} that are no numbers; {remedy(kind)}")
        if not bool(each.isfinite().all()):
            raise Broken(f"has weights{of} that are not finite; {remedy(kind)}")
    module.load_state_dict({key: value.float() for key, value in weights.items()})
    module.eval().requires_grad_(False)


def shape_of(given: Record, most: int, of: str = "") -> Shape:
    """The shape of a network, of `most` cells along an edge."""
    factors = given.get("factors")
    if not isinstance(factors, list) or not all(type(each) is int for each in factors):
        raise Broken(f"has no `factors`{of}")
    shape = filled(Shape, {**given, "factors": tuple(factors)})
    if shape.grid > most or shape.width * max(shape.factors) > 4096 or shape.text > 4096:
        raise Broken(f"has a network{of} that is larger than any that is made")
    return shape


def plain(value: Any) -> Any:
    """Values as a file holds them: lists, not tuples."""
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, tuple) else value
