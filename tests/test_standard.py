"""The protocols of the literature: what is refused, what a table says, and nerfbaselines' door."""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import standard
from test_datasets import blender

ROOT = Path(__file__).resolve().parents[1]


def asked_of(folder: Path) -> argparse.Namespace:
    return argparse.Namespace(at={}, folder=folder, protocol="nerf-synthetic")


def test_a_scene_that_is_not_the_protocols_is_refused(tmp_path: Path) -> None:
    root = blender(tmp_path)
    asked, name = asked_of(root.parent), root.name
    train = json.loads((root / "transforms_train.json").read_text())["frames"]
    test = json.loads((root / "transforms_test.json").read_text())["frames"]
    height, width = cv2.imread(str(next(root.glob("train/*.png")))).shape[:2]
    whole = standard.Protocol({name: 1}, "white", (width, height), (len(train), len(test)))
    assert standard.scene_at(asked, whole, name).path == root
    with pytest.raises(ValueError, match=r"is not at .*absent; put it there, or leave it out"):
        standard.scene_at(asked, standard.Protocol({"absent": 1}, "white"), "absent")
    other = standard.Protocol({name: 1}, "white", (width, height), (100, 200))
    with pytest.raises(ValueError, match="held out; the protocol has 100 and 200"):
        standard.scene_at(asked, other, name)
    larger = standard.Protocol({name: 1}, "white", (800, 800), (len(train), len(test)))
    with pytest.raises(ValueError, match=f"has photos of {width}x{height}; .* are 800x800"):
        standard.scene_at(asked, larger, name)
    next(root.glob("test/*.png")).unlink()
    with pytest.raises((ValueError, OSError), match="test"):
        standard.scene_at(asked, whole, name)


def test_methods_are_told_from_budgets_wherever_they_stand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def read(*words: str) -> argparse.Namespace:
        monkeypatch.setattr(sys, "argv", ["standard.py", "nerf-synthetic", *words])
        return standard.arguments()

    scene, out = f"lego={tmp_path}", ("--out", str(tmp_path))
    for words in ((scene, "mcmc", "adc + clean", *out), (scene, *out, "mcmc", "adc + clean")):
        assert read(*words).strategies == ["mcmc", "adc + clean"]
    assert read(scene, "mcmc", *out, "--budgets", "25k", "1M").budgets == ["25k", "1M"]
    with pytest.raises(SystemExit):
        read(scene, *out, "--budgets", "25k", "mcmc")
    assert "'mcmc' is no whole number" in capsys.readouterr().err


def test_a_table_names_scenes_that_were_not_run_and_has_no_mean_then(tmp_path: Path) -> None:
    figures = {
        **{"psnr": 35.0, "psnr_of_floats": 35.0, "ssim": 0.98, "gaussians": 10, "megabytes": 1.0},
        **{"minutes": 2.0, "peak_memory_mb": 5.0, "worst_view": 30.0, "lpips_published": None},
        **{"lpips_vgg": None, "lpips_alex": 0.0123},
    }
    for seed, value in enumerate((35.0, 36.0)):
        record = {
            **{"figures": {**figures, "psnr": value}, "recipe": "mcmc", "steps": 30_000},
            **{"scene": "lego", "note": "", "seed": seed},
        }
        run = tmp_path / "lego" / f"mcmc_{seed}"
        run.mkdir(parents=True)
        (run / "standard.json").write_text(json.dumps(record))
    standard.write_tables(tmp_path, "nerf-synthetic")
    text = (tmp_path / "table.md").read_text()
    ours = next(line for line in text.splitlines() if line.startswith("| `mcmc`"))
    cells = [cell.strip() for cell in ours.strip("|").split("|")]
    assert cells[2:11] == ["–", "–", "–", "–", "35.50 ± 0.71", "–", "–", "–", "–"]
    assert cells[12] == "–" and cells[14] == "0.0123"
    theirs = next(line for line in text.splitlines() if line.startswith("| *3DGS, published*"))
    assert "35.78" in theirs and theirs.split("|")[11].strip() == "33.31"


def method_module() -> ModuleType:
    """nerfbaselines itself is not needed for what it calls."""
    path = ROOT / "bench" / "nerfbaselines" / "splat_method.py"
    spec = importlib.util.spec_from_file_location("splat_method", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["splat_method"] = module
    spec.loader.exec_module(module)
    return module


class Cameras:
    """What nerfbaselines' cameras are to a method."""

    def __init__(self, poses: Any) -> None:
        self.poses = poses
        n = poses.shape[:-2]
        self.intrinsics = np.broadcast_to(np.array([40.0, 40, 16, 12], np.float32), (*n, 4))
        self.image_sizes = np.broadcast_to(np.array([32, 24]), (*n, 2))

    def item(self) -> Cameras:
        return self

    def __getitem__(self, index: int) -> Cameras:
        return Cameras(self.poses[index])


def dataset() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    poses = np.tile(np.eye(4, dtype=np.float32)[:3], (4, 1, 1))
    poses[:, 0, 3] = np.linspace(-0.5, 0.5, 4)
    poses[:, 2, 3] = -3
    return {
        "cameras": Cameras(poses),
        "images": [rng.integers(0, 255, (24, 32, 3), np.uint8) for _ in poses],
        "metadata": {"background_color": np.array([255, 255, 255], np.uint8)},
        "points3D_xyz": rng.normal(size=(60, 3)).astype(np.float32),
        "points3D_rgb": rng.integers(0, 255, (60, 3), np.uint8),
    }


def test_nerfbaselines_trains_saves_goes_on_and_draws(tmp_path: Path) -> None:
    method = method_module().Splat
    settings = {"recipe": "mcmc", "cap": 80, "steps": 12}
    whole = method(train_dataset=dataset(), config_overrides=settings)
    info = whole.get_info()
    assert info["num_iterations"] == 12 and info["loaded_step"] is None
    for step in range(12):
        if step == 5:
            whole.save(str(tmp_path / "half"))
        whole.train_iteration(step)
    whole.save(str(tmp_path / "whole"))
    again = method(train_dataset=dataset(), checkpoint=str(tmp_path / "half"))
    assert again.get_info()["loaded_step"] == 5 and again.get_info()["num_iterations"] == 12
    for step in range(5, 12):
        again.train_iteration(step)
    again.save(str(tmp_path / "again"))
    name = "checkpoints/step_00000012.pt"
    assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    seen = dataset()["cameras"][1]
    drawn = method(checkpoint=str(tmp_path / "whole")).render(seen)
    trained = whole.render(seen)
    np.testing.assert_allclose(drawn["color"], trained["color"], atol=1e-6)
    assert drawn["color"].shape == (24, 32, 3) and drawn["accumulation"].shape == (24, 32)
    with pytest.raises(ValueError, match="no setting 'capp'; there are recipe, cap, steps, seed"):
        method(train_dataset=dataset(), config_overrides={"capp": 5})


def test_what_registers_names_a_method_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    specs: list[dict[str, Any]] = []
    monkeypatch.setitem(
        sys.modules,
        "nerfbaselines",
        SimpleNamespace(register=specs.append),  # type: ignore[arg-type]
    )
    folder = ROOT / "bench" / "nerfbaselines"
    exec(compile((folder / "splat_spec.py").read_text(), "splat_spec.py", "exec"), {})
    place, _, name = specs[0]["method_class"].partition(":")
    assert (folder / f"{place}.py").is_file() and hasattr(method_module(), name)
    known = set(method_module().DEFAULTS) | {"@apply"}
    assert all(set(preset) <= known for preset in specs[0]["presets"].values())
