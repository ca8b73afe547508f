"""`Ranks`: the processes (ranks) that train one run together, as torchrun started them."""

from __future__ import annotations

import atexit
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal, TypeVar

import torch
import torch.distributed as dist

# Its functions take the group of all for a default as they are made, and would hold it for good
# (`_left`). Here they are made before there is one; torch's optimizers would do it later.
import torch.distributed.nn
from jaxtyping import Float
from torch import Tensor
from torch.distributed.rendezvous import rendezvous

T = TypeVar("T")

PATIENCE = timedelta(minutes=30)
"""How long one process waits for another that says nothing: the first writes figures and files
alone. One that is gone is noticed at once."""
GRACE = 5.0
"""Seconds after a signal in which collectives between GPUs may still end."""
_OPS = {"sum": dist.ReduceOp.SUM, "max": dist.ReduceOp.MAX, "min": dist.ReduceOp.MIN}


class Lost(RuntimeError):
    """Another process of the run is gone."""


def _nothing() -> int:
    return 0


@dataclass(eq=False)
class Ranks:
    """The rank of this process in a run, and collectives with the others.

    All of them must call the same things in the same order. A call raises `Lost` where another
    process is gone. Of a process that is alone (`ALONE`) all of it costs nothing.
    """

    rank: int = 0
    """Number of this process."""
    count: int = 1
    """Number of processes (world size)."""
    local: int = 0
    """Number of this process on its machine (local rank)."""
    local_count: int = 1
    """Number of processes on its machine."""
    photos: int = 1
    """Photos that each of them shows a step, one after the other."""
    asking: Callable[[], int] = field(default=_nothing, repr=False)
    """Gives the signal that asks this process to stop; 0: none."""
    asked: int = 0
    """The signal that asked any of them to stop, as all know since the last step."""
    store: Any = field(default=None, repr=False)
    """Key-value store of all processes, there as long as their launcher is."""
    talk: Any = field(default=None, repr=False)
    """Process group for tensors on the CPU and for objects."""

    @property
    def alone(self) -> bool:
        """Whether there are no others."""
        return self.count == 1

    @property
    def at_once(self) -> int:
        """Photos that a step shows, all processes together."""
        return self.count * self.photos

    def showing(self, photos: int) -> Ranks:
        """The same processes, with so many photos each a step."""
        if photos == self.photos:
            return self
        if self.alone:
            return Ranks(photos=photos)
        self.photos = photos  # no second one: the group of processes is left by the first (`_left`)
        return self

    @property
    def first(self) -> bool:
        """Whether this is the one that speaks and writes."""
        return self.rank == 0

    def agreed(self, act: Callable[[], T]) -> T:
        """Result of `act` in the first process, for all of them; what it raises, all raise."""
        if self.alone:
            return act()
        value: T | None = None
        error: Exception | None = None
        if self.first:
            try:
                value = act()
            except (OSError, ValueError, RuntimeError) as raised:
                error = raised
        value, error = self.same((value, error))
        if error is not None:
            raise error
        return value  # type: ignore[return-value]

    def steps_of(self, photos: int) -> int:
        """Number of steps that show so many photos."""
        return -(-photos // self.at_once)

    def reduce(self, values: Tensor, how: Literal["sum", "max", "min"]) -> None:
        """All-reduce: make a tensor the sum, maximum or minimum over all processes, in place.

        It is the same to the bit for all of them.
        """
        if self.alone:
            return
        with self._watched():
            if values.is_cuda:
                self._waited(dist.all_reduce(values, _OPS[how], async_op=True))
            else:
                dist.all_reduce(values, _OPS[how], group=self.talk)

    def gathered(self, values: Tensor) -> Tensor:
        """All-gather: the tensors of all processes, all of one shape, stacked in their order."""
        if self.alone:
            return values[None]
        with self._watched():
            stacked = values.new_empty(self.count, *values.shape)
            parts = list(stacked.unbind(0))
            if values.is_cuda:
                self._waited(dist.all_gather(parts, values.contiguous(), async_op=True))
            else:
                dist.all_gather(parts, values.contiguous(), group=self.talk)
            return stacked

    def exchanged(
        self, values: Tensor, sent: Sequence[int], received: Sequence[int]
    ) -> Float[Tensor, "m ..."]:
        """All-to-all: rows of a tensor for each process, one process after the other, `sent` of
        them; those that are for this one, likewise, of which `received` come from each."""
        if self.alone:
            return values
        with self._watched():
            values = values.contiguous()
            over_host = values.is_cuda and self.talk is dist.group.WORLD  # there is no NCCL
            given = values.cpu() if over_host else values
            taken = given.new_empty(sum(received), *given.shape[1:])
            if given.is_cuda:
                self._waited(
                    dist.all_to_all_single(taken, given, list(received), list(sent), async_op=True)
                )
            else:
                dist.all_to_all_single(taken, given, list(received), list(sent), group=self.talk)
            return taken.to(values.device)

    def to_first(self, values: Tensor, counts: Sequence[int]) -> Tensor:
        """Gather: the rows of all processes, `counts` of each, one after the other, on the CPU of
        the first; the others get their own back."""
        if self.alone:
            return values
        with self._watched():
            # As bytes: not every type is one that networks know.
            own = values.detach().to("cpu").contiguous()
            if not self.first:
                if own.numel():
                    dist.send(own.view(-1).view(torch.uint8), 0, group=self.talk)
                return values
            whole = own.new_empty(sum(counts), *own.shape[1:])
            whole[: len(own)] = own
            start = len(own)
            for rank in range(1, self.count):
                part = whole[start : start + counts[rank]]
                if part.numel():
                    dist.recv(part.view(-1).view(torch.uint8), rank, group=self.talk)
                start += counts[rank]
            return whole

    def same(self, value: T) -> T:
        """Broadcast: the value of the first process, for all of them; it must pickle."""
        if self.alone:
            return value
        with self._watched():
            held = [value]
            dist.broadcast_object_list(held, 0, group=self.talk, device=torch.device("cpu"))
            return held[0]

    def each(self, value: T) -> list[T]:
        """All-gather: the values of all processes, in their order; they must pickle."""
        if self.alone:
            return [value]
        with self._watched():
            held: list[Any] = [None] * self.count
            dist.all_gather_object(held, value, group=self.talk)
            return held

    def shared(self, items: Sequence[T]) -> Sequence[T]:
        """The part of some items that is this process's to work on."""
        return items[self.rank :: self.count]

    def interleaved(self, own: Sequence[T]) -> list[T]:
        """Results of all processes for their `shared` parts, in the order of the whole."""
        parts = [list(part) for part in self.each(own)]
        most = max(map(len, parts))
        return [part[i] for i in range(most) for part in parts if i < len(part)]

    def speaks(self) -> bool:
        """Whether it is for this process to say what went wrong: the one that asks first."""
        try:
            return bool(self.store.add("splat said", 1) == 1)
        except (RuntimeError, OSError):
            return True  # who kept count is gone, too

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Raises errors of the network as `Lost`."""
        try:
            yield
        except RuntimeError as error:
            if isinstance(error, Lost) or type(error).__name__ == "OutOfMemoryError":
                raise
            raise self._gone(str(error).strip().partition("\n")[0]) from error

    def _waited(self, work: Any) -> None:
        """Wait for what GPUs do together, which knows of nobody that is gone.

        torchrun asks those that are left to stop; then it is given up.
        """
        since = 0.0
        while not work.is_completed():
            if self.asking() and not since:
                since = time.monotonic()
            if since and time.monotonic() - since > GRACE:
                abort = getattr(dist.distributed_c10d, "_abort_process_group", None)
                if abort is not None:  # else what hangs ends with the process
                    abort()
                raise self._gone("what goes on between GPUs does not end")
            time.sleep(5e-5)
        work.wait()

    def _gone(self, reason: str) -> Lost:
        _lost.append(
            Lost(
                f"another of the {self.count} processes of this run is gone or does not answer"
                f" ({reason}); start all of them anew"
            )
        )
        return _lost[-1]


ALONE = Ranks()
"""The one process of a run that is trained by no others."""

_ours: list[Ranks] = []
"""The `Ranks` of this process, once it has met the others."""
_lost: list[Lost] = []
"""The error of this process, once another one is gone."""


def current_ranks() -> Ranks:
    """The processes of this run as torchrun's environment has them, all met, or `ALONE`.

    Every process on a machine takes the GPU of its number there, where there are any.
    """
    if _ours:
        return _ours[0]
    if int(os.environ.get("WORLD_SIZE", "1")) < 2 or "RANK" not in os.environ:
        return ALONE
    ranks = Ranks(
        rank=_number("RANK"),
        count=_number("WORLD_SIZE"),
        local=_number("LOCAL_RANK"),
        local_count=_number("LOCAL_WORLD_SIZE"),
    )
    backend = "gloo"
    if torch.cuda.is_available():
        devices = torch.cuda.device_count()
        if ranks.local < devices:
            torch.cuda.set_device(ranks.local)
        if ranks.local_count <= devices:
            backend = "cpu:gloo,cuda:nccl"
    with ranks._watched():
        ranks.store, _, _ = next(rendezvous("env://", ranks.rank, ranks.count))
        dist.init_process_group(
            backend, store=ranks.store, rank=ranks.rank, world_size=ranks.count, timeout=PATIENCE
        )
        ranks.talk = dist.group.WORLD if backend == "gloo" else dist.new_group(backend="gloo")
    _ours.append(ranks)
    atexit.register(_left)
    return ranks


def speaks() -> bool:
    """Whether it is for this process to say what went wrong; of several the first that asks."""
    if _ours:
        return _ours[0].speaks()
    return os.environ.get("RANK", "0") == "0"


def _number(name: str) -> int:
    text = os.environ.get(name, "")
    if not text.isdigit():
        raise ValueError(
            f"{name} is {text!r} in the environment, beside WORLD_SIZE"
            f" {os.environ.get('WORLD_SIZE')}; expected a number: start several processes by"
            " `torchrun --nproc-per-node 2 -m splat train ...`, or unset WORLD_SIZE for one"
        )
    return int(text)


def _left() -> None:
    """Leave the process group at the end of the process, unless others are gone."""
    if not _lost:
        # A group that is still held ends with the process, amid its threads, which aborts it.
        for ranks in _ours:
            ranks.talk = ranks.store = None
        with suppress(Exception):
            dist.destroy_process_group()
