"""Verbs of the command line that come with garment."""
