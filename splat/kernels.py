"""The native kernels as differentiable torch functions: checks, allocation, autograd.

float32 tensors take the machine's best instruction set (`isa()`), float64 tensors a plain double
build of the same code that gradients are tested with. Nothing here falls back from one device to
another: CUDA tensors go to the CUDA build, and where it is missing an error says so.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from splat.types import ScreenGradient

try:
    from splat import _cpu
except ImportError as error:
    raise ImportError(
        "splat's native kernels are not built: install the package with `pip install .`"
        f" (or `pip install -e .`) from its source folder ({error})"
    ) from error

_ISAS = ("avx512", "avx2", "neon", "base")
_isa: str = os.environ.get("SPLAT_ISA") or _cpu.best_isa()
if _isa not in _ISAS or not _cpu.has_isa(_isa):
    raise ImportError(
        f"SPLAT_ISA={_isa!r} cannot run here; this machine has"
        f" {', '.join(name for name in _ISAS if _cpu.has_isa(name))}"
    )
if os.name == "posix":
    os.register_at_fork(after_in_child=_cpu.forget_threads)


def isas() -> tuple[str, ...]:
    """Instruction sets that were built and can run here, the fastest first."""
    return tuple(name for name in _ISAS if _cpu.has_isa(name))


def isa() -> str:
    """The instruction set in use for float32."""
    return _isa


@contextmanager
def use_isa(name: str) -> Iterator[None]:
    """Run with another instruction set (tests, benchmarks)."""
    global _isa
    if name not in isas():
        raise ValueError(f"instruction set {name!r} cannot run here; there are {isas()}")
    before, _isa = _isa, name
    try:
        yield
    finally:
        _isa = before


def threads() -> int:
    """Threads of the kernels' own pool."""
    return int(_cpu.threads())


def set_threads(count: int) -> None:
    """Use `count` threads; results do not depend on it."""
    if count < 1:
        raise ValueError(f"{count} threads asked for; at least 1 is needed")
    _cpu.set_threads(count)


NEAR = 0.01
"""Depth from which gsplat 1.5.3 draws."""


@dataclass(frozen=True)
class Projection:
    """How Gaussians are drawn; the defaults are those of gsplat 1.5.3."""

    antialiased: bool = False
    """Compensate opacity for the low-pass filter (Mip-Splatting, Yu et al. 2024)."""
    eps2d: float = 0.3
    """Added to the projected covariance, pixels squared."""
    near: float = NEAR
    """Gaussians whose centre lies less deep than this are not drawn."""
    far: float = 1e10
    radius_clip: float = 0.0
    """Skip Gaussians whose half extents are both at most this, pixels."""


@dataclass
class Statistics:
    """What a rendering tells about each Gaussian."""

    radii: Tensor
    """[n, 2] half extents on screen in pixels, whole numbers; 0 where not visible."""
    gradient: ScreenGradient = field(default_factory=ScreenGradient)


def rasterize(
    means: Float[Tensor, "n 3"],
    quats: Float[Tensor, "n 4"],
    scales: Float[Tensor, "n 3"],
    opacities: Float[Tensor, "n"],
    colors: Tensor,
    world_to_camera: Float[Tensor, "4 4"],
    K: Float[Tensor, "3 3"],
    width: int,
    height: int,
    *,
    sh_degree: int | None = None,
    features: Float[Tensor, "n f"] | None = None,
    background: Float[Tensor, "3"] | None = None,
    depth: bool = False,
    absolute: bool = False,
    projection: Projection | None = None,
) -> tuple[Tensor, Tensor, Tensor | None, Statistics]:
    """Draw one picture: image [h, w, 3], alpha [h, w], extra channels [h, w, c], statistics.

    The extra channels are blended camera depth (if asked for) and then the features, over zero
    and not divided by alpha. `colors` is [n, 3] RGB, or [n, k, 3] SH with `sh_degree` bands used.
    Gradients reach everything but K.
    """
    n = len(means)
    if n == 0:
        raise ValueError("there is nothing to draw: the scene has 0 Gaussians")
    _shaped("quats", quats, (n, 4))
    _shaped("scales", scales, (n, 3))
    _shaped("opacities", opacities, (n,))
    if sh_degree is None:
        _shaped("colors", colors, (n, 3))
    elif colors.ndim != 3 or colors.shape[0] != n or colors.shape[2] != 3:
        raise ValueError(f"colors are {tuple(colors.shape)}; with sh_degree they are ({n}, k, 3)")
    elif not 0 <= sh_degree <= 3 or colors.shape[1] < (sh_degree + 1) ** 2:
        raise ValueError(
            f"sh_degree is {sh_degree} with {colors.shape[1]} coefficients;"
            " it is 0 to 3 and needs (sh_degree + 1)^2 of them"
        )
    if features is not None:
        _shaped("features", features, (n, features.shape[-1]))
    statistics = Statistics(torch.empty(n, 2, dtype=means.dtype))
    image, alpha, extra = _Rasterize.apply(  # type: ignore[no-untyped-call]
        means, quats, scales, opacities, colors, features, background, world_to_camera,
        (K, width, height, sh_degree, depth, absolute, projection or Projection(), statistics),
    )  # fmt: skip
    return image, alpha, extra, statistics


class _Frames:
    """Scratch of one forward pass, handed to the next one once its backward is gone."""

    idle: dict[str, list[Any]] = {}  # noqa: RUF012

    def __init__(self, name: str) -> None:
        self._name = name
        waiting = self.idle.setdefault(name, [])
        self.native = waiting.pop() if waiting else _cpu.Frame(name)

    def __del__(self) -> None:
        waiting = self.idle.setdefault(self._name, [])
        if len(waiting) < 2:
            waiting.append(self.native)


def scratch_bytes() -> int:
    """Scratch that idle frames hold."""
    return sum(frame.bytes for waiting in _Frames.idle.values() for frame in waiting)


class _Rasterize(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        means: Tensor,
        quats: Tensor,
        scales: Tensor,
        opacities: Tensor,
        colors: Tensor,
        features: Tensor | None,
        background: Tensor | None,
        world_to_camera: Tensor,
        settings: tuple[Any, ...],
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        K, width, height, sh_degree, depth, absolute, projection, statistics = settings
        rows = [_plain(t) for t in (means, quats, scales, opacities, colors, features)]
        dtype = means.dtype
        image = torch.empty(height, width, 3, dtype=dtype)
        alpha = torch.empty(height, width, dtype=dtype)
        channels = int(depth) + (0 if features is None else features.shape[1])
        extra = torch.empty(height, width, channels, dtype=dtype) if channels else None
        over = None if background is None else _plain(background.to(dtype))
        frame = _Frames(_table_of(means))
        pose = world_to_camera.detach().double().flatten().tolist()
        fx, fy, cx, cy = float(K[0, 0]), float(K[1, 1]), float(K[0, 2]), float(K[1, 2])
        frame.native.forward(
            [_address(t) for t in rows],
            len(means),
            -1 if sh_degree is None else sh_degree,
            colors.shape[1] if sh_degree is not None else 1,
            0 if features is None else features.shape[1],
            [*pose[:12], fx, fy, cx, cy],
            width,
            height,
            projection.antialiased,
            absolute,
            depth,
            [projection.eps2d, projection.near, projection.far, projection.radius_clip],
            [_address(over), _address(image), _address(alpha), _address(extra),
             _address(statistics.radii)],
        )  # fmt: skip
        ctx.frame, ctx.gradient, ctx.absolute = frame, statistics.gradient, absolute
        ctx.background = background is not None
        ctx.features = features is not None
        ctx.save_for_backward(*(t for t in (*rows, image, alpha, extra) if t is not None))
        return image, alpha, extra

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, ...]:
        v_image, v_alpha, v_extra = (None if g is None else _plain(g) for g in gradients)
        saved = list(ctx.saved_tensors)
        features = 1 if ctx.features else 0
        rows = [*saved[: 5 + features], *([] if features else [None])]
        image, alpha, *rest = saved[5 + features :]
        extra = rest[0] if rest else None
        outputs = [None if t is None else torch.empty_like(t) for t in rows]
        means2d = image.new_empty(len(saved[0]), 2)
        absolute = torch.empty_like(means2d) if ctx.absolute else None
        v_view = image.new_zeros(4, 4)
        v_background = image.new_empty(3) if ctx.background else None
        ctx.frame.native.backward(
            [_address(t) for t in (image, alpha, extra, v_image, v_alpha, v_extra)],
            [_address(t) for t in (*outputs, means2d, absolute, v_view, v_background)],
        )
        ctx.gradient.signed, ctx.gradient.absolute = means2d, absolute
        return (*outputs, v_background, v_view, None)


def photometric(
    image: Float[Tensor, "h w 3"],
    target: Float[Tensor, "h w 3"] | UInt8[Tensor, "h w 3"],
    ssim_weight: float = 0.2,
) -> Float[Tensor, ""]:
    """(1 - w) mean |x - y| + w (1 - mean SSIM), fused with its gradient with respect to `image`.

    SSIM (Wang et al. 2004) as in 3DGS: 11 x 11 Gaussian window of sigma 1.5, zeros beyond the
    border, every pixel counts. A uint8 target is taken as value / 255.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.numel() == 0:
        raise ValueError(f"the picture has shape {tuple(image.shape)}, expected (h, w, 3)")
    _shaped("target", target, tuple(image.shape))
    loss: Tensor = _Photometric.apply(image, target, ssim_weight)  # type: ignore[no-untyped-call]
    return loss


class _Photometric(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, image: Tensor, target: Tensor, ssim_weight: float) -> Tensor:
        image, target = _same_device(image.detach().contiguous(), target.detach().contiguous())
        bytes_ = target if target.dtype == torch.uint8 else None
        floats = None if bytes_ is not None else target.to(image.dtype)
        gradient = torch.empty_like(image) if ctx.needs_input_grad[0] else None
        height, width = image.shape[:2]
        if image.is_cuda:
            loss = _cuda_photometric(image, floats, bytes_, gradient, ssim_weight)
        else:
            value = _cpu.photometric(
                _table_of(image), _address(image), _address(floats), _address(bytes_),
                _address(gradient), width, height, ssim_weight,
            )  # fmt: skip
            loss = image.new_tensor(value)
        if gradient is not None:
            ctx.save_for_backward(gradient)
        return loss

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        (v_loss,) = gradients
        # The usual loss is summed with weight one; scaling would be one more pass for nothing.
        if not v_loss.is_cuda and float(v_loss) == 1.0:
            return gradient, None, None
        return gradient * v_loss, None, None


def adam(
    values: Tensor,
    gradient: Tensor,
    first: Tensor,
    second: Tensor,
    *,
    rate: float,
    tail: float = 1.0,
    count: int,
    betas: tuple[float, float] = (0.9, 0.999),
    epsilon: float = 1e-15,
) -> None:
    """One Adam step in place on [n, ...] rows; `count` steps include this one.

    In a column with axes [n, k, c], entries beyond the first of k move at `rate * tail`.
    """
    head, columns = _head(values)
    gradient = gradient.contiguous()
    for name, tensor in (
        ("values", values), ("gradient", gradient), ("first", first), ("second", second)
    ):  # fmt: skip
        if not tensor.is_contiguous():
            raise ValueError(f"{name} is not contiguous; adam works in place on whole columns")
        _shaped(name, tensor, tuple(values.shape))
        if tensor.dtype != values.dtype or tensor.device != values.device:
            raise ValueError(
                f"{name} is {tensor.dtype} on {tensor.device}, the values are {values.dtype} on"
                f" {values.device}; they must agree"
            )
    numbers = [
        rate, rate * tail, *betas, epsilon, 1 - betas[0] ** count, 1 - betas[1] ** count,
    ]  # fmt: skip
    addresses = [_address(t.detach()) for t in (values, gradient, first, second)]
    if values.is_cuda:
        _single(values)
        with torch.cuda.device(values.device):
            _cuda().adam(*addresses, len(values), columns, head, numbers, _stream(values))
    else:
        v, g, m, s = addresses
        _cpu.adam(_table_of(values), v, g, m, s, len(values), columns, head, numbers)


def _head(values: Tensor) -> tuple[int, int]:
    columns = values[0].numel() if len(values) else 1
    return (columns // values.shape[1] if values.ndim == 3 else columns), columns


def _cuda() -> Any:
    try:
        from splat import _gpu
    except ImportError as error:
        raise RuntimeError(
            "splat was built without its CUDA kernels: reinstall with a CUDA compiler on PATH,"
            " `pip install . -C cmake.define.SPLAT_CUDA=ON`, or train with --device cpu"
        ) from error
    return _gpu


def _cuda_photometric(
    image: Tensor,
    floats: Tensor | None,
    bytes_: Tensor | None,
    gradient: Tensor | None,
    weight: float,
) -> Tensor:
    native = _cuda()
    _single(image)
    height, width = image.shape[:2]
    scratch = torch.empty(
        native.photometric_scratch_bytes(width, height), dtype=torch.uint8, device=image.device
    )
    loss = torch.empty((), dtype=torch.float32, device=image.device)
    with torch.cuda.device(image.device):
        native.photometric(
            _address(image), _address(floats), _address(bytes_), _address(gradient),
            _address(scratch), _address(loss), width, height, weight, _stream(image),
        )  # fmt: skip
    return loss


def _single(tensor: Tensor) -> None:
    if tensor.dtype != torch.float32:
        raise ValueError(f"the CUDA kernels take float32, not {tensor.dtype}")


def _stream(tensor: Tensor) -> int:
    return int(torch.cuda.current_stream(tensor.device).cuda_stream)


def _table_of(tensor: Tensor) -> str:
    if tensor.device.type != "cpu":
        raise ValueError(f"the CPU kernels were given a tensor on {tensor.device}")
    if tensor.dtype == torch.float64:
        return "f64"
    if tensor.dtype == torch.float32:
        return _isa
    raise ValueError(f"the kernels take float32 (or float64 in tests), not {tensor.dtype}")


def _address(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()


def _plain(tensor: Any) -> Any:
    return None if tensor is None else tensor.detach().contiguous()


def _same_device(image: Tensor, target: Tensor) -> Sequence[Tensor]:
    if image.device != target.device:
        raise ValueError(f"the picture is on {image.device}, the photograph on {target.device}")
    return image, target


def _shaped(name: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
    if tuple(tensor.shape) != shape:
        raise ValueError(f"{name} has shape {tuple(tensor.shape)}, expected {shape}")
