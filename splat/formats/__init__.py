"""Files of Gaussians: written and read by the suffix of their name, in the frame of the input."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from splat.formats.settings import Settings
from splat.system import foreign
from splat.system.entry_points import installed_besides
from splat.system.import_path import object_at
from splat.system.numbers import amount

if TYPE_CHECKING:
    # Help asks what formats there are, and waits for no torch.
    from torch import Tensor

    from splat.formats.columns import Columns
    from splat.lod.levels import Refine
    from splat.types import Camera, Drawing, Frame, Gaussians

AGAIN = "fetch or export it again"
"""What to do about a broken file."""
GROUP = "splat.formats"
"""Entry points of other packages' formats: modules, under the suffix of their files."""


@dataclass(frozen=True)
class Format:
    """What is known of a format before its module is imported."""

    place: str
    """Name of its module, which has `read`, and where it can write, `write` and `size`; see
    `splat.formats.ply`."""
    writes: bool = True
    """Whether it can be written, or is read only."""
    folder: bool = False
    """Whether it is a folder of files, not one file."""
    needs: str = ""
    """Module of another package, and behind a colon our extra that brings it: without it the format
    is not there."""
    columns: str = ""
    """Name of a module with `columns`, which reads a file with NumPy alone, and of a folder with
    `weight`; none: nobody can."""


_USD = Format("splat.formats.usd", needs="pxr:usd", columns="splat.formats.usd_table")
_OURS: Mapping[str, Format] = {
    ".ply": Format("splat.formats.ply", columns="splat.formats.ply_table"),
    ".compressed.ply": Format("splat.formats.compressed", columns="splat.formats.compressed_table"),
    ".glb": Format("splat.formats.gltf", columns="splat.formats.gltf_table"),
    ".spz.glb": Format("splat.formats.gltf_spz", columns="splat.formats.gltf_table"),
    ".spz": Format("splat.formats.spz", columns="splat.formats.spz_columns"),
    ".html": Format("splat.formats.html", columns="splat.formats.html_blocks"),
    ".splat": Format("splat.formats.splat", columns="splat.formats.splat_table"),
    ".ksplat": Format("splat.formats.ksplat", writes=False, columns="splat.formats.ksplat"),
    ".sog": Format("splat.formats.sog", columns="splat.formats.sog_table"),
    ".tsog": Format("splat.formats.tsog", columns="splat.formats.tsog_table"),
    "tileset.json": Format("splat.formats.tiles", folder=True, columns="splat.formats.tiles_table"),
    ".usdc": _USD,
    ".usdz": _USD,
    ".usda": Format("splat.formats.usd_text", needs="pxr:usd", columns="splat.formats.usd_table"),
    ".usd": _USD,
    "lod-meta.json": Format("splat.formats.lod", folder=True, columns="splat.formats.lod_table"),
}
"""Formats by suffix; the longest one that a name ends in counts."""


@cache
def all_formats() -> Mapping[str, Format]:
    """All formats that are there, ours and those of other packages, by suffix."""
    formats = {s: each for s, each in _OURS.items() if _there(each)}
    for suffix, place in installed_besides(GROUP, _OURS).items():
        module = object_at(place)
        if module is not None:
            more = getattr(module, "FOLDER", False)
            formats[suffix] = Format(place, hasattr(module, "write"), more)
    return formats


def _there(each: Format) -> bool:
    needed = [each.place, *([each.needs.split(":")[0]] if each.needs else [])]
    return all(find_spec(name) is not None for name in needed)


def suffixes(*, written: bool = False, folders: bool = False) -> tuple[str, ...]:
    """Suffixes that `read` takes, or with `written` only those that `write` takes; `folders`: with
    those of formats that are not one file."""
    if not written:
        return tuple(all_formats())
    return tuple(
        s for s, each in all_formats().items() if each.writes and (folders or not each.folder)
    )


def one_file(suffix: str) -> bool:
    """Whether a format is one file: sets can be fitted to its size, and it can be sent."""
    return not all_formats()[suffix_of(Path(f"x{suffix}"), written=True)].folder


def has_levels(suffix: str) -> bool:
    """Whether files of a format that is written hold levels of detail."""
    return bool(getattr(_format(Path(f"x{suffix}"), written=True), "TAKES_REFINE", False))


def takes_motion(suffix: str) -> bool:
    """Whether a format that is written has a place for Gaussians that move."""
    return bool(getattr(_format(Path(f"x{suffix}"), written=True), "TAKES_MOTION", False))


def weight(path: Path) -> int:
    """Bytes of a file, and of those that belong to it."""
    kind = all_formats()[suffix_of(path)]
    if not kind.folder:
        return path.stat().st_size
    module: Any = object_at(kind.columns or kind.place)
    with _edge(path):
        return int(module.weight(path)) if hasattr(module, "weight") else path.stat().st_size


def write(
    gaussians: Gaussians,
    path: str | Path,
    frame: Frame | None = None,
    drawing: Drawing | None = None,
    settings: Settings = Settings(),  # noqa: B008
    cameras: Sequence[Camera] = (),
    refine: Refine | None = None,
    weights: Tensor | None = None,
) -> None:
    """Write a set that was trained in `frame` (None: that of the input) in the format of `path`.

    `drawing` says how it is meant to be drawn (None: as any program draws), for viewers that can
    follow; `cameras`, in the frame of the input, where a page begins; `refine` what levels of
    detail are to become, where a format has any; `weights` how much of each row views see (None:
    as much of all), where a format gives more room to what they see. Features are not written, nor
    SH bands beyond `sh_degree`; rows with NaN or infinite values are left out, with a warning.
    Raises ValueError where nothing is left to write, and where the set moves and the format has no
    place for that.
    """
    from splat.core.frame import gaussians_from_frame
    from splat.types import Drawing

    path = Path(path)
    module = _format(path, written=True)
    if gaussians.motion is not None and not takes_motion(path.name):
        moving = [each for each in suffixes(written=True) if takes_motion(each)]
        raise ValueError(
            f"{path}: the Gaussians move, and {suffix_of(path, written=True)} has no place for it;"
            f" write one instant with --time (0 to 1 of the clip), or {' or '.join(moving)}"
        )
    more: dict[str, Any] = {}
    if getattr(module, "TAKES_CAMERAS", False):
        more["cameras"] = cameras
    if has_levels(path.name):
        more["refine"] = refine
    if getattr(module, "TAKES_WEIGHTS", False):
        more["weights"] = weights
    if getattr(module, "TAKES_FRAME", False):
        more["frame"] = frame
    else:
        gaussians = gaussians_from_frame(gaussians, frame)
    module.write(gaussians, path, drawing or Drawing(), settings, **more)


def size_of(
    n: int,
    sh_degree: int,
    suffix: str = ".ply",
    settings: Settings = Settings(),  # noqa: B008
) -> int:
    """Bytes that a file of `n` Gaussians takes at most."""
    return int(_format(Path(f"x{suffix}"), written=True).size(n, sh_degree, settings))


def most_in(size: int, sh_degree: int, suffix: str = ".ply") -> int:
    """How many Gaussians fit into a file of so many bytes; 0 if none does."""
    low, high = 0, max(0, size)
    while low < high:
        middle = (low + high + 1) // 2
        fits = size_of(middle, sh_degree, suffix) <= size
        low, high = (middle, high) if fits else (low, middle - 1)
    return low


def read(path: str | Path, settings: Settings = Settings()) -> Gaussians:  # noqa: B008
    """The Gaussians of a file, in its own frame, with unit quaternions, on the CPU.

    Of `settings` only the axes count, of files that do not name theirs. Raises OSError, or
    ValueError with the file's name, whatever the module of the format raises.
    """
    path = Path(path)
    kind = _kind(path)
    module: Any = object_at(kind.place)
    more = (settings,) if getattr(module, "READS_SETTINGS", False) else ()
    with _edge(path):
        gaussians: Gaussians = module.read(path, *more)
    if kind in _OURS.values():  # which have looked
        return gaussians
    from splat.core.frame import finite
    from splat.formats.rows import kept

    return kept(gaussians, finite(gaussians), path)


def read_columns(path: str | Path) -> Columns:
    """What a file holds as NumPy's arrays, and how it is drawn; broken rows are left out, with a
    warning. Most formats are read without torch. Raises as `read` does."""
    path = Path(path)
    if place := _kind(path).columns:
        with _edge(path):
            module: Any = object_at(place)
            found: Columns = module.columns(path)
            return found.whole(path)
    from splat.formats.rows import columns_of

    return columns_of(read(path), drawing(path))


def quantiser(
    suffix: str,
    gaussians: Gaussians,
    settings: Settings = Settings(),  # noqa: B008
    weights: Tensor | None = None,
    before: Callable[[Gaussians], Gaussians] | None = None,
) -> Callable[[Gaussians], Gaussians]:
    """The quantisation of a format: a function from a set to what would be read back, row by row.

    Fitted to `gaussians` (bounds, codebooks), with `weights` as for `write`; it takes sets of as
    many rows in the same order. `before` is what this gave for them earlier: rows that share
    something go on to. A format that names none loses nothing.
    """
    module = _format(Path(f"x{suffix}"), written=True)
    if not hasattr(module, "quantiser"):
        return lambda given: given
    more: dict[str, Any] = {}
    if getattr(module, "TAKES_WEIGHTS", False):
        more = {"weights": weights, "before": before}
    function: Callable[[Gaussians], Gaussians] = module.quantiser(gaussians, settings, **more)
    return function


def most_degree(suffix: str) -> int:
    """Highest degree of harmonics that a format stores."""
    return int(getattr(_format(Path(f"x{suffix}"), written=True), "MOST_DEGREE", 3))


def harmonics_grid(
    suffix: str,
    settings: Settings = Settings(),  # noqa: B008
) -> Callable[[Tensor, int], Tensor] | None:
    """The rounding of a format: a function of values of a coefficient [n, 3] and its number from 1.

    None where it does not round coefficients one by one.
    """
    module = _format(Path(f"x{suffix}"), written=True)
    if not hasattr(module, "harmonics_grid"):
        return None
    function: Callable[[Tensor, int], Tensor] = module.harmonics_grid(settings)
    return function


def holds_gaussians(path: Path) -> bool:
    """Whether `read` is meant for this file; False for a plain point cloud."""
    module = _reader(path)
    with _edge(path):
        return not hasattr(module, "holds_gaussians") or bool(module.holds_gaussians(path))


def drawing(path: str | Path) -> Drawing:
    """How the file says that its Gaussians are meant to be drawn."""
    from splat.types import Drawing

    path = Path(path)
    module = _reader(path)
    with _edge(path):
        meant: Drawing = module.drawing(path) if hasattr(module, "drawing") else Drawing()
    return meant


def suffix_of(path: Path, *, written: bool = False) -> str:
    """Which of the known suffixes a name ends in; raises ValueError where it is none."""
    name = path.name.lower()
    offered = suffixes(written=written, folders=True)
    endings = [suffix for suffix in offered if name.endswith(suffix)]
    if endings:
        return max(endings, key=len)
    for suffix, each in _OURS.items():
        if name.endswith(suffix) and each.needs and not _there(each):
            package, extra = each.needs.split(":")
            raise ValueError(
                f"{path.name!r}: {suffix} needs another package, {package}, which is not installed;"
                f" pip install 'splat-toolkit[{extra}]', or use one of: {', '.join(offered)}"
            )
    if written and any(map(name.endswith, suffixes())):
        problem = "ends in a format that is read only"
    else:
        problem = "ends in no known format of Gaussians"
    raise ValueError(f"{path.name!r} {problem}; use one of: {', '.join(offered)}")


def _format(path: Path, *, written: bool = False) -> Any:
    """The module of a format."""
    return object_at(all_formats()[suffix_of(path, written=written)].place)


@contextmanager
def _edge(path: Path) -> Iterator[None]:
    """What a reader, ours or of another package, makes of a broken file, as a sentence."""
    with foreign.reading(path, f"a whole {suffix_of(path)}; {AGAIN}", AGAIN):
        yield


def _reader(path: Path) -> Any:
    return object_at(_kind(path).place)


def _kind(path: Path) -> Format:
    """The format of a file that is there."""
    suffix = suffix_of(path)
    if suffix in (".ply", ".compressed.ply"):
        from splat.formats.header import Header

        # Many name either kind just .ply.
        suffix = ".compressed.ply" if Header.of(path).compressed else ".ply"
        return _OURS[suffix]
    return all_formats()[suffix]


def rows_within(budget: str, sh_degree: int, suffix: str = ".ply") -> int:
    """Most rows of a budget such as 200k, or of 12MB of a file with so many bands."""
    count, of_bytes = amount(budget)
    if not of_bytes:
        return count
    rows = most_in(count, sh_degree, suffix)
    if rows < 1:
        raise ValueError(
            f"budget is {budget}, which holds no Gaussian: a {suffix} of one has"
            f" {size_of(1, sh_degree, suffix):,} bytes; give more, such as 12MB"
        )
    return rows
