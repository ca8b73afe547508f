"""Where tensors become addresses: what crosses into native code is checked here, and named.

Native code knows neither how long an array is nor what lies there. So every array goes by the name
of the field that it fills, with the shape that the kernel takes it to have:

    cpu.add(table, {**needed(values, values=(values, shape), delta=(delta, shape)), "n": n})

A field that is missing, or one too much, is a TypeError of the native module.
"""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from typing import Any, NoReturn

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

_numbers: MutableMapping[Tensor, tuple[int | None, list[Any]]] = WeakIdKeyDictionary()
"""Of tensors on a GPU their version and what they held then."""


def needed(
    like: Tensor, dtype: torch.dtype | None = None, /, **fields: tuple[Tensor, tuple[int, ...]]
) -> dict[str, int]:
    """Addresses by field of contiguous arrays, on the device of `like` and of its type or `dtype`.

    With each array goes the shape that it must have. ValueError, or TypeError of what is no
    tensor, says which does not fit and what was expected.
    """
    return _addresses(like, dtype, fields, False)


def optional(
    like: Tensor,
    dtype: torch.dtype | None = None,
    /,
    **fields: tuple[Tensor | None, tuple[int, ...]],
) -> dict[str, int]:
    """The same of arrays that may be None, whose address is 0."""
    return _addresses(like, dtype, fields, True)


def plain(tensor: Any) -> Any:
    """Detached and contiguous, as native code reads it."""
    if tensor is None or (tensor.is_contiguous() and not tensor.requires_grad):
        return tensor
    tensor = tensor.detach()
    return tensor.contiguous() if tensor.layout == torch.strided else tensor


def numbers(tensor: Tensor) -> list[Any]:
    """What a tensor holds, as Python's numbers.

    One on a GPU is waited for; so of a camera, which is drawn from again and again, they are kept,
    as long as the tensor is there and nobody has written to it.
    """
    if tensor.is_cpu:
        return list(tensor.tolist())
    version, values = _numbers.get(tensor, (None, []))
    if version != tensor._version:
        values = tensor.tolist()
        _numbers[tensor] = tensor._version, values
    return values


def is_half(tensor: Tensor) -> bool:
    """Whether the kernels read it as bfloat16."""
    return tensor.dtype == torch.bfloat16


def rows_of(name: str, tensor: Tensor, *columns: int) -> int:
    """How many rows a tensor of such rows has."""
    shape = tensor.shape
    count = shape[0] if shape else 0
    if shape != (count, *columns):
        after = "".join(f", {count}" for count in columns) or ","
        raise ValueError(f"{name} has shape {tuple(shape)}, expected (n{after})")
    return count


def sides_of(image: Tensor) -> tuple[int, int]:
    """Height and width of a picture in RGB."""
    shape = image.shape
    if len(shape) != 3 or shape[2] != 3:
        raise ValueError(f"the picture has shape {tuple(shape)}, expected (h, w, 3)")
    return shape[0], shape[1]


def same_device(image: Tensor, target: Tensor) -> Sequence[Tensor]:
    if image.device != target.device:
        raise ValueError(f"the picture is on {image.device}, the photograph on {target.device}")
    return image, target


def shaped(name: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
    if tensor.shape != shape:
        raise ValueError(f"{name} has shape {tuple(tensor.shape)}, expected {tuple(shape)}")


def same_kind(**tensors: Tensor) -> None:
    """Refuse tensors of which the native code would read one as what another is."""
    name, like = next(iter(tensors.items()))
    dtype, device = like.dtype, like.device
    for other, tensor in tensors.items():
        if tensor.dtype != dtype or tensor.device != device:
            _disagree(other, tensor, name, dtype, device)


def _addresses(
    like: Tensor, dtype: torch.dtype | None, fields: dict[str, Any], may_lack: bool
) -> dict[str, int]:
    # A step asks for some seventy: each is asked what costs least, and only of one that does not
    # fit it is found out why.
    expected, elsewhere = dtype or like.dtype, None if like.is_cpu else like.device
    found: dict[str, int] = {}
    for name, (tensor, shape) in fields.items():
        if tensor is None and may_lack:
            found[name] = 0
            continue
        if (
            not isinstance(tensor, Tensor)
            or tensor.shape != shape
            or tensor.dtype is not expected
            or not (tensor.is_cpu if elsewhere is None else tensor.device == elsewhere)
            or not tensor.is_contiguous()
        ):
            _refuse(name, like, dtype, fields)
        found[name] = address = tensor.data_ptr()
        if not address and tensor.numel():
            raise ValueError(f"{name} has no memory; expected storage that was not let go")
    return found


def _refuse(name: str, like: Tensor, dtype: torch.dtype | None, fields: dict[str, Any]) -> NoReturn:
    tensor, shape = fields[name]
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{name} is {type(tensor).__name__}, expected a tensor")
    shaped(name, tensor, shape)
    expected = dtype or like.dtype
    if tensor.dtype != expected or tensor.device != like.device:
        known = (other for other, (given, _) in fields.items() if given is like)
        if dtype is None and (other := next(known, "")):
            _disagree(name, tensor, other, like.dtype, like.device)
        raise ValueError(
            f"{name} is {tensor.dtype} on {tensor.device}, expected {expected} on {like.device}"
        )
    what = "contiguous" if tensor.layout == torch.strided else f"dense, but {tensor.layout}"
    raise ValueError(f"{name} is not {what}; expected numbers that lie one after the other")


def _disagree(
    name: str, tensor: Tensor, other: str, dtype: torch.dtype, device: torch.device
) -> NoReturn:
    raise ValueError(
        f"{name} is {tensor.dtype} on {tensor.device}, {other} is {dtype} on {device};"
        " they must agree"
    )
