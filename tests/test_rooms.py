"""Who may use which third party, and what `import splat` may cost; floors are import-linter's."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

HOUSE = Path(__file__).parent.parent
ONE_PLACE = {
    "gsplat": {"splat/render/available.py", "splat/render/gsplat.py"},
    "PIL": {
        "splat/formats/sog_container.py",
        "splat/formats/sog_table.py",
        "splat/photos/exif.py",
        "splat/photos/pictures.py",
        "splat/prep/photos.py",
        "splat/render/video.py",
    },
    "pillow_heif": {"splat/photos/exif.py"},
    "pycolmap": {"splat/prep/sfm.py"},
    "zstandard": {"splat/formats/spz_container.py"},
    "ray": {"splat/jobs/connection.py"},
    "torch.distributed": {"splat/parallel/ranks.py"},
    "constriction": {"splat/formats/range_coding.py"},
    "viser": {"viewer/server.py"},
    "soundfile": {"strategies/acoustic/sounds/wav.py"},
    "av": {"splat/render/video.py"},
    "pyroomacoustics": {"bench/worlds/rooms/simulate.py"},
    "mitsuba": {"bench/worlds/studio/photograph.py"},
    "slab": {"bench/worlds/rooms/head.py"},
    "websockets": {"viewer/gate.py", "viewer/door.py"},
    "msgspec": {"viewer/inbox.py"},
    "matplotlib": {
        "splat/evaluation/pictures.py",
        "splat/export/chart.py",
        "strategies/acoustic/picture.py",
        *(f"splat/comparison/{name}.py" for name in ("charts", "crops", "drawing")),
    },
}
"""Third parties, and the files that may use them."""
ROOMS = ("splat", "strategies", "datasets", "viewer", "bench/worlds")


def sources() -> list[Path]:
    return sorted(p for room in ROOMS for p in (HOUSE / room).rglob("*.py"))


def imported(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_a_third_party_is_used_in_one_place() -> None:
    for path in sources():
        place = path.relative_to(HOUSE).as_posix()
        for name in imported(path):
            for package, homes in ONE_PLACE.items():
                if name == package or name.startswith(f"{package}."):
                    assert place in homes, f"{place} imports {name}"


def test_import_is_cheap() -> None:
    """`import splat` loads neither torch nor OpenCV: `splat --help` must answer at once."""
    code = "import sys, splat; print([m for m in ('torch', 'cv2', 'scipy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd="/")
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
