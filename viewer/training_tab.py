"""The tab of a run: its state, its curves, and the numbers that can be changed while it trains."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from splat.core.knobs import Knob
from splat.viewer.curves import Curves
from splat.viewer.guest import Guest
from splat.viewer.stage import Stage

if TYPE_CHECKING:
    from splat.viewer.server import Gui

_CHARTS = (
    ("Loss", 1.0, {"loss": ("loss", "#ff8a5c")}),
    ("PSNR of training photos, dB", 1.0, {"psnr": ("dB", "#5cb8ff")}),
    ("PSNR of held-out photos, dB", 1.0, {"test_psnr": ("dB", "#ffd75c")}),
    ("Gaussians, thousands", 1e-3, {"gaussians": ("thousands", "#c9a6ff")}),
    (
        "Births and deaths so far, thousands",
        1e-3,
        {"born": ("born", "#5ce08a"), "died": ("died", "#ff6b6b")},
    ),
)
CHARTS_EVERY = 6.0
"""Seconds between updates of the charts, each of which a browser is sent as a whole."""
HEIGHT = 150
"""Height of a chart, pixels."""


class Steering(Protocol):
    """What a visitor may do with a run; every call is made between two steps, by its thread."""

    paused: bool

    def knobs(self) -> Mapping[str, Knob]:
        """Numbers that can be changed, by name."""
        ...

    def set(self, name: str, value: float) -> None:
        """Change a number; ValueError where that is not allowed."""
        ...

    def pause(self, paused: bool) -> None: ...

    def step_once(self) -> None: ...

    def save(self) -> str:
        """Write a checkpoint; a sentence about it."""
        ...


class TrainingTab:
    """The tab, which all visitors share."""

    def __init__(self, gui: Gui, stage: Stage, curves: Curves, steering: Steering | None) -> None:
        """Fill the container that is open; `steering` None: nothing trains here."""
        self._gui, self._stage, self._curves = gui, stage, curves
        self._state = gui.add_markdown("")
        self._bar: Any = None
        self._controls: list[Any] = []
        self._steering = steering
        if steering is not None:
            self._bar = gui.add_progress_bar(0)
            self._buttons(steering)
        self._charts = [
            (self._chart(title, series), tuple(series), times) for title, times, series in _CHARTS
        ]
        self._drawn, self._drawn_at = -1, 0.0
        if steering is not None:
            self._changes(steering)

    def show(self, text: str, share: float | None = None) -> None:
        """Show the state of the run, in Markdown, and its progress in [0, 1]."""
        if self._state.content != text:
            self._state.content = text
        if self._bar is not None and share is not None:
            self._bar.value = 100 * share
        count, now = self._curves.count, time.monotonic()
        if count != self._drawn and now - self._drawn_at > CHARTS_EVERY:
            self._drawn, self._drawn_at = count, now
            for chart, names, times in self._charts:
                steps, *lines = self._curves.data(*names)
                chart.data = (steps, *(times * line for line in lines))
                chart.visible = self._curves.knows(*names)

    def end(self) -> None:
        """Remove the controls, once nothing trains any more."""
        for control in (self._bar, *self._controls):
            if control is not None:
                control.remove()
        self._bar, self._controls = None, []

    def paused(self, paused: bool) -> None:
        """Update the label of the button."""
        self._pause.label = "Go on" if paused else "Pause"
        self._pause.color = "green" if paused else None

    def _buttons(self, steering: Steering) -> None:
        gui, stage = self._gui, self._stage
        self._pause = gui.add_button("Pause")
        once = gui.add_button("One step", hint="Pauses, and does one step.")
        save = gui.add_button("Save a checkpoint")
        self._controls = [self._pause, once, save]

        @self._pause.on_click
        def _(_: Any) -> None:
            stage.wish(lambda: steering.pause(not steering.paused))

        @once.on_click
        def _(_: Any) -> None:
            stage.wish(steering.step_once)

        @save.on_click
        def _(event: Any) -> None:
            guest = self._guest_of(event)
            stage.wish(
                lambda: stage.post.errand(_telling(stage, guest, "Saved", steering.save())), guest
            )

    def _chart(self, title: str, series: Mapping[str, tuple[str, str]]) -> Any:
        gui: Any = self._gui  # its charts take plain dictionaries too, which its types do not say
        lines = [{"label": text, "stroke": color, "width": 2} for text, color in series.values()]
        return gui.add_uplot(
            data=self._curves.data(*series),
            series=({"label": "step"}, *lines),
            title=title,
            scales={"x": {"time": False}},
            height=HEIGHT,
            visible=False,
        )

    def _changes(self, steering: Steering) -> None:
        gui, stage = self._gui, self._stage
        folder = gui.add_folder("Change", expand_by_default=False)
        self._controls.append(folder)
        with folder:
            names = tuple(steering.knobs())
            what: Any = gui.add_dropdown("What", names)
            doc = gui.add_markdown("")
            value: Any = gui.add_number("Value", 0.0, step=1e-6)
            apply = gui.add_button("Apply from the next step on")
            share = gui.add_slider(
                "Time for the viewer, %",
                min=1,
                max=90,
                step=1,
                initial_value=round(100 * stage.pace.share),
                hint="Most of the time of training that pictures take while somebody moves; it"
                " alters no result.",
            )

        def chosen(_: Any) -> None:
            knob = steering.knobs()[what.value]
            value.value = float(knob.value)
            doc.content = f"{knob.doc} Now {knob.value:g}."

        @apply.on_click
        def _(event: Any) -> None:
            guest, name, number = self._guest_of(event), what.value, float(value.value)

            def change() -> None:
                steering.set(name, number)
                stage.tell("Changed", f"{name} is {number:g} from here on; it is recorded", "green")
                chosen(None)

            stage.wish(change, guest)

        @share.on_update
        def _(_: Any) -> None:
            stage.pace.share = min(max(share.value / 100, 0.01), 0.9)

        what.on_update(chosen)
        chosen(None)

    def _guest_of(self, event: Any) -> Guest | None:
        client = getattr(event, "client", None)
        return None if client is None else self._stage.guests.get(int(client.client_id))


def _telling(stage: Stage, guest: Guest | None, title: str, text: str) -> Any:
    def tell() -> None:
        for each in [guest] if guest else list(stage.guests.values()):
            each.tell(title, text, "green")

    return tell
