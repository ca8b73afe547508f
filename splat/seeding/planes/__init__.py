"""A scaffold of flat Gaussians on the planes that photos show (after LighthouseGS, 2025)."""
