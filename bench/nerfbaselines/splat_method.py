"""splat as a method of nerfbaselines (`splat_spec.py` registers it)."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
import torch

from splat.cli.opened import Opened, open_scene
from splat.core.frame import camera_to_frame
from splat.loop import advance
from splat.options import Options, Watching
from splat.recipes import saved
from splat.recipes.recipe import strategy_from_text
from splat.recipes.restored import strategy_of
from splat.runs import checkpoint as checkpoints
from splat.runs.folder import Config, Folder, read_config
from splat.system.colours import hexadecimal
from splat.system.version import version
from splat.training.prepare import Job, prepare
from splat.types import Camera, Needs, Points, SceneData, View

DEFAULTS = {"recipe": "mrnf + renew", "cap": 1_000_000, "steps": 30_000, "seed": 0}
"""What `--set NAME=VALUE` changes. Photos are trained on at the size that they are given."""


class Splat:
    """A run of splat, step by step; see `nerfbaselines.Method`."""

    def __init__(
        self,
        *,
        checkpoint: str | None = None,
        train_dataset: Mapping[str, Any] | None = None,
        config_overrides: Mapping[str, Any] | None = None,
    ) -> None:
        unknown = set(config_overrides or {}) - set(DEFAULTS)
        if unknown:
            raise ValueError(
                f"there is no setting {min(unknown)!r}; there are {', '.join(DEFAULTS)}"
            )
        self._settings = {**DEFAULTS, **(config_overrides or {})}
        self._folder = None if checkpoint is None else Folder(Path(checkpoint))
        if self._folder is not None:
            self._settings["steps"] = read_config(self._folder.config).options.steps
        self._job: Job | None = None
        self._opened: Opened | None = None
        self._photos: TemporaryDirectory[str] | None = None
        if train_dataset is not None:
            self._job = self._begun(train_dataset)
        elif self._folder is not None:
            self._opened = open_scene(self._folder.path, "auto", "auto")
        self._loaded = None if self._job is None else self._job.run.step or None

    def _begun(self, dataset: Mapping[str, Any]) -> Job:
        """The run, before its first step or as the checkpoint has it."""
        self._photos = TemporaryDirectory()
        scene = scene_of(dataset, Path(self._photos.name))
        if self._folder is not None:
            config = read_config(self._folder.config)
            state = checkpoints.load(self._folder.latest())
            strategy = strategy_of(config)
            return prepare(scene, strategy, config.options, state)
        behind = dataset["metadata"].get("background_color")
        options = Options(
            steps=int(self._settings["steps"]),
            seed=int(self._settings["seed"]),
            downscale=1.0,
            background="black" if behind is None else hexadecimal((behind / 255).tolist()),
        )
        strategy = strategy_from_text(str(self._settings["recipe"]))
        return prepare(scene, strategy.limited(int(self._settings["cap"])), options)

    @classmethod
    def get_method_info(cls) -> dict[str, Any]:
        """What a method of this kind takes and gives."""
        return {
            "method_id": "",
            "required_features": frozenset(("color", "points3D_xyz", "points3D_rgb")),
            "supported_camera_models": frozenset(("pinhole",)),
            "supported_outputs": ("color", "accumulation"),
            "can_resume_training": True,
        }

    def get_info(self) -> dict[str, Any]:
        """What this run is."""
        return {
            **self.get_method_info(),
            "num_iterations": int(self._settings["steps"]),
            "loaded_step": self._loaded,
            "loaded_checkpoint": None if self._folder is None else str(self._folder.path),
            "hparams": dict(self._settings),
        }

    def get_train_embedding(self, index: int) -> None:
        """None: a photo has no embedding."""

    def train_iteration(self, step: int) -> dict[str, float]:
        """One step; nothing of it is measured, which would take a while."""
        assert self._job is not None and step == self._job.run.step
        advance(self._job.run)
        return {"num_gaussians": float(len(self._job.run.model.cloud))}

    @torch.no_grad()
    def render(self, camera: Any, *, options: Any = None) -> dict[str, Any]:
        """Colour and accumulation, float32, of one camera."""
        del options
        seen = camera_of(camera.item())
        if self._job is not None:
            run = self._job.run
            model, render, background = run.model, run.last_render, run.background
            seen = camera_to_frame(seen, run.frame).to(render.device)
        else:
            assert self._opened is not None
            found = self._opened
            model, render, background = found.seen_by, found.render, found.background
            seen = found.placed(seen)
        drawn = render(model(seen), seen, Needs(), background)
        return {
            "color": drawn.image.clamp(0, 1).cpu().numpy(),
            "accumulation": drawn.alpha.cpu().numpy(),
        }

    def save(self, path: str) -> None:
        """Write the run as a folder that `splat` itself opens."""
        folder = Folder(Path(path))
        if self._job is None:
            assert self._folder is not None
            shutil.copytree(self._folder.path, folder.path, dirs_exist_ok=True)
            return
        job = self._job
        folder.checkpoints.mkdir(parents=True, exist_ok=True)
        Config(
            scene=Path("nerfbaselines"),
            reading=None,
            train=tuple(view.name for view in job.scene.train),
            test=(),
            method=saved.description_of(job.strategy),
            options=job.options,
            watching=Watching(),
            command="nerfbaselines",
            made_by=version(),
        ).write(folder.config)
        checkpoints.save(job.run, checkpoints.path_of(folder.checkpoints, job.run.step))


def scene_of(dataset: Mapping[str, Any], folder: Path) -> SceneData:
    """A scene of what nerfbaselines has read, its photos written to a folder without loss."""
    views = []
    for index, image in enumerate(dataset["images"]):
        path = folder / f"{index:05d}.png"
        turned = cv2.cvtColor(
            image, cv2.COLOR_RGBA2BGRA if image.shape[2] == 4 else cv2.COLOR_RGB2BGR
        )
        if not cv2.imwrite(str(path), turned):
            raise OSError(f"{path} could not be written")
        mask = None
        if dataset.get("masks") is not None:
            mask = folder / f"{index:05d}.mask.png"
            cv2.imwrite(str(mask), dataset["masks"][index].astype(np.uint8) * 255)
        views.append(View(path.name, camera_of(dataset["cameras"][index]), path, mask))
    points = None
    if dataset.get("points3D_xyz") is not None:
        colors = torch.from_numpy(dataset["points3D_rgb"]).float() / 255
        points = Points(torch.from_numpy(dataset["points3D_xyz"]).float(), colors)
    return SceneData(folder, "nerfbaselines", tuple(views), (), points)


def camera_of(camera: Any) -> Camera:
    """A pinhole camera of one of nerfbaselines' (pose to the world, axes right-down-forward)."""
    pose = np.eye(4)
    pose[:3] = camera.poses[:3]
    fx, fy, cx, cy = camera.intrinsics.tolist()
    width, height = map(int, camera.image_sizes)
    K = torch.tensor([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], dtype=torch.float32)
    return Camera(torch.from_numpy(np.linalg.inv(pose)).float(), K, width, height)
