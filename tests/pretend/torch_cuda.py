"""`torch.cuda` of a CPU build of torch as it is where there are GPUs, all of them one memory."""

from __future__ import annotations

import io
import os
import pickle
import time
from typing import Any

import torch

NAME = "pretended GPU"
MEMORY = 24 << 30
_HERE = torch.device("cuda", 0)


class Stream:
    """The one stream, on which everything has ended."""

    cuda_stream = 0
    device = _HERE

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def wait_stream(self, other: Any) -> None: ...

    def wait_event(self, event: Any) -> None: ...

    def synchronize(self) -> None: ...

    def query(self) -> bool:
        return True

    def record_event(self, event: Any = None) -> Any:
        event = event or Event()
        event.record(self)
        return event


class Event:
    """A point in time, as the clock of the machine has it."""

    def __init__(self, enable_timing: bool = False, **_: Any) -> None:
        self._at: float | None = None

    def record(self, stream: Any = None) -> None:
        self._at = time.perf_counter()

    def synchronize(self) -> None: ...

    def wait(self, stream: Any = None) -> None: ...

    def query(self) -> bool:
        return True

    def elapsed_time(self, other: Event) -> float:
        if self._at is None or other._at is None:
            raise RuntimeError("elapsed_time of an event that was not recorded")
        return 1e3 * (other._at - self._at)


class Within:
    """`torch.cuda.device` and `torch.cuda.stream`: there is only one of each."""

    def __init__(self, *_: Any) -> None: ...

    def __enter__(self) -> Within:
        return self

    def __exit__(self, *_: Any) -> None: ...


class Properties:
    """Of the device."""

    name = NAME
    major, minor = 9, 0
    total_memory = MEMORY
    multi_processor_count = 132


def begin() -> None:
    """Put all of it in the place of torch's own."""
    here, gpus = torch.cuda, max(1, int(os.environ.get("SPLAT_PRETEND_CUDA", "1")))
    answers: dict[str, Any] = {
        "_lazy_init": None, "is_available": True, "is_initialized": True, "device_count": gpus,
        "current_device": 0, "set_device": None, "get_device_name": NAME, "synchronize": None,
        "empty_cache": None, "mem_get_info": (20 << 30, MEMORY), "max_memory_allocated": 1 << 20,
        "memory_allocated": 1 << 20, "max_memory_reserved": 1 << 20, "memory_reserved": 1 << 20,
        "reset_peak_memory_stats": None, "manual_seed": None, "manual_seed_all": None,
        "get_device_capability": (9, 0), "get_rng_state_all": [], "set_rng_state": None,
        "get_device_properties": Properties(), "current_stream": Stream(),
        "default_stream": Stream(), "get_arch_list": ["sm_90"], "is_bf16_supported": True,
    }  # fmt: skip
    for name, answer in answers.items():
        setattr(here, name, _saying(answer))
    changed: Any = here
    changed.Stream, changed.Event, changed.device, changed.stream = Stream, Event, Within, Within
    changed.get_rng_state = lambda device=None: torch.get_rng_state()
    torch.version.cuda = "13.0"
    changed_backend: Any = torch.backends.cuda
    changed_backend.is_built = lambda: True
    _move_storages()
    _gloo_for_nccl()


def _saying(answer: Any) -> Any:
    def say(*_: Any, **__: Any) -> Any:
        return answer

    return say


def _move_storages() -> None:
    """Pickles and copies of whole storages, which torch moves without its operators."""
    storage: Any = torch.UntypedStorage
    cpu, clone, to = storage.cpu, storage.clone, storage.to

    def whole(self: Any) -> torch.Tensor:
        bytes_ = torch.empty(0, dtype=torch.uint8, device=self.device)
        return bytes_.set_(self, 0, (self.nbytes(),), (1,))

    def is_here(self: Any) -> bool:
        return bool(self.device.type == "cuda")

    def to_cpu(self: Any) -> Any:
        return whole(self).cpu().untyped_storage() if is_here(self) else cpu(self)

    def cloned(self: Any) -> Any:
        return whole(self).clone().untyped_storage() if is_here(self) else clone(self)

    def moved(self: Any, *, device: Any, non_blocking: bool = False) -> Any:
        if torch.device(device).type != "cuda" or is_here(self):
            return to(self, device=device, non_blocking=non_blocking)
        return whole(self).to("cuda").untyped_storage()

    storage.cpu, storage.clone, storage.to = to_cpu, cloned, moved


def _gloo_for_nccl() -> None:
    """Have several processes exchange what is on the device by gloo, over copies of it."""
    import torch.distributed as dist

    own: Any = dist
    begin, reduce, gather = dist.init_process_group, dist.all_reduce, dist.all_gather

    class Done:
        def is_completed(self) -> bool:
            return True

        def wait(self) -> bool:
            return True

    def with_gloo(backend: Any = None, **more: Any) -> Any:
        return begin("gloo", **more)

    def reduced(
        tensor: Any, op: Any = dist.ReduceOp.SUM, group: Any = None, async_op: bool = False
    ) -> Any:
        if not tensor.is_cuda:
            return reduce(tensor, op, group=group, async_op=async_op)
        there = tensor.cpu()
        reduce(there, op, group=group)
        tensor.copy_(there)
        return Done()

    def gathered(parts: Any, tensor: Any, group: Any = None, async_op: bool = False) -> Any:
        if not tensor.is_cuda:
            return gather(parts, tensor, group=group, async_op=async_op)
        there = [part.cpu() for part in parts]
        gather(there, tensor.cpu(), group=group)
        for part, each in zip(parts, there, strict=True):
            part.copy_(each)
        return Done()

    exchange = dist.all_to_all_single

    def exchanged(
        taken: Any, given: Any, received: Any, sent: Any, group: Any = None, async_op: bool = False
    ) -> Any:
        if not given.is_cuda:
            return exchange(taken, given, received, sent, group=group, async_op=async_op)
        there = taken.cpu()
        exchange(there, given.cpu(), received, sent, group=group)
        taken.copy_(there)
        return Done()

    def refusing(send: Any, at: int) -> Any:
        def sent(*given: Any, **more: Any) -> Any:
            _OfTheCpu(io.BytesIO()).dump(given[at])
            return send(*given, **more)

        return sent

    own.init_process_group, own.all_reduce, own.all_gather = with_gloo, reduced, gathered
    own.all_to_all_single = exchanged
    own.broadcast_object_list = refusing(dist.broadcast_object_list, 0)
    own.all_gather_object = refusing(dist.all_gather_object, 1)


class _OfTheCpu(pickle.Pickler):
    """Refuses tensors on a GPU, which come to life on the first GPU of whoever is sent them."""

    def persistent_id(self, found: Any) -> None:
        if isinstance(found, torch.Tensor) and found.is_cuda:
            raise RuntimeError(f"a tensor on {found.device} is pickled for another process")
