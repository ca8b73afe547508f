"""Which engine carries out jobs."""

from __future__ import annotations

from splat.jobs.work import Engine, Share

RETRIES = 3
"""Times that a job is begun again after its process was killed, unless more are asked for."""


def engine_of(where: str | None, share: Share, *, retries: int = RETRIES) -> Engine:
    """The engine for a place: None is this machine, "ray" is Ray on this machine, and anything else
    the address of a Ray cluster, such as ray://host:10001, host:6379 or auto.

    A job whose process was killed is begun again at most `retries` times. Raises ValueError where
    `where` is no address and ImportError where Ray is not installed.
    """
    if where is not None:
        from splat.jobs.cluster import OnRay

        return OnRay(where, share, retries)
    from splat.jobs.local import Here, Local

    return Local(share, retries) if share.workers else Here()
