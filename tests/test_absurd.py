"""Numbers of methods and parts that make no sense are refused, by their names."""

from __future__ import annotations

import math
from typing import Any

import pytest

from splat.cleanup.floaters import Rules
from splat.strategies.adc import Adc
from splat.strategies.blur import BlurSplit
from splat.strategies.error import ErrorBased
from splat.strategies.floaters import Floaters
from splat.strategies.igs import ImprovedGs
from splat.strategies.lighthouse import Lighthouse
from splat.strategies.mcmc import Mcmc
from splat.strategies.mrnf import Mrnf
from splat.strategies.significance import Significance
from splat.strategies.taming import Taming

ABSURD: dict[type, tuple[tuple[str, Any], ...]] = {
    Adc: (("cap", -1), ("refine_every", 0), ("reset_every", -5), ("reset_opacity", 0.0),
          ("prune_share", -0.1)),
    BlurSplit: (("share", 0.0), ("refine_every", 0), ("views", -1)),
    ErrorBased: (("cap", 0), ("refine_every", 0), ("error", "l2"), ("grow_share", 2.0),
                 ("opacity_leak", -1)),
    Floaters: (("at", (5, 3)), ("share", 0.0), ("alone", 2.0), ("views", -1)),
    ImprovedGs: (("cap", 0), ("refine_every", 0), ("reset_opacity", 1.0), ("recover_share", 1.0)),
    Lighthouse: (("flat_weight", -1.0), ("agree_weight", math.nan), ("spared", 1.5)),
    Mcmc: (("cap", 0), ("dead", 0.0), ("growth", 0.5), ("refine_every", 0), ("noise_every", 0)),
    Mrnf: (("cap", 0), ("refine_every", 0), ("opacity_leak", 1.0), ("grow_share", 2.0)),
    Rules: (("alone", 0.0), ("alone_unproved", 1.5), ("tolerance", 0.0), ("side", 0)),
    Significance: (("at", ()), ("at", (200, 100)), ("at", (0,)), ("keep", 0.0), ("mass", 1.5),
                   ("decay", 0.0), ("views", -1)),
    Taming: (("cap", 0), ("refine_every", 0), ("reset_opacity", 1.0), ("views", -1)),
}  # fmt: skip


@pytest.mark.parametrize("method", ABSURD)
def test_absurd_numbers_are_refused(method: type) -> None:
    for name, value in ABSURD[method]:
        with pytest.raises(ValueError, match=name):
            method(**{name: value})


def test_so_are_two_that_exclude_each_other() -> None:
    with pytest.raises(ValueError, match="keep"):
        Significance(keep=0.5, mass=0.9)
