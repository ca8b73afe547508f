"""A settled forest as sections of a file, in few bits, and back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splat.formats.range_coding import (
    BROADEST,
    MEANS,
    MOST,
    NARROWEST,
    PARTS,
    NumbersIn,
    NumbersOut,
    check_decoded,
    checksum,
    numbers_packed,
    numbers_unpacked,
    scales_of,
)
from splat.formats.weights import Doubles, doubles, fill, floats, network
from splat.strategies.forest.context import CHAIN, OWN, Context, Steps
from splat.strategies.forest.networks import Networks
from splat.strategies.forest.settled import BITS, LARGEST, Settled
from splat.system.foreign import Broken, Record, filled

KINDS = ("root", "mid", "size", "own", "first places", "places")
"""Sections of numbers that the context expects."""

Ints = NDArray[np.int64]
Said = dict[str, Any]
Turn = Callable[[str, Ints, Ints, Ints | None], Ints]
"""From a kind, means, deviations, and in coding the values, to the values."""


def packed(found: Settled) -> tuple[Said, dict[str, bytes]]:
    """What a header is to say of a forest, and the sections that hold it."""
    counts = {
        "mids of roots": found.mids_of, "leaves of mids": found.leaves_of,
    }  # fmt: skip
    said: Said = {
        "roots": len(found.mids_of),
        "mids": len(found.leaves_of),
        "leaves": len(found.place),
        "steps": asdict(found.steps),
        "box": found.box.tolist(),
        "finest": found.finest,
    }
    sections: dict[str, bytes] = {}
    for name, values in counts.items():
        said[name], sections[name] = _counts_packed(values)
    said["middles"], sections["middles"] = _middles_packed(found.middles)
    for name, module in (("networks", found.networks), ("context", found.context)):
        sections[name] = floats(module.parameters(), "<f2")
    given = {
        "root": found.root, "mid": found.mid[:, :-1], "size": found.mid[:, -1:],
        "own": found.own, "first places": found.place[found.first],
        "places": np.delete(found.place, found.first, 0),
    }  # fmt: skip
    ranges = {name: (int(v.min()), int(v.max())) if v.size else (0, 0) for name, v in given.items()}
    out = {name: NumbersOut(*ranges[name]) for name in KINDS}

    def turn(kind: str, means: Ints, wide: Ints, values: Ints | None) -> Ints:
        assert values is not None
        out[kind].add(values.ravel(), wide.ravel(), means.ravel())
        return values

    _walked(_Told.of(found.context), found, turn)
    sections |= {name: coder.bytes() for name, coder in out.items()}
    said["ranges"] = [list(ranges[name]) for name in KINDS]
    said["numbers"] = checksum(found.root, found.mid, found.own, found.place)
    return said, sections


def unpacked(
    said: Record, sections: Mapping[str, bytes], context: Context, networks: Networks
) -> Settled:
    """A forest of a header and its sections; `context` and `networks` take their weights.

    Raises where they do not fit together.
    """
    r, m, n = (said.whole(key, least=1) for key in ("roots", "mids", "leaves"))
    mids_of = _counts_unpacked(said.record("mids of roots"), sections["mids of roots"], r)
    leaves_of = _counts_unpacked(said.record("leaves of mids"), sections["leaves of mids"], m)
    if int(mids_of.sum()) != m or int(leaves_of.sum()) != n:
        raise Broken("has other numbers of mids or leaves than its nodes say")
    box = np.array(said["box"], "<f4")
    if box.shape != (2, 3) or not np.isfinite(box).all():
        raise Broken("has a `box` that is no two corners")
    fill(networks.parameters(), sections["networks"], "<f2")
    fill(context.parameters(), sections["context"], "<f2")
    ranges = said["ranges"]
    numbers = {}
    for name, (low, high) in zip(KINDS, ranges, strict=True):
        if not (type(low) is type(high) is int and -MOST <= low <= high <= MOST):
            raise Broken("has ranges of numbers that are none")
        numbers[name] = NumbersIn(sections[name], low, high)

    def turn(kind: str, means: Ints, wide: Ints, values: Ints | None) -> Ints:
        return numbers[kind].take(wide.ravel(), means.ravel()).reshape(means.shape)

    empty = Settled(
        steps=filled(Steps, said.record("steps")),
        box=box,
        finest=said.whole("finest", least=-(1 << 16), most=1 << 16),
        mids_of=mids_of,
        leaves_of=leaves_of,
        middles=_middles_unpacked(said.record("middles"), sections["middles"], r),
        root=np.zeros((r, context.root), np.int64),
        mid=np.zeros((m, context.mid + 4), np.int64),
        place=np.zeros((n, 3), np.int64),
        own=np.zeros((n, OWN), np.int64),
        networks=networks,
        context=context,
    )
    found = _walked(_Told.of(context), empty, turn)
    check_decoded(checksum(found.root, found.mid, found.own, found.place), said["numbers"])
    return found


@dataclass(frozen=True)
class _Told:
    """Weights of a context, in float64."""

    root_said: Doubles
    mid_share: Doubles
    mid_in: Doubles
    mid_out: Doubles
    leaf_in: Doubles
    leaf_out: Doubles

    @staticmethod
    def of(context: Context) -> _Told:
        return _Told(*(doubles(getattr(context, name)) for name in _Told.__dataclass_fields__))


def _walked(told: _Told, found: Settled, turn: Turn) -> Settled:
    """All numbers in turn: roots, the mids of all roots one after the other, leaves.

    What is expected is summed up in float64 one by one, in a fixed order: the same everywhere.
    """
    root, mid, own = (values.copy() for values in (found.root, found.mid, found.own))
    place = found.place.copy()
    root_of, mid_of, first = found.root_of, found.mid_of, found.first
    share, mean, wide = told.root_said
    for rows, past, _ in _chained(np.arange(len(root)), root):
        expected = _mean(share * past + mean), scales_of(np.repeat(wide[None], len(rows), 0))
        root[rows] = turn("root", *expected, root[rows])
    start = np.cumsum(found.mids_of) - found.mids_of
    reach = np.zeros(len(mid))
    for rows, past, begins in _chained(np.arange(len(mid)) - start[root_of], mid):
        flag = np.full((len(rows), 1), float(begins))
        reads = np.concatenate([root[root_of[rows]], past, flag], 1).astype(np.float64)
        said = network(reads, told.mid_in, told.mid_out)
        mean, wide = np.split(said[:, :-1], 2, 1)
        mean = told.mid_share * past + mean
        reach[rows] = said[:, -1]
        for kind, part in (("mid", slice(0, -1)), ("size", slice(-1, None))):
            expected = _mean(mean[:, part]), scales_of(wide[:, part])
            mid[rows, part] = turn(kind, *expected, mid[rows, part])
    counts = np.log2(found.leaves_of.astype(np.float64))[:, None]
    reads = np.concatenate([root[root_of], mid, counts], 1).astype(np.float64)
    said = network(reads, told.leaf_in, told.leaf_out)
    mean, wide = said[:, :OWN], said[:, OWN : 2 * OWN]
    own = turn("own", _mean(mean[mid_of]), scales_of(wide[mid_of]), own)
    # Deviations of first places are told in units of the scene's, of the others in steps.
    apart = reach - np.maximum(mid[:, -1], found.finest) / PARTS
    far = scales_of(np.repeat(apart[:, None], 3, 1))
    place[first] = turn("first places", np.zeros_like(far), far, place[first])
    later = np.ones(len(place), bool)
    later[first] = False
    near = scales_of(np.repeat(said[:, -1:], 3, 1)[mid_of[later]])
    place[later] = turn("places", np.zeros_like(near), near, place[later])
    return Settled(
        found.steps, found.box, found.finest, found.mids_of, found.leaves_of, found.middles,
        root, mid, place, own, found.networks, found.context,
    )  # fmt: skip


def _chained(place: Ints, values: Ints) -> Iterator[tuple[Ints, Ints, bool]]:
    """The rows of each turn, by which of a chain they are, what is known of the ones before them
    (of the first of a chain 0), and whether they are first."""
    turns = place % CHAIN
    for number in range(int(turns.max()) + 1):
        rows = (turns == number).nonzero()[0]
        past = values[rows - 1] if number else np.zeros((len(rows), values.shape[1]), np.int64)
        yield rows, past, number == 0


def _mean(values: Doubles) -> Ints:
    far = MEANS * LARGEST
    return np.rint(np.nan_to_num(MEANS * values)).clip(-far, far).astype(np.int64)


def _counts_packed(values: Ints) -> tuple[Said, bytes]:
    """Numbers from 1 on, by what their mean and deviation are."""
    mean = int(np.rint(MEANS * values.mean()))
    wide = int(scales_of(np.log2(np.maximum(values.std(), 0.05))))
    low, high = int(values.min()), int(values.max())
    data = numbers_packed(values, np.full(len(values), wide), low, high, np.full(len(values), mean))
    return {"mean": mean, "wide": wide, "low": low, "high": high}, data


def _counts_unpacked(said: Record, data: bytes, n: int) -> Ints:
    mean = said.whole("mean", most=MEANS * MOST)
    wide = said.whole("wide", least=NARROWEST, most=BROADEST)
    low, high = said.whole("low", least=1, most=MOST), said.whole("high", least=1, most=MOST)
    if low > high:
        raise Broken("has counts of nodes from more to less")
    return numbers_unpacked(data, np.full(n, wide), low, high, np.full(n, mean))


def _middles_packed(places: Ints) -> tuple[Said, bytes]:
    """Places as differences from the one before, which lies near along the curve."""
    away = np.diff(places, axis=0, prepend=0)
    wide = int(scales_of(np.log2(np.maximum(away.std(), 0.05))))
    low, high = int(away.min()), int(away.max())
    return {"wide": wide, "low": low, "high": high}, numbers_packed(
        away.ravel(), np.full(away.size, wide), low, high
    )


def _middles_unpacked(said: Record, data: bytes, n: int) -> Ints:
    far = 1 << BITS
    wide = said.whole("wide", least=NARROWEST, most=BROADEST)
    low, high = (said.whole(key, least=-far, most=far) for key in ("low", "high"))
    if low > high:
        raise Broken("has middles of roots from more to less")
    away = numbers_unpacked(data, np.full(3 * n, wide), low, high).reshape(n, 3)
    places = away.cumsum(0)
    if places.min() < 0 or places.max() >= far:
        raise Broken("has middles of roots outside of its box")
    return places
