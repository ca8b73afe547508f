"""Whether what a strategy proposes depends on the order of the rows, which must not matter."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from splat.conformance.trial import Broken, Fingerprints, Trial, difference, fingerprints
from splat.core.edit import SPLIT, Edit
from splat.core.score import survey
from splat.core.step import Step
from splat.core.strategy import Strategy, Wrapper
from splat.types import Gaussians, PixelMap, Rendered, ScreenGradient, Surveyed

DRAWS = 32
"""Draws for each order of the rows of a strategy that draws."""
UNLIKELY = 8.0
"""Standard deviations by which no two sets of fair draws differ."""
ALIKE = 0.75
"""Cosine between how often rows are copied, moved or dropped in either order, at least."""


@dataclass(frozen=True)
class Witness(Wrapper):
    """Looks at a strategy while it is asked: what it changes, draws and proposes."""

    look: Callable[[Step, Edit, bool], None] | None = None
    """Called with a step, what was proposed for it, and whether numbers were drawn for that."""
    changed: list[str] = field(default_factory=list, compare=False)
    """What it changed itself, in sentences."""

    def observe(self, step: Step) -> None:
        before = fingerprints(step.model.cloud, statistics=False)
        self.base.observe(step)
        self._compare(step, before, "observe")

    def refine(self, step: Step) -> Edit | None:
        asked: list[str] = []
        before = fingerprints(step.model.cloud, statistics=False)

        def noted(purpose: str) -> torch.Generator:
            asked.append(purpose)
            return step.generator(purpose)

        edit = self.base.refine(replace(step, generator=noted))
        self._compare(step, before, "refine")
        if self.look is not None and edit is not None:
            self.look(step, edit, bool(asked))
        return edit

    def _compare(self, step: Step, before: Fingerprints, call: str) -> None:
        changed = difference(before, fingerprints(step.model.cloud, statistics=False))
        if changed:
            self.changed.append(
                f"at step {step.number + 1} {call} changes {changed} itself; propose it in the Edit"
                " that refine returns"
            )


def compare_orders(tried: Trial, step: Step, edit: Edit, draws: bool) -> None:
    """Raise Broken where the same rows in another order would fare differently.

    Ties may be broken by the place of rows, so that a quarter of what is done may be done to
    others. Where a strategy draws, one cannot give a row the same draw in another place; then how
    often each row is copied, moved or dropped in many draws must agree.
    """
    n = len(step.model.cloud)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(0))
    same, other = (_reordered(tried, step, permutation) for permutation in (torch.arange(n), order))
    if draws:
        _compare_fates(same, *_drawn(tried.strategy, same, other, order), drawn=True)
        return
    proposed = tried.strategy.refine(other)
    first, second = _fates(edit, n), torch.zeros(3, n)
    second[:, order] = _fates(proposed, n)
    (one, ones), (two, twos) = _outcome(same, edit), _outcome(other, proposed)
    if len(one) != len(two):
        _accuse(step, f"there are {len(two)} rows after it in place of {len(one)}")
    _compare_fates(step, first, second, drawn=False)
    two = two.where(two < 0, order[two.clamp_min(0)])
    by, also = one.argsort(stable=True), two.argsort(stable=True)
    if not torch.equal(one[by], two[also]):
        return  # ties
    for name, values in ones.items():
        if not torch.allclose(values[by], twos[name][also], 1e-4, 1e-5, equal_nan=True):
            _accuse(step, f"the column {name} is another after it")


def _accuse(step: Step, how: str) -> None:
    raise Broken(
        f"at step {step.number + 1} the same rows in another order fare otherwise: {how}; let"
        " what happens to a row depend on its values and statistics, and on step.generator"
    )


def _drawn(
    strategy: Strategy, same: Step, other: Step, order: Int[Tensor, "n"]
) -> tuple[Float[Tensor, "3 n"], Float[Tensor, "3 n"]]:
    """Counts of each row's fates over many draws, in one order and in the other."""
    n = len(order)
    first, second = torch.zeros(3, n), torch.zeros(3, n)
    for seed in range(DRAWS):
        first += _fates(strategy.refine(replace(same, generator=_streams(seed))), n)
        fates = _fates(strategy.refine(replace(other, generator=_streams(seed + DRAWS))), n)
        second[:, order] += fates
    return first, second


def _compare_fates(
    step: Step, first: Float[Tensor, "3 n"], second: Float[Tensor, "3 n"], drawn: bool
) -> None:
    differs = (first != second).any(1)
    sizes = first.square().sum(1) * second.square().sum(1)
    if drawn:
        # Of counts that are drawn alike, (a - b)^2 / (a + b) is at most 1 in the mean, and 2 its
        # variance; and in the cosine, what is a row's own chance does not count.
        total = first + second
        far = ((first - second).square() / total.clamp_min(1)).sum(1)
        rows = (total > 0).sum(1)
        differs = far - rows > UNLIKELY * (2 * rows).sqrt() + UNLIKELY
        sizes = (first.square() - first).sum(1) * (second.square() - second).sum(1)
    cosine = (first * second).sum(1) / sizes.clamp_min(1).sqrt()
    for fate, bad in zip(("copied", "moved", "dropped"), differs & (cosine < ALIKE), strict=True):
        if bad:
            _accuse(step, f"other rows are {fate}")


def _fates(edit: Edit | None, n: int) -> Float[Tensor, "3 n"]:
    """Whether each row has children, is moved, or dies."""
    fates = torch.zeros(3, n)
    if edit is None:
        return fates
    for append in edit.append:
        fates[0][append.parents[append.parents >= 0]] = 1
    for assign in edit.assign:
        if assign.parents is not None:
            fates[1][assign.index] = 1
    for drop in edit.drop:
        if drop.reason != SPLIT:
            fates[2][drop.rows[drop.rows < n]] = 1
    return fates


def _outcome(step: Step, edit: Edit | None) -> tuple[Int[Tensor, "m"], dict[str, Tensor]]:
    """The old row that each row is or comes from after an edit, and all columns."""
    cloud = step.model.cloud
    change = step.model.apply(edit)
    parents = torch.arange(len(cloud)) if change.parents is None else change.parents
    return parents, cloud.rows(torch.arange(len(cloud)))


def _streams(seed: int) -> Callable[[str], torch.Generator]:
    def stream(purpose: str) -> torch.Generator:
        digest = hashlib.blake2b(f"{seed}/{purpose}".encode(), digest_size=7).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest, "little"))

    return stream


def _reordered(tried: Trial, step: Step, order: Int[Tensor, "n"]) -> Step:
    """A step of a copy of the rows in another order."""
    state = step.model.cloud.state_dict()
    for column in state["columns"].values():
        for part in ("values", "first", "second"):
            column[part] = column[part][order]
    state["statistics"] = {name: values[order] for name, values in state["statistics"].items()}
    model = tried.model({name: column["values"] for name, column in state["columns"].items()})
    model.frame = step.model.frame
    for name, network in step.model.networks().items():
        model.networks()[name].module.load_state_dict(network.module.state_dict())
    tried.strategy.begin(model)
    model.cloud.load_state_dict(state)
    surveys: dict[tuple[int, tuple[PixelMap, ...]], Surveyed] = {}

    def surveyed(index: int, maps: Sequence[PixelMap] = ()) -> Surveyed:
        key = (index, tuple(maps))
        if key not in surveys:
            batch, background = tried.job.photos.batch_at(index, step.number), tried.background
            surveys[key] = survey(model, step.render, batch, maps, background, step.number)
        return surveys[key]

    rendered = _permuted(step.rendered, order, model.slots)
    return replace(step, model=model, rendered=rendered, survey=surveyed)


def _permuted(rendered: Rendered, order: Int[Tensor, "n"], slots: int) -> Rendered:
    """A picture of the same rows in another order."""
    drawn, gradient = rendered.gaussians, rendered.gradient
    if drawn.source is not None:
        place = order.argsort()
        source = place[drawn.source // slots] * slots + drawn.source % slots
        return replace(rendered, gaussians=replace(drawn, source=source))

    def taken(values: Tensor | None) -> Any:
        return None if values is None else values.detach()[order]

    return replace(
        rendered,
        radii=taken(rendered.radii),
        gaussians=Gaussians(
            taken(drawn.means), taken(drawn.quats), taken(drawn.scales), taken(drawn.opacities),
            taken(drawn.colors), drawn.sh_degree, None, taken(drawn.features),
        ),
        gradient=ScreenGradient(
            taken(gradient.signed), taken(gradient.absolute), gradient.maps, gradient.pixels,
            taken(gradient.sums),
        ),
    )  # fmt: skip
