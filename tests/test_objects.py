"""Procedural things with words: shapes, Gaussians on their surfaces, and the corpus on disk."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from splat.datasets.objects import files, surface
from splat.datasets.objects.shapes import SHAPES, torus
from splat.datasets.objects.words import (
    COLOURS,
    PROPERTIES,
    SIZES,
    VOCABULARY,
    Thing,
    allowed,
    drawn,
    held_out,
)

PLAIN = Thing("sphere", "large", "", "red", "", "", 0.0, (0.0, 0.0, 0.0, 0.0, 0.0))


def test_a_sphere_is_where_it_says_and_its_gaussians_lie_on_it() -> None:
    found = surface.of_thing(PLAIN)
    radius = 0.9 * SIZES["large"]
    assert np.linalg.norm(found.means, axis=1) == pytest.approx(radius, abs=0.002)
    assert found.normals == pytest.approx(found.means / radius, abs=0.01)
    # One layer of cells: about as many as cells that it crosses.
    assert len(found.slots) == pytest.approx(4 * np.pi * (radius / surface.CELL) ** 2, rel=0.15)
    offset = np.abs(found.means - surface.places(found.slots)).max()
    assert 0 < offset <= surface.CELL
    assert (np.diff(found.slots) > 0).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_fits_its_cube_and_is_covered_all_over(shape: str) -> None:
    thing = replace(PLAIN, shape=shape, form="tall", yaw=0.7, jitter=(1.0, 1.0, 0.0, 0.0, 0.0))
    found = surface.of_thing(thing)
    assert np.abs(found.means).max() < 0.5 - surface.CELL / 2
    inside = surface.distance(thing)
    assert np.abs(inside(found.means)).max() < 0.06 * surface.CELL
    # Wherever the surface is crossed along an axis, a Gaussian is within a cell and a half.
    draw = np.random.default_rng(0)
    start = draw.uniform(-0.5, 0.5, (4000, 3))
    end = start + 0.02 * draw.normal(size=start.shape)
    crossed = np.sign(inside(start)) != np.sign(inside(end))
    middle = (start + end)[crossed] / 2
    assert len(middle) > 20
    nearest = np.linalg.norm(middle[:, None] - found.means[None], axis=2).min(1)
    assert nearest.max() < 2 * surface.CELL


@pytest.mark.parametrize("form", ["", "tall", "flat"])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_thing_fills_the_cube_that_is_about_it(shape: str, form: str) -> None:
    thing = replace(PLAIN, shape=shape, form=form, yaw=0.7, jitter=(1.0, -1.0, 0.0, 0.0, 0.0))
    cube = surface.Cube.about(thing)
    found = surface.of_thing(thing, cube)
    out, half = np.linalg.norm(found.means[:, :2], axis=1).max(), surface.FILLED / 2
    low, high = found.means[:, 2].min(), found.means[:, 2].max()
    # Gaussians end at most two cells before an edge or a tip.
    room = 2 * surface.CELL
    assert half - room < max(out, high, -low) < half + 0.1 * surface.CELL
    assert abs(low + high) < room
    # They are where the thing is in the world, at any size as many.
    inside = surface.distance(thing)
    assert np.abs(inside(cube.world(found.means))).max() < 0.06 * surface.CELL * cube.edge
    small = replace(thing, size="small")
    alike = surface.of_thing(small, surface.Cube.about(small))
    assert len(alike.means) == len(found.means)
    assert surface.Cube.about(small).edge < 0.7 * cube.edge


def test_a_torus_has_a_hole_and_a_mug_an_inside() -> None:
    assert torus(np.zeros((1, 3)), 0.65, 0.26)[0] == pytest.approx(0.39)
    mug = surface.distance(replace(PLAIN, shape="mug"))
    size = SIZES["large"]
    # In the cup, in its wall, through the handle, in the handle.
    along = np.array([[0, 0, 0.2], [0.48, 0, 0.2], [0.75, 0, 0], [0.94, 0, 0]])
    assert np.sign(mug(size * along)).tolist() == [1, -1, 1, -1]


def test_patterns_turn_with_the_thing_and_highlights_do_not() -> None:
    striped = surface.of_thing(replace(PLAIN, pattern="striped"))
    red = striped.rgb[:, 0] > 2 * striped.rgb[:, 1]
    assert 0.4 < red.mean() < 0.8
    checkered = replace(PLAIN, shape="cylinder", pattern="checkered")
    assert not np.array_equal(
        surface.of_thing(checkered).rgb, surface.of_thing(replace(checkered, yaw=0.4)).rgb
    )
    dull, glossy = (
        surface.of_thing(replace(PLAIN, colour="black", finish=finish)) for finish in ("", "glossy")
    )
    brightest = glossy.rgb.sum(1).argmax()
    assert glossy.rgb[brightest].min() > 0.6 and dull.rgb.max() < 0.1
    half = surface.LIGHT + surface.EYE / np.linalg.norm(surface.EYE)
    assert glossy.normals[brightest] @ half / np.linalg.norm(half) > 0.98


def test_captions_say_what_things_are() -> None:
    thing = replace(PLAIN, shape="torus", form="flat", finish="glossy", pattern="dotted")
    assert thing.text() == "a large flat glossy dotted red torus"
    assert replace(PLAIN, colour="orange").text(sized=False) == "an orange sphere"
    assert len(set(VOCABULARY)) == len(VOCABULARY) == sum(map(len, PROPERTIES.values())) - 3


def test_held_out_pairs_are_never_learned_and_every_word_is() -> None:
    apart = held_out(0)
    pairs = len(SHAPES) * len(COLOURS)
    assert pairs // 10 <= len(apart) <= pairs // 10 + 1 and held_out(1) != apart
    learned = [drawn(0, i)[0] for i in range(600)]
    assert not apart & {(each.shape, each.colour) for each in learned}
    tested = [drawn(0, i, of_held_out=True)[0] for i in range(60)]
    assert {(each.shape, each.colour) for each in tested} <= apart
    said = " ".join(drawn(0, i)[1] for i in range(600)).split()
    assert set(VOCABULARY) <= set(said)
    sizes = [bool({*drawn(0, i)[1].split()} & {*SIZES}) for i in range(600)]
    assert 0.75 < np.mean(sizes) < 0.85


def test_a_corpus_is_a_function_of_its_seed_and_a_larger_one_begins_alike(tmp_path: Path) -> None:
    for name, count, seed in (("a", 12, 3), ("b", 12, 3), ("more", 20, 3), ("other", 12, 4)):
        files.write(tmp_path / name, count, seed)
    one, twin, more, other = (
        (tmp_path / name / "gaussians.npz").read_bytes() for name in ("a", "b", "more", "other")
    )
    assert one == twin != other != more
    assert (tmp_path / "a/corpus.json").read_bytes() == (tmp_path / "b/corpus.json").read_bytes()
    few, many = files.read(tmp_path / "a"), files.read(tmp_path / "more")
    assert few.texts[:12] == many.texts[:12]
    assert few.splits == ("train",) * 12 + ("test",) * 2
    assert few.numbers("test") == [12, 13]
    for number in range(12):
        for name, values in few.rows(number).items():
            assert np.array_equal(values, many.rows(number)[name]), name
    thing = few.thing(5)
    assert thing == drawn(3, 5)[0]
    assert few.cubes[5] == surface.Cube.about(thing)
    found = surface.of_thing(thing, few.cubes[5])
    rows = few.rows(5)
    assert few.means(5) == pytest.approx(found.means, abs=1e-4)
    assert rows["rgb"] == pytest.approx(found.rgb, abs=0.003)
    whole = np.zeros((len(found.slots), 3, 3))
    for k, (i, j) in enumerate(files.TRIANGLE):
        whole[:, i, j] = whole[:, j, i] = rows["root"][:, k]
    along = np.einsum("nij,nj->ni", whole, found.normals)
    assert along == pytest.approx(surface.THICK * found.normals, abs=2e-3)


def _head(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def changed(path: Path) -> None:
        head = json.loads((path / "corpus.json").read_text())
        change(head)
        (path / "corpus.json").write_text(json.dumps(head))

    return changed


def _arrays(**change: np.ndarray) -> Callable[[Path], None]:
    def changed(path: Path) -> None:
        with np.load(path / "gaussians.npz") as arrays:
            np.savez(path / "gaussians.npz", **{**arrays, **change})

    return changed


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda path: (path / "corpus.json").unlink(), "holds no corpus.json"),
        (_head(lambda head: head.update(format="photos")), "is no corpus of things"),
        (_head(lambda head: head.update(version=9)), "of version 9; expected 1"),
        (_head(lambda head: head["things"].pop()), "no `begin` for 3 things"),
        (_head(lambda head: head["things"][0].pop("text")), "thing 0.*`?text"),
        (_head(lambda head: head["things"][1]["cube"].update(edge=0)), "thing 1.*edge.*0"),
        (lambda path: (path / "gaussians.npz").write_bytes(b"PK"), "gaussians.npz"),
        (_arrays(rgb=np.zeros((2, 3), np.uint8)), "`rgb` of uint8"),
        (_arrays(slot=np.array([object()])), "Python objects"),
    ],
)
def test_a_corpus_that_is_none_is_refused_in_a_sentence(
    tmp_path: Path, change: Callable[[Path], None], said: str
) -> None:
    files.write(tmp_path, 3)
    change(tmp_path)
    with pytest.raises((ValueError, OSError), match=said):
        files.read(tmp_path)


def test_the_command_writes_a_corpus_and_replaces_none_unasked(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "splat.datasets.objects", str(tmp_path / "c"), "--count", "4"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert "4 things to learn from, 1 held out" in done.stdout
    again = subprocess.run(words, capture_output=True, text=True)
    assert again.returncode and "exists; replace it with --overwrite" in again.stderr
    assert "Traceback" not in again.stderr


def test_a_smaller_vocabulary_makes_the_things_that_it_is_enough_for(tmp_path: Path) -> None:
    said = ("red", "blue", "cube", "torus", "large")
    properties = allowed(said)
    assert properties["shape"] == ("cube", "torus") and properties["colour"] == ("red", "blue")
    assert properties["size"] == ("large",) and properties["pattern"] == ("",)
    assert allowed(("red",))["shape"] == PROPERTIES["shape"]
    assert allowed(("tall", "cube"))["form"] == ("", "tall")
    files.write(tmp_path, 12, properties=properties)
    found = files.read(tmp_path)
    told = {word for text in found.texts for word in text.split()} - {"a"}
    assert told <= {*said} and found.properties == properties
    assert len(found.numbers("train")) == 12
    # A pair that is held out is held out still; where none of these is, nothing is.
    apart = held_out(0)
    pairs = {(found.thing(i).shape, found.thing(i).colour) for i in found.numbers("train")}
    assert not pairs & apart
    assert len(found.numbers("test")) == 2 * any({*pair} <= {*said} for pair in apart)
    with pytest.raises(ValueError, match="'crimson': no words for things; expected some of small"):
        allowed(("crimson",))
