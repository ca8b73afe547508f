"""Columns of ours under the names that gsplat's example trainer gives its parameters."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

PLAIN = {"means": "mean", "scales": "log_scale", "quats": "quat", "opacities": "opacity_logit"}
"""Ours by theirs; harmonics are `sh0`, the constant one, and `shN`."""
NEEDED = (*PLAIN, "sh0", "shN")


def theirs_of(columns: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies of columns of `splat.core.model.Explicit`, or of moments of theirs, by gsplat's
    names."""
    found = {theirs: columns[ours].detach().float().clone() for theirs, ours in PLAIN.items()}
    sh = columns["sh"].detach().float()
    return found | {"sh0": sh[:, :1].clone(), "shN": sh[:, 1:].clone()}


def ours_of(params: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Parameters by gsplat's names, as columns; opacities [n] or [n, 1]."""
    found = {ours: params[theirs].detach() for theirs, ours in PLAIN.items()}
    found["opacity_logit"] = found["opacity_logit"].reshape(-1)
    return found | {"sh": torch.cat([params["sh0"], params["shN"]], 1).detach()}


def check_names(names: Mapping[str, object]) -> None:
    """Raise ValueError where parameters are not those of gsplat's example trainer."""
    if missing := [name for name in NEEDED if name not in names]:
        raise ValueError(
            f"the parameters have no {', '.join(missing)}; expected those of gsplat's example"
            f" trainer: {', '.join(NEEDED)}"
        )
