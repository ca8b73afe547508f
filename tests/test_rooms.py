"""Who may import whom: the plan of the house, kept by a test."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

HOUSE = Path(__file__).parent.parent
EDGES = {
    f"splat/{n}.py"
    for n in (
        *("__init__", "anchors", "api", "job", "methods", "doctor", "finish", "limit", "recipe"),
        *("start", "conformance", "describe", "trial", "comparison/request", "prep/gather"),
        "blocks/work",
    )
}
"""Where the rooms are put together, with `splat/cli`."""
ROOMS = ("strategies", "datasets", "viewer")
ALLOWED = {
    "datasets": (
        *("splat.types", "splat.math", "splat.lens", "splat.cloud", "splat.datasets"),
        "splat.export.ply",
    ),
}
FORBIDDEN = {
    "viewer": tuple(f"splat.{n}" for n in ("cli", "api", "methods", "strategies", "datasets")),
}
ONE_PLACE = {
    "gsplat": {"splat/render/gsplat.py"},
    "plyfile": {"splat/export/ply.py"},
    "PIL": {"splat/export/sog_container.py", "splat/prep/photos.py"},
    "pillow_heif": {"splat/prep/photos.py"},
    "pycolmap": {"splat/prep/sfm.py"},
    "zstandard": {"splat/export/spz_container.py"},
    "ray": {"splat/jobs/connection.py"},
    "torch.distributed": {"splat/parallel/ranks.py"},
    "constriction": {"strategies/scaffold/packing.py"},
    "viser": {"viewer/server.py"},
    "soundfile": {"datasets/sounds/wav.py"},
    "av": {"splat/acoustic/film.py"},
    "pyroomacoustics": {"datasets/rooms/simulate.py"},
    "slab": {"datasets/rooms/head.py"},
    "websockets": {"viewer/gate.py", "viewer/door.py"},
    "msgspec": {"viewer/inbox.py"},
    "matplotlib": {
        "splat/pictures.py",
        "splat/rates.py",
        "splat/acoustic/picture.py",
        *(f"splat/comparison/{name}.py" for name in ("charts", "crops", "drawing")),
    },
}
"""Third parties, and the files that may use them."""


def sources() -> list[Path]:
    rooms = ("splat", *ROOMS)
    return sorted(p for room in rooms for p in (HOUSE / room).rglob("*.py"))


def imported(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(HOUSE)))
def test_imports_stay_within_the_plan(path: Path) -> None:
    place = path.relative_to(HOUSE).as_posix()
    names = imported(path)
    room = place.split("/")[0]
    for name in names:
        if room in ALLOWED and name.startswith("splat."):
            assert name.startswith(ALLOWED[room]), f"{place} imports {name}"
        if room in FORBIDDEN:
            assert not name.startswith(FORBIDDEN[room]), f"{place} imports {name}"
        if room == "splat" and not place.startswith("splat/cli") and place not in EDGES:
            rooms = tuple(f"splat.{other}" for other in ROOMS)
            assert not name.startswith(rooms), f"{place} imports {name}"
        for package, homes in ONE_PLACE.items():
            if name == package or name.startswith(f"{package}."):
                assert place in homes, f"{place} imports {name}"


def test_import_is_cheap() -> None:
    """`import splat` loads neither torch nor OpenCV: `splat --help` must answer at once."""
    code = "import sys, splat; print([m for m in ('torch', 'cv2', 'scipy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd="/")
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
