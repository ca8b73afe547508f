"""Which pairs of photos to compare: all, neighbours in time, or those that look alike.

Photos are known by their place in the order of their names. What they look like is told by their
own features (VLAD: residuals against few centres, found among the features themselves), so that no
vocabulary trained on other photos is needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

Pair = tuple[int, int]
Floats = npt.NDArray[np.float32]

MOST_EXHAUSTIVE = 60
"""Most photos of which all pairs are compared: these are 1,770, at about 0.4 s of a core each."""
MEANING = {
    "exhaustive": "every photo is compared with every other",
    "sequential": "every photo is compared with its neighbours in time",
    "similar": "every photo is compared with those that look most like it",
}
"""What each matching is, in words."""
CENTRES = 64
_SAMPLE, _ROUNDS = 20_000, 10
_EARTH = 6_371_000.0


def matching_for(matching: str, count: int, video: bool) -> str:
    """The matching that `auto` stands for, of so many photos; other names stand for themselves."""
    if matching != "auto":
        return matching
    if video:
        return "sequential"
    return "exhaustive" if count <= MOST_EXHAUSTIVE else "similar"


def exhaustive(count: int) -> list[Pair]:
    """All pairs of photos."""
    return [(a, b) for a in range(count) for b in range(a + 1, count)]


def sequential(count: int, overlap: int) -> list[Pair]:
    """Each photo with the next `overlap`, and with those at greater distances, powers of two."""
    steps = {*range(1, overlap + 1), *(1 << i for i in range(overlap) if 1 << i < count)}
    return [(a, a + step) for a in range(count) for step in sorted(steps) if a + step < count]


def nearest(looks: Floats, most: int, apart: int = 0) -> list[Pair]:
    """Each photo with the `most` that look most alike and are over `apart` away in the order."""
    count = len(looks)
    score = looks @ looks.T
    order = np.arange(count)
    score[np.abs(order[:, None] - order[None]) <= apart] = -np.inf
    best = np.argsort(-score, axis=1, kind="stable")[:, :most]
    pairs = {
        (min(a, int(b)), max(a, int(b)))
        for a in range(count)
        for b in best[a]
        if np.isfinite(score[a, b])
    }
    return sorted(pairs)


def nearby(places: Sequence[tuple[float, float] | None], most: int) -> list[Pair]:
    """Each photo with the `most` whose GPS positions (latitude, longitude) are nearest."""
    with_gps = [i for i, place in enumerate(places) if place is not None]
    where = [place for place in places if place is not None]
    if len(with_gps) < 2:
        return []
    angles = np.radians(np.array(where))
    metres = angles * _EARTH
    metres[:, 1] *= np.cos(angles[:, 0].mean())
    pairs = set()
    for row, a in enumerate(with_gps):
        away = np.linalg.norm(metres - metres[row], axis=1)
        away[row] = np.inf
        for other in np.argsort(away, kind="stable")[: min(most, len(with_gps) - 1)]:
            pairs.add((min(a, with_gps[other]), max(a, with_gps[other])))
    return sorted(pairs)


def blocks(pairs: Sequence[Pair], size: int) -> Iterator[list[Pair]]:
    """The pairs in portions that involve few photos each."""
    ordered = sorted(set(pairs), key=lambda pair: (pair[0] // size, pair[1] // size, pair))
    for start in range(0, len(ordered), size * 2):
        yield ordered[start : start + size * 2]


def looks(descriptors: Sequence[npt.NDArray[np.uint8]], seed: int) -> Floats:
    """VLAD descriptors: a row of unit length for each photo, from its SIFT descriptors [k, 128]."""
    draw = np.random.default_rng(seed)
    share = max(1, _SAMPLE // max(1, len(descriptors)))
    some = [_rooted(rows[draw.permutation(len(rows))[:share]]) for rows in descriptors]
    centres = _centres(np.concatenate(some), draw)
    rows_of_looks = np.zeros((len(descriptors), centres.size), np.float32)
    for i, rows in enumerate(descriptors):
        if len(rows):
            rows_of_looks[i] = _residuals(_rooted(rows), centres)
    return rows_of_looks


def _rooted(rows: npt.NDArray[np.uint8]) -> Floats:
    values = rows.astype(np.float32)
    values /= np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-6)
    return values


def _centres(rows: Floats, draw: np.random.Generator) -> Floats:
    """k-means centres (Lloyd) from rows drawn at random; a centre without rows stays."""
    centres: Floats = rows[draw.permutation(len(rows))[:CENTRES]].copy()
    for _ in range(_ROUNDS):
        nearest_one = _assigned(rows, centres)
        sums = np.zeros_like(centres)
        np.add.at(sums, nearest_one, rows)
        counts = np.bincount(nearest_one, minlength=len(centres))
        held = counts > 0
        centres[held] = sums[held] / counts[held, None]
    return centres


def _assigned(rows: Floats, centres: Floats) -> npt.NDArray[np.int64]:
    return np.asarray(np.argmin((centres**2).sum(1) - 2 * rows @ centres.T, axis=1), np.int64)


def _residuals(rows: Floats, centres: Floats) -> Floats:
    sums = np.zeros_like(centres)
    index = _assigned(rows, centres)
    np.add.at(sums, index, rows - centres[index])
    sums /= np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-6)
    flat: Floats = sums.reshape(-1)
    flat /= max(float(np.linalg.norm(flat)), 1e-6)
    return flat
