"""Anchors as Gaussians: the decoding of Scaffold-GS (Lu et al. 2024), differentiably.

An anchor holds a position, a feature, six log scales and k offsets. Three small networks read the
feature and where the camera stands, and tell of each offset its opacity, colour, scale and turn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import normalize

from splat.kernels import output
from splat.kernels.crossing import needed, optional, plain, rows_of, same_kind, shaped
from splat.kernels.native import Scratch, table_of

TINY = 1e-12
"""What lengths that are divided by are at least: those of quaternions and of ways to the camera."""
FEATURES, SLOTS, HIDDEN = 64, 16, 64
"""The most of each that an anchor or a head may have."""

Layers = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Heads:
    """Three networks of two layers: relu([f, u, d, 1] W1), then [hidden, 1] W2.

    `W1` is [F + 5, H] and `W2` [H + 1, outputs], the last row of each the bias. H is 16, 32, 48
    or 64, the same in all three.
    """

    opacity: Layers
    """k outputs; their tanh, times the mask, is the opacity."""
    color: Layers
    """3 k outputs, RGB by slot; their logistic function is the colour."""
    covariance: Layers
    """7 k outputs: by slot three of the scale (before the logistic function), then wxyz."""


@dataclass(frozen=True)
class Decoded:
    """The Gaussians of positive opacity: in the order of the anchors asked for, then by slot."""

    means: Float[Tensor, "n 3"]
    quats: Float[Tensor, "n 4"]
    """wxyz, of length 1."""
    scales: Float[Tensor, "n 3"]
    opacities: Float[Tensor, "n"]
    colors: Float[Tensor, "n 3"]
    """RGB within 0 and 1."""
    source: Int64[Tensor, "n"]
    """Row of the anchor in the whole cloud, times k, plus the slot."""


def decode(
    positions: Float[Tensor, "N 3"],
    features: Float[Tensor, "N F"],
    reach: Float[Tensor, "N 6"],
    offsets: Float[Tensor, "N k 3"],
    heads: Heads,
    rows: Int64[Tensor, "V"],
    centre: Float[Tensor, "3"],
    *,
    distance: bool = False,
    masks: Float[Tensor, "N k"] | None = None,
) -> Decoded:
    """The Gaussians that the anchors in `rows` make for a camera at `centre`, world units.

    `reach` are log scales: the first three of the offsets, the others of the sizes. `rows` names
    each anchor at most once. With `distance` the networks read how far the camera is, else 0.
    `masks` are factors on the opacities. Gradients reach features, reach, offsets, masks and
    weights, and are 0 for anchors that are not in `rows` and slots that make no Gaussian.
    ValueError where shapes, types or devices do not fit.
    """
    _check(positions, features, reach, offsets, heads, rows, centre, masks)
    if positions.device.type != "cpu":
        return by_torch(
            positions, features, reach, offsets, heads, rows, centre, distance=distance, masks=masks
        )
    weights = (*heads.opacity, *heads.color, *heads.covariance)
    learned = [features, reach, offsets, masks, *weights]
    keep = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in learned)
    return Decoded(
        *_Decode.apply(positions, rows, (centre.tolist(), distance, keep), *learned)  # type: ignore[no-untyped-call]
    )


def by_torch(
    positions: Float[Tensor, "N 3"],
    features: Float[Tensor, "N F"],
    reach: Float[Tensor, "N 6"],
    offsets: Float[Tensor, "N k 3"],
    heads: Heads,
    rows: Int64[Tensor, "V"],
    centre: Float[Tensor, "3"],
    *,
    distance: bool = False,
    masks: Float[Tensor, "N k"] | None = None,
) -> Decoded:
    """`decode` in torch's operations: what runs on other devices, and what tests compare with."""
    slots = offsets.shape[1]
    origin = positions.detach().index_select(0, rows)
    way = origin - centre.detach()
    length = way.square().sum(1, keepdim=True).sqrt()
    far = length if distance else torch.zeros_like(length)
    known = (way / length.clamp_min(TINY), far, torch.ones_like(length))
    seen = torch.cat([features.index_select(0, rows), *known], 1)
    own = reach.index_select(0, rows).exp()

    opacity = _head(heads.opacity, seen).tanh()
    if masks is not None:
        opacity = opacity * masks.index_select(0, rows)
    kept = (opacity.detach().flatten() > 0).nonzero().squeeze(1)
    anchor = kept.div(slots, rounding_mode="floor")

    placed = origin[:, None] + offsets.index_select(0, rows) * own[:, None, :3]
    shape = _head(heads.covariance, seen).reshape(-1, 7).index_select(0, kept)
    return Decoded(
        placed.reshape(-1, 3).index_select(0, kept),
        normalize(shape[:, 3:], dim=1, eps=TINY),
        own[:, 3:].index_select(0, anchor) * shape[:, :3].sigmoid(),
        opacity.flatten().index_select(0, kept),
        _head(heads.color, seen).reshape(-1, 3).index_select(0, kept).sigmoid(),
        rows.index_select(0, anchor) * slots + kept % slots,
    )


class _Decode(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, positions: Tensor, rows: Tensor, view: tuple[Any, ...], *learned: Tensor | None
    ) -> tuple[Tensor, ...]:
        centre, distance, keep = view
        held = [plain(t) for t in (positions, *learned[:4], rows, *learned[4:])]
        features = held[1]
        decoding = Scratch("Decoding", table_of(features))
        camera = {"centre": centre, "distance": distance, "keep": keep}
        n = decoding.native.count({**_anchors(held), **camera})
        means, scales, colors = (output.rows.empty(n, 3, dtype=features.dtype) for _ in range(3))
        quats = output.rows.empty(n, 4, dtype=features.dtype)
        opacities = output.rows.empty(n, dtype=features.dtype)
        source = torch.empty(n, dtype=torch.int64)
        out = (means, quats, scales, opacities, colors, source)
        arrays = needed(
            features, means=(means, (n, 3)), quats=(quats, (n, 4)), scales=(scales, (n, 3)),
            opacities=(opacities, (n,)), colors=(colors, (n, 3)),
        )  # fmt: skip
        decoding.native.write({**arrays, **needed(source, source=(source, (n,)))})
        ctx.mark_non_differentiable(source)
        ctx.set_materialize_grads(False)
        if keep:
            ctx.decoding = decoding
            # All of them: their addresses are known to the decoding.
            ctx.save_for_backward(quats, scales, colors, *held)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, ...]:
        quats, scales, colors, _, *held = ctx.saved_tensors
        learned = [*held[:4], *held[5:]]
        means, turns, sizes, opacities, tints = (plain(g) for g in gradients[:5])
        found = [
            output.rows.empty_like(t) if wanted else None
            for t, wanted in zip(learned, ctx.needs_input_grad[3:], strict=True)
        ]
        n = len(quats)
        read = {
            **needed(
                quats, quats=(quats, (n, 4)), scales=(scales, (n, 3)), colors=(colors, (n, 3))
            ),
            **optional(
                quats, v_means=(means, (n, 3)), v_quats=(turns, (n, 4)), v_scales=(sizes, (n, 3)),
                v_opacities=(opacities, (n,)), v_colors=(tints, (n, 3)),
            ),
        }  # fmt: skip
        written = {
            f"v_{name}": (v, () if like is None else like.shape)
            for name, v, like in zip(_LEARNED, found, learned, strict=True)
        }
        ctx.decoding.native.backward({**read, **optional(quats, **written)})
        return (None, None, None, *found)


_HEADS = ("opacity", "color", "covariance")
_WEIGHTS = tuple(f"{head}_{layer}" for head in _HEADS for layer in ("first", "second"))
_LEARNED = ("features", "reach", "offsets", "masks", *_WEIGHTS)
"""Fields of the native call in the order in which `_Decode` takes what is learned."""


def _anchors(held: list[Tensor]) -> dict[str, int]:
    """Fields of anchors and networks: positions, features, reach, offsets, masks, rows, weights."""
    positions, features, reach, offsets, masks, rows, *weights = held
    n, count = features.shape
    slots, hidden = offsets.shape[1], weights[0].shape[1]
    outputs = (slots, 3 * slots, 7 * slots)
    shapes = [s for k in outputs for s in ((count + 5, hidden), (hidden + 1, k))]
    layers = zip(_WEIGHTS, weights, shapes, strict=True)
    arrays = needed(
        features, positions=(positions, (n, 3)), features=(features, (n, count)),
        reach=(reach, (n, 6)), offsets=(offsets, (n, slots, 3)),
        **{name: (w, shape) for name, w, shape in layers},
    )  # fmt: skip
    sizes = {
        "n": n, "count": len(rows), "feature_count": count, "slots": slots, "hidden": hidden
    }  # fmt: skip
    chosen = needed(features, torch.int64, rows=(rows, (len(rows),)))
    return arrays | chosen | optional(features, masks=(masks, (n, slots))) | sizes


def _head(layers: Layers, seen: Tensor) -> Tensor:
    first, second = layers
    hidden = (seen @ first).relu()
    return hidden @ second[:-1] + second[-1]


def _check(
    positions: Tensor,
    features: Tensor,
    reach: Tensor,
    offsets: Tensor,
    heads: Heads,
    rows: Tensor,
    centre: Tensor,
    masks: Tensor | None,
) -> None:
    n = rows_of("positions", positions, 3)
    if features.ndim != 2 or not 1 <= features.shape[1] <= FEATURES:
        raise ValueError(
            f"features are {tuple(features.shape)}; expected ({n}, F) with F from 1 to {FEATURES}"
        )
    if offsets.ndim != 3 or not 1 <= offsets.shape[1] <= SLOTS:
        raise ValueError(
            f"offsets are {tuple(offsets.shape)}; expected ({n}, k, 3) with k from 1 to {SLOTS}"
        )
    count, slots = features.shape[1], offsets.shape[1]
    shaped("features", features, (n, count))
    shaped("reach", reach, (n, 6))
    shaped("offsets", offsets, (n, slots, 3))
    shaped("centre", centre, (3,))
    some = {"features": features, "reach": reach, "offsets": offsets, "centre": centre}
    if masks is not None:
        shaped("masks", masks, (n, slots))
        some["masks"] = masks
    hidden = heads.opacity[0].shape[-1]
    if hidden not in range(16, HIDDEN + 1, 16):
        raise ValueError(f"the heads have {hidden} hidden units; expected 16, 32, 48 or {HIDDEN}")
    for name, outputs in (("opacity", slots), ("color", 3 * slots), ("covariance", 7 * slots)):
        first, second = getattr(heads, name)
        shaped(f"the first layer of {name}", first, (count + 5, hidden))
        shaped(f"the second layer of {name}", second, (hidden + 1, outputs))
        some |= {f"the first layer of {name}": first, f"the second layer of {name}": second}
    same_kind(positions=positions, **some)
    _check_rows(rows, positions)


def _check_rows(rows: Tensor, positions: Tensor) -> None:
    n = len(positions)
    if rows.ndim != 1 or rows.dtype != torch.int64 or rows.device != positions.device:
        raise ValueError(
            f"rows are {rows.dtype} {tuple(rows.shape)} on {rows.device}; expected a row of"
            f" int64 on {positions.device}"
        )
    if not len(rows):
        return
    if bool((rows[1:] > rows[:-1]).all()):
        first, last = int(rows[0]), int(rows[-1])
    else:
        order = rows.sort().values
        if bool((order[1:] == order[:-1]).any()):
            raise ValueError("rows name an anchor twice; expected each at most once")
        first, last = int(order[0]), int(order[-1])
    if first < 0 or last >= n:
        raise ValueError(f"rows go from {first} to {last}; expected 0 to {n - 1}")
