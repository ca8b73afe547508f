"""Audio-guided points (AV-GS, Bhosale et al. 2024): what a trained scene sounds like."""
