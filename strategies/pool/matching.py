"""A place of a grid for each point, near it, and no place for two."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import min_weight_full_bipartite_matching
from scipy.spatial import cKDTree
from torch import Tensor

from splat.strategies.pool.lattice import Lattice


def matched(
    points: Float[Tensor, "n 3"], lattice: Lattice, neighbours: int = 8
) -> Int[Tensor, "n"]:
    """The place of each point: of all matchings to the `neighbours` nearest places of each, and to
    the one that `halved` gives it, one with the least sum of squared distances.

    The latter alone is a matching, so that there always is one, however points crowd.
    """
    if len(points) > len(lattice):
        edge = 1
        while edge**3 < len(points):
            edge += 1
        raise ValueError(
            f"there are {len(points):,} Gaussians, and a grid of {lattice.count} along an edge has"
            f" {len(lattice):,} places; expected no more: give --grid {edge}, or train with"
            f" --cap {len(lattice)}"
        )
    means = points.detach().double().cpu().numpy()
    places = lattice.all_places().numpy()
    sure = halved(means, lattice)
    near = min(neighbours, len(lattice))
    _, nearest = cKDTree(places).query(means, k=near)
    columns = np.concatenate([nearest.reshape(len(means), near), sure[:, None]], axis=1)
    columns.sort(axis=1)
    again = np.zeros(columns.shape, dtype=bool)
    again[:, 1:] = columns[:, 1:] == columns[:, :-1]
    rows = np.broadcast_to(np.arange(len(means))[:, None], columns.shape)[~again]
    columns = columns[~again]
    # A weight of nothing would be no edge at all; what all share changes no minimum.
    weights = 1 + np.square((means[rows] - places[columns]) / lattice.cell).sum(1)
    edges = coo_matrix((weights, (rows, columns)), shape=(len(means), len(places))).tocsr()
    found, chosen = min_weight_full_bipartite_matching(edges)
    whole = np.empty(len(means), dtype=np.int64)
    whole[found] = chosen
    return torch.from_numpy(whole)


def halved(means: Float[ndarray, "n 3"], lattice: Lattice) -> Int[ndarray, "n"]:
    """A place for each point by halves: boxes of places are cut in the middle of their longest
    edge, and points go where they lie, or across where one side has no room."""
    whole = np.full(len(means), -1, dtype=np.int64)
    # Within a cell of the place before it, so that points go to the nearest.
    grid = (means - np.array(lattice.low)) / lattice.cell + 0.5
    count = lattice.count
    tasks = [(np.arange(len(means)), (0, 0, 0), (count, count, count))]
    while tasks:
        index, low, high = tasks.pop()
        if not len(index):
            continue
        edges = [b - a for a, b in zip(low, high, strict=True)]
        if max(edges) == 1:
            (whole[index],) = [(low[0] * count + low[1]) * count + low[2]]
            continue
        axis = edges.index(max(edges))
        middle = low[axis] + edges[axis] // 2
        across = edges[0] * edges[1] * edges[2] // edges[axis]
        room_below, room_above = (middle - low[axis]) * across, (high[axis] - middle) * across
        order = index[np.argsort(grid[index, axis], kind="stable")]
        below = int((grid[index, axis] < middle).sum())
        below = min(max(below, len(index) - room_above), room_below)
        cut_high, cut_low = list(high), list(low)
        cut_high[axis] = cut_low[axis] = middle
        tasks.append((order[:below], low, (cut_high[0], cut_high[1], cut_high[2])))
        tasks.append((order[below:], (cut_low[0], cut_low[1], cut_low[2]), high))
    return whole
