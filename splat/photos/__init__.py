"""Photographs: decoded, undistorted, shrunk, kept at hand, and the maps that came with them."""
