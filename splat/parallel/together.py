"""Steps of several photos: gradients, losses and statistics of all of them, reduced to one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from splat.core.cloud import Cloud
from splat.core.model import TrainedModule
from splat.core.step import Step
from splat.kernels import Harmonics, HarmonicsGradient
from splat.parallel.ranks import Ranks

NONE, FACTORS, DENSE = 0.0, 1.0, 2.0
"""Kinds of gradient that backward left of a parameter; of all processes the largest counts."""
CHECK_EVERY = 10
"""Steps between checks whether all processes still have the same rows."""


class Together:
    """The photos that one process shows in a step, one after the other."""

    def __init__(self, each: int) -> None:
        """For so many of them."""
        self._each = each
        self.count = 0
        """Photos that were shown."""
        self._last: Step
        self._losses: dict[str, Tensor] = {}
        self._seen: Tensor | None = None
        self._shrink = 0.0

    @property
    def complete(self) -> bool:
        """Whether all of them were shown."""
        return self.count == self._each

    @torch.no_grad()
    def add(self, step: Step, losses: Mapping[str, Tensor]) -> None:
        """Take note of a photo whose gradients were taken, and which was observed."""
        self.count += 1
        if self.complete:
            self._last = step
        if self._each == 1:
            self._losses = dict(losses)
            return
        for name, loss in losses.items():
            self._losses[name] = self._losses.get(name, 0) + loss.detach() / self._each
        self._shrink = max(self._shrink, step.batch.shrink)
        seen = step.rows_in_sight
        self._seen = seen.clone() if self._seen is None else self._seen | seen

    @torch.no_grad()
    def mean(
        self, cloud: Cloud, modules: Mapping[str, TrainedModule]
    ) -> tuple[Step, dict[str, Tensor]]:
        """The step of all of them, and their mean losses; gradients become means over the photos,
        but of parameters that belong to one photo.

        The step that is returned says of its photo only what is true of all of them.
        """
        if self._each == 1:
            return self._last, self._losses
        _divide([*cloud.parameters(), *_shared(modules, of_photos=False)], self._each)
        batch = replace(self._last.batch, shrink=self._shrink)
        return replace(self._last, batch=batch, seen=self._seen), self._losses


class Apart:
    """The statistics of a cloud while this process observes a photo of its own.

    Statistics that are summed start from zero meanwhile, so that what is added can be reduced. Of a
    process that is alone they stay as they are.
    """

    def __init__(self, cloud: Cloud, ranks: Ranks) -> None:
        self._cloud = cloud
        self._before: dict[str, Tensor] = {}
        if ranks.alone or not cloud.shard.whole:
            return
        self._before = {name: cloud.statistic(name).clone() for name in cloud.statistics}
        for name in self.of("sum"):
            cloud.statistic(name).zero_()

    def of(self, how: Literal["sum", "max", "min"]) -> list[str]:
        """Names of the statistics that are reduced by `how`; none where rows are shared out."""
        if not self._cloud.shard.whole:
            return []
        return [name for name in self._cloud.statistics if self._cloud.combines(name) == how]

    def tensors(self, how: Literal["sum", "max", "min"]) -> list[Tensor]:
        """This process's tensors of the statistics that are reduced by `how`."""
        return [self._cloud.statistic(name) for name in self.of(how)]

    def join(self) -> None:
        """Add the statistics from before the step to the reduced sums, in place."""
        for name in self.of("sum"):
            statistic, before = self._cloud.statistic(name), self._before[name]
            statistic.copy_(
                statistic | before
            ) if statistic.dtype == torch.bool else statistic.add_(before)

    def undo(self) -> None:
        """Restore all statistics to what they were before this step."""
        for name, before in self._before.items():
            self._cloud.statistic(name).copy_(before)


@dataclass(frozen=True)
class _Header:
    """What processes must know of each other before gradients are reduced."""

    kinds: Sequence[float]
    """Kind of gradient of each parameter, `NONE`, `FACTORS` or `DENSE`."""
    degree: int
    """Largest degree of harmonics that was drawn."""
    shrink: float
    """Largest `Batch.shrink`."""


@torch.no_grad()
def combined_step(
    ranks: Ranks,
    apart: Apart,
    step: Step,
    modules: Mapping[str, TrainedModule],
    losses: Mapping[str, Tensor],
) -> tuple[Step, dict[str, Tensor]]:
    """The step reduced over all processes, once each has drawn and observed its photo.

    Gradients become their mean over the photos (sums where a parameter belongs to one photo), so
    do losses; statistics combine as they were declared; rows in sight are those that any has in
    sight. The step that is returned says of its photo only what is true of all of them: how much
    it was shrunk. Where another process is gone, statistics are as before the step, and `Lost` is
    raised: nothing of the step was done. Of a process that is alone the step is as it was.
    """
    if ranks.alone:
        return step, dict(losses)
    try:
        return _together(ranks, apart, step, modules, losses)
    except RuntimeError:
        apart.undo()
        raise


def _together(
    ranks: Ranks,
    apart: Apart,
    step: Step,
    modules: Mapping[str, TrainedModule],
    losses: Mapping[str, Tensor],
) -> tuple[Step, dict[str, Tensor]]:
    cloud = step.model.cloud
    whole = cloud.shard.whole
    parameters = [*(cloud.parameters() if whole else ()), *_shared(modules, of_photos=False)]
    of_photos = list(_shared(modules, of_photos=True))
    header = _header(ranks, step, [*parameters, *of_photos])
    kinds = header.kinds[: len(parameters)]
    means = _dense(parameters, kinds, DENSE)
    if not whole:  # each process has the gradients of its rows, those of all pictures
        _divide(cloud.parameters(), ranks.count)
    sums = _dense(of_photos, header.kinds[len(parameters) :], DENSE)
    terms = [loss.detach().float().reshape(1) for loss in losses.values()]
    reduce_tensors(ranks, [*terms, *means, *sums, *apart.tensors("sum")], "sum")
    for value in (*terms, *means):
        value /= ranks.count
    seen = step.rows_in_sight
    if whole:
        seen = seen.clone()
        reduce_tensors(ranks, [*apart.tensors("max"), seen], "max")
        reduce_tensors(ranks, apart.tensors("min"), "min")
    for parameter, kind in zip(parameters, kinds, strict=True):
        if kind == FACTORS:
            assert isinstance(parameter, Harmonics)
            _expand(ranks, parameter, header.degree)
    for part in modules.values():
        meet = getattr(part.optimizer, "meet", None)
        if meet is not None:
            meet(ranks.gathered, ranks.photos)
    apart.join()
    batch = replace(step.batch, shrink=header.shrink)
    mean_losses = {name: term[0] for name, term in zip(losses, terms, strict=True)}
    return replace(step, batch=batch, seen=seen), mean_losses


def reduce_tensors(
    ranks: Ranks, tensors: Sequence[Tensor], how: Literal["sum", "max", "min"]
) -> None:
    """Reduce tensors over all processes in place, those of one type and device in one go."""
    groups: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
    for tensor in tensors:
        kind = torch.uint8 if tensor.dtype == torch.bool else tensor.dtype
        groups.setdefault((kind, tensor.device), []).append(tensor)
    for (kind, _), group in groups.items():
        flat = torch.cat([tensor.reshape(-1).to(kind) for tensor in group])
        ranks.reduce(flat, how)
        start = 0
        for tensor in group:
            part = flat[start : start + tensor.numel()]
            tensor.copy_(part.view(tensor.shape))
            start += tensor.numel()


def _header(ranks: Ranks, step: Step, parameters: Sequence[Tensor]) -> _Header:
    """Exchange headers; raises ValueError where processes have other steps or rows (not where they
    share these out)."""
    kinds = [_kind(parameter) for parameter in parameters]
    degree = max((d for p in parameters for d in _degrees(p)), default=0)
    state: list[float] = [step.number, len(step.model.cloud), _print(step)]
    if not step.model.cloud.shard.whole:
        state[1:] = 0, 0
    own = [ranks.asking(), step.batch.shrink, degree, *state, *(-value for value in state)]
    header = torch.tensor([*own, *kinds], dtype=torch.float64)
    ranks.reduce(header, "max")
    signal, shrink, degree, *numbers = header.tolist()
    if any(numbers[i] != -numbers[3 + i] for i in range(3)):
        rows, unit = f"{len(step.model.cloud):,}", step.model.unit
        raise ValueError(
            f"step {step.number:,}: the processes of this run no longer have the same {rows}"
            f" {unit}; expected the same, bit by bit: use machines of one kind, and strategies"
            " whose proposals depend on statistics, not on the picture of one process"
        )
    ranks.asked = int(signal)
    return _Header(numbers[6:], int(degree), shrink)


def _print(step: Step) -> float:
    """Checksum of the positions every `CHECK_EVERY` steps; else 0."""
    if step.number % CHECK_EVERY:
        return 0.0
    return float(step.model.cloud[step.model.place].detach().double().sum())


def _shared(
    modules: Mapping[str, TrainedModule], *, of_photos: bool
) -> Iterator[torch.nn.Parameter]:
    for part in modules.values():
        if part.of_photos == of_photos:
            yield from part.module.parameters()


def _divide(parameters: Iterable[Tensor], photos: int) -> None:
    """Make gradients that are sums over so many photos their means."""
    for parameter in parameters:
        if parameter.grad is not None:
            parameter.grad /= photos
        for part in _pending(parameter):
            part.factors[:, :3] /= photos


def _kind(parameter: Tensor) -> float:
    pending = _pending(parameter)
    if parameter.grad is not None or len(pending) > 1:
        return DENSE
    return FACTORS if pending else NONE


def _pending(parameter: Tensor) -> list[HarmonicsGradient]:
    return parameter.pending if isinstance(parameter, Harmonics) else []


def _degrees(parameter: Tensor) -> list[int]:
    return [part.degree for part in _pending(parameter)]


def _dense(parameters: Sequence[Tensor], kinds: Sequence[float], kind: float) -> list[Tensor]:
    """Gradients of those parameters of a kind, written out; zero where this process has none."""
    gradients = []
    for parameter, own in zip(parameters, kinds, strict=True):
        if own != kind:
            continue
        for part in _pending(parameter):
            whole = part.dense(parameter.shape[1])
            parameter.grad = whole if parameter.grad is None else parameter.grad + whole
        _pending(parameter).clear()
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        gradients.append(parameter.grad)
    return gradients


def _expand(ranks: Ranks, parameter: Harmonics, degree: int) -> None:
    """Gradients that came as factors, six numbers a row, of all processes; their sum is the mean.

    They stay factors: `splat.core.column` writes them out a few rows at a time.
    """
    pending = _pending(parameter)
    own = pending[0].factors if pending else torch.zeros(len(parameter), 6)
    gathered = ranks.gathered(own.detach())
    gathered[..., :3] /= ranks.count
    pending[:] = [HarmonicsGradient(factors, degree) for factors in gathered]
