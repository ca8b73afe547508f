"""The panel from which the present Gaussians are downloaded as a file."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from splat import formats
from splat.core.frame import camera_from_frame
from splat.system.text import size
from splat.types import Gaussians
from splat.viewer.guest import Guest
from splat.viewer.stage import Stage

if TYPE_CHECKING:
    from splat.viewer.server import Gui


class ExportFolder:
    """Formats with the size of the file, and a button; one for each visitor."""

    def __init__(self, gui: Gui, guest: Guest, stage: Stage) -> None:
        """Fill the container that is open."""
        self._guest, self._stage = guest, stage
        with gui.add_folder("Export", expand_by_default=False):
            suffix = gui.add_dropdown("Format", formats.suffixes(written=True))
            cropped = gui.add_checkbox(
                "Only what is shown", False, hint="Without what the box and the filters hide."
            )
            self._size = gui.add_markdown("")
            button = gui.add_button("Download", hint="Training goes on meanwhile.")
        self._suffix = suffix

        @suffix.on_update
        def _(_: Any) -> None:
            self.refresh()

        @button.on_click
        def _(_: Any) -> None:
            stage.wish(lambda: self._taken(suffix.value, cropped.value), guest)

        self.refresh()

    def refresh(self) -> None:
        """Update the predicted size of the file."""
        source, degree = self._stage.easel.source, 3
        most = formats.size_of(max(1, source.slots * source.count), degree, self._suffix.value)
        text = f"{source.count:,} {source.unit}, at most {size(most)}"
        if self._size.content != text:
            self._size.content = text

    def _taken(self, suffix: str, shown: bool) -> None:
        """Copy the Gaussians, on the training thread; the rest is done on another one."""
        easel, guest = self._stage.easel, self._guest
        gaussians = easel.source.baked()
        if shown:
            gaussians = easel.left(guest.look, gaussians)
        if not formats.takes_motion(suffix):
            gaussians = gaussians.at(guest.look.moment)
        copy = gaussians.to("cpu")
        self._stage.post.errand(lambda: self._delivered(copy, suffix))

    def _delivered(self, gaussians: Gaussians, suffix: str) -> None:
        source, guest = self._stage.easel.source, self._guest
        here = camera_from_frame(guest.camera(*guest.size()), source.frame)
        name = (
            f"{Path(source.name).stem}_{source.step}{suffix}" if source.step else f"splat{suffix}"
        )
        try:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / name
                formats.write(gaussians, path, source.frame, source.drawing, cameras=[here])
                data = path.read_bytes()
        except (OSError, ValueError) as error:
            guest.tell("The file was not written", str(error), "red")
            return
        guest.client.send_file_download(name, data, save_immediately=True)
        guest.tell("Exported", f"{name}: {len(gaussians):,} Gaussians, {size(len(data))}", "green")
