"""The loop of docs/methods/own-strategy.md, as it stands there but for the scene and its length."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import splat
from splat.core.frame import camera_from_frame
from splat.evaluation.evaluate import psnr

PAGE = Path(__file__).parent.parent / "docs/methods/own-strategy.md"


def test_the_loop_of_the_page_trains(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    block = next(
        b for b in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S) if "drawn" in b
    )
    assert len(block.splitlines()) <= 32
    code = (
        block.replace('"scene/"', f'"{tiny_folder}"')
        .replace("3_000", "200")
        .replace("60_000", "900")
    )
    assert code.count("200") == code.count("900") == 1
    made: dict[str, object] = {}
    exec(compile(code, "loop.py", "exec"), made)
    job, trained = made["job"], splat.read("scene.ply")
    assert 500 < len(trained) <= 900, "nothing was born"
    frame, batch = job.run.frame, job.photos.batch(3)  # type: ignore[attr-defined]
    bare = splat.train(tiny_folder, splat.Fixed(), splat.Options(steps=1), lpips=None)
    before, after = (
        psnr(gaussians.render(camera_from_frame(batch.camera, frame)), batch.image)
        for gaussians in (bare.gaussians, trained)
    )
    assert after > before + 3
