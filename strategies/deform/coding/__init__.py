"""Deformed Gaussians in few bits: planes by a context, rows by their neighbours, in a `.clip`."""
