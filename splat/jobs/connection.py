"""The connection to Ray: finding, starting, reaching and leaving it."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from splat.jobs.work import Share
from splat.system import machine

HERE = "ray"
"""Address that stands for Ray on this machine, started and shut down by us."""
STORE = 80 << 20
"""Bytes of Ray's object store, near its minimum: our objects are paths and sentences."""
PATIENCE = 10.0
"""Seconds to wait for the head of a cluster to answer."""
VARIABLES = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_kill_child_processes_on_worker_exit": "0",
}
"""Environment while Ray starts: no usage statistics, GPUs left to tasks that ask for none, and time
for a job's process, which sees that its worker is gone, to write a checkpoint."""


def check_address(where: str) -> None:
    """Raise ValueError where `where` is neither `HERE` nor the address of a cluster."""
    if where not in (HERE, "auto") and ":" not in where:
        raise ValueError(
            f"--on is {where!r}; expected ray, or the address of a cluster such as"
            " ray://host:10001, host:6379 or auto: correct it"
        )


@contextmanager
def ray_connection(where: str, share: Share) -> Iterator[Any]:
    """Ray, connected; started where it is to be here, and shut down after if it was not in use."""
    ray = import_ray()
    if ray.is_initialized():
        yield ray
        return
    settings: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if where == HERE:
        settings |= {
            "address": "local",
            "num_cpus": share.workers * share.threads,
            "num_gpus": len(share.devices),
            "include_dashboard": False,
            "object_store_memory": STORE,
        }
        if memory := machine.memory():
            settings["_memory"] = max(STORE, memory[1] - STORE)
    else:
        settings["address"] = where
        _check_heard(where)
    with _as_it_was():
        try:
            ray.init(**settings)
            _hush(True)
        except Exception as error:
            raise ValueError(
                f"{where}: Ray cannot be reached ({first_line(error)}); expected the head of a"
                " cluster of the same version: see `ray status`, and set RAY_AUTH_MODE=token where"
                " it asks for a token"
            ) from error
    try:
        yield ray
    finally:
        ray.shutdown()
        _hush(False)


def _check_heard(where: str) -> None:
    """Raise ValueError where nothing listens at an address, for which Ray would wait forever."""
    host, _, port = where.removeprefix("ray://").partition("?")[0].rpartition(":")
    if where == "auto":
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), PATIENCE).close()
    except (OSError, ValueError, OverflowError) as error:
        raise ValueError(
            f"{where}: nobody listens there ({first_line(error)}); expected the head of a Ray"
            " cluster: start it with `ray start --head`, or correct --on"
        ) from None


@contextmanager
def _as_it_was() -> Iterator[None]:
    """Within, the environment is that for Ray; after, it and the signal handlers are as before."""
    main = threading.current_thread() is threading.main_thread()
    signals = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)} if main else {}
    before = dict(os.environ)
    os.environ.update({**VARIABLES, **before})
    try:
        yield
    finally:
        for number, handler in signals.items():
            signal.signal(number, handler)
        for name in set(os.environ) - set(before):
            del os.environ[name]
        os.environ.update(before)


def _hush(hush: bool) -> None:
    """Keep Ray's messages about lost workers off stdout, which is for results."""
    worker: Any = sys.modules.get("ray._private.worker")
    if worker is not None and hasattr(worker, "_worker_logs_enabled"):
        worker._worker_logs_enabled = not hush


def first_line(error: Exception) -> str:
    """The first line of an error."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def import_ray() -> Any:
    try:
        import ray
    except ImportError:
        raise ImportError(
            "Ray is not installed; expected for --on: pip install 'splat-toolkit[ray]'"
        ) from None
    return ray
