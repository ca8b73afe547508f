"""A run from what was asked for to what is left of it."""
