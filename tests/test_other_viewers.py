"""What the comparison with other viewers rests on: cameras, what is in sight, the server."""

from __future__ import annotations

import urllib.error
import urllib.request
from pathlib import Path

import other_viewers
import pytest
import torch

from splat.evaluation.off_path import moved
from splat.types import Camera


def camera() -> Camera:
    """At (0, 0, -4), looking along z; its principal point is off the middle."""
    pose = torch.eye(4)
    pose[2, 3] = 4
    return Camera(pose, torch.tensor([[100.0, 0, 60], [0, 100, 30], [0, 0, 1]]), 100, 80)


def test_a_camera_goes_to_the_page_with_its_principal_point_in_the_middle() -> None:
    small = other_viewers.sized(camera(), 50)
    assert (small.width, small.height) == (50, 40)
    assert small.K.tolist() == [[50, 0, 25], [0, 50, 20], [0, 0, 1]]
    assert other_viewers.sized(camera(), 640).width == 100
    given = other_viewers.plain(small)
    assert [row[3] for row in given["camera_to_world"]] == [0, 0, -4, 1]
    assert (given["fx"], given["near"]) == (50, 0.01)


def test_a_camera_is_moved_to_a_share_of_its_distance() -> None:
    found = moved(camera(), torch.tensor([0.0, 0, 2], dtype=torch.float64), 0.5)
    assert found.centre.tolist() == [0, 0, -1]
    assert torch.equal(found.world_to_camera[:3, :3], camera().world_to_camera[:3, :3])


def test_only_its_folders_are_served(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "a.txt").write_text("seen")
    (tmp_path / "secret.txt").write_text("hidden")
    with other_viewers.served({"files": tmp_path / "files"}) as address:
        assert urllib.request.urlopen(f"{address}/files/a.txt").read() == b"seen"
        for path in ("secret.txt", "files/../secret.txt", "files/%2e%2e/secret.txt", ""):
            with pytest.raises(urllib.error.HTTPError):
                urllib.request.urlopen(f"{address}/{path}")


def test_a_package_that_is_not_there_is_named_with_the_command(tmp_path: Path) -> None:
    (tmp_path / "three").mkdir()
    (tmp_path / "three" / "package.json").write_text("{}")
    with pytest.raises(SystemExit, match=r"has no gsplat; .* `npm install gsplat`"):
        other_viewers.missing(tmp_path, ["gsplat"])


def test_every_program_has_its_page() -> None:
    for name in other_viewers.PROGRAMS:
        assert (other_viewers.PAGES / f"{name}.js").is_file()
