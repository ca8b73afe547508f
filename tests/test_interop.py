"""Files that other projects' packages write and read: gsply, gsplat's exporter and fourdgs.

Programs that are not Python packages are tried by hand: see interop/README.md.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from formats import QUANTA, matched, some
from interop.compare import errors, in_place
from test_export_html import moving

from splat import formats
from splat.cli import main
from splat.formats.settings import Settings
from splat.types import Gaussians

# Apart from the versions of .spz, all are taken by both directions.
FILES = {
    "scene.ply": Settings(),
    "scene.compressed.ply": Settings(),
    "scene3.spz": Settings(spz_version=3),
    "scene4.spz": Settings(spz_version=4),
}
of_each_file = pytest.mark.parametrize("name", FILES)
of_each_degree = pytest.mark.parametrize("degree", [0, 1, 2, 3])


@pytest.fixture(scope="session")
def gsply() -> ModuleType:
    """The package; without numba's compiler, which takes longer than a few hundred rows do."""
    reason = "gsply, which reads and writes these formats, is not installed"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NUMBA_DISABLE_JIT", "1")
        found: ModuleType = pytest.importorskip("gsply", reason=reason)
    return found


@pytest.fixture(scope="session")
def exporter() -> ModuleType:
    """gsplat's writer of files."""
    reason = "gsplat, which writes these formats, is not installed"
    found: ModuleType = pytest.importorskip("gsplat.exporter", reason=reason)
    return found


def columns(gaussians: Gaussians) -> dict[str, torch.Tensor]:
    """As both packages name and take them: logarithms, logits, unit quaternions."""
    return {
        "means": gaussians.means,
        "scales": gaussians.scales.log(),
        "quats": torch.nn.functional.normalize(gaussians.quats, dim=1),
        "opacities": gaussians.opacities.logit(),
        "sh0": gaussians.colors[:, 0],
        "shN": gaussians.colors[:, 1:],
    }


def read_by_gsply(gsply: ModuleType, path: Path) -> Gaussians:
    data = (gsply.read_spz if path.suffix == ".spz" else gsply.plyread)(path)
    rest = np.empty((len(data.sh0), 0, 3), np.float32) if data.shN is None else data.shN
    colors = torch.from_numpy(np.concatenate([data.sh0[:, None], rest], 1))
    return Gaussians(
        means=torch.tensor(data.means),
        quats=torch.tensor(data.quats),
        scales=torch.tensor(data.scales).exp(),
        opacities=torch.tensor(data.opacities).flatten().sigmoid(),
        colors=colors,
        sh_degree=round(colors.shape[1] ** 0.5) - 1,
    )


def written_by_gsply(gsply: ModuleType, gaussians: Gaussians, path: Path) -> None:
    data = gsply.GSData(**{name: column.numpy() for name, column in columns(gaussians).items()})
    if path.suffix == ".spz":
        gsply.write_spz(path, data, version=FILES[path.name].spz_version)
    else:
        gsply.plywrite(path, data)


def assert_within(found: Gaussians, given: Gaussians, suffix: str, times: float = 1) -> None:
    """Nothing is off by more than the quantum of the format, or so many times that."""
    quantum = QUANTA[suffix]
    assert found.sh_degree == min(given.sh_degree or 0, quantum.most_degree)
    found = matched(found, given)
    for name, error in errors(found, given).items():
        assert error.max() <= times * getattr(quantum, name), name
    assert in_place(found, given)


@of_each_file
@of_each_degree
def test_gsply_reads_ours(gsply: ModuleType, tmp_path: Path, name: str, degree: int) -> None:
    given, path = some(degree=degree), tmp_path / name
    formats.write(given, path, settings=FILES[name])
    assert_within(read_by_gsply(gsply, path), given, formats.suffix_of(path))


@of_each_file
@of_each_degree
def test_we_read_gsplys(gsply: ModuleType, tmp_path: Path, name: str, degree: int) -> None:
    given, path = some(degree=degree), tmp_path / name
    written_by_gsply(gsply, given, path)
    assert_within(formats.read(path), given, formats.suffix_of(path))


@of_each_degree
# Its .splat rounds down, so that it is off by up to a whole step where ours is by half of one.
@pytest.mark.parametrize(("suffix", "times"), [(".ply", 1), (".compressed.ply", 1), (".splat", 2)])
def test_we_read_gsplats(
    exporter: ModuleType, tmp_path: Path, suffix: str, times: float, degree: int
) -> None:
    given, path = some(degree=degree), tmp_path / f"scene{suffix}"
    kind = {".compressed.ply": "ply_compressed"}.get(suffix, suffix[1:])
    fields = {**columns(given), "sh0": given.colors[:, :1]}
    exporter.export_splats(**fields, format=kind, save_to=str(path))
    assert_within(formats.read(path), given, suffix, times)


@of_each_file
def test_gsply_sees_what_we_see(gsply: ModuleType, tmp_path: Path, name: str) -> None:
    """Of the same file, where both decode the same bytes: within rounding, far below a quantum."""
    path = tmp_path / name
    formats.write(some(), path, settings=FILES[name])
    ours, theirs = formats.read(path), read_by_gsply(gsply, path)
    for field, error in errors(theirs, ours).items():
        assert error.max() < (2e-2 if field == "degrees" else 2e-6), field


MOMENTS = (0.0, 0.2, 0.45, 0.8, 1.0)


@pytest.fixture(scope="session")
def fourdgs() -> ModuleType:
    """The reader and evaluator of .4dgs, which converts .ply."""
    reason = "fourdgs, which evaluates Gaussians that move, is not installed"
    pytest.importorskip("fourdgs", reason=reason)
    from fourdgs import convert

    found: ModuleType = convert
    return found


@pytest.mark.parametrize("time", MOMENTS)
def test_fourdgs_has_what_moves_where_we_have_it(
    fourdgs: ModuleType, tmp_path: Path, time: float
) -> None:
    """Columns read by its reader, set into its model: positions and opacities at an instant."""
    given, path = moving(200), tmp_path / "scene.ftgs.ply"
    formats.write(given, path)
    columns = fourdgs.read_ply(str(path)).fields
    n = len(columns["time"])

    def stacked(*names: str) -> np.ndarray:
        return np.stack([columns[name] for name in names], 1)

    opacity = 1 / (1 + np.exp(-columns["opacity"]))
    theirs = fourdgs.GaussianSet(
        positions=stacked("x", "y", "z"),
        scales=np.exp(stacked("scale_0", "scale_1", "scale_2")),
        rotations=stacked("rot_1", "rot_2", "rot_3", "rot_0"),
        colors=np.concatenate([np.full((n, 3), 0.5), opacity[:, None]], 1),
        motions=stacked("velocity_0", "velocity_1", "velocity_2"),
        mu_t=columns["time"],
        sigma_t=np.exp(columns["log_duration"]),
        win_lo=np.full(n, -10.0),
        win_hi=np.full(n, 10.0),
    ).state_at(time, cutoff=1e-4)
    ours, seen = given.at(time), theirs["indices"]
    assert 50 < len(seen) <= n
    np.testing.assert_allclose(theirs["centers"], ours.means[seen], atol=2e-5)
    np.testing.assert_allclose(theirs["opacity"], ours.opacities[seen], atol=2e-6)
    unseen = np.setdiff1d(np.arange(n), seen)
    assert (ours.opacities[unseen] <= 1.001e-4 * given.opacities[unseen]).all()


def test_fourdgs_makes_a_clip_of_our_instants(fourdgs: ModuleType, tmp_path: Path) -> None:
    """A file for each of five instants, as `splat convert --instants 5` writes them."""
    given, path = moving(60), tmp_path / "scene.ftgs.ply"
    formats.write(given, path)
    source = str(path)
    assert main(["convert", source, "-o", str(tmp_path / "frames/f.ply"), "--instants", "5"]) == 0
    theirs, seconds = fourdgs.convert_ply_sequence(str(tmp_path / "frames"), fps=5.0)
    assert seconds == pytest.approx(1.0)
    for number in range(5):
        ours = given.at(number / 4)
        ours = ours.take(ours.opacities >= 1 / 255)
        state = theirs.state_at(number / 5 + 0.1)
        assert len(state["indices"]) == len(ours)
        np.testing.assert_allclose(state["centers"], ours.means, atol=2e-5)
        np.testing.assert_allclose(state["opacity"], ours.opacities, atol=2e-6)
