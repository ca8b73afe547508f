"""Scenes larger than a machine: cut into blocks, each trained by itself, and merged without seams.

A block is an ordinary run in `run/blocks/NAME`: of the views that see it, from the points in it and
a thin backdrop of those outside. `cells` says what belongs to which block, `division` cuts,
`sight` finds the views, `start` the points, `plan` is what all of them are told, `work` one job,
`merge` and `figures` what is made of all of them, and `train` the whole of it.
"""
