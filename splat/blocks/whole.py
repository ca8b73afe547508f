"""A run in blocks with its scene: the blocks that are left, and their jobs."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import torch

from splat.blocks.many import AROUND
from splat.blocks.plan import FEW_VIEWS, BlockPlan, Part, folder_of, log_of
from splat.blocks.work import CALL, done, options_of
from splat.jobs import Share, Work
from splat.planning import predict
from splat.runs.folder import Config, Folder
from splat.system.text import size
from splat.types import SceneData

LEAST_CACHE = 32 << 20
"""Least bytes for decoded photos that a block has."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Whole:
    """A run in blocks with its plan, its settings and its scene."""

    run: Folder
    cells: BlockPlan
    config: Config
    scene: SceneData
    device: torch.device

    def left(self) -> list[Part]:
        """Blocks that are not trained to their end."""
        return [part for part in self.cells.parts if not done(self.run, part, self.config)]

    def work(self, part: Part, share: Share) -> Work:
        """The job of a block."""
        prediction = self.predicted(part, share)
        cache = 0 if self.config.options.cache is not None else self._cache(prediction, share)
        return Work(
            key=part.name,
            call=CALL,
            arguments=(str(self.run.path), part.name, str(share.threads), str(cache)),
            log=log_of(self.run, part),
            steps=self.config.options.steps or 0,
            progress=folder_of(self.run, part).log,
            memory=prediction.host,
        )

    def predicted(self, part: Part, share: Share) -> predict.Prediction:
        """Predicted memory and time of a block."""
        asked, names = options_of(self.config), set(part.views)
        views = [view for view in self.scene.train if view.name in names]
        cache = asked.cache
        if cache is None:
            cache = predict.cache_bytes() // max(1, share.workers)
        fitted = predict.with_device_defaults(
            replace(asked, cache=cache, threads=share.threads), self.device
        )
        start = min(round(AROUND * part.points), part.cap or part.points)
        return predict.predict(views, fitted, self.device, start, part.cap)

    def _cache(self, prediction: predict.Prediction, share: Share) -> int:
        """Bytes for the decoded photos of a block: the rest of its share of the memory."""
        at_once = max(1, share.workers)
        if self.config.options.memory is None:
            return predict.cache_bytes() // at_once
        rest = prediction.host - prediction.photos
        return max(LEAST_CACHE, self.config.options.memory // at_once - rest)

    def announce(self, share: Share) -> None:
        """Log what each block is and takes."""
        parts = self.cells.parts
        _log.info(
            "blocks    %d, %d of them trained; %d at once, %s steps each",
            len(parts),
            len(parts) - len(self.left()),
            max(1, share.workers),
            f"{self.config.options.steps:,}",
        )
        for part in parts:
            cap = f", at most {part.cap:,} Gaussians" if part.cap else ""
            _log.info(
                "block     %s: %d views, %d of them taken from within; %s points%s; about %s",
                part.name,
                len(part.views),
                part.inside,
                f"{part.points:,}",
                cap,
                size(self.predicted(part, share).total),
            )
            if len(part.views) < FEW_VIEWS:
                _log.warning(
                    "warning: block %s has %d views only; fewer than %d show it from too few"
                    " sides: ask for fewer blocks",
                    part.name,
                    len(part.views),
                    FEW_VIEWS,
                )
