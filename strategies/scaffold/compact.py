"""`CodedAnchors`: anchors that learn to be told in few bits (HAC, Chen et al., ECCV 2024)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from splat.core.column import Rate
from splat.core.edit import Change, Edit, Rows
from splat.core.model import Making, module_of
from splat.strategies.scaffold.anchors import Anchored, decoded
from splat.strategies.scaffold.bake import baked
from splat.strategies.scaffold.context import KINDS, Context, Expected, Shape
from splat.strategies.scaffold.networks import Networks
from splat.strategies.scaffold.settled import Settled, settled
from splat.strategies.scaffold.shaken import noise, shaken
from splat.types import Camera, Gaussians

MASK_RATES = (1e-2, 1e-4)
"""Learning rates at the start and the end of a run (HAC)."""
MASK_START = 1.0
"""Logit of a mask at first."""
MASK_OFF = -4.59512
"""Logit up to which a mask is off: its logistic function is 0.01."""
STEPS = "code_steps"
"""Statistic of anchors: the steps of their numbers by kind; 0: not known yet, those of the base."""
FINISHED = 1 << 40
"""Steps of training that what is read from a file counts as done."""
LEAST_SAMPLE = 256
"""Anchors that are sampled at least, where a view has as many."""


@dataclass(frozen=True)
class Training:
    """How anchors are trained for being coded."""

    noise_from: int = 3000
    """Steps after which noise of the size of the rounding is added to numbers."""
    adapt_from: int = 10_000
    """Steps after which quantisation steps follow the context, and bits cost."""
    share: float = 0.04
    """Of the anchors of a view, whose bits are counted at a step."""
    mask_rate: float = 1.0
    """Factor on the learning rate of masks."""


@dataclass(frozen=True)
class Sample:
    """Some anchors of a view, shaken, and what the context expects of them."""

    step: int
    values: Float[Tensor, "n d"]
    masks: Float[Tensor, "n k"]
    """1 or 0."""
    expected: Expected


class CodedAnchors(Anchored):
    """Anchors of Scaffold-GS that are trained to be rounded and coded.

    One more column: `mask` [N, k], logits of whether an offset is drawn at all. One more network:
    `context`, which expects an anchor's numbers by where it lies. After training (`step` None) it
    draws what a file would hold (`settled`), once numbers are shaken.
    """

    def __init__(
        self,
        rows: Rows,
        making: Making,
        settings: Mapping[str, Any],
        shape: Shape,
        training: Training,
    ) -> None:
        """`settings` are those of `Anchored`."""
        super().__init__(rows, making, **settings)
        self.shape, self.training_for, self.seed = shape, training, making.seed
        cloud = self.cloud
        logits = rows.get("mask")
        if logits is None:
            logits = cloud["offset"].new_full(cloud["offset"].shape[:2], MASK_START)
        first, last = (training.mask_rate * rate for rate in MASK_RATES)
        cloud.add("mask", logits, Rate(first, last, making.steps))
        start = (cloud["anchor"], cloud["reach"])
        draws = torch.Generator().manual_seed(making.seed)
        context = Context(self.settings["features"], self.slots, shape, start, draws)
        self.beside["context"] = context.to(cloud.device).trained(making.steps)
        self.done = 0
        """Steps of training done, as far as rounding goes by them."""
        self.sample: Sample | None = None
        """What the last step of training drew, for the term of the loss."""
        self._settled: Settled | None = None

    @property
    def context(self) -> Context:
        """What anchors are expected to be."""
        return module_of(self, "context", Context)

    @property
    def on(self) -> Bool[Tensor, "n k"]:
        """Offsets whose masks are on."""
        return self.cloud["mask"].detach() > MASK_OFF

    def forward(self, camera: Camera, step: int | None = None) -> Gaussians:
        self.sample = None
        if step is not None:
            self._settled = None
        found = self.settled() if step is None else None
        if found is None:
            return super().forward(camera, step)
        which = found.look(camera)
        self._looked = (camera, found.rows.index_select(0, which).sort().values)
        return self._numbered(found, found.drawn(camera, which))

    def settled(self) -> Settled | None:
        """What a file holds of it as it is now; None before numbers are shaken."""
        if self.done <= self.training_for.noise_from:
            return None
        if self._settled is None:
            heads = module_of(self, "heads", Networks)
            columns = {name: self.cloud[name] for name in ("anchor", "feature", "reach", "offset")}
            self._settled = settled(
                columns, self.on, self.voxel, self.context, heads, self.distance
            )
        return self._settled

    def keep(self, found: Settled) -> None:
        """Draw, after training, what a file holds, which these rows were made of."""
        self.done, self._settled = FINISHED, found

    def order_rows(self) -> Int[Tensor, "n"]:
        self._settled = None
        return super().order_rows()

    def apply(self, edit: Edit | None) -> Change:  # type: ignore[override]
        if edit is not None:
            self._settled = None
        return super().apply(edit)

    @torch.no_grad()
    def bake(self, camera: Camera | None = None) -> Gaussians:
        found = self.settled()
        if camera is not None or found is None:
            return super().bake(camera)
        plain = baked(found.drawn, found.look, len(found.rows), self.slots, self.views)
        return self._numbered(found, plain)

    def get_extra_state(self) -> dict[str, Any]:
        return {**super().get_extra_state(), "done": self.done}

    def set_extra_state(self, state: Mapping[str, Any]) -> None:
        super().set_extra_state(state)
        self.done, self._settled = int(state["done"]), None

    @torch.no_grad()
    def refresh(self) -> None:
        """Take the steps of all anchors anew from the context."""
        cloud = self.cloud
        cloud.statistic(STEPS).copy_(self.context.steps(cloud["anchor"]))

    def stream(self, step: int, purpose: str) -> torch.Generator:
        """Draws that depend on the seed, a step and a purpose only."""
        text = f"{self.seed}/{step}/code {purpose}".encode()
        number = int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")
        return torch.Generator(self.cloud.device).manual_seed(number >> 1)

    def _decoded(self, camera: Camera, rows: Int[Tensor, "m"], step: int | None) -> Gaussians:
        cloud = self.cloud
        columns = {name: cloud[name] for name in ("anchor", "feature", "reach", "offset")}
        logits = cloud["mask"]
        soft = logits.sigmoid()
        # 1 or 0 to draw with; its gradient is that of the logistic function.
        masks = soft + ((logits > MASK_OFF).to(soft.dtype) - soft).detach()
        shaking = step is not None and step >= self.training_for.noise_from and len(rows)
        if shaking and torch.is_grad_enabled():
            assert step is not None
            columns |= self._shaken(columns, masks, rows, step)
        heads = self.heads(None if step is None else camera.index)
        return decoded(columns, heads, rows, camera, distance=self.distance, masks=masks)

    def _shaken(self, columns: Rows, masks: Tensor, rows: Tensor, step: int) -> dict[str, Tensor]:
        """Columns with noise on them; some of what is in view is kept for the term of the loss."""
        cloud, count, adapting = self.cloud, len(rows), step >= self.training_for.adapt_from
        n = min(count, max(LEAST_SAMPLE, round(self.training_for.share * count)))
        order = torch.randperm(count, generator=self.stream(step, "pick"), device=rows.device)
        picked = rows.index_select(0, order[:n])
        expected = self.context(columns["anchor"].index_select(0, picked))
        steps = columns["anchor"].new_tensor(self.shape.steps).expand(len(cloud), 3)
        if not adapting:
            # The context learns first what anchors are like, before it may press them.
            expected = replace(expected, step=steps[:n])
        elif STEPS in cloud.statistics:
            known = cloud.statistic(STEPS)
            steps = known.where(known > 0, steps)
        widths = list(self.context.widths)
        drawn = noise(len(cloud), sum(widths), self.stream(step, "noise")).split(widths, 1)
        parts, found = [], {}
        for kind, name in enumerate(KINDS):
            own = slice(kind, kind + 1)
            whole, some = shaken(
                columns[name].flatten(1),
                expected.step[:, own],
                picked,
                drawn[kind],
                steps[:, own],
                count / n,
            )
            found[name] = whole.view_as(columns[name])
            parts.append(some)
        values = torch.cat(parts, 1)
        values = values if adapting else values.detach()
        self.sample = Sample(step, values, masks.index_select(0, picked), expected)
        return found

    def _numbered(self, found: Settled, made: Gaussians) -> Gaussians:
        """Gaussians of what is settled by the rows that it was rounded from."""
        assert made.source is not None
        row = found.rows.index_select(0, made.source.div(self.slots, rounding_mode="floor"))
        return replace(made, source=row * self.slots + made.source % self.slots)
