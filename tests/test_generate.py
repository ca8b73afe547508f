"""Generators: words, fields, flows, networks; a training that is resumed; what is refused."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lessons import assert_breaks_change_nothing, assert_learns, assert_refuses, cut, resumed
from torch import Tensor

from splat import cli, formats
from splat.datasets.objects import files
from splat.datasets.objects.words import PROPERTIES
from splat.dream.pictures import gaussians_in
from splat.generate import attributes, sizes, store, surface
from splat.generate.choices import Taught
from splat.generate.field import REACH, about, distances, field_of, points, sampled
from splat.generate.flow import Diffusion, Process, RectifiedFlow, guided
from splat.generate.learning import Learning, Lessons, _truth
from splat.generate.store import Design, Trained
from splat.generate.unet import Shape, UNet
from splat.generate.words import MOST, Vocabulary, vocabulary_of
from splat.math import rotation_matrices
from splat.types import Gaussians

WORDS = vocabulary_of([], PROPERTIES)
SMALL = Design(Shape(8, 8, (1, 2), 1, 4, 8), Shape(8, 8, (1, 2), 1, 4, 8), samples=3)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten things to learn from."""
    folder = tmp_path_factory.mktemp("things")
    files.write(folder, 10)
    return folder


def learning_of(corpus: Path, threads: int = 1, **design: Any) -> Learning:
    lessons = Lessons.of(files.read(corpus), WORDS, SMALL, "train")
    taught = Taught(steps=6, surface_steps=3, attribute_steps=4, size_steps=2, batch=5, rate=1e-3)
    return Learning(lessons, replace(SMALL, **design), WORDS, taught, threads)


def test_the_field_of_one_gaussian_in_the_middle() -> None:
    # 8 points an edge, 1/7 apart: those in the middle are half a cell off along each axis.
    field = field_of(np.zeros((1, 3)), 8)
    near = math.sqrt(3) / 14
    assert float(distances(field)[3, 4, 3]) == pytest.approx(near)
    assert float(field[3, 4, 3]) == pytest.approx(near / (REACH / 2) - 1)
    assert float(field[0, 0, 0]) == 1 and float(distances(field)[0, 0, 0]) == pytest.approx(REACH)
    assert int((field < 1).sum()) == 8


def test_volumes_are_sampled_where_their_voxels_are() -> None:
    volume = torch.arange(4.0**3).reshape(1, 1, 4, 4, 4)
    places = torch.tensor([[[-0.5, -0.5, -0.5], [0.5, -0.5, -0.5], [-0.5, -0.5, 0.5 / 3 - 1 / 3]]])
    assert sampled(volume, places)[0, :, 0].tolist() == pytest.approx([0.0, 48.0, 1.0], abs=1e-4)


def _of_normal(process: Process, mean: float, spread: float) -> Any:
    """What an exact network says of data that is normal."""

    def say(x: Tensor, times: Tensor) -> Tensor:
        t = times[:, None]
        if isinstance(process, Diffusion):
            a = process.signal(times)[:, None]
            gain = a.sqrt() * spread**2 / (a * spread**2 + 1 - a)
            return mean + gain * (x - a.sqrt() * mean)
        off = (x - (1 - t) * mean) / ((1 - t) ** 2 * spread**2 + t**2)
        return t * off - (mean + (1 - t) * spread**2 * off)

    return say


@pytest.mark.parametrize("process", [RectifiedFlow(), Diffusion()])
def test_an_exact_denoiser_draws_what_the_data_is(process: Process) -> None:
    noise = torch.randn(4000, 1, generator=torch.Generator().manual_seed(0))
    found = process.drawn(noise, _of_normal(process, 0.3, 0.1), 1000)
    assert float(found.mean()) == pytest.approx(0.3, abs=0.01)
    assert float(found.std()) == pytest.approx(0.1, rel=0.06)


@pytest.mark.parametrize("process", [RectifiedFlow(), Diffusion()])
def test_noise_begins_and_ends_where_times_do(process: Process) -> None:
    clean, noise = torch.full((2, 3), 0.5), torch.full((2, 3), -1.0)
    ends = process.noisy(clean, noise, torch.tensor([0.0, 1.0]))
    assert ends[0].tolist() == pytest.approx([0.5] * 3, abs=0.02)
    assert ends[1].tolist() == pytest.approx([-1.0] * 3, abs=0.01)
    times = process.times(5000, torch.Generator().manual_seed(0))
    assert 0 <= float(times.min()) < 0.1 and 0.9 < float(times.max()) <= 1
    assert float(times.mean()) == pytest.approx(0.5, abs=0.02)


def test_guidance_goes_beyond_what_is_said_without_a_text() -> None:
    both = guided(lambda x, t: x + 1, lambda x, t: x, 3.0)
    assert both(torch.zeros(2), torch.zeros(2)).tolist() == [3, 3]
    alone = guided(lambda x, t: x + 1, lambda x, t: 1 / torch.zeros(0), 1.0)
    assert alone(torch.zeros(1), torch.zeros(1)).tolist() == [1]


def test_words_are_read_in_any_order_and_case() -> None:
    one = WORDS.read("a large glossy red torus")
    assert one == WORDS.read("Torus, RED; glossy and large".replace("and ", ""))
    assert one == ("large", "glossy", "red", "torus")
    numbers = WORDS.numbers([one, ("cube",)])
    assert numbers.shape == (2, MOST) and numbers[1].count_nonzero() == 1
    assert WORDS.words[int(numbers[0, 3]) - 1] == "torus"
    free = vocabulary_of(["a tin can", "the old can"], {})
    assert free.words == ("can", "old", "tin") and free.read("an old tin") == ("old", "tin")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no words; expected some, such as"),
        ("the a", "has no words"),
        ("a red tors", "'tors': no words .* for 'tors' perhaps torus"),
        ("a crimson doughnut", "'crimson', 'doughnut'.* colour: red, orange"),
        ("a red blue cube", "'red' and 'blue' are both a colour"),
        ("a large red", "names no shape; expected one of sphere, cube"),
    ],
)
def test_texts_of_other_words_are_refused_in_a_sentence(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        WORDS.read(text)


def test_a_network_reads_words_and_times_and_not_what_is_beside() -> None:
    torch.manual_seed(0)
    net = UNet(1, 2, 9, Shape(8, 8, (1, 2), 2, 4, 8), timed=True)
    for values in net.requires_grad_(False).parameters():
        torch.nn.init.normal_(values, std=0.2)
    x, t = torch.randn(3, 1, 8, 8, 8), torch.tensor([0.1, 0.5, 0.9])
    words = torch.zeros(3, MOST, dtype=torch.int64)
    words[0, :2], words[1, :2] = torch.tensor([3, 4]), torch.tensor([4, 3])
    whole = net(x, words, t)
    assert whole.shape == (3, 2, 8, 8, 8)
    for i in range(3):
        alone = net(x[i : i + 1], words[i : i + 1], t[i : i + 1])
        assert torch.allclose(alone[0], whole[i], atol=1e-4)
    other = words.clone()
    other[0, 1] = 5
    changed = net(x, other, t) - whole
    assert float(changed[0].abs().max()) > 1e-3 and float(changed[1:].abs().max()) < 1e-4
    assert float((net(x, words, t.flip(0)) - whole)[0].abs().max()) > 1e-3


def test_numbers_of_a_corpus_become_its_gaussians(corpus: Path) -> None:
    found = files.read(corpus)
    rows = {name: torch.from_numpy(values) for name, values in found.rows(3).items()}
    places = torch.from_numpy(files.surface.places(rows["slot"].numpy()))
    gaussians = attributes.gaussians_of(
        rows["offset"], rows["root"], rows["rgb"], rows["opacity"], places, found.cell
    )
    assert gaussians.means.numpy() == pytest.approx(found.means(3), abs=1e-6)
    # In the world they lie on the thing, where it is and as large as it is: a mug about its cup.
    cube, placed = found.cubes[10], gaussians_in(found, 10)
    off = files.surface.distance(found.thing(10))(placed.means.double().numpy())
    assert abs(off).max() < 0.1 * cube.edge * found.cell and cube.edge < 0.8
    assert math.hypot(*cube.centre[:2]) > 0.1
    assert torch.allclose(gaussians_in(found, 3).scales, found.cubes[3].edge * gaussians.scales)
    turns = rotation_matrices(gaussians.quats)
    roots = turns @ (gaussians.scales[:, :, None] / found.cell * turns.transpose(1, 2))
    assert torch.allclose(roots, attributes.matrices(rows["root"]), atol=1e-3)
    assert float(torch.linalg.det(turns).min()) == pytest.approx(1, abs=1e-4)
    assert torch.allclose(0.5 + 0.28209479 * gaussians.colors[:, 0], rows["rgb"], atol=1e-5)
    # Every Gaussian stands in a place that is asked: those near the surface of its field.
    asked = surface.near(field_of(found.means(3), 16)[None], found.grid)[0]
    assert float(asked[rows["slot"]].float().mean()) > 0.98
    assert int(asked.sum()) < 6 * len(rows["slot"])


def test_as_many_gaussians_are_drawn_as_are_expected_at_the_likeliest_places(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(attributes, "UNSURE", 1.0)  # no gap is filled
    looks, grid = Trained(SMALL, WORDS).attributes, SMALL.grid
    field = field_of(0.1 * np.random.default_rng(0).normal(size=(30, 3)), 32)
    asked = surface.near(field[None], grid)[0]

    class Unsure(surface.Surface):
        def forward(self, fields: Tensor, places: Tensor) -> Tensor:
            said = torch.zeros(1, places.shape[1], surface.NUMBERS)
            said[0, :, 0] = -1.0986123 - 0.001 * places[0].norm(dim=1)  # a quarter each, or less
            return said

    found = attributes.drawn(Unsure(), looks, field, WORDS.numbers([("cube",)]), grid)
    assert len(found) == round(int(asked.sum()) / 4) > 20
    places = torch.from_numpy(points(grid))[asked].norm(dim=1)
    assert float(found.means.norm(dim=1).max()) <= float(places.sort().values[len(found)])


def test_gaps_are_filled_by_likely_places_that_are_far_from_all_others() -> None:
    have = np.array([[0.0, 0, 0], [1, 0, 0]])
    more = np.array([[0.5, 0.6, 0], [2, 0, 0], [2.5, 0, 0], [0, 0, 1.5], [0.9, 0, 0]])
    # The first is near both that are there, the third near the second, the last beside one.
    assert attributes._filling(have, more, 0.9).tolist() == [1, 3]
    assert attributes._filling(have[:0], more[:2], 0.9).tolist() == [0, 1]
    assert attributes._filling(have, more[:0], 0.9).tolist() == []


def test_a_place_without_a_gaussian_is_told_of_the_nearest_one(corpus: Path) -> None:
    things = files.read(corpus)
    lessons = Lessons.of(things, WORDS, SMALL, "train")
    picked, told = _truth(lessons, 2, torch.Generator().manual_seed(0))
    rows, means = things.rows(lessons.things[2]), things.means(lessons.things[2])
    places = files.surface.places(picked, things.grid)
    there = np.isin(picked, rows["slot"])
    assert told[:, 0].tolist() == there.tolist() and 0 < there.sum() < len(there)
    away = np.linalg.norm(means[:, None] - places, axis=2)
    nearest = away.argmin(0)
    offset = (means[nearest] - places) * (things.grid - 1)
    free = ~there & (abs(offset).max(1) < attributes.FARTHEST)
    assert told[free, 1:4].numpy() == pytest.approx(offset[free], abs=1e-4)
    assert told[~there, 4:].numpy() == pytest.approx(rows["root"][nearest[~there]])
    own = [int(np.flatnonzero(rows["slot"] == slot)[0]) for slot in picked[there]]
    assert told[there, 1:4].numpy() == pytest.approx(rows["offset"][own], abs=1e-4)


def test_sizes_are_shares_of_those_that_they_are_between() -> None:
    span = sizes.STEPS - 1
    least, most = 0.5, 2.0
    edges = torch.tensor([0.5, 2.0, 0.5 * 4 ** (10.25 / span)])
    found = sizes.between(edges, least, most)
    assert found[0, 0] == 1 and found[1, -1] == pytest.approx(1, abs=1e-4)
    assert found[2, 10:12].tolist() == pytest.approx([0.75, 0.25], abs=1e-3)
    assert found.sum(1).tolist() == pytest.approx([1, 1, 1])
    # Where all are as large, there is one size.
    assert sizes.between(torch.tensor([0.7]), 0.7, 0.7)[0, 0] == 1
    assert sizes.drawn(torch.randn(sizes.STEPS), 0.7, 0.7, torch.Generator()) == 0.7
    # As likely as is said, squared: nine of ten times the first.
    said = torch.full((sizes.STEPS,), -torch.inf)
    said[0], said[span] = math.log(3), 0.0
    chance = torch.Generator().manual_seed(0)
    often = [round(sizes.drawn(said, least, most, chance), 9) for _ in range(400)]
    assert {*often} == {0.5, 2.0} and 0.86 < often.count(0.5) / 400 < 0.94


def test_a_thing_is_as_large_as_the_sizes_of_its_text(corpus: Path) -> None:
    trained = Trained(replace(SMALL, edges=(0.5, 2.0)), WORDS)
    numbers = WORDS.numbers([("cube",)])
    draw = {trained.edge(numbers, seed) for seed in range(8)}
    assert len(draw) > 1 and trained.edge(numbers, 3) == trained.edge(numbers, 3)
    field = field_of(files.read(corpus).means(0), SMALL.geometry.grid)

    def made(edge: float) -> Gaussians:
        trained.design = replace(trained.design, edges=(edge, edge))
        return trained("a cube", seed=0)

    trained.fields = lambda *_: field[None]  # type: ignore[method-assign]
    one, twice = made(0.6), made(1.2)
    assert torch.allclose(twice.means, 2 * one.means) and len(one) > 20
    assert torch.allclose(twice.scales, 2 * one.scales)


def test_voxels_about_a_place() -> None:
    fields = torch.arange(2 * 5**3).view(2, 5, 5, 5).float()
    places = torch.tensor([[[0.1, -0.125, -0.5]], [[0.5, 0.5, 0.5]]])
    found, within = about(fields, places)
    # 0.1 is 2.4 voxels from the side: of those from 1 to 4; the first of z is there twice.
    assert torch.equal(found[0].view(1, 4, 4, 4)[0], fields[0, 1:5, 0:4][..., [0, 0, 1, 2]])
    torch.testing.assert_close(within[0], torch.tensor([[0.4, 0.5, 0.0]]))
    assert torch.equal(found[1].view(1, 4, 4, 4)[0, :3, :3, :3], fields[1, 2:, 2:, 2:])
    assert torch.equal(within[1], torch.ones(1, 3))


def test_a_field_without_a_surface_is_a_sentence() -> None:
    trained = Trained(SMALL, WORDS)
    for values in trained.geometry.parameters():
        values.data.zero_()
    # A network that says noise - 2: what is drawn is far from everything.
    trained.geometry.end.bias.data.fill_(-9.0)
    with pytest.raises(ValueError, match=r"nothing was drawn for 'a red cube'.*another --seed"):
        trained("a red cube", seed=0)


@pytest.mark.parametrize("half", [False, True])
def test_all_stages_learn(corpus: Path, half: bool) -> None:
    lessons = Lessons.of(files.read(corpus), WORDS, SMALL, "train")
    taught = Taught(
        steps=30, surface_steps=60, attribute_steps=25, size_steps=40, batch=2, rate=2e-3
    )
    learning = Learning(lessons, SMALL, WORDS, taught)
    learning.half = half
    assert_learns(learning, lessons, 0.85)


@pytest.mark.parametrize(("process", "half"), [("flow", False), ("flow", True), ("ddpm", False)])
def test_threads_and_breaks_change_no_byte(
    corpus: Path, tmp_path: Path, process: str, half: bool
) -> None:
    def begun(threads: int) -> Learning:
        learning = learning_of(corpus, threads=threads, process=process)
        learning.half = half
        return learning

    # Within each stage.
    assert_breaks_change_nothing(begun, 15, {5: 2, 8: 1, 11: 2, 14: 1}, tmp_path)


QUICK = [
    "--steps", "3", "--surface-steps", "2", "--attribute-steps", "2", "--size-steps", "2",
    "--width", "8", "--batch", "2", "--quiet",
]  # fmt: skip


@pytest.fixture(scope="module")
def model(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generator of nine steps."""
    folder = tmp_path_factory.mktemp("models") / "model"
    assert cli.main(["train-generator", str(corpus), "-o", str(folder), *QUICK]) == 0
    return folder


def test_equal_seeds_make_equal_bytes_and_others_do_not(model: Path, tmp_path: Path) -> None:
    made = []
    for name, seed, threads in (("a", 3, 1), ("b", 3, 2), ("c", 4, 1)):
        torch.set_num_threads(threads)
        out = tmp_path / f"{name}.ply"
        words = ["generate", "a glossy red torus", "-o", str(out), "--seed", str(seed)]
        assert cli.main([*words, "--model", str(model), "--samples", "2"]) == 0
        made.append(out.read_bytes())
    assert made[0] == made[1] != made[2]
    found = formats.read(tmp_path / "a.ply")
    assert len(found) > 0 and float(found.means.abs().max()) < 0.6


def test_a_training_that_is_resumed_ends_in_the_same_bytes(
    model: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("train-generator", str(corpus))
    whole, out = model / store.NAME, tmp_path / "model"
    metrics = resumed(command, QUICK, whole, out, 6, monkeypatch)
    assert metrics["steps"] == 9 and metrics["held_out"]["geometry"] > 0


def test_what_is_replaced_stays_until_there_is_more(
    model: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "model"
    shutil.copytree(model, out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    again = ["train-generator", str(corpus), "-o", str(out), *QUICK]
    assert cli.main(again) == 2  # it is there already

    cut(monkeypatch, 0)
    assert cli.main([*again, "--seed", "5", "--overwrite"]) == 130
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_generators_that_are_none_are_refused_in_a_sentence(model: Path, tmp_path: Path) -> None:
    kept = torch.load(model / store.NAME, weights_only=True)
    networks, design = kept["networks"], kept["design"]
    older = {name: each for name, each in networks.items() if name != "surface"}
    networks["geometry"]["begin.weight"] = torch.full((8, 1, 3, 3, 3), torch.nan)
    broken = {
        "no words": {"vocabulary": {"words": [], "properties": []}},
        "not finite": {"networks": networks},
        "no network of surface": {"networks": older},
        "things of sizes": {"design": {**design, "edges": [2.0, 1.0]}},
        "": {"networks": {"geometry": {}}},
    }
    assert_refuses(store.read, model / store.NAME, "generator", tmp_path, broken)


DOOR = """
import torch
from splat.types import Gaussians

class Mine:
    def __call__(self, text, *, seed):
        n = len(text)
        return Gaussians(torch.randn(n, 3), torch.ones(n, 4), torch.ones(n, 3), torch.ones(n),
                         torch.zeros(n, 1, 3), 0)

class Other:
    def __call__(self, text, *, seed):
        return text

nothing = 3
"""


def test_generators_of_others_come_through_their_door(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = tmp_path / "mine.py", tmp_path / "x.ply"
    file.write_text(DOOR)
    words = ["generate", "whatever it is", "-o", str(out), "--overwrite", "--generator"]
    assert cli.main([*words, f"{file}:Mine"]) == 0
    assert len(formats.read(out)) == len("whatever it is")
    for name, said in (
        ("Other", "gave str; expected splat.types.Gaussians"),
        ("nothing", "cannot be called"),
        ("absent", "holds no absent"),
    ):
        assert cli.main([*words, f"{file}:{name}"]) == 2
        assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["generate", " ", "-o", "x.ply"], "the text is empty"),
        (["generate", "a cube", "-o", "x.ply", "--model", "nowhere"], "holds no generator"),
        (["generate", "a cube", "-o", "x.doc"], "x.doc"),
        (
            ["generate", "a", "-o", "x.ply", "--generator", "a:B", "--guidance", "2"],
            "leave them out",
        ),
        (["train-generator", "nowhere", "-o", "m"], "holds no corpus.json"),
        (["train-generator", "-o", "m"], "no corpus is given"),
        (["train-generator", "-o", "m", "--resume"], "no training to go on with"),
        (["train-teacher", "nowhere", "-o", "m"], "holds no corpus.json"),
        (["train-teacher", "-o", "m"], "no corpus is given"),
        (["train-teacher", "-o", "m", "--resume"], "no training to go on with"),
        (["train-teacher", "x", "-o", "m", "--size", "50"], "expected a multiple of 16"),
        (["train-teacher", "x", "-o", "m", "--width", "12"], "expected a multiple of 8"),
    ],
)
def test_what_is_asked_wrongly_is_a_sentence(
    words: list[str], said: str, splat: Callable[..., Any], tmp_path: Path
) -> None:
    found = splat(*words)
    assert found.code == 2 and said in found.err and "Traceback" not in found.err
    assert not [*tmp_path.iterdir()]


def test_vocabularies_of_files_are_looked_at() -> None:
    from splat.system.foreign import Record

    kept = Record(WORDS.record())
    assert Vocabulary.of_record(kept) == WORDS
    with pytest.raises(ValueError, match="of no property"):
        Vocabulary.of_record(Record({**WORDS.record(), "words": [*WORDS.words, "more"]}))
