"""Scenes from words: a generator that is trained on things with words, and what it is made of.

Two stages, after GVGEN (He et al., ECCV 2024): a field, the distance to the nearest Gaussian, is
drawn for a text by a network in three dimensions; a second network gives places near the surface
that it shows their Gaussians.
"""
