"""A signed distance learned beside Gaussians (GS-ROR²): mutual supervision, pruning, refinement."""

from splat.strategies.sdf.coupling import Coupling, Weights
from splat.strategies.sdf.field import Field
from splat.strategies.sdf.sdf import Sdf
from splat.strategies.sdf.surface import Learned

__all__ = ["Coupling", "Field", "Learned", "Sdf", "Weights"]
