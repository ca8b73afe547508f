"""Indoor sweeps of photos (after LighthouseGS, 2025): a part that keeps surfaces flat and spares
large opaque Gaussians. The scaffold of planes to start from is `splat.seeding.planes`."""

from splat.strategies.lighthouse.lighthouse import Lighthouse

__all__ = ["Lighthouse"]
