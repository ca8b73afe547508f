"""The tab of view settings; one for each visitor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from splat.viewer import colors
from splat.viewer.guest import Guest
from splat.viewer.look import Look, Mode, Picture
from splat.viewer.markdown import plain
from splat.viewer.stage import Stage
from splat.viewer.values import heatmap_names

if TYPE_CHECKING:
    from splat.viewer.server import Gui

BLANK = np.full((4, colors.WIDTH, 3), 36, np.uint8)
LASTS = 4.0
"""Seconds in which a clip passes at first."""
SIZES = ("640", "960", "1280", "1600", "2560", "4096")


class ViewTab:
    """Mode, heatmap, events, size of the picture; legend and note below."""

    def __init__(self, gui: Gui, guest: Guest, stage: Stage) -> None:
        """Fill the container that is open."""
        self._guest, self._stage = guest, stage
        look, easel = guest.look, stage.easel
        mode = gui.add_dropdown("Show", _modes(stage), initial_value=look.mode)
        if easel.source.moves:
            self._clip(gui)
        self._heat = gui.add_folder("Heatmap")
        with self._heat:
            heat = gui.add_dropdown(
                "Of",
                heatmap_names(easel.source, easel.chronicle),
                initial_value=look.heat,
                hint="What the colours of the Gaussians mean.",
            )
            log = gui.add_checkbox("Logarithmic", look.log)
            percent = gui.add_multi_slider(
                "Range, %",
                min=0,
                max=100,
                step=1,
                initial_value=look.percent,
                hint="Percentiles at which the colours end.",
            )
        chosen = gui.add_dropdown("Colour map", tuple(colors.MAPS), initial_value=look.colors)
        self._events = gui.add_folder("Events")
        with self._events:
            recent = gui.add_slider("Last steps", 10, 3000, 10, look.recent)
            ghosts = gui.add_checkbox("Ghosts of the dead", look.ghosts)
            doomed = gui.add_checkbox(
                "About to be pruned",
                look.doomed,
                hint="What the method would drop if its next turn came now; asking costs time.",
            )
        self._legend = gui.add_image(BLANK, format="png")
        self._note = gui.add_markdown("")
        with gui.add_folder("Picture", expand_by_default=False):
            longest = gui.add_dropdown("Longest side", SIZES, initial_value=str(look.longest))
            overlay = gui.add_checkbox(
                "Hide behind",
                look.overlay,
                hint="Cameras, points and the box are hidden by what stands before them.",
            )
        self._chosen = chosen
        for control, name, made in (
            (mode, "mode", str),
            (heat, "heat", str),
            (log, "log", bool),
            (percent, "percent", tuple),
            (chosen, "colors", str),
            (recent, "recent", int),
            (ghosts, "ghosts", bool),
            (doomed, "doomed", bool),
            (longest, "longest", int),
            (overlay, "overlay", bool),
        ):
            self._bind(control, name, made)
        self._unfold(look)
        stage.captions[guest.number] = self.caption

    def caption(self, picture: Picture, seconds: float) -> None:
        """Say what a picture shows."""
        self._legend.image = BLANK if picture.legend is None else picture.legend
        height, width = picture.pixels.shape[:2]
        said = f"{plain(picture.note)}  \n" if picture.note else ""
        count = self._stage.easel.source.count
        self._note.content = (
            f"{said}{count:,} Gaussians, {width}x{height} in {1e3 * seconds:.0f} ms"
        )

    def _clip(self, gui: Gui) -> None:
        """Where in its clip a scene that moves is shown, and playing it."""
        guest = self._guest
        moment: Any = gui.add_slider(
            "Moment", 0.0, 1.0, 0.001, guest.look.moment, hint="Time, as a part of the clip."
        )
        play = gui.add_checkbox("Play", False)
        seconds = gui.add_slider("Seconds", 0.5, 30.0, 0.5, LASTS, hint="Of the clip, as it plays.")
        told = [False]

        def shown(value: float) -> None:
            told[0] = True
            moment.value = round(value, 3)
            told[0] = False

        @moment.on_update  # type: ignore[untyped-decorator]
        def _(_: Any) -> None:
            if not told[0]:
                guest.change(moment=float(moment.value))
                guest.play(float(seconds.value) if play.value else None)

        def go(_: Any) -> None:
            guest.play(float(seconds.value) if play.value else None)
            self._stage.wish(lambda: None)

        play.on_update(go)
        seconds.on_update(go)
        guest.at_moment = shown

    def _bind(self, control: Any, name: str, made: Any) -> None:
        @control.on_update  # type: ignore[untyped-decorator]
        def _(_: Any) -> None:
            self._guest.change(**{name: made(control.value)})
            self._unfold(self._guest.look)

    def _unfold(self, look: Look) -> None:
        """Show the settings that matter."""
        self._heat.visible = look.mode == "heatmap"
        self._events.visible = look.mode == "events"
        self._chosen.visible = look.mode in ("heatmap", "depth", "error")
        self._legend.visible = look.mode in ("heatmap", "depth", "error", "events")


def _modes(stage: Stage) -> tuple[Mode, ...]:
    photos = stage.easel.source.photos is not None
    return tuple(mode for mode in get_args(Mode) if photos or mode not in ("error", "photo"))
