"""What other programs are told of a run while it goes on: TensorBoard, Weights & Biases, Rerun.

Each gets the same numbers under the same names: `loss/TERM`, `psnr/training_view` and `gaussians`
now and then, `edits/VERB_REASON` when rows come or go.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from splat.core.edit import Change
from splat.core.frame import gaussians_from_frame
from splat.core.step import Step
from splat.evaluation.evaluate import view_psnr
from splat.loop import Run
from splat.math import rgb_from_sh
from splat.options import Watching
from splat.runs.folder import Folder
from splat.runs.log import LOG_EVERY

SHOWN_EVERY = 500
"""Steps between sets of Gaussians in a recording of Rerun."""
Numbers = dict[str, float]


class Board(ABC):
    """A watcher that tells another program numbers of a run."""

    @abstractmethod
    def tell(self, numbers: Numbers, run: Run) -> None:
        """Pass on numbers, by name, of the step that was just done."""

    @abstractmethod
    def close(self) -> None:
        """Write what is pending, and end."""

    def __call__(self, run: Run, step: Step, losses: Mapping[str, Tensor], change: Change) -> None:
        numbers: Numbers = {
            f"edits/{name.replace(':', '_')}": rows for name, rows in change.counts.items()
        }
        if run.step % LOG_EVERY == 0:
            numbers |= {f"loss/{name}": float(loss.detach()) for name, loss in losses.items()}
            numbers |= {"psnr/training_view": view_psnr(step), "gaussians": run.rows}
        if numbers:
            self.tell(numbers, run)


class TensorBoard(Board):
    """Writes TensorBoard's event files."""

    def __init__(self, folder: Path, step: int = 0) -> None:
        """Write into `folder`; what came after `step` is taken back."""
        module = _imported("torch.utils.tensorboard", "TensorBoard", "tensorboard")
        self._writer: Any = module.SummaryWriter(str(folder), purge_step=step + 1)

    def tell(self, numbers: Numbers, run: Run) -> None:
        for name, value in numbers.items():
            self._writer.add_scalar(name, value, run.step)

    def close(self) -> None:
        self._writer.close()


class Wandb(Board):
    """Logs to Weights & Biases, as its environment says: WANDB_MODE=offline keeps it here."""

    def __init__(self, folder: Path, step: int = 0) -> None:
        """A run of the name of `folder`, whose files go there; one that was cut goes on."""
        module = _imported("wandb", "Weights & Biases", "wandb")
        self._run: Any = module.init(
            project="splat", name=folder.name, dir=str(folder), id=_name_of(folder),
            resume="allow" if step else None, config={"step": step},
        )  # fmt: skip

    def tell(self, numbers: Numbers, run: Run) -> None:
        self._run.log(numbers, step=run.step)

    def close(self) -> None:
        self._run.finish()


class Rerun(Board):
    """Writes a recording for Rerun's viewer: numbers, and the Gaussians now and then."""

    def __init__(self, file: Path, step: int = 0) -> None:
        """Write to `file`; of a run that was cut to one beside it, as recordings cannot go on."""
        self._rr: Any = _imported("rerun", "Rerun", "rerun")
        self._to: Any = self._rr.RecordingStream("splat", recording_id=_name_of(file.parent))
        self._to.save(str(file if not step else file.with_stem(f"{file.stem}_{step}")))

    def __call__(self, run: Run, step: Step, losses: Mapping[str, Tensor], change: Change) -> None:
        super().__call__(run, step, losses, change)
        if run.step % SHOWN_EVERY == 0 or run.over:
            self._to.set_time("step", sequence=run.step)
            self._to.log("scene", self._shown(run))

    def tell(self, numbers: Numbers, run: Run) -> None:
        self._to.set_time("step", sequence=run.step)
        for name, value in numbers.items():
            self._to.log(name, self._rr.Scalars(value))

    def close(self) -> None:
        self._to.flush()
        self._to.disconnect()

    @torch.no_grad()
    def _shown(self, run: Run) -> Any:
        """The rows, in the frame of the input and of one colour each, as the viewer has them."""
        rows = gaussians_from_frame(run.model.sketch(), run.frame).to("cpu")
        rgb = rgb_from_sh(rows.colors[:, 0]) if rows.sh_degree is not None else rows.colors
        rgba = torch.cat([rgb, rows.opacities[:, None]], 1).clamp(0, 1).mul(255).byte().numpy()
        if hasattr(self._rr, "GaussianSplats3D"):
            return self._rr.GaussianSplats3D(
                rows.means.numpy(), scales=rows.scales.numpy(),
                quaternions=rows.quats.roll(-1, 1).numpy(), colors=rgba,
            )  # fmt: skip
        return self._rr.Points3D(rows.means.numpy(), colors=rgba)


def boards(watching: Watching, folder: Folder, step: int) -> Iterator[Board]:
    """Those that were asked for, for a run that goes on from `step`."""
    if watching.tensorboard:
        yield TensorBoard(folder.tensorboard, step)
    if watching.wandb:
        yield Wandb(folder.path, step)
    if watching.rerun:
        yield Rerun(folder.rerun, step)


def _name_of(folder: Path) -> str:
    """A name that stays the folder's, of what these programs take in one."""
    text = "-".join(folder.resolve().parts[-2:])
    return "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in text)


def _imported(module: str, name: str, extra: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        raise ValueError(
            f"--{extra} needs {name}, which cannot be imported ({error}): run"
            f" `pip install 'splat-toolkit[{extra}]'`"
        ) from error
