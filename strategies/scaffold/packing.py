"""Whole numbers and bits as bytes, by how likely they are (range coding)."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splat.strategies.scaffold.exact import power

try:
    import constriction
except ImportError:  # an extra
    constriction = None

MOST = 1 << 22
"""Largest size of a whole number."""
SHARES = 256
"""Parts that chances of bits are told in."""

Ints = NDArray[np.int64]


def check() -> None:
    """Raise ValueError where the coder is not installed."""
    if constriction is None:
        raise ValueError(
            "coded anchors need the package constriction, which is not installed; install it with"
            " pip install 'splat-toolkit[anchors]'"
        )


def numbers_packed(values: Ints, scales: Ints, low: int, high: int) -> bytes:
    """Whole numbers from `low` to `high` around 0, each as a normal one of a standard deviation.

    That is `power` of `scales`.
    """
    check()
    coder = constriction.stream.queue.RangeEncoder()
    coder.encode(values.astype(np.int32), _normal(low, high), *_spread(scales))
    return _bytes(coder)


def numbers_unpacked(data: bytes, scales: Ints, low: int, high: int) -> Ints:
    """What `numbers_packed` was given; nonsense where the bytes or the scales are others."""
    check()
    found = _decoder(data).decode(_normal(low, high), *_spread(scales))
    return np.asarray(found, np.int64)


class BitsOut:
    """Bits, each with its chance, to bytes."""

    def __init__(self) -> None:
        check()
        self._coder = constriction.stream.queue.RangeEncoder()

    def add(self, bits: NDArray[np.bool_], chances: NDArray[np.uint8]) -> None:
        """`chances` are parts of 256 that a bit is set."""
        if len(bits):
            self._coder.encode(bits.astype(np.int32), _bit(), chances / SHARES)

    def bytes(self) -> bytes:
        """All of them."""
        return _bytes(self._coder)


class BitsIn:
    """Bits out of the bytes of a `BitsOut`, in turn."""

    def __init__(self, data: bytes) -> None:
        check()
        self._coder = _decoder(data)

    def take(self, chances: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """The next ones."""
        if not len(chances):
            return np.zeros(0, bool)
        found: NDArray[np.int32] = self._coder.decode(_bit(), chances / SHARES)
        return found.astype(bool)


def chance(ones: NDArray[Any], of: NDArray[Any]) -> NDArray[np.uint8]:
    """Chances by counts, in parts of 256 and never none."""
    share = (ones + 0.4) / (of + 0.8)
    return np.clip(np.rint(SHARES * share), 1, SHARES - 1).astype(np.uint8)


def inflated(data: bytes, size: int) -> bytes:
    """What zlib made of so many bytes; ValueError where it was of more or fewer."""
    found = zlib.decompressobj().decompress(data, size + 1)
    if len(found) != size:
        raise ValueError(f"{len(found):,} bytes or more in place of {size:,}")
    return found


def _normal(low: int, high: int) -> Any:
    return constriction.stream.model.QuantizedGaussian(low, max(high, low + 1))


def _spread(scales: Ints) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    wide = power(scales)
    return np.zeros_like(wide), wide


def _bit() -> Any:
    return constriction.stream.model.Bernoulli(perfect=False)


def _bytes(coder: Any) -> bytes:
    return bytes(coder.get_compressed().astype("<u4").tobytes())


def _decoder(data: bytes) -> Any:
    words = np.frombuffer(data, "<u4").astype(np.uint32)
    return constriction.stream.queue.RangeDecoder(words)
