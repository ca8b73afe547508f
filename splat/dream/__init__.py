"""Scenes under the guidance of a teacher: a diffusion model of pictures says of what is drawn how
it would be likelier to be what a text says."""
