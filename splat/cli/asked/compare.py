"""What `splat compare` is asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from splat.options import Options, Reading
from splat.options.verbs import Json, Quiet
from splat.photos.modes import Resolution
from splat.system.numbers import hint

_KEPT = "as before in a comparison that is there"


@dataclass(frozen=True)
class Shared(Options):
    """How every scene is trained; the same for all strategies."""

    resolution: Literal["auto", Resolution] = "full"
    """Size of the pictures that train; the last steps and all figures are at full size.
    warm-up: the first tenth of the run at half; dash: the first half from an eighth up, by the
    spectra of the photos (DashGaussian)."""
    seed: tyro.conf.Suppress[int] = 0
    budget: tyro.conf.Suppress[str | None] = None
    minutes: tyro.conf.Suppress[float | None] = None
    psnr: tyro.conf.Suppress[float | None] = None
    patience: tyro.conf.Suppress[int] = 0
    replay: tyro.conf.Suppress[Path | None] = None


@dataclass(frozen=True)
class Compare:
    """Compare strategies fairly, and write a report.

    All else is the same for all of them: kernels, photos and their order, points to start from,
    steps, most Gaussians. What is done is not done again: an interrupted comparison goes on, and
    more seeds, strategies, budgets or scenes extend it. For example:
    splat compare scene/ --strategies adc,mcmc --budget 100k --seeds 3 --steps 3000
    """

    scenes: Annotated[tuple[Path, ...], tyro.conf.Positional, hint(_KEPT)] = ()
    """Folders of COLMAP, nerfstudio or Blender scenes."""
    strategies: Annotated[
        tyro.conf.UseAppendAction[tuple[str, ...]], hint(f"{_KEPT}, or adc,mcmc")
    ] = ()
    """Recipes with commas between them, such as adc,mcmc; NAME=recipe gives a row a name of its
    own. Commas in brackets or quotes do not count. May be given more than once."""
    budgets: Annotated[
        str, tyro.conf.arg(name="budget"), hint(f"{_KEPT}, or fitted to the device")
    ] = ""
    """Most Gaussians, such as 100k, or bytes of the .ply, such as 12MB; or several, 25k,100k.
    own: as many as each recipe says."""
    sizes: Annotated[str, hint("none")] = ""
    """Bytes of files, such as 0.25MB,0.5MB,1MB,2MB: in place of budgets, a curve of quality against
    bytes for each strategy, with as many rows as such files hold. Gaussians are written in
    --formats, a model that has a file of its own in that; files are weighed, read back and
    measured. One table and one plot: rates.md, figures/."""
    formats: Annotated[tuple[str, ...], hint(".sog .spz")] = ()
    """Of --sizes: formats that Gaussians are written in."""
    seeds: Annotated[str, hint(f"{_KEPT}, or 3")] = ""
    """How many, such as 3, or which, such as 0,1,2."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("comparison")
    """Folder for the runs and the report."""
    reference: Annotated[str | None, hint("the first")] = None
    """Strategy that differences are to."""
    eval_every: Annotated[int, hint("a tenth of the steps")] = 0
    """Steps between looks at the held-out views, for the curves; they are no part of the times."""
    net: Literal["alex", "vgg", "none"] = "alex"
    """Network of LPIPS; figures of different networks do not compare."""
    off_path: bool = False
    """Measure every run where no photo was taken, too, as `splat eval --off-path`; those that are
    done are measured then, and not trained again."""
    workers: Annotated[int | None, hint("cores / threads, or one for each GPU")] = None
    """Runs at once, each in a process of its own. 0: one after the other in this one."""
    on: Annotated[str | None, tyro.conf.arg(metavar="ray|ADDRESS"), hint("this machine")] = None
    """Who carries the runs out: ray is Ray on this machine, an address (ray://host:10001,
    host:6379, auto) a cluster of it, all of whose machines see the scenes and --out under the same
    paths and have the same splat (extra [ray])."""
    retry: bool = False
    """Begin runs that failed anew."""
    only_report: bool = False
    """Train nothing; write the report of what is there."""
    json: Json = False
    quiet: Quiet = False
    training: Shared = field(default_factory=Shared)
    reading: Reading = field(default_factory=Reading)
