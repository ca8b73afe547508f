"""A corpus of things on disk: their words, and the Gaussians of each on places of a grid."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from splat.datasets.objects import surface
from splat.datasets.objects.words import PROPERTIES, Thing, drawn, held_out
from splat.system import foreign
from splat.system.files import replacing, write_json
from splat.system.foreign import Broken, Record

FORMAT = "splat objects"
VERSION = 1
HELD_OUT_SHARE = 10
"""Things to learn from for each that is held out."""
MOST = 64
"""Places along an edge at most: their numbers are kept in 16 bits, or in 32 above 40."""
_COLUMNS: Mapping[str, tuple[str, tuple[int, ...]]] = {
    "offset": ("f2", (3,)), "root": ("f2", (6,)), "rgb": ("u1", (3,)), "opacity": ("u1", ()),
}  # fmt: skip
TRIANGLE = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))
"""Which entries of a symmetric matrix are kept, in order."""


@dataclass(frozen=True)
class Corpus:
    """Things with words, each as Gaussians on places of a grid in a cube about it, whose frame is
    from -0.5 to 0.5."""

    path: Path
    grid: int
    texts: tuple[str, ...]
    """What each is called."""
    splits: tuple[str, ...]
    """`train`, or `test` for those that are held out."""
    things: tuple[Mapping[str, Any], ...]
    """Properties of each, where they are known."""
    properties: Mapping[str, tuple[str, ...]]
    """Words of each property, in the order of texts; none where texts are free."""
    cubes: tuple[surface.Cube, ...]
    """In the frame of which cube the Gaussians of each are."""
    begin: ndarray
    """First Gaussian of each, and the number of all, [n + 1] int64."""
    columns: Mapping[str, ndarray]
    """Of all Gaussians: `slot`; `offset` from the place, in cells; `root`, the root of the
    covariance in cells (`TRIANGLE`); `rgb` and `opacity`, of 255."""

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def cell(self) -> float:
        """Distance of neighbouring places."""
        return 1 / (self.grid - 1)

    def numbers(self, split: str) -> list[int]:
        """Those of a split."""
        return [i for i, each in enumerate(self.splits) if each == split]

    def rows(self, number: int) -> dict[str, ndarray]:
        """The columns of one thing, colours and opacities 0 to 1."""
        part = slice(int(self.begin[number]), int(self.begin[number + 1]))
        rows = {name: values[part] for name, values in self.columns.items()}
        return {
            "slot": rows["slot"].astype(np.int64),
            "offset": rows["offset"].astype(np.float32),
            "root": rows["root"].astype(np.float32),
            "rgb": rows["rgb"].astype(np.float32) / 255,
            "opacity": rows["opacity"].astype(np.float32) / 255,
        }

    def thing(self, number: int) -> Thing:
        """One thing as it was drawn; ValueError where the corpus does not say."""
        with (
            foreign.reading(self.path / "corpus.json", "things of splat.datasets.objects"),
            foreign.part(f"thing {number}"),
        ):
            return _thing_of(self.things[number])

    def means(self, number: int) -> Float[ndarray, "n 3"]:
        """Where the Gaussians of one thing are, in the frame of its cube."""
        rows = self.rows(number)
        return surface.places(rows["slot"], self.grid) + self.cell * rows["offset"]


def write(
    path: Path,
    count: int,
    seed: int = 0,
    watch: Callable[[Sequence[int]], Sequence[int]] = lambda numbers: numbers,
    properties: Mapping[str, tuple[str, ...]] = PROPERTIES,
) -> None:
    """Write `count` things to learn from, and a tenth as many that are held out: those of pairs of
    words that none of the others has. The file that says what it is comes last.

    With fewer words of `properties` they are the first ones that need no others.
    """
    asked = [*_fitting(seed, count, properties, apart=False)]
    if any(set(pair) <= _words(properties) for pair in held_out(seed)):
        asked += _fitting(seed, -(-count // HELD_OUT_SHARE), properties, apart=True)
    begin, parts, things = [0], [], []
    for i in watch(range(len(asked))):
        thing, text, apart = asked[i]
        cube = surface.Cube.about(thing)
        parts.append(_columns(surface.of_thing(thing, cube)))
        begin.append(begin[-1] + len(parts[-1]["slot"]))
        split = "test" if apart else "train"
        things.append({"text": text, "split": split, "cube": asdict(cube), "thing": asdict(thing)})
    arrays = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    head = path / "corpus.json"
    head.unlink(missing_ok=True)
    with replacing(path / "gaussians.npz") as draft:
        np.savez(draft, begin=np.array(begin, np.int64), **arrays)  # type: ignore[arg-type]
    write_json(
        head,
        {
            "format": FORMAT, "version": VERSION, "seed": seed, "grid": surface.GRID,
            "properties": {name: list(words) for name, words in properties.items()},
            "held_out": sorted(map(list, held_out(seed))), "things": things,
        },
    )  # fmt: skip


def _fitting(
    seed: int, count: int, properties: Mapping[str, tuple[str, ...]], *, apart: bool
) -> Iterator[tuple[Thing, str, bool]]:
    """The first things that need no other words, with their texts."""
    number = found = 0
    while found < count:
        thing, text = drawn(seed, number, of_held_out=apart)
        number += 1
        if all(getattr(thing, name) in words for name, words in properties.items()):
            found += 1
            yield thing, text, apart


def _words(properties: Mapping[str, tuple[str, ...]]) -> set[str]:
    return {word for words in properties.values() for word in words}


def _columns(found: surface.Surface) -> dict[str, ndarray]:
    offset = (found.means - surface.places(found.slots)) / surface.CELL
    outer = found.normals[:, :, None] * found.normals[:, None, :]
    root = surface.WIDE * (np.eye(3) - outer) + surface.THICK * outer
    return {
        "slot": found.slots.astype(np.uint16),
        "offset": offset.astype(np.float16),
        "root": np.stack([root[:, i, j] for i, j in TRIANGLE], axis=1).astype(np.float16),
        "rgb": np.rint(255 * found.rgb).astype(np.uint8),
        "opacity": np.full(len(found.slots), round(255 * surface.OPACITY), np.uint8),
    }


def read(path: Path) -> Corpus:
    """A corpus that `write` wrote, or that somebody laid out likewise; ValueError with a sentence
    where there is none."""
    head, data = path / "corpus.json", path / "gaussians.npz"
    if not head.is_file():
        raise FileNotFoundError(
            f"{path} holds no corpus.json; expected a corpus of things with words:"
            f" `python -m splat.datasets.objects {path}` writes one"
        )
    with foreign.reading(head, "a corpus of things: write it with splat.datasets.objects"):
        said = foreign.record(head)
        if said.text("format", "") != FORMAT:
            raise Broken(f"is no corpus of things; expected `format` to be {FORMAT!r}")
        if (version := said.whole("version")) != VERSION:
            raise Broken(f"is of version {version}; expected {VERSION}: write the corpus again")
        grid = said.whole("grid", least=8, most=MOST)
        listed = said.records("things")
        texts, splits, things, cubes = [], [], [], []
        for i, each in enumerate(listed):
            with foreign.part(f"thing {i}"):
                texts.append(each.text("text"))
                splits.append(each.text("split"))
                things.append(dict(each.record("thing", {})))
                cubes.append(_cube_of(each.record("cube", {})))
        given = said.record("properties", {})
        properties = {name: _words_of(given, name) for name in given}
        if "train" not in splits:
            raise Broken("has nothing to learn from; expected things whose `split` is train")
    with foreign.reading(data, "the Gaussians of a corpus: write it again"):
        arrays = _arrays(data)
        begin = arrays.pop("begin")
        _check(begin, arrays, len(texts), grid)
    return Corpus(
        path, grid, tuple(texts), tuple(splits), tuple(things), properties, tuple(cubes),
        begin, arrays,
    )  # fmt: skip


def _cube_of(given: Record) -> surface.Cube:
    """A cube of its record; that of the world where there is none, as in earlier versions."""
    if not given:
        return surface.WORLD
    return surface.Cube(given.triple("centre"), given.number("edge", above=0))


def _words_of(given: Record, name: str) -> tuple[str, ...]:
    words = given.get(name)
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise Broken(f"has {name!r} of `properties` without a list of words")
    return tuple(words)


def _arrays(path: Path) -> dict[str, ndarray]:
    size, found = foreign.file_size(path), {}
    with zipfile.ZipFile(path) as archive:
        for name in ("begin", "slot", *_COLUMNS):
            most = foreign.allowance(size)
            with foreign.member(archive, f"{name}.npy", most) as (file, length):
                found[name] = foreign.array(file, length)
    return found


def _check(begin: ndarray, columns: Mapping[str, ndarray], count: int, grid: int) -> None:
    if begin.dtype != np.int64 or begin.shape != (count + 1,) or begin[0] != 0:
        raise Broken(f"has no `begin` for {count:,} things; expected their first Gaussians")
    if (np.diff(begin) < 1).any():
        raise Broken("has things without a Gaussian; expected one each at least")
    n = int(begin[-1])
    slot = columns["slot"]
    if slot.dtype not in (np.uint16, np.uint32) or slot.shape != (n,) or slot.max() >= grid**3:
        raise Broken(f"has no `slot` below {grid**3:,} for each of {n:,} Gaussians")
    for name, (kind, shape) in _COLUMNS.items():
        values = columns[name]
        if values.dtype != np.dtype(kind) or values.shape != (n, *shape):
            raise Broken(
                f"has `{name}` of {values.dtype} {values.shape}; expected {kind} {(n, *shape)}"
            )
        if not np.isfinite(values).all():
            raise Broken(f"has numbers in `{name}` that are not finite; expected finite ones")


def _thing_of(record: Mapping[str, Any]) -> Thing:
    """A thing of its record in a corpus."""
    given = Record(record)
    jitter = given.numbers("jitter", 5).tolist()
    a, b, c, d, e = jitter
    words = {name: given.text(name, "") if given.get(name) != "" else "" for name in PROPERTIES}
    for name, word in words.items():
        if word not in PROPERTIES[name]:
            raise Broken(f"has {name} {word!r}; expected one of {', '.join(PROPERTIES[name])}")
    return Thing(yaw=given.number("yaw"), jitter=(a, b, c, d, e), **words)
