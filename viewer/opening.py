"""The viewer of a job, opened."""

from __future__ import annotations

import logging
from pathlib import Path

from splat.options import Viewing
from splat.runs.log import read_log
from splat.training.prepare import Job
from splat.viewer.curves import of_log
from splat.viewer.live import LiveViewer
from splat.viewer.server import Server
from splat.viewer.source import Photos
from splat.viewer.timeline import Timeline

_log = logging.getLogger(__name__)


def open_viewer(job: Job, viewing: Viewing, folder: Path | None, log: Path | None) -> LiveViewer:
    """A viewer that is served already; `folder` is for snapshots, `log` that of a resumed run."""
    run = job.run
    server = Server(viewing.host, viewing.port, viewing.token, label="splat")
    try:
        timeline = Timeline(folder)
        timeline.beyond(run.step)
        records = [] if log is None else read_log(log, run.step)
        viewer = LiveViewer(
            server,
            run,
            Photos(job.photos, job.held_out),
            job.scene.path.name,
            points=job.scene.points,
            timeline=timeline,
            snapshots=viewing.snapshots,
            share=viewing.viewer_share,
            curves=of_log(records),
            left=job.time_left(),
        )
    except BaseException:
        server.close()
        raise
    announce(server)
    return viewer


def announce(server: Server) -> None:
    """Log the addresses of the viewer, and who can reach it."""
    for i, line in enumerate(server.address_lines()):
        _log.info("%s%s", "          " if i else "viewer    ", line)
