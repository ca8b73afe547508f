"""The tab that compares a picture with another: a photo, another run, the run as it was."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from splat.viewer.guest import Guest
from splat.viewer.look import Against
from splat.viewer.markdown import plain
from splat.viewer.source import Source
from splat.viewer.stage import Stage
from splat.viewer.timeline import Timeline

if TYPE_CHECKING:
    from splat.viewer.server import Gui

_SAID: dict[str, Against] = {
    "nothing": "nothing",
    "the nearest photo": "photo",
    "the other run": "other",
    "the run as it was": "past",
}


class CompareTab:
    """The choice of what is compared, the wipe, the difference, and the timeline."""

    def __init__(self, gui: Gui, guest: Guest, stage: Stage, timeline: Timeline | None) -> None:
        """Fill the container that is open."""
        self._gui, self._guest, self._stage, self._timeline = gui, guest, stage, timeline
        self._slider: Any = None
        self._steps: list[int] = []
        look, easel = guest.look, stage.easel
        possible = {
            label
            for label, kind in _SAID.items()
            if kind == "nothing"
            or (kind == "photo" and easel.source.photos is not None)
            or (kind == "other" and easel.other is not None)
            or (kind == "past" and timeline is not None)
        }
        label = next(text for text, kind in _SAID.items() if kind == look.against)
        against = gui.add_dropdown(
            "Hold against", tuple(s for s in _SAID if s in possible), initial_value=label
        )
        wipe = gui.add_slider("Wipe", 0.0, 1.0, 0.005, look.wipe)
        difference = gui.add_checkbox("Difference", look.difference)
        gain = gui.add_slider("Times", 1.0, 20.0, 0.5, look.gain)
        gain.visible = False
        self._figures = gui.add_markdown("")
        self._folder: Any = None
        if timeline is not None:
            self._folder = gui.add_folder("Timeline")
            with self._folder:
                self._when = gui.add_markdown("")
                past = gui.add_checkbox("Show the run as it was", False)

            @past.on_update
            def _(_: Any) -> None:
                guest.change(past=past.value)

        @against.on_update
        def _(_: Any) -> None:
            guest.change(against=_SAID[against.value])
            self.refresh()

        @wipe.on_update
        def _(_: Any) -> None:
            guest.change(wipe=float(wipe.value))

        @difference.on_update
        def _(_: Any) -> None:
            gain.visible = difference.value
            guest.change(difference=difference.value)

        @gain.on_update
        def _(_: Any) -> None:
            guest.change(gain=float(gain.value))

        self.refresh()

    def refresh(self) -> None:
        """Update the figures of both, and the snapshots on offer."""
        easel = self._stage.easel
        sides = [easel.source] + ([easel.other.source] if easel.other is not None else [])
        text = "  \n".join(map(_row, sides))
        if self._figures.content != text:
            self._figures.content = text
        if self._timeline is not None:
            self._offer(self._timeline.steps)

    def _offer(self, steps: list[int]) -> None:
        """A slider over the snapshots: viser's have fixed ends, so a longer one is a new one."""
        if steps == self._steps or not steps:
            return
        self._steps = steps
        at = self._guest.look.then
        place = steps.index(at) if at in steps else len(steps) - 1
        if self._slider is not None:
            self._slider.remove()
        with self._folder:
            slider = self._gui.add_slider("Snapshot", 0, max(1, len(steps) - 1), 1, place)
        self._slider = slider

        def moved(_: Any) -> None:
            step = steps[min(int(slider.value), len(steps) - 1)]
            self._guest.change(then=step)
            self._when.content = f"step {step:,}, one of {len(steps)} snapshots"

        slider.on_update(moved)
        moved(None)


def _row(source: Source) -> str:
    figure = "" if source.psnr is None else f", {source.psnr:.2f} dB on held-out photos"
    step = f" at step {source.step:,}" if source.step else ""
    return f"**{plain(source.name)}**{step}: {source.count:,} Gaussians{figure}"
