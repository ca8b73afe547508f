"""Independent jobs that go on where they stopped, each in a process of its own: here, or on Ray.

Nothing here loads torch before it is needed, since the processes that Ray starts import it too.
"""

from splat.jobs.engine import engine_of
from splat.jobs.share import share_of
from splat.jobs.work import Ended, Engine, Interrupted, Share, Work

__all__ = ["Ended", "Engine", "Interrupted", "Share", "Work", "engine_of", "share_of"]
