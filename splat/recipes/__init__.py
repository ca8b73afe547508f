"""Strategies as texts and as records, and back: names, import paths, what a run folder says."""
