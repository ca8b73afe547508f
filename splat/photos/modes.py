"""What may be asked of photographs, by name."""

from __future__ import annotations

from typing import Literal

MaskMode = Literal["auto", "ignore", "transparent"]
"""What pixels outside masks and alpha do: they do not count (`ignore`), or they are replaced by
the background (`transparent`). `auto`: masks are ignored, an alpha channel is transparent."""
Resolution = Literal["full", "warm-up", "dash"]
"""How large the pictures of training are (`splat.photos.resolution`)."""
DEFAULT_RESOLUTION: Resolution = "dash"
"""Of a run with a fitted schedule."""
