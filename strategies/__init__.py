"""Strategies: when Gaussians grow, move and are pruned. One method a file."""
