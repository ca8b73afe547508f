"""What does not belong in a scene: floaters, debris, what a few masks mean."""
