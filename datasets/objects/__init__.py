"""Procedural things with words: shapes, colours and patterns as Gaussians without any photo, for
generators to learn from."""
