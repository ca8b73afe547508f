"""Figures of a reconstruction in pycolmap."""

from __future__ import annotations

import math
from typing import Any


def first_photo(model: Any) -> str:
    """Name of the first photo of a model, by name."""
    return min(str(model.image(number).name) for number in model.reg_image_ids())


def off_middle(camera: Any) -> float:
    """Offset of the principal point from the centre of the photo, as a share of its diagonal."""
    right = camera.principal_point_x - camera.width / 2
    down = camera.principal_point_y - camera.height / 2
    return math.hypot(right, down) / math.hypot(camera.width, camera.height)


def model_facts(model: Any) -> dict[str, Any]:
    """The figures of a model as JSON can hold them."""
    numbers = model.reg_image_ids()
    used = {model.image(number).camera_id for number in numbers}
    return {
        "registered": sorted(model.image(number).name for number in numbers),
        "points": model.num_points3D(),
        "error": model.compute_mean_reprojection_error(),
        "track": model.compute_mean_track_length(),
        "cameras": [
            {
                "model": camera.model_name, "width": camera.width, "height": camera.height,
                "focal": camera.mean_focal_length(), "parameters": list(map(float, camera.params)),
                "photos": sum(model.image(n).camera_id == number for n in numbers),
            }
            for number, camera in sorted(model.cameras.items())
            if number in used
        ],
    }  # fmt: skip
