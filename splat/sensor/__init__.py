"""Poses and exposures of photographs, corrected while a scene is trained on them."""

from splat.options.exposure import Exposure
from splat.sensor.sensor import Sensor, sensor_for

__all__ = ["Exposure", "Sensor", "sensor_for"]
