"""Whole numbers and bits as bytes, by how likely they are (range coding)."""

from __future__ import annotations

import math
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splat.system.foreign import Broken

try:
    import constriction
except ImportError:  # an extra
    constriction = None

INSTALL = "pip install 'splat-toolkit[anchors]'"
"""What installs the coder."""
MOST = 1 << 22
"""Largest size of a whole number."""
PARTS = 8
"""Scales are powers of two in so many parts of an octave."""
MEANS = 16
"""Means are told in so many parts of a step."""
SHARES = 256
"""Parts that chances of bits are told in."""
NARROWEST, BROADEST = -3 * PARTS, 18 * PARTS
"""Smallest and largest scale of a whole number, as a power: an eighth, and 2^18."""

Ints = NDArray[np.int64]


def there() -> bool:
    """Whether the coder is installed."""
    return constriction is not None


def check() -> None:
    """Raise ValueError where the coder is not installed."""
    if not there():
        raise ValueError(
            "coded anchors, forests and clips need the package constriction, which is not"
            f" installed; install it with {INSTALL}"
        )


def power(number: NDArray[Any]) -> NDArray[np.float64]:
    """2^(number / PARTS), by roots and products alone: the same on every machine."""
    root, values = 2.0, [1.0]
    while len(values) < PARTS:
        root = math.sqrt(root)
        values = [v * w for v in values for w in (1.0, root)]
    found: NDArray[np.float64] = np.ldexp(np.array(values)[number % PARTS], number // PARTS)
    return found


def scales_of(octaves: Any) -> Ints:
    """Binary logarithms of deviations as the scales that numbers are told by."""
    scales: NDArray[Any] = np.rint(np.nan_to_num(PARTS * np.asarray(octaves)))
    return scales.clip(NARROWEST, BROADEST).astype(np.int64)


def checksum(*numbers: Ints) -> int:
    """CRC-32 of whole numbers that were coded."""
    return zlib.crc32(b"".join(np.ascontiguousarray(n).astype("<i4").tobytes() for n in numbers))


def check_decoded(found: int, told: object) -> None:
    """Raise `Broken` where numbers were decoded whose checksum is another than a file tells."""
    if found != told:
        raise Broken(
            "its numbers, decoded here, are others than were coded, because this machine or its"
            " packages compute otherwise"
        )


def numbers_packed(
    values: Ints, scales: Ints, low: int, high: int, means: Ints | None = None
) -> bytes:
    """Whole numbers from `low` to `high`, each as a normal one of a mean and a standard deviation.

    The mean is `means` over `MEANS` (None: 0), the deviation `power` of `scales`.
    """
    check()
    coder = constriction.stream.queue.RangeEncoder()
    coder.encode(values.astype(np.int32), _normal(low, high), *_told(scales, means))
    return _bytes(coder)


def numbers_unpacked(
    data: bytes, scales: Ints, low: int, high: int, means: Ints | None = None
) -> Ints:
    """What `numbers_packed` was given; nonsense where the bytes or what is told are others."""
    check()
    found = _decoder(data).decode(_normal(low, high), *_told(scales, means))
    return np.asarray(found, np.int64)


class NumbersOut:
    """Whole numbers to bytes, some after the others, each as `numbers_packed` takes it."""

    def __init__(self, low: int, high: int) -> None:
        check()
        self._coder, self._normal = constriction.stream.queue.RangeEncoder(), _normal(low, high)

    def add(self, values: Ints, scales: Ints, means: Ints) -> None:
        if len(values):
            self._coder.encode(values.astype(np.int32), self._normal, *_told(scales, means))

    def bytes(self) -> bytes:
        """All of them."""
        return _bytes(self._coder)


class NumbersIn:
    """Whole numbers out of the bytes of a `NumbersOut`, in turn."""

    def __init__(self, data: bytes, low: int, high: int) -> None:
        check()
        self._coder, self._normal = _decoder(data), _normal(low, high)

    def take(self, scales: Ints, means: Ints) -> Ints:
        """The next ones."""
        if not len(scales):
            return np.zeros(0, np.int64)
        found = self._coder.decode(self._normal, *_told(scales, means))
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


def _told(scales: Ints, means: Ints | None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    wide = power(scales)
    return np.zeros_like(wide) if means is None else means / float(MEANS), wide


def _bit() -> Any:
    return constriction.stream.model.Bernoulli(perfect=False)


def _bytes(coder: Any) -> bytes:
    return bytes(coder.get_compressed().astype("<u4").tobytes())


def _decoder(data: bytes) -> Any:
    words = np.frombuffer(data, "<u4").astype(np.uint32)
    return constriction.stream.queue.RangeDecoder(words)
