"""What holds of every format that is written, the day it enters the list in `formats.py`."""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from formats import QUANTA, Quantum, assert_refused, matched, some, turned_by

from splat import formats
from splat.core.frame import gaussians_to_frame
from splat.types import Drawing, Frame, Gaussians

every = pytest.mark.parametrize("suffix", QUANTA)


def test_the_list_is_whole() -> None:
    # Those of packages that may be missing have tests of their own.
    ours = {s for s in formats.suffixes(written=True) if not formats.all_formats()[s].needs}
    assert set(QUANTA) == ours
    for suffix, quantum in QUANTA.items():
        assert formats.most_degree(suffix) == quantum.most_degree


def again(gaussians: Gaussians, folder: Path, suffix: str) -> Gaussians:
    formats.write(gaussians, folder / f"scene{suffix}")
    return formats.read(folder / f"scene{suffix}")


def assert_within(found: Gaussians, given: Gaussians, quantum: Quantum) -> None:
    degree = min(given.sh_degree or 0, quantum.most_degree)
    assert found.sh_degree == degree and found.colors.shape[1] == (degree + 1) ** 2
    off = (found.means - given.means).abs().max() / given.means.abs().max()
    assert off <= quantum.position
    scales = (found.scales.log() - given.scales.log()).abs().max()
    assert scales <= quantum.log_scale
    assert (found.opacities - given.opacities).abs().max() <= quantum.opacity
    colors = (found.colors - given.colors[:, : found.colors.shape[1]]).abs()
    assert colors[:, 0].max() <= quantum.constant
    assert degree == 0 or colors[:, 1:].max() <= quantum.harmonics
    turned = turned_by(found.quats, given.quats, quantum.half_turns)
    assert turned.max() <= quantum.degrees
    assert found.means.dtype == torch.float32 and found.means.device.type == "cpu"
    torch.testing.assert_close(found.quats.norm(dim=1), torch.ones(len(found)))


@every
@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_read_within_the_quantum(tmp_path: Path, suffix: str, degree: int) -> None:
    given = some(degree=degree)
    found = matched(again(given, tmp_path, suffix), given)
    assert_within(found, given, QUANTA[suffix])
    assert [file.name for file in tmp_path.iterdir()] == [f"scene{suffix}"]


@every
@pytest.mark.parametrize("n", [1, 255, 256, 257])
def test_numbers_around_a_chunk(tmp_path: Path, suffix: str, n: int) -> None:
    given = some(n, degree=1)
    assert_within(matched(again(given, tmp_path, suffix), given), given, QUANTA[suffix])


@every
def test_every_coefficient_keeps_its_place(tmp_path: Path, suffix: str) -> None:
    most = QUANTA[suffix].most_degree
    k = (most + 1) ** 2
    given = some(256, degree=3)
    # One coefficient of one channel stands out in each group of rows.
    marks = torch.zeros(256, 16 * 3)
    rows = torch.arange(256)
    marks[rows, rows % (3 * k)] = 0.9
    given = replace(given, colors=marks.reshape(256, 16, 3))
    found = matched(again(given, tmp_path, suffix), replace(given, colors=given.colors[:, :k]))
    assert (found.colors.flatten(1).argmax(1) == rows % (3 * k)).all()


@every
def test_nothing_is_refused(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(ValueError, match=r"scene.*there are no Gaussians; expected at least one"):
        formats.write(some(0), tmp_path / f"scene{suffix}")
    assert not list(tmp_path.iterdir())


@every
def test_a_missing_file_is_named(tmp_path: Path, suffix: str) -> None:
    assert_refused(tmp_path / f"none{suffix}", "is not a file", suffix)


@every
def test_rows_that_are_all_alike(tmp_path: Path, suffix: str) -> None:
    one = some(1, degree=3)
    found = again(one.take(torch.zeros(300, dtype=torch.long)), tmp_path, suffix)
    assert len(found) == 300
    like = one.take(torch.zeros(300, dtype=torch.long))
    assert_within(found, like, QUANTA[suffix])


@every
def test_extremes_stay_finite(tmp_path: Path, suffix: str) -> None:
    given = some(8, degree=0)
    given.opacities[:4] = torch.tensor([0.0, 1e-12, 1 - 1e-7, 1.0])
    given.scales[4] = 0
    given.quats[5], given.quats[6] = 0, -given.quats[7]
    found = again(given, tmp_path, suffix)
    assert len(found) == 8
    for values in (found.means, found.quats, found.scales, found.colors):
        assert values.isfinite().all()
    assert found.opacities.min() >= 0 and found.opacities.max() <= 1
    formats.write(found, tmp_path / "plain.ply")
    assert len(formats.read(tmp_path / "plain.ply")) == 8


@every
def test_broken_rows_are_left_out_and_counted(
    tmp_path: Path, suffix: str, caplog: pytest.LogCaptureFixture
) -> None:
    given = some(20, degree=1)
    given.means[3, 1], given.colors[5, 2, 0], given.scales[7, 0] = math.nan, math.inf, math.nan
    with caplog.at_level(logging.WARNING):
        found = again(given, tmp_path, suffix)
    assert len(found) == 17 and "3 of 20 Gaussians" in caplog.text


@every
def test_far_floaters_do_not_spoil_the_rest(tmp_path: Path, suffix: str) -> None:
    given = some(2000, degree=0)
    given.means[:3] = torch.tensor([[900.0, 0, 0], [0, -900.0, 0], [0, 0, 900.0]])
    found = again(given, tmp_path, suffix)
    near = found.means[found.means.norm(dim=1) < 100]
    gap = torch.cdist(near, given.means[3:]).min(1).values
    assert len(near) == 1997 and gap.median() < 0.02


@every
def test_the_frame_is_undone(tmp_path: Path, suffix: str) -> None:
    given = some(400, degree=0)
    frame = Frame((1.0, -2.0, 3.0), 0.5)
    formats.write(given, tmp_path / f"scene{suffix}", frame)
    found = gaussians_to_frame(formats.read(tmp_path / f"scene{suffix}"), frame)
    quantum = QUANTA[suffix]
    assert_within(matched(found, given), given, replace(quantum, position=quantum.position + 1e-6))


@pytest.mark.parametrize(
    "suffix", [suffix for suffix in QUANTA if suffix not in (".spz", ".splat")]
)
@pytest.mark.parametrize(
    "drawing", [Drawing(), Drawing(True), Drawing(True, 0.1), Drawing(False, 1e-9 / 3)]
)
def test_how_it_was_drawn_is_remembered(tmp_path: Path, suffix: str, drawing: Drawing) -> None:
    formats.write(some(3), tmp_path / f"scene{suffix}", drawing=drawing)
    assert formats.drawing(tmp_path / f"scene{suffix}") == drawing


@every
def test_the_same_bytes_twice(tmp_path: Path, suffix: str) -> None:
    given = some(3000, degree=2)
    for name in ("a", "b"):
        formats.write(given, tmp_path / name / f"scene{suffix}")
    first, second = (tmp_path / name / f"scene{suffix}" for name in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()


@every
@pytest.mark.parametrize("degree", [0, 3])
def test_no_larger_than_it_says(tmp_path: Path, suffix: str, degree: int) -> None:
    for n in (1, 700):
        formats.write(some(n, degree), tmp_path / f"x{suffix}", drawing=Drawing(True, 0.25))
        assert (tmp_path / f"x{suffix}").stat().st_size <= formats.size_of(n, degree, suffix)
    degree = min(degree, QUANTA[suffix].most_degree)
    least = formats.size_of(1, degree, suffix)
    assert formats.most_in(least - 1, degree, suffix) == 0
    assert formats.most_in(least, degree, suffix) >= 1


@every
def test_the_quantiser_does_what_the_file_does(tmp_path: Path, suffix: str) -> None:
    given = some(700, degree=2)
    found = matched(again(given, tmp_path, suffix), given)
    short = formats.quantiser(suffix, given)(given)
    assert len(short) == len(given)
    close = torch.testing.assert_close
    close(short.means, found.means, rtol=1e-5, atol=1e-5)
    close(short.scales, found.scales, rtol=1e-4, atol=1e-7)
    close(short.opacities, found.opacities, rtol=0, atol=1e-5)
    close(short.colors[:, : found.colors.shape[1]], found.colors, rtol=0, atol=1e-4)
    assert turned_by(short.quats, found.quats).max() < 0.01


@every
def test_files_that_lie_are_refused_in_a_sentence(tmp_path: Path, suffix: str) -> None:
    """Cut off, made longer, and with bytes changed: a set or one sentence, and nothing else."""
    formats.write(some(300, degree=1), tmp_path / f"good{suffix}")
    good = (tmp_path / f"good{suffix}").read_bytes()
    draw = torch.Generator().manual_seed(0)

    def at(most: int) -> int:
        return int(torch.randint(most, (1,), generator=draw))

    bad = [good[: at(len(good))] for _ in range(12)] + [good + b"\0" * 37, b"", good[:1]]
    for _ in range(120):
        changed = bytearray(good)
        for _ in range(1 + at(3)):
            # Headers are at one of the ends.
            place = at(min(len(good), 400))
            changed[place if at(3) else len(good) - 1 - place] = at(256)
        bad.append(bytes(changed))
    refused = 0
    for content in bad:
        path = tmp_path / f"bad{suffix}"
        path.write_bytes(content)
        try:
            found = formats.read(path)
        except ValueError as error:
            refused += 1
            assert "bad" in str(error) and "\n" not in str(error)
        else:
            assert 0 < len(found) <= 300 * 4
    assert refused >= 5
