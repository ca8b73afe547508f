"""What crosses into native code: fields by name, arrays that are checked, counts that fit."""

from __future__ import annotations

from collections.abc import Callable
from sys import modules
from typing import Any

import pytest
import torch
from torch import Tensor

from splat import kernels
from splat.kernels import HarmonicsGradient
from splat.kernels.crossing import needed, optional
from splat.kernels.field import field
from splat.kernels.hexplane import hexplane
from splat.processor import cpu, isa

POSE = torch.eye(4)
K = torch.tensor([[40.0, 0, 16], [0, 40, 12], [0, 0, 1]])
META = torch.device("meta")
"""Another device, whose addresses are no memory of this process."""


def scene(**changed: Any) -> dict[str, Any]:
    """Five Gaussians in front of a camera, as `rasterize` takes them by name."""
    given = {
        "means": torch.tensor([0.0, 0, 3]).expand(5, 3).contiguous(),
        "quats": torch.tensor([1.0, 0, 0, 0]).expand(5, 4).contiguous(),
        "scales": torch.full((5, 3), 0.1),
        "opacities": torch.full((5,), 0.5),
        "colors": torch.full((5, 4, 3), 0.2),
        "world_to_camera": POSE, "K": K, "width": 32, "height": 24, "sh_degree": 1,
    }  # fmt: skip
    return given | changed


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"means": torch.zeros(5, 2)}, r"means has shape \(5, 2\), expected \(n, 3\)"),
        ({"means": torch.zeros(15)}, r"means has shape \(15,\), expected \(n, 3\)"),
        ({"means": torch.zeros(())}, r"means has shape \(\), expected \(n, 3\)"),
        ({"quats": torch.zeros(5, 3)}, r"quats has shape \(5, 3\), expected \(5, 4\)"),
        ({"scales": torch.zeros(4, 3)}, r"scales has shape \(4, 3\), expected \(5, 3\)"),
        ({"opacities": torch.zeros(5, 1)}, r"opacities has shape \(5, 1\), expected \(5,\)"),
        ({"background": torch.zeros(())}, r"background has shape \(\), expected \(3,\)"),
        ({"background": torch.zeros(1)}, r"background has shape \(1,\), expected \(3,\)"),
        ({"background": torch.zeros(2)}, r"background has shape \(2,\), expected \(3,\)"),
        ({"background": torch.zeros(3, device=META)}, "background is torch.float32 on meta"),
        ({"features": torch.zeros(5)}, r"features are \(5,\); expected \(5, f\)"),
        ({"features": torch.zeros(4, 2)}, r"features has shape \(4, 2\), expected \(5, 2\)"),
        ({"world_to_camera": torch.eye(3)}, r"world_to_camera has shape \(3, 3\), expected"),
        ({"K": torch.eye(4)}, r"K has shape \(4, 4\), expected \(3, 3\)"),
        ({"colors": torch.zeros(5, 4, 3, device=META)}, "colors is torch.float32 on meta"),
        (
            {"colors": torch.zeros(5, 4, 3, device=META, dtype=torch.bfloat16)},
            "colors is torch.bfloat16 on meta, expected torch.bfloat16 on cpu",
        ),
        ({"quats": torch.zeros(5, 4).to_sparse()}, "quats is not dense, but torch.sparse_coo"),
        ({"width": 0}, "the picture is 0 x 24 pixels; expected 1 to"),
        ({"height": 1 << 20}, "the picture is 32 x 1048576 pixels; expected 1 to 1048560"),
    ],
)  # fmt: skip
def test_what_does_not_fit_a_picture_is_refused(changed: dict[str, Any], sentence: str) -> None:
    given = scene(**changed)
    with pytest.raises(ValueError, match=sentence):
        kernels.rasterize(**given)


def test_what_fits_is_drawn() -> None:
    given = scene(background=torch.zeros(3))
    image, alpha, _, _ = kernels.rasterize(**given)
    assert image.shape == (24, 32, 3) and alpha.max() > 0.9


@pytest.mark.parametrize("device", ["cpu", META])
@pytest.mark.parametrize("shape", [(5, 2), (5,), (5, 3, 1)])
def test_scales_of_another_shape_are_refused(shape: tuple[int, ...], device: Any) -> None:
    with pytest.raises(ValueError, match=r"log_scales has shape .* expected \(n, 3\)"):
        kernels.activate(torch.zeros(shape, device=device), torch.zeros(5, device=device))


@pytest.mark.parametrize("image", [torch.zeros(4, 5, 2), torch.zeros(60), torch.zeros(4, 5, 4)])
def test_pictures_of_another_shape_are_refused(image: Tensor) -> None:
    for kernel in (kernels.errors, kernels.photometric):
        with pytest.raises(ValueError, match=r"the picture has shape .* expected \(h, w, 3\)"):
            kernel(image, image)


def test_a_photo_elsewhere_is_refused() -> None:
    with pytest.raises(ValueError, match=r"target is torch\.float32 on meta, expected"):
        kernels.photometric(torch.zeros(4, 5, 3), torch.zeros(4, 5, 3, device=META))
    bytes_ = torch.zeros(4, 5, 3, device=META, dtype=torch.uint8)
    with pytest.raises(ValueError, match=r"bytes is torch\.uint8 on meta, expected"):
        kernels.photometric(torch.zeros(4, 5, 3), bytes_)


@pytest.mark.parametrize("name", ["first", "visible", "gradient", "factors"])
def test_a_step_with_what_lies_elsewhere_is_refused(name: str) -> None:
    given: dict[str, Any] = {
        "gradient": torch.zeros(6, 4, 3), "first": torch.zeros(6, 4, 3),
        "second": torch.zeros(6, 4, 3), "visible": torch.ones(6, dtype=torch.bool),
    }  # fmt: skip
    if name == "factors":
        given["gradient"] = HarmonicsGradient(torch.zeros(6, 6, device=META), 1)
    else:
        given[name] = given[name].to(META)
    with pytest.raises(ValueError, match=rf"{name} is torch\.\w+ on meta"):
        kernels.adam(torch.zeros(6, 4, 3), rate=0.1, count=1, **given)


def test_logits_that_are_no_row_are_refused() -> None:
    with pytest.raises(ValueError, match=r"logits has shape \(5, 1\), expected \(n,\)"):
        kernels.walk(
            torch.zeros(5, 4), torch.zeros(5, 3), torch.zeros(5, 1), reach=1.0, dead=0.005,
            steepness=100.0, quiet=3.0,
        )  # fmt: skip


@pytest.mark.parametrize("pose", [torch.eye(3), torch.zeros(16)])
def test_a_frustum_takes_whole_poses(pose: Tensor) -> None:
    with pytest.raises(ValueError, match="camera_pose has shape"):
        kernels.in_frustum(torch.zeros(4, 3), torch.zeros(4, 6), pose, K, 8, 8, 0.1)


def test_arrays_are_what_their_field_says() -> None:
    rows, shape = torch.zeros(4, 3), (4, 3)
    assert needed(rows, a=(rows, shape)) == {"a": rows.data_ptr()}
    assert optional(rows, a=(rows, shape), b=(None, shape)) == {"a": rows.data_ptr(), "b": 0}
    assert needed(rows[:0], none=(rows[:0], (0, 3)))["none"] == rows[:0].data_ptr()
    with pytest.raises(TypeError, match="a is NoneType, expected a tensor"):
        needed(rows, a=(None, shape))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="a is ndarray, expected a tensor"):
        needed(rows, a=(rows.numpy(), shape))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="a is not contiguous; expected numbers that lie one"):
        optional(rows, a=(torch.zeros(3, 4).T, shape))
    gone = torch.zeros(4, 3)
    gone.untyped_storage().resize_(0)
    with pytest.raises(ValueError, match="a has no memory"):
        needed(rows, a=(gone, shape))


PAIRS = {"values": 0, "delta": 0, "n": 0}


def no_kernel_runs(fields: dict[str, Any]) -> Any:
    return cpu.add(isa(), fields)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"values": 0, "n": 0}, "add was given no field 'delta'; it was given values, n"),
        ({"values": 0, "dleta": 0, "n": 0}, "no field 'delta'; it was given values, dleta, n"),
        ({}, "add was given no field 'values'; it was given none"),
        (PAIRS | {"detla": 0, "m": 1}, "add has no field 'detla', 'm'; it was given values"),
        (PAIRS | {"n": 1.5}, "add: the field 'n' is 1.5; expected a whole number"),
        (PAIRS | {"n": True}, "add: the field 'n' is True; expected a whole number"),
        (PAIRS | {"n": 2**63}, "the field 'n' is 9223372036854775808; expected a whole number"),
        (PAIRS | {"delta": None}, "add: the field 'delta' is None; expected an address"),
        (PAIRS | {"delta": -8}, "add: the field 'delta' is -8; expected an address"),
    ],
)  # fmt: skip
def test_fields_that_are_missing_misspelt_or_of_another_type(
    fields: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(TypeError, match=sentence):
        no_kernel_runs(fields)
    no_kernel_runs(PAIRS)


TONE = {"image": 0, "pixels": 0, "map": [0.0] * 12, "out": 0}
STEP = {
    "values": 0, "gradient": 0, "first": 0, "second": 0, "rows": 0, "columns": 1, "head": 1,
    "begin": 0, "end": 1, "rate": 0.1, "tail_rate": 0.1, "beta1": 0.9, "beta2": 0.999,
    "epsilon": 1e-15, "correction1": 0.1, "correction2": 0.001, "factors": 0, "degree": 0,
    "visible": 0, "half": False, "seed": 1, "half_values": False, "aside": False,
}  # fmt: skip


@pytest.mark.parametrize(
    ("kernel", "whole", "changed", "sentence"),
    [
        ("tone", TONE, {"map": [0.0] * 11}, r"the field 'map' is \[0.0, .* expected 12 numbers"),
        ("tone", TONE, {"map": ["x"] * 12}, "the field 'map' is .* expected a number"),
        ("tone", TONE, {"map": 3.0}, "the field 'map' is 3.0; expected 12 numbers"),
        ("adam", STEP, {"half": 1}, "the field 'half' is 1; expected True or False"),
        ("adam", STEP, {"rate": "fast"}, "the field 'rate' is fast; expected a number"),
        ("adam", STEP, {"seed": -1}, "the field 'seed' is -1; expected a whole number"),
        ("adam", STEP, {"seed": 2**32}, "the field 'seed' is 4294967296; expected a whole"),
        ("adam", STEP, {"columns": 2**31}, "the field 'columns' is 2147483648; expected"),
    ],
)  # fmt: skip
def test_fields_of_another_type(
    kernel: str, whole: dict[str, Any], changed: dict[str, Any], sentence: str
) -> None:
    call: Callable[[str, dict[str, Any]], Any] = getattr(cpu, kernel)
    call(isa(), whole)
    call(isa(), whole | {name: 1 for name in whole if name == "rate"})  # whole numbers are numbers
    with pytest.raises(TypeError, match=sentence):
        call(isa(), whole | changed)
    for name in whole:
        with pytest.raises(TypeError, match=f"{kernel} was given no field '{name}'"):
            call(isa(), {other: value for other, value in whole.items() if other != name})


class Recording:
    """A native module or object that notes every call with what was handed over last."""

    def __init__(self, native: Any, calls: dict[str, tuple[Any, ...]]) -> None:
        self._native, self._calls = native, calls

    def __getattr__(self, name: str) -> Any:
        kernel = getattr(self._native, name)

        def call(*given: Any) -> Any:
            self._calls[f"{type(self._native).__name__}.{name}"] = (kernel, *given)
            return kernel(*given)

        return call


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[Any, ...]]:
    """The last call of every kernel that is called."""
    found: dict[str, tuple[Any, ...]] = {}

    class Scratch:
        def __init__(self, kind: str, table: str) -> None:
            self.native = Recording(getattr(cpu, kind)(table), found)

    for name in ("rasterize", "decode", "field", "hexplane"):
        monkeypatch.setattr(modules[f"splat.kernels.{name}"], "Scratch", Scratch)
    for name in ("activate", "adam", "frustum", "photometric", "pixels", "walk"):
        monkeypatch.setattr(modules[f"splat.kernels.{name}"], "cpu", Recording(cpu, found))
    return found


def call_every_kernel() -> None:
    given = scene(features=torch.zeros(5, 2), background=torch.zeros(3, requires_grad=True))
    for name in ("means", "colors"):
        given[name].requires_grad_()
    image, _, _, statistics = kernels.rasterize(**given)
    kernels.survey(statistics)
    tone = torch.eye(3, 4).requires_grad_()
    kernels.photometric(kernels.toned(image, tone), torch.zeros(24, 32, 3)).backward()
    kernels.errors(image, torch.zeros(24, 32, 3))
    logs, logits = torch.zeros(5, 3, requires_grad=True), torch.zeros(5, requires_grad=True)
    kernels.activate(logs, logits)[0].sum().backward()
    moments = torch.zeros(5, 3), torch.zeros(5, 3)
    kernels.adam(logs, torch.ones(5, 3), *moments, rate=0.1, count=1)
    walked = kernels.walk(
        given["quats"], logs, logits, reach=1.0, dead=0.1, steepness=1.0, quiet=3.0
    )
    kernels.add(logs, walked)
    kernels.in_frustum(given["means"], torch.zeros(5, 6), POSE, K, 32, 24, 0.1)
    heads = [
        (torch.zeros(9, 16, requires_grad=True), torch.full((17, outputs), 0.1))
        for outputs in (2, 6, 14)
    ]
    decoded = kernels.decode(
        given["means"], torch.zeros(5, 4), torch.zeros(5, 6), torch.zeros(5, 2, 3),
        kernels.Heads(*heads), torch.arange(5), torch.zeros(3),
    )  # fmt: skip
    decoded.opacities.sum().backward()
    planes = torch.zeros(3, 4, 4, 16, requires_grad=True)
    value, _ = field(
        given["means"].detach(), planes, torch.zeros(3, 4, 16), torch.zeros(52, 16),
        torch.zeros(17), 10.0,
    )  # fmt: skip
    value.sum().backward()
    plane = torch.zeros(3, 4, 4, 16, requires_grad=True)
    layers = (torch.zeros(17, 16), torch.zeros(17, 16), torch.zeros(17, 3))
    said = hexplane(
        given["means"].detach(), 0.0, [plane], [torch.zeros(3, 2, 4, 16)], *layers, (3,)
    )
    said.sum().backward()


def test_no_kernel_takes_more_or_less_than_its_fields(calls: dict[str, tuple[Any, ...]]) -> None:
    call_every_kernel()
    assert {name.split(".")[1] for name in calls} == {
        "forward", "backward", "survey", "photometric", "adam", "activate", "activate_backward",
        "tone", "tone_backward", "errors", "walk", "add", "count", "write", "in_frustum",
        "frustum_rows",
    }  # fmt: skip
    assert len(calls) == 21  # four kinds of scratch have a backward, three a forward
    for kernel, *table, fields in calls.values():
        for name in fields:
            with pytest.raises(TypeError, match=f"was given no field '{name}'; it was given "):
                kernel(*table, {other: fields[other] for other in fields if other != name})
            with pytest.raises(TypeError, match=f"was given no field '{name}'"):
                kernel(*table, {other + "_" * (other == name): fields[other] for other in fields})
        with pytest.raises(TypeError, match="has no field 'colours'; it was given"):
            kernel(*table, fields | {"colours": 0})


def test_more_pairs_than_32_bits_count_are_refused() -> None:
    """A million Gaussians before a wide lens, each of which touches every tile."""
    n, width, height = 1 << 20, 4200, 260
    given = scene(
        means=torch.tensor([0.0, 0, 3]).expand(n, 3), scales=torch.full((1, 3), 300.0).expand(n, 3),
        quats=torch.tensor([1.0, 0, 0, 0]).expand(n, 4), opacities=torch.ones(1).expand(n),
        colors=torch.zeros(1, 3).expand(n, 3), sh_degree=None, width=width, height=height,
        K=torch.tensor([[900.0, 0, 2100], [0, 900, 130], [0, 0, 1]]),
    )  # fmt: skip
    with kernels.use_isa("base"), pytest.raises(ValueError, match="pairs of a Gaussian and a tile"):
        kernels.rasterize(**given)
    # The scratch that was refused serves the next picture.
    with kernels.use_isa("base"):
        image, _, _, statistics = kernels.rasterize(**scene())
        kernels.survey(statistics)
    assert image.max() > 0
