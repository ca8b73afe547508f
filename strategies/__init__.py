"""Strategies for density control: clone, split, relocation, pruning. One method a file."""
