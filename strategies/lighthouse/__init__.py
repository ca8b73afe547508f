"""Indoor sweeps of photos (after LighthouseGS, 2025): a scaffold of planes to start from, and a
part that keeps surfaces flat and spares large opaque Gaussians."""

from splat.strategies.lighthouse.assemble import Scaffold, assembled
from splat.strategies.lighthouse.lighthouse import Lighthouse

__all__ = ["Lighthouse", "Scaffold", "assembled"]
