"""Codebooks fitted to the values at hand: 256 levels for numbers, a palette for vectors (k-means).

Numbers are sorted, so that the sum over any run of them is at hand. Runs are split where most is
lost, and their ends moved until each level is the mean of the numbers nearest to it.

A palette of 65,536 entries for a million vectors is found while looking at a small part of all
pairs. Vectors are halved, along a direction in which they vary much, into groups of equal size, and
each gets a share of the entries to start from. In every round of k-means the entries are put into
groups in the same way, and each vector looks at those of the nearest groups. What that costs
follows from the numbers of vectors and entries, whatever the values.
"""

from __future__ import annotations

import heapq
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from numpy.typing import NDArray
from torch import Tensor

from splat.formats.limits import LEVELS
from splat.kernels import threads_alone

_MOVES = 2000
"""Rounds in which the ends of runs are moved, at most."""
_LARGEST = 1e3
"""Values are clamped to [-_LARGEST, _LARGEST]: squares of larger ones would drown all others."""
_EVEN = 1e-3
"""Share of a step by which even levels may be off."""
_GROUP = 256
"""Entries in a group."""
_LOOKED = 4
"""Groups of entries that a vector looks at."""
_ROUNDS = 5
"""Rounds of k-means."""
_CHEAPER = 4
"""Rounds in which labels become cheaper."""
_PART = 1 << 14
"""Vectors that are handled at a time."""
_PAIRS = 1 << 20
"""Distances that are taken at a time."""

_made: dict[tuple[bytes, int, int, int], Int[Tensor, "n"]] = {}
"""The labels made last: a set is written on trial, its constants are fitted, and it is written
again, with the same harmonics each time."""

_Floats = NDArray[np.float32]
_Doubles = NDArray[np.float64]
_Places = NDArray[np.intp]


def levels_of(values: Float[Tensor, "..."]) -> Float[Tensor, "256"]:
    """Ascending levels for values on the CPU to be rounded to with little squared error.

    They are the values themselves where no more than 256 are distinct; the last level is repeated.
    Values beyond 1,000 count as that.
    """
    ordered = np.sort(values.flatten().clamp(-_LARGEST, _LARGEST).numpy())
    sums = _sums(ordered)
    bounds = _split(ordered, sums)
    for _ in range(_MOVES):
        means = _means(ordered, sums, bounds)
        moved = bounds.copy()
        moved[1:-1] = np.searchsorted(ordered, (means[1:] + means[:-1]) / 2)
        if (moved == bounds).all() or not np.diff(moved).all():
            break
        bounds = moved
    levels = _means(ordered, sums, bounds)
    return torch.from_numpy(np.pad(levels, (0, LEVELS - len(levels)), "edge"))


def nearest_level(
    levels: Float[Tensor, "256"], values: Float[Tensor, "..."]
) -> UInt8[Tensor, "..."]:
    """The number of the level that each value is rounded to."""
    low, step = levels[0], levels[1] - levels[0]
    if step > 0:
        # Even levels, of which the last may be repeated, need no search.
        last = ((levels[-1] - low) / step).round().clamp(max=LEVELS - 1)
        even = low + step * torch.arange(LEVELS, device=levels.device).clamp(max=last)
        if ((levels - even).abs() < _EVEN * step).all():
            return ((values - low) / step).round().clamp_min(0).clamp(max=last).to(torch.uint8)
    middles = (levels[1:] + levels[:-1]) / 2
    numbers: Tensor = torch.bucketize(values.contiguous(), middles, out_int32=True)
    return numbers.to(torch.uint8)


def even_levels(values: Float[Tensor, "..."], step: float) -> Float[Tensor, "256"]:
    """Ascending levels for values on the CPU: multiples of a step, the last one repeated.

    For numbers that are coded by how often each occurs even steps are the best ones. The step is
    larger where 256 levels would not reach from the least value to the greatest.
    """
    low, high = (float(bound) for bound in values.clamp(-_LARGEST, _LARGEST).aminmax())
    step = max(step, (high - low) / (LEVELS - 2))
    first, last = round(low / step), round(high / step)
    return (torch.arange(LEVELS, dtype=torch.float64) + first).clamp(max=last).mul(step).float()


@torch.no_grad()
def palette_labels(vectors: Float[Tensor, "n ..."], most: int, seed: int) -> Int[Tensor, "n"]:
    """Numbers, from 0 on without a gap, of vectors on the CPU that are to share an entry.

    There are at most `most` of them; where vectors are not more, each has its own. The same
    for any number of threads, on a given machine.
    """
    n = len(vectors)
    if n <= most:
        return torch.arange(n)
    vectors = vectors.clamp(-_LARGEST, _LARGEST).flatten(1).contiguous()
    key = sha256(vectors.numpy().data).digest(), most, seed, torch.get_num_threads()
    if key not in _made:
        _made.clear()
        _made[key] = _palette(vectors, most, seed)
    return _made[key].clone()


def _palette(vectors: Float[Tensor, "n d"], most: int, seed: int) -> Int[Tensor, "n"]:
    """`palette_labels` of vectors that are more."""
    n = len(vectors)
    draw = torch.Generator().manual_seed(seed)
    labels = torch.zeros(n, dtype=torch.int64)
    with threads_alone(torch.get_num_threads()) as pool:
        chosen = _chosen(vectors, most, draw, pool)
        labels[chosen] = torch.arange(len(chosen))
        entries = vectors[chosen]
        for _ in range(_ROUNDS):
            cells = _halves(entries, most // _GROUP, draw, pool)
            labels = _looked_up(vectors, entries, labels, cells, pool)
            entries = averages(vectors, labels, most)
    dense: Tensor = labels.unique(return_inverse=True)[1]
    return dense


@torch.no_grad()
def shared_labels(vectors: Float[Tensor, "n ..."], most: int) -> Int[Tensor, "n"] | None:
    """Numbers, from 0 on without a gap, of vectors on the CPU that are equal already.

    None where more than `most` of them differ. So a palette that was made once stays as it is.
    """
    vectors = vectors.flatten(1)
    along = torch.arange(1, vectors.shape[1] + 1, dtype=torch.float64).sqrt()
    # Row by row, as sums of a product of matrices differ with the number of rows.
    keys, labels = (vectors.double() * along).sum(1).unique(return_inverse=True)
    if len(keys) > most:
        return None
    first = torch.empty(len(keys), dtype=torch.int64)
    first[labels.flip(0)] = torch.arange(len(labels)).flip(0)
    return labels if torch.equal(vectors[first[labels]], vectors) else None


@torch.no_grad()
def cheap_labels(
    vectors: Float[Tensor, "n ..."],
    labels: Int[Tensor, "n"],
    weights: Float[Tensor, "n"],
    price: float,
) -> Int[Tensor, "n"]:
    """Labels of vectors on the CPU, changed so that they take less room.

    What is made small is the squared distance to the entry times a row's weight, plus `price` times
    the bits of its label: entropy-constrained vector quantisation (Chou, Lookabaugh & Gray 1989).
    Entries that nobody takes are gone. The same for any number of threads, on a given machine.
    """
    vectors = vectors.clamp(-_LARGEST, _LARGEST).flatten(1)
    # A row that no view sees takes the label that costs least.
    of_a_bit = price / (2 * weights.clamp_min(1e-6 * float(weights.mean()) + 1e-30))
    with threads_alone(torch.get_num_threads()) as pool:
        for _ in range(_CHEAPER):
            count = int(labels.max()) + 1
            entries = averages(vectors, labels, count, weights)
            bits = -(labels.bincount() / len(labels)).log2()

            def cheapest(
                rows: Tensor, entries: Tensor = entries, bits: Tensor = bits
            ) -> Int[Tensor, "m"]:
                gaps = _gaps(vectors[rows], entries).addcmul_(of_a_bit[rows, None], bits)
                return torch.from_numpy(gaps.numpy().argmin(1))

            parts = torch.arange(len(vectors)).split(max(1, _PAIRS // count))
            labels = torch.cat(list(pool.map(cheapest, parts)))
            labels = labels.unique(return_inverse=True)[1]
    return labels


def averages(
    vectors: Float[Tensor, "n ..."],
    labels: Int[Tensor, "n"],
    count: int,
    weights: Float[Tensor, "n"] | None = None,
) -> Float[Tensor, "count d"]:
    """The mean of the vectors with each label, whatever their order; 0 where there is none.

    `weights` None: all count alike.
    """
    # In double precision, as sums of a different order would else differ.
    sums = vectors.new_zeros(count, vectors[0].numel(), dtype=torch.float64)
    share = torch.ones_like(labels) if weights is None else weights.clamp_min(1e-30)
    share = share.double()
    for part, numbers, w in zip(
        vectors.split(_PART), labels.split(_PART), share.split(_PART), strict=True
    ):
        sums.index_add_(0, numbers, part.flatten(1).double() * w[:, None])
    whole = share.new_zeros(count).index_add_(0, labels.long(), share)
    return (sums / whole.where(whole > 0, 1.0)[:, None]).float()


def _split(ordered: _Floats, sums: _Doubles) -> _Places:
    """Where runs of numbers begin, and the last one ends, that lose about as much each."""
    squares = _sums(np.square(ordered, dtype=np.float64))

    def run(start: int, end: int) -> tuple[float, int, int]:
        """Negative squared error of a run about its mean, its start and its end."""
        total = sums[end] - sums[start]
        return total**2 / (end - start) - (squares[end] - squares[start]), start, end

    bounds, runs = [0, len(ordered)], [run(0, len(ordered))]
    while runs and len(bounds) <= LEVELS:
        _, start, end = heapq.heappop(runs)
        numbers = ordered[start:end]
        if numbers[0] == numbers[-1]:
            continue
        mean = _means(ordered, sums, np.array([start, end]))[0]
        # Rounded, the mean of neighbouring numbers may be the upper one.
        at = np.searchsorted(numbers, mean, "right" if mean < numbers[-1] else "left")
        middle = start + int(at)
        bounds.append(middle)
        heapq.heappush(runs, run(start, middle))
        heapq.heappush(runs, run(middle, end))
    return np.sort(bounds)


def _sums(ordered: NDArray[np.floating[Any]]) -> _Doubles:
    return np.concatenate([[0.0], np.cumsum(ordered, dtype=np.float64)])


def _means(ordered: _Floats, sums: _Doubles, bounds: _Places) -> _Floats:
    means = (np.diff(sums[bounds]) / np.diff(bounds)).astype(np.float32)
    # Numbers that are all alike are their own mean, to the last digit.
    within: _Floats = means.clip(ordered[bounds[:-1]], ordered[bounds[1:] - 1])
    return within


def _halves(
    vectors: Float[Tensor, "n d"], groups: int, draw: torch.Generator, pool: ThreadPoolExecutor
) -> list[Int[Tensor, "m"]]:
    """Rows in groups of equal size, as many as a power of two; each lies along a direction."""
    parts = [torch.arange(len(vectors))]
    while 2 * len(parts) <= groups:
        starts = torch.randn(len(parts), vectors.shape[1], generator=draw)
        halves = pool.map(lambda rows, start: _halved(vectors, rows, start), parts, starts)
        parts = [half for pair in halves for half in pair]
    return parts


def _halved(
    vectors: Float[Tensor, "n d"], rows: Int[Tensor, "m"], direction: Float[Tensor, "d"]
) -> tuple[Int[Tensor, "a"], Int[Tensor, "b"]]:
    some = vectors[rows[:: len(rows) // _PART + 1]]
    some -= some.mean(0)
    spread = some.T @ some
    # A few steps of the power method come near the direction in which they vary most.
    for _ in range(4):
        direction = torch.nn.functional.normalize(spread @ direction, dim=0)
    along = torch.cat([vectors[part] @ direction for part in rows.split(_PART)])
    rows = rows[along.argsort(stable=True)]
    return rows[: len(rows) // 2], rows[len(rows) // 2 :]


def _chosen(
    vectors: Float[Tensor, "n d"], count: int, draw: torch.Generator, pool: ThreadPoolExecutor
) -> Int[Tensor, "m"]:
    """Rows to start from: those at equal distances in each group, more where they differ more."""
    groups = _halves(vectors, count // _GROUP, draw, pool)
    spreads, distinct = zip(*pool.map(lambda rows: _spread(vectors, rows), groups), strict=True)
    shares = _shares(torch.stack(spreads), torch.tensor([len(rows) for rows in distinct]), count)
    parts = zip(distinct, shares.tolist(), strict=True)
    return torch.cat([rows[torch.arange(share) * len(rows) // share] for rows, share in parts])


def _spread(
    vectors: Float[Tensor, "n d"], rows: Int[Tensor, "m"]
) -> tuple[Float[Tensor, ""], Int[Tensor, "c"]]:
    """Spread of a group of vectors, and its rows without those equal to the one before."""
    there = vectors[rows]
    differs = (there[1:] != there[:-1]).any(1)
    distances = (there - there.mean(0)).square().sum(1)
    # Not their sum, as a few vectors far from all others would else take most of the entries.
    most = distances.kthvalue(1 + 9 * (len(rows) - 1) // 10).values
    return len(rows) * most.double(), torch.cat([rows[:1], rows[1:][differs]])


def _shares(losses: Float[Tensor, "g"], sizes: Int[Tensor, "g"], most: int) -> Int[Tensor, "g"]:
    """Entries of each group: in proportion to what is lost in it, and no more than it has rows."""
    shares = torch.ones_like(sizes)
    while True:
        wanting = losses * (shares < sizes)
        more = (most - shares.sum()) * wanting / wanting.sum().clamp_min(1e-300)
        if more.max() < 1:
            return shares
        shares = torch.minimum(shares + more.long(), sizes)


def _looked_up(
    vectors: Float[Tensor, "n d"],
    entries: Float[Tensor, "m d"],
    labels: Int[Tensor, "n"],
    cells: list[Int[Tensor, "c"]],
    pool: ThreadPoolExecutor,
) -> Int[Tensor, "n"]:
    """The nearest of a vector's own entry and those of the cells with the nearest centres."""
    centres = torch.stack([entries[cell].mean(0) for cell in cells])
    looked = min(_LOOKED, len(cells))
    order = torch.empty(len(vectors), looked, dtype=torch.int64)
    gaps, labels = torch.empty(len(vectors)), labels.clone()

    def rank(rows: Tensor) -> None:
        own = entries[labels[rows]]
        gaps[rows] = (own * (own / 2 - vectors[rows])).sum(1)
        order[rows] = _gaps(vectors[rows], centres).topk(looked, dim=1, largest=False).indices

    def improve(cell: Tensor, rows: Tensor) -> None:
        nearest, gap = _nearest(vectors[rows], entries[cell])
        better = gap < gaps[rows]
        gaps[rows[better]], labels[rows[better]] = gap[better], cell[nearest[better]]

    list(pool.map(rank, torch.arange(len(vectors)).split(_PART)))
    for numbers in order.T:
        counts = numbers.bincount(minlength=len(cells)).tolist()
        list(pool.map(improve, cells, numbers.argsort(stable=True).split(counts)))
    return labels


def _nearest(
    vectors: Float[Tensor, "n d"], entries: Float[Tensor, "m d"]
) -> tuple[Int[Tensor, "n"], Float[Tensor, "n"]]:
    """The nearest entry of each vector, and its gap."""
    nearest, least = [], []
    for part in vectors.split(max(1, _PAIRS // len(entries))):
        gaps = _gaps(part, entries).numpy()
        # NumPy finds the least of a row several times faster than torch.
        numbers = gaps.argmin(1)
        nearest.append(numbers)
        least.append(gaps[np.arange(len(part)), numbers])
    return torch.from_numpy(np.concatenate(nearest)), torch.from_numpy(np.concatenate(least))


def _gaps(vectors: Float[Tensor, "n d"], entries: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
    """Half the squared distances, short of what each vector adds to all of its own."""
    return torch.addmm(entries.square().sum(1) / 2, vectors, entries.T, alpha=-1)
