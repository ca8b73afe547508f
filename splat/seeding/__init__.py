"""What a run starts from: points, the sky, the outlines of things, what moves fast."""
