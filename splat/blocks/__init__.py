"""Scenes larger than a machine: cut into blocks, each trained by itself, and merged without seams.

A block is an ordinary run in `run/blocks/NAME`: of the views that see it, from the points in it and
a sparse backdrop of those outside. `cells` says what belongs to which block, `division` divides the
ground, `visibility` finds the views, `start` the points, `plan` is what all jobs share, `work` one
job, `merged` and `figures` the merged scene and its metrics, and `train` the whole run.
"""
