"""Audio-guided points (AV-GS, Bhosale et al. 2024): what a trained scene sounds like."""

from splat.strategies.acoustic.density import AudioGuided
from splat.strategies.acoustic.hearing import Hearing

__all__ = ["AudioGuided", "Hearing"]
