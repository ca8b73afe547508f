"""What each verb is asked for: a dataclass a file, which help reads without torch or methods.

A file may import `splat.options`, `splat.system` and what else is light.
"""
